"""Training, side by side with the textbook loop, a per-sample loader and the machine's limit.

Ours are whole epochs as the command trains them: data, evaluation and diagnostics on, without
pictures. The peers are scripts of their own (benchmarks/peers.py).
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from benchmarks.peers import alone
from benchmarks.table import PYTHON, Row, in_turn, interleaved, ratio_of
from trainer.config import ExperimentConfig, create_config, load_config
from trainer.crew import Crew
from trainer.emission.emitter import Emitter
from trainer.hardware import has_bf16_units
from trainer.hooks import Hooks
from trainer.interruption import Interruption
from trainer.loop import train
from trainer.objective import step_operations
from trainer.opening import open_new

CPU = torch.device("cpu")
LOADING_S = 30.0
"""The longest that the diagnostics process may take to load; its start is not what counts."""


def preset(name: str, **overrides: object) -> ExperimentConfig:
    """Return a preset on the CPU."""
    return load_config(create_config(name, device="cpu", save_plots=False, **overrides))


def ours(config: ExperimentConfig) -> float:
    """Train with everything on; return samples per second of whole epochs."""
    folder = Path(tempfile.mkdtemp())
    try:
        opened = open_new(load_config(config, {"output_dir": str(folder / "run")}))
        hooks = Hooks([opened.emitter])
        with Interruption() as stop:
            hooks.run_started(opened.run)
            if config.training.enable_diagnostics:
                wait_for_diagnostics(opened.emitter)
            started = time.perf_counter()
            outcome = train(opened.run, hooks, stop)
            seconds = time.perf_counter() - started
            hooks.run_finished(opened.run, outcome)
        opened.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return config.training.epochs * config.data.n_train / seconds


def wait_for_diagnostics(emitter: Emitter) -> None:
    """Return once the diagnostics are loaded: they have said which weights they need."""
    ends = time.monotonic() + LOADING_S
    while emitter._courier._needs is None:
        if time.monotonic() > ends:
            raise RuntimeError("the diagnostics did not load")
        time.sleep(0.01)


def product_rate(seconds: float = 2.0) -> float:
    """Return the rate of float32 matrix products that all cores sustain, operations/s.

    Each has matrices of its own, so none waits for another; that is more than PyTorch's threads
    reach together.
    """
    n = 1024

    def multiply(member: int) -> None:
        left, right, out = torch.randn(n, n), torch.randn(n, n), torch.empty(n, n)
        started = time.perf_counter()
        while time.perf_counter() < started + seconds:
            torch.mm(left, right, out=out)
            n_products[member] += 1
        rates[member] = 2 * n**3 * n_products[member] / (time.perf_counter() - started)

    with Crew(torch.get_num_threads()) as crew:
        n_products, rates = [0] * crew.size, [0.0] * crew.size
        crew.each(multiply)
    return sum(rates)


def limit(config: ExperimentConfig) -> float:
    """Return the samples per second if a step were its matrix products alone."""
    return config.training.batch_size * product_rate() / step_operations(config)


def row(name: str, mine: list[float], theirs: list[float], bar: float | None) -> Row:
    """Compare samples per second, measured in turn; without a bar it is for information."""
    ratio = ratio_of(mine, theirs)
    return Row(
        name,
        f"{statistics.median(mine):,.0f} samples/s",
        f"{statistics.median(theirs):,.0f} samples/s",
        ratio,
        "" if bar is None else f">= {bar}",
        None if bar is None else ratio >= bar,
    )


def beside_peers(config: ExperimentConfig) -> dict[str, Callable[[], float]]:
    """Return what is measured in turn, each in samples per second."""
    return {
        "ours": partial(ours, config),
        "plain loop": partial(alone, "plain_loop", config),
        "limit": partial(limit, config),
    }


def reference() -> list[Row]:
    """Compare whole epochs of the reference preset with the plain loop, the limit and a loader."""
    config = preset("reference_3blob", epochs=1)
    measured = beside_peers(config)
    if has_bf16_units(CPU):
        bf16 = preset("reference_3blob", epochs=1, precision="bf16")
        measured["bf16"] = partial(ours, bf16)
    found = in_turn(measured, 3)
    name, plain = "reference_3blob: whole epochs", found["plain loop"]
    few = preset("reference_3blob", epochs=1, n_train=40_000)
    loader = in_turn({"ours": partial(ours, few), "loader": partial(alone, "per_sample", few)}, 2)
    rows = [
        row(f"{name} against the plain autograd loop", found["ours"], plain, 1.6),
        row(f"{name} against the matrix-product limit", found["ours"], found["limit"], 0.75),
        row(f"{name} against the per-sample loader", loader["ours"], loader["loader"], 3.2),
    ]
    if "bf16" in found:
        against = "against the plain autograd loop in float32"
        rows.insert(1, row(f"{name} in bf16 {against}", found["bf16"], plain, 3))
    return rows


def quick() -> list[Row]:
    """Compare the quick preset with the plain loop and the limit, and time the demo's training.

    That is all of its 20 epochs; the plain loop's rate is seen in six.
    """
    config = preset("quick_3blob")
    few = partial(alone, "plain_loop", preset("quick_3blob", epochs=6))
    found = in_turn(beside_peers(config) | {"plain loop": few}, 3)
    name = "quick_3blob: whole epochs"
    n_samples = config.training.epochs * config.data.n_train
    seconds = n_samples / statistics.median(found["ours"])
    demo = "quick_3blob: the demo's training"
    return [
        row(f"{name} against the plain autograd loop", found["ours"], found["plain loop"], 0.97),
        row(f"{name} against the matrix-product limit", found["ours"], found["limit"], None),
        Row(demo, f"{seconds:.2f} s", "", None, "< 5 s", seconds < 5),
    ]


def batch_sizes() -> list[Row]:
    """Compare the throughput of large batches with that of 2,048."""
    n_train = {2_048: 61_440, 10_000: 60_000, 20_480: 61_440}
    configs = {
        size: preset("reference_3blob", epochs=1, batch_size=size, n_train=n)
        for size, n in n_train.items()
    }
    found = in_turn({str(size): partial(ours, config) for size, config in configs.items()}, 3)
    return [
        row(f"d=1024: batch size {size:,} against 2,048", found[str(size)], found["2048"], 1)
        for size in (10_000, 20_480)
    ]


def peak_bytes(size: int, *, plain: bool) -> int:
    """Return by how much two steps raise the peak memory of a process."""
    code = (
        "import sys, json, torch; from trainer.config import load_config;"
        "from trainer.trial.subject import Subject;"
        "from trainer.trial.occupancy import status_bytes;"
        "s = Subject(load_config(json.loads(sys.argv[1]))); before = status_bytes('VmHWM');"
        "[s.take_one() for _ in range(3)]; print(status_bytes('VmHWM') - before)"
    )
    nested = create_config("reference_3blob", device="cpu", batch_size=size, plain=plain)
    command = [PYTHON, "-c", code, json.dumps(nested)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def memory() -> Row:
    """Compare the memory of a step with the textbook form's at batch 20,480."""
    mine, theirs = (peak_bytes(20_480, plain=plain) / 2**20 for plain in (False, True))
    ratio = mine / theirs
    return Row(
        "d=1024, batch 20,480: memory of a step against the textbook form's",
        f"{mine:.0f} MiB",
        f"{theirs:.0f} MiB",
        ratio,
        "<= 0.6",
        ratio <= 0.6,
    )


