"""A real run that trains in turns: what is measured beside it can take turns with it.

    python -m benchmarks.paced_run CONFIG OVERRIDES [alone]

It opens, trains and closes as ``python -m trainer`` does; ``alone`` leaves out what runs beside the
training, the I/O thread and the diagnostics process, and the checkpoints. It waits for a number on
its standard input, trains so many epochs without a pause, printing a line of JSON after each, and
waits again. An epoch's own clock (``train_seconds``) does not run while it waits.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.table import PYTHON
from profiler import contention
from profiler.measure import Window
from trainer.config import load_config
from trainer.hooks import Hook, Hooks
from trainer.run import Run


class Pace(Hook):
    """Holds the run until it is told to go on, and reports each epoch."""

    _left: int
    _lost: tuple[float, float]

    def run_started(self, run: Run) -> None:
        print("ready", flush=True)
        self._begin_turn()

    def epoch_ended(self, run: Run, event: Any) -> None:
        waited, stolen = (
            after - before for before, after in zip(self._lost, lost_s(), strict=True)
        )
        window = Window(
            round=event.epoch,
            n_steps=-(-run.config.data.n_train // run.config.training.batch_size),
            n_samples=run.config.data.n_train,
            wall_s=event.timing.train_seconds,
            cpu_s=event.timing.train_seconds,
            system_s=0.0,
            n_page_faults=0,
            waited_s=waited,
            stolen_s=stolen,
        )
        print(msgspec.json.encode(window).decode(), flush=True)
        self._left -= 1
        if self._left:
            self._lost = lost_s()
        elif event.epoch < run.config.training.epochs:
            self._begin_turn()

    def _begin_turn(self) -> None:
        self._left = int(sys.stdin.readline())
        self._lost = lost_s()


def lost_s() -> tuple[float, float]:
    """Return the seconds that this process waited for a core, and that the machine lost."""
    waited = contention.waited_s(os.getpid())
    if waited is None:
        raise RuntimeError("this kernel keeps no waiting times; the comparison needs them")
    return waited, contention.stolen_s()


class PacedRun:
    """The run seen from the process that gives it its turns."""

    def __init__(
        self,
        config: str,
        folder: Path,
        *,
        alone: bool = False,
        threads: int | None = None,
        **overrides: Any,
    ) -> None:
        """Start it and wait until it is ready for its first epoch."""
        overrides |= {"output_dir": str(folder), "data.device": "cpu"}
        self._process = subprocess.Popen(
            [
                *(PYTHON, "-m", "benchmarks.paced_run", config, json.dumps(overrides)),
                *(["alone"] if alone else []),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **({"OMP_NUM_THREADS": str(threads)} if threads else {})},
        )
        self.epochs: list[Window] = []
        self._read()

    def turn(self, n_epochs: int) -> None:
        """Let it train; keep all epochs but the first, in which caches and threads wake up."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{n_epochs}\n")
        self._process.stdin.flush()
        found = [msgspec.json.decode(self._read(), type=Window) for _ in range(n_epochs)]
        self.epochs += found[1:]

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the run ended before its time")
        return line


def main(config: str, overrides: str, alone: str = "") -> None:
    """Train at the pace of standard input; ``overrides`` is a JSON object."""
    from trainer.checkpoints import Checkpointer
    from trainer.interruption import Interruption
    from trainer.opening import open_new
    from trainer.stages import train_stages

    opened = open_new(load_config(config, json.loads(overrides)))
    beside = [] if alone else [opened.emitter, Checkpointer(opened.emitter.secure)]
    with Interruption() as stop:
        train_stages(opened.run, Hooks([*beside, Pace()]), stop)
    opened.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
