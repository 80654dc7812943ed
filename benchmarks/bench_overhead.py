"""What diagnostics cost training: whole epochs with and without them, and the emit call.

The two runs live side by side in one process and take turns of one epoch, so that a machine that
drifts favours neither. What diagnostics cost is a matter of the epoch, not of its samples: where a
preset's epochs are long it is measured on shorter ones, many times, and told of the preset's own.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.table import Row, in_turn, ratio_of
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

    def seconds_an_epoch(self) -> float:
        """Return the wall time of an epoch in the steady state.

        The last step of an epoch before it is taken too: the diagnostics of that epoch run in the
        time that is measured.
        """
        self._opened.run.position.step = self._train.n_batches - 1
        self.train_epoch()
        started = time.perf_counter()
        self.train_epoch()
        seconds = time.perf_counter() - started
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
    preset: str, bar: float, n_samples: int, repeats: int, device: str = "cpu"
) -> list[Row]:
    """Return the row of whole epochs on against off, and that of the emit call.

    Args:
        preset: Its name.
        bar: What the ratio shall not exceed.
        n_samples: Samples of an epoch that is measured.
        repeats: Number of pairs.
        device: Where it trains.
    """
    whole = load_config(create_config(preset, device=device))
    on = load_config(whole, {"data.n_train": n_samples})
    off = load_config(on, {"enable_diagnostics": False})
    with Interruption() as stop, new_crew(on, torch.device(device)) as crew:
        seats = {"on": Seat(on, crew, stop), "off": Seat(off, crew, stop)}
        found = in_turn({name: seat.seconds_an_epoch for name, seat in seats.items()}, repeats + 1)
        for seat in seats.values():
            seat.close()
    # The first pair is not counted.
    n_times = whole.data.n_train / n_samples
    cost = ratio_of(found["on"][1:], found["off"][1:]) - 1
    without, ratio = n_times * statistics.median(found["off"][1:]), 1 + cost / n_times
    emit = statistics.median(seats["on"].emit_seconds) * 1e3
    d, hidden = on.data.d, on.model.hidden_size
    return [
        Row(
            f"{preset}: an epoch of {whole.data.n_train:,} samples, diagnostics on against off",
            f"{ratio * without:.3f} s",
            f"{without:.3f} s ({repeats} pairs of {n_samples:,} samples)",
            ratio,
            f"<= {bar}",
            ratio <= bar,
        ),
        Row(
            f"emit call of an epoch, d={d} hidden={hidden}",
            f"{emit:.3f} ms",
            "1 ms",
            emit,
            "<= 1",
            emit <= 1,
        ),
    ]


def measure() -> list[Row]:
    """Measure all rows of this file."""
    return [
        *measure_preset("quick_3blob", 1.05, 100_000, 40),
        *measure_preset("reference_3blob", 1.01, 50_000, 12),
    ]
