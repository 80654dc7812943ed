"""What diagnostics cost training: whole epochs with and without them, and the emit call.

The two runs live side by side in one process and take turns of a few epochs, so that a machine that
drifts favours neither.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.table import Row, interleaved
from trainer.config import ExperimentConfig, create_config, load_config
from trainer.crew import Crew
from trainer.data import SignalSource
from trainer.hooks import Hooks
from trainer.interruption import Interruption
from trainer.loop import finish_epoch, train_epoch, validation_source
from trainer.objective import new_crew, new_objective
from trainer.opening import open_new
from trainer.run import Outcome


class Seat:
    """A run with its diagnostics process, trained an epoch at a time."""

    def __init__(self, config: ExperimentConfig, crew: Crew, stop: Interruption) -> None:
        self._folder = Path(tempfile.mkdtemp())
        overrides = {"output_dir": str(self._folder / "run"), "save_plots": False}
        self._opened = open_new(load_config(config, overrides))
        self._stop = stop
        self._hooks = Hooks([self._opened.emitter])
        run = self._opened.run
        data, training = config.data, config.training
        size = training.batch_size
        self._train = SignalSource(data, data.n_train, size, "train", run.device, crew)
        self._validation = validation_source(data, run.device, crew)
        self._objective = new_objective(config, crew)
        self.emit_seconds: list[float] = []
        self._hooks.run_started(run)

    def train_epoch(self) -> None:
        """Train, evaluate, and report one epoch."""
        run = self._opened.run
        train_epoch(run, self._train, self._objective, self._hooks, self._stop)
        event = finish_epoch(run, self._validation, self._objective)
        started = time.perf_counter()
        self._hooks.epoch_ended(run, event)
        self.emit_seconds.append(time.perf_counter() - started)

    def seconds_an_epoch(self, n_epochs: int) -> float:
        """Return the mean wall time of ``n_epochs`` in the steady state.

        The epoch before the first is trained too: its diagnostics run in the time that is measured,
        as those of the last run after it.
        """
        self.train_epoch()
        started = time.perf_counter()
        for _ in range(n_epochs):
            self.train_epoch()
        seconds = (time.perf_counter() - started) / n_epochs
        self.settle()
        return seconds

    def settle(self) -> None:
        """Wait until the diagnostics process has done all that it was given."""
        while not self._opened.emitter.is_idle:
            time.sleep(0.02)
        time.sleep(0.1)

    def close(self) -> None:
        self._hooks.run_finished(self._opened.run, Outcome("completed"))
        self._opened.close()
        shutil.rmtree(self._folder)


def measure_preset(
    preset: str, overrides: dict[str, Any], n_epochs: int, repeats: int
) -> list[Row]:
    """Return the row of whole epochs on against off, and that of the emit call."""
    bar = 1.01 if preset == "reference_3blob" else 1.05
    on = load_config(create_config(preset, device="cpu", **overrides))
    off = load_config(on, {"enable_diagnostics": False})
    with Interruption() as stop, new_crew(on, torch.device("cpu")) as crew:
        seats = Seat(on, crew, stop), Seat(off, crew, stop)
        with_, without, ratio = interleaved(
            lambda: seats[0].seconds_an_epoch(n_epochs),
            lambda: seats[1].seconds_an_epoch(n_epochs),
            repeats,
        )
        for seat in seats:
            seat.close()
    emit = statistics.median(seats[0].emit_seconds) * 1e3
    d, hidden = on.data.d, on.model.hidden_size
    name = f"emit call of an epoch, d={d} hidden={hidden}"
    return [
        Row(
            f"{preset}: whole epochs of {on.data.n_train:,} samples, diagnostics on against off",
            f"{with_:.3f} s",
            f"{without:.3f} s",
            ratio,
            f"<= {bar}",
            ratio <= bar,
        ),
        Row(name, f"{emit:.3f} ms", "1 ms", emit, "<= 1", emit <= 1),
    ]


def measure() -> list[Row]:
    """Measure all rows of this file."""
    return [
        *measure_preset("quick_3blob", {}, 3, 12),
        *measure_preset("reference_3blob", {"n_train": 100_000}, 1, 6),
    ]