def two_processes() -> Row:
    """Compare two processes of one thread with one process of one thread."""

    def rate(n: int) -> float:
        folder = Path(tempfile.mkdtemp())
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={n}"]
        settings = {"epochs": 2, "n_train": 40_000, "enable_diagnostics": "false"}
        command = [PYTHON, *(launcher if n > 1 else []), "-m", "trainer", "reference_3blob"]
        command += ["--quiet", "--device", "cpu", "--output-dir", str(folder / "run")]
        command += [f"--set={key}={value}" for key, value in settings.items()]
        command += ["--set=save_plots=false"]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        subprocess.run(command, check=True, capture_output=True, env=environment)
        history = json.loads((folder / "run" / "results.json").read_bytes())["training_history"]
        shutil.rmtree(folder)
        return float(history[-1]["timing"]["samples_per_second"])

    mine, theirs, ratio = interleaved(lambda: rate(2), lambda: rate(1), 1)
    return Row(
        "reference_3blob: torchrun with two processes against one, a thread each",
        f"{mine:,.0f} samples/s",
        f"{theirs:,.0f} samples/s",
        ratio,
        "",
        None,
    )


def measure() -> list[Row]:
    """Measure all rows of this file."""
    return [*reference(), *quick(), *batch_sizes(), memory(), two_processes()]
