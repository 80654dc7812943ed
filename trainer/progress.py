"""Progress for people: a bar on a terminal, one plain line an epoch elsewhere."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from diagnostics.contract.events import EpochEnded
from trainer.hooks import Hook
from trainer.run import Outcome, Run

REFRESH_S = 0.1


class ProgressLines(Hook):
    """Prints a line after every epoch."""

    def __init__(self, console: Console) -> None:
        """Print to ``console``."""
        self._console = console

    def epoch_ended(self, run: Run, event: EpochEnded) -> None:
        self._console.print(epoch_line(run, event), markup=False, highlight=False, soft_wrap=True)


class ProgressBar(Hook):
    """Shows the stage at work as a bar with loss, samples per second and time left."""

    def __init__(self, console: Console) -> None:
        """Draw on ``console``, a terminal."""
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.percentage:3.0f}%"),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(compact=True),
            console=console,
            refresh_per_second=10,
        )
        self._task: TaskID | None = None
        self._shown_at = 0.0
        self._epoch_started = time.monotonic()
        self._loss = ""

    def run_started(self, run: Run) -> None:
        self._progress.start()
        self._show(run)

    def batch_ended(self, run: Run) -> None:
        now = time.monotonic()
        if now - self._shown_at >= REFRESH_S:
            self._shown_at = now
            self._show(run)

    def epoch_ended(self, run: Run, event: EpochEnded) -> None:
        self._loss = f"test loss {event.test['scaled_loss']:.4g}"
        line = epoch_line(run, event)
        self._progress.console.print(line, markup=False, highlight=False)
        self._epoch_started = time.monotonic()
        self._show(run)

    def run_finished(self, run: Run, outcome: Outcome) -> None:
        self._progress.stop()

    def run_failed(self, run: Run, error: BaseException) -> None:
        self._progress.stop()

    def _show(self, run: Run) -> None:
        position, config = run.position, run.config
        steps = -(-config.data.n_train // config.training.batch_size)
        done = (position.epoch - 1) * steps + position.step
        seconds = max(time.monotonic() - self._epoch_started, 1e-9)
        samples = min(position.step * config.training.batch_size, config.data.n_train)
        rate = f"{samples / seconds:,.0f} samples/s" if samples else ""
        if self._task is None:
            self._task = self._progress.add_task("", figures="")
        self._progress.update(
            self._task,
            total=run.n_epochs * steps,
            completed=done,
            description=f"epoch {min(position.epoch, run.n_epochs)}/{run.n_epochs}",
            figures="  ".join(text for text in (self._loss, rate) if text),
        )


def epoch_line(run: Run, event: EpochEnded) -> str:
    """Return an epoch in one line of aligned figures."""
    width = len(str(run.n_epochs))
    stage = "" if event.trace is None else f"trace {event.trace} "
    timing = event.timing
    return (
        f"{stage}epoch {event.epoch:>{width}}/{run.n_epochs}"
        f"  loss {event.train['loss']:9.4f}"
        f"  train {event.train['scaled_loss']:9.4f}"
        f"  test {event.test['scaled_loss']:9.4f}"
        f"  {timing.samples_per_second:>9,.0f} samples/s"
        f"  {timing.train_seconds + timing.test_seconds:6.2f} s"
    )
