"""The training loop, its diagnostics and the emit call, side by side with their absence."""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.table import PYTHON, Row, interleaved, keep, wall_seconds
from diagnostics.contract.folder import RunFolder
from trainer.config import ExperimentConfig, create_config, load_config
from trainer.hooks import Hook, Hooks
from trainer.interruption import Interruption
from trainer.loop import train
from trainer.model import new_model
from trainer.opening import open_new
from trainer.run import Run

CPU = torch.device("cpu")
Train = Callable[[ExperimentConfig], float]


def hand_written(config: ExperimentConfig) -> float:
    """Train by the shortest loop with the same mathematics; return samples per second."""
    data, training = config.data, config.training
    model = new_model(config, CPU)
    optimizer = torch.optim.Adam(model.parameters(), lr=training.learning_rate, fused=True)
    generator = torch.Generator()
    started = time.perf_counter()
    for epoch in range(training.epochs):
        total = torch.zeros(3, dtype=torch.float64)
        for step in range(data.n_train // training.batch_size):
            size = training.batch_size
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
    return training.epochs * data.n_train / (time.perf_counter() - started)


def ours(config: ExperimentConfig, epochs_only: bool = False) -> float:
    """Train with everything on; return samples per second of training alone, or of whole epochs."""
    folder = Path(tempfile.mkdtemp())
    clock = Clock()
    try:
        # No pictures: they are drawn for people, at a bounded rate, and wait for a checkpoint.
        opened = open_new(load_config(config, {"output_dir": str(folder), "save_plots": False}))
        with Interruption() as stop:
            hooks = Hooks([clock, opened.emitter])
            hooks.run_started(opened.run)
            time.sleep(4)  # the diagnostics process loads meanwhile: its start is not what counts
            clock.begin()
            outcome = train(opened.run, hooks, stop)
            clock.end()
            hooks.run_finished(opened.run, outcome)
        opened.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    samples = config.training.epochs * config.data.n_train
    return samples / (clock.total if epochs_only else clock.training)


class Clock(Hook):
    """Adds up training time, and the wall time of all epochs."""

    def begin(self) -> None:
        self.training, self.started = 0.0, time.perf_counter()

    def epoch_ended(self, run: Run, event: Any) -> None:
        self.training += event.timing.train_seconds

    def end(self) -> None:
        self.total = time.perf_counter() - self.started


def emit_milliseconds(config: ExperimentConfig, n: int = 200) -> float:
    """Return the median time that an epoch's event costs the training thread."""
    from diagnostics.contract.events import EpochEnded, Timing

    folder = Path(tempfile.mkdtemp())
    opened = open_new(load_config(config, {"output_dir": str(folder), "save_plots": False}))
    opened.emitter.run_started(opened.run)
    time.sleep(4)
    times = []
    for epoch in range(1, n + 1):
        timing = Timing(
            train_seconds=1,
            test_seconds=1,
            emit_seconds=0,
            samples_per_second=1,
            peak_memory_bytes=1,
        )
        event = EpochEnded(at="", epoch=epoch, train={"loss": 1.0}, test={}, timing=timing)
        started = time.perf_counter()
        opened.emitter.epoch_ended(opened.run, event)
        times.append(time.perf_counter() - started)
        time.sleep(0.2)  # an epoch
    from trainer.run import Outcome

    opened.emitter.run_finished(opened.run, Outcome("completed"))
    opened.close()
    assert RunFolder(folder).results.exists()
    shutil.rmtree(folder, ignore_errors=True)
    return statistics.median(times) * 1e3


def measure(*, quick: bool = False) -> list[Row]:
    """Measure all rows of this file."""
    repeats = 3 if quick else 7
    rows = []
    sizes: dict[str, dict[str, Any]] = {
        "reference_3blob": {"epochs": 1, "n_train": 60_000 if quick else 100_000},
        "quick_3blob": {"epochs": 6},
    }
    for preset, overrides in sizes.items():
        config = load_config(create_config(preset, device="cpu", **overrides))
        mine, peer, ratio = interleaved(
            lambda c=config: ours(c), lambda c=config: hand_written(c), repeats
        )
        rows.append(
            Row(
                f"{preset}: loop with diagnostics against a hand-written one",
                f"{mine:,.0f} samples/s",
                f"{peer:,.0f} samples/s",
                ratio,
                ">= 0.97",
                ratio >= 0.97,
            )
        )
        off = load_config(config, {"enable_diagnostics": False})
        with_, without, ratio = interleaved(
            lambda c=config: 1e3 / ours(c, epochs_only=True),
            lambda c=off: 1e3 / ours(c, epochs_only=True),
            repeats,
        )
        bar = 1.01 if preset == "reference_3blob" else 1.05
        rows.append(
            Row(
                f"{preset}: whole epochs, diagnostics on against off",
                f"{with_:.4f} s per 1,000 samples",
                f"{without:.4f} s per 1,000 samples",
                ratio,
                f"<= {bar}",
                ratio <= bar,
            )
        )
    reference = load_config(create_config("reference_3blob", device="cpu"))
    emit = emit_milliseconds(reference, 40 if quick else 200)
    rows.append(
        Row("emit call, d=1024 hidden=512", f"{emit:.3f} ms", "1 ms", emit, "<= 1", emit <= 1)
    )
    for code in ("import monitord", "from monitord.command import main; main(['--help'])"):
        own, empty, _ = interleaved(
            lambda c=code: wall_seconds(PYTHON, "-c", c), lambda: wall_seconds(PYTHON, "-c", ""), 5
        )
        rows.append(
            Row(
                code,
                f"{own:.3f} s",
                f"{empty:.3f} s (python alone)",
                own / empty,
                "<= 0.35 s",
                own <= 0.35,
            )
        )
    return rows


if __name__ == "__main__":
    made = measure(quick="--quick" in sys.argv)
    keep("training", made)
    print(json.dumps([[r.name, r.ours, r.peer, r.ratio, r.bar, r.holds] for r in made], indent=1))
