"""TensorBoard's side: the same numbers as event files, and its fast loader.

``python -m benchmarks.tensorboard_peer FOLDER N_VALUES N_EPOCHS`` starts TensorBoard's data server
(the compiled one that ``--load_fast`` uses) and ends when it lists the last step of all series.
"""

from __future__ import annotations

import importlib.util
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

N_NUMBERS = 20


def is_installed() -> bool:
    """Return whether TensorBoard and its data server can be used."""
    return importlib.util.find_spec("tensorboard_data_server") is not None


def loading(root: Path, n_runs: int, n_epochs: int) -> tuple[str, ...]:
    """Write event files below ``root``; return the command that loads them."""
    write_events(root, n_runs, n_epochs)
    numbers = str(n_runs * N_NUMBERS), str(n_epochs)
    return (sys.executable, "-m", "benchmarks.tensorboard_peer", str(root), *numbers)


def write_events(root: Path, n_runs: int, n_epochs: int) -> None:
    """Write event files; all runs share the bytes of the first, which changes no cost."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    seed = random.Random(1)
    first = root / "run_00000"
    writer = EventFileWriter(str(first))
    for epoch in range(1, n_epochs + 1):
        values = [
            Summary.Value(tag=f"metric/{index}", simple_value=seed.random())
            for index in range(N_NUMBERS)
        ]
        writer.add_event(Event(step=epoch, wall_time=time.time(), summary=Summary(value=values)))
    writer.close()
    for number in range(1, n_runs):
        shutil.copytree(first, root / f"run_{number:05d}")


def list_last(root: Path, n_values: int, n_epochs: int) -> None:
    """Load everything below ``root``; return once ``n_values`` series tell their last step."""
    import grpc
    import tensorboard_data_server
    from tensorboard.data.proto import data_provider_pb2, data_provider_pb2_grpc

    with tempfile.TemporaryDirectory() as scratch:
        port_file = Path(scratch) / "port"
        server = subprocess.Popen(
            [
                tensorboard_data_server.server_binary(), f"--logdir={root}", "--reload=once",
                "--port=0", f"--port-file={port_file}", "--die-after-stdin",
            ],
            stdin=subprocess.PIPE,
        )  # fmt: skip
        try:
            while not (port_file.exists() and port_file.read_text().strip()):
                time.sleep(0.005)
            with grpc.insecure_channel(
                f"localhost:{port_file.read_text().strip()}",
                options=[("grpc.max_receive_message_length", 1 << 28)],
            ) as channel:
                stub = data_provider_pb2_grpc.TensorBoardDataProviderStub(channel)
                request = data_provider_pb2.ListScalarsRequest(experiment_id="")
                request.plugin_filter.plugin_name = "scalars"
                while _n_complete(stub.ListScalars(request), n_epochs) < n_values:
                    time.sleep(0.02)
        finally:
            server.kill()
            server.wait()


def _n_complete(answer: object, n_epochs: int) -> int:
    runs = getattr(answer, "runs")  # noqa: B009 - generated code has no types
    return sum(tag.metadata.max_step == n_epochs for run in runs for tag in run.tags)


if __name__ == "__main__":
    list_last(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
