"""Training, side by side with the textbook loop, a per-sample loader and the machine's limit.

Ours are whole epochs as the command trains them: data, evaluation and diagnostics on, without
pictures. The peers are written by hand, with PyTorch's own means, and evaluate nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from functools import partial
from pathlib import Path

import torch

from benchmarks.per_sample import per_sample
from benchmarks.table import PYTHON, Row, interleaved
from trainer.config import ExperimentConfig, create_config, load_config
from trainer.emission.emitter import Emitter
from trainer.hooks import Hooks
from trainer.interruption import Interruption
from trainer.loop import train
from trainer.model import new_model
from trainer.objective import step_operations
from trainer.opening import open_new

CPU = torch.device("cpu")
LOADING_S = 30.0
"""The longest that the diagnostics process may take to load; its start is not what counts."""


def preset(name: str, **overrides: object) -> ExperimentConfig:
    """Return a preset on the CPU."""
    return load_config(create_config(name, device="cpu", save_plots=False, **overrides))


def hand_written(config: ExperimentConfig) -> float:
    """Train by the shortest loop with the same mathematics; return samples per second."""
    data, training = config.data, config.training
    model = new_model(config, CPU)
    optimizer = torch.optim.Adam(model.parameters(), lr=training.learning_rate, fused=True)
    generator = torch.Generator()
    size, started = training.batch_size, time.perf_counter()
    for epoch in range(training.epochs):
        total = torch.zeros(3, dtype=torch.float64)
        for step in range(data.n_train // size):
            generator.manual_seed(epoch * 1000 + step)
            first = torch.randint(data.d, (size,), generator=generator)
            second = torch.randint(data.d - 1, (size,), generator=generator)
            second += second >= first
            active = torch.stack([first, second], dim=1)
            x = torch.empty(size, data.d).normal_(std=data.noise_variance**0.5, generator=generator)
            x.scatter_add_(1, active, torch.ones(size, 2))
            optimizer.zero_grad()
            out = model.fc2(torch.tanh(model.fc1(x)) ** 3)
            on = out.gather(1, active)
            loss_on = config.loss.lambda_on * (on - 1).square().sum() / size
            loss_off = (out.square().sum() - on.square().sum()) / size
            penalty = training.decoder_regularization * model.fc2.weight.square().sum()
            (loss_on + loss_off + penalty).backward()
            optimizer.step()
            total += torch.stack([loss_on, loss_off, penalty]).detach()
        total.tolist()
    return training.epochs * (data.n_train // size * size) / (time.perf_counter() - started)


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


def product_rate(seconds: float = 1.0) -> float:
    """Return the best rate of float32 matrix products seen in so much time, operations/s."""
    n = 1024
    left, right, out = torch.randn(n, n), torch.randn(n, n), torch.empty(n, n)
    best, ends = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < ends:
        started = time.perf_counter()
        torch.mm(left, right, out=out)
        best = min(best, time.perf_counter() - started)
    return 2 * n**3 / best


def limit(config: ExperimentConfig) -> float:
    """Return the samples per second if a step were its matrix products alone."""
    return config.training.batch_size * product_rate() / step_operations(config)


PEERS = {
    "plain autograd loop": hand_written,
    "per-sample loader": per_sample,
    "matrix-product limit": limit,
}


def against(name: str, config: ExperimentConfig, peer: str, bar: float | None, repeats: int) -> Row:
    """Compare whole epochs with one of the peers; without a bar it is for information."""
    mine, theirs, ratio = interleaved(lambda: ours(config), lambda: PEERS[peer](config), repeats)
    return Row(
        f"{name}: whole epochs against the {peer}",
        f"{mine:,.0f} samples/s",
        f"{theirs:,.0f} samples/s",
        ratio,
        "" if bar is None else f">= {bar}",
        None if bar is None else ratio >= bar,
    )


def demo_training() -> Row:
    """Time the training of the demonstration, all of its 20 epochs."""
    config = preset("quick_3blob")
    seconds = [config.training.epochs * config.data.n_train / ours(config) for _ in range(3)]
    middle = sorted(seconds)[1]
    name = "quick_3blob: the demo's training"
    return Row(name, f"{middle:.2f} s", "", None, "< 5 s", middle < 5)


def batch_sizes() -> list[Row]:
    """Compare the throughput of large batches with that of 2,048."""
    rows = []
    small = preset("reference_3blob", epochs=1, batch_size=2048, n_train=61_440)
    for size in (10_000, 20_480):
        n_train = 3 * 20_480 if size == 20_480 else 60_000
        large = preset("reference_3blob", epochs=1, batch_size=size, n_train=n_train)
        mine, theirs, ratio = interleaved(partial(ours, large), partial(ours, small), 3)
        rows.append(
            Row(
                f"d=1024: batch size {size:,} against 2,048",
                f"{mine:,.0f} samples/s",
                f"{theirs:,.0f} samples/s",
                ratio,
                ">= 1",
                ratio >= 1,
            )
        )
    return rows


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

    mine, theirs, ratio = interleaved(lambda: rate(2), lambda: rate(1), 2)
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
    reference = preset("reference_3blob", epochs=1, n_train=100_000)
    quick = preset("quick_3blob", epochs=6)
    few = preset("reference_3blob", epochs=1, n_train=40_000)
    return [
        against("reference_3blob", reference, "plain autograd loop", 1.6, 3),
        against("reference_3blob", reference, "matrix-product limit", 0.75, 3),
        against("reference_3blob", few, "per-sample loader", 3.2, 2),
        against("quick_3blob", quick, "plain autograd loop", 0.97, 5),
        against("quick_3blob", quick, "matrix-product limit", None, 2),
        demo_training(),
        *batch_sizes(),
        memory(),
        two_processes(),
    ]
