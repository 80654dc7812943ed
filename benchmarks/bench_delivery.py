"""What journal and results cost an epoch, from the first to the hundred-thousandth."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.table import Row
from diagnostics.contract.events import EpochEnded, Timing, encode_event
from diagnostics.contract.journal import JournalWriter

N_EPOCHS = 100_000
N_TIMED = 1_000


def event(epoch: int) -> EpochEnded:
    """Return an epoch's event as training sends it."""
    losses = {"loss": 9.5, "scaled_loss": 8.9, "loss_on": 5.2, "loss_off": 3.7}
    timing = Timing(
        train_seconds=9.1,
        test_seconds=0.1,
        emit_seconds=0.001,
        samples_per_second=33_000,
        peak_memory_bytes=1 << 30,
    )
    return EpochEnded(
        at="2026-01-18T14:30:22Z", epoch=epoch, train=losses, test=losses, timing=timing
    )


def journal_times(folder: Path) -> tuple[list[float], list[float]]:
    """Return the times of the first and of the last epochs' records."""
    times = []
    journal = JournalWriter(folder / "events.log")
    for epoch in range(1, N_EPOCHS + 1):
        started = time.perf_counter()
        journal.append(encode_event(event(epoch)))
        times.append(time.perf_counter() - started)
    journal.close()
    return times[10:N_TIMED], times[-N_TIMED:]


def measure() -> list[Row]:
    """Measure all rows of this file."""
    with tempfile.TemporaryDirectory() as scratch:
        first, last = (statistics.median(times) for times in journal_times(Path(scratch)))
    ratio = last / first
    return [
        Row(
            "journal: an epoch's record, epochs 99,001 to 100,000 against 1 to 1,000",
            f"{last * 1e6:.1f} us",
            f"{first * 1e6:.1f} us",
            ratio,
            "<= 1.5",
            ratio <= 1.5,
        )
    ]
