"""What journal and results cost an epoch, from the first to the hundred-thousandth."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.table import Row
from diagnostics.consumer.ledger import MAX_WRITE_SHARE, Ledger
from diagnostics.contract.events import (
    EpochEnded,
    ProcessIdentity,
    RunStarted,
    Timing,
    encode_event,
)
from diagnostics.contract.folder import RunFolder
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


def ledger_times(folder: Path) -> tuple[list[float], list[float], float]:
    """Return the times of applying the first and the last epochs, and of writing all results."""
    ledger = Ledger(RunFolder(folder))
    ledger.apply(
        RunStarted(
            at="2026-01-18T14:30:22Z",
            run_id="0",
            segment=0,
            experiment_name="delivery",
            output_dir=str(folder),
            device="cpu",
            epochs=N_EPOCHS,
            process=ProcessIdentity(host="localhost", pid=1, started_at=0.0),
            environment={},
            diagnostics=True,
        )
    )
    times = []
    diagnostics = {f"metric_{i}": 1.0 / (i + 1) for i in range(12)}
    for epoch in range(1, N_EPOCHS + 1):
        made = event(epoch)
        started = time.perf_counter()
        ledger.apply(made, diagnostics)
        times.append(time.perf_counter() - started)
    started = time.perf_counter()
    ledger.commit()
    return times[10:N_TIMED], times[-N_TIMED:], time.perf_counter() - started


def flat(name: str, first: list[float], last: list[float]) -> Row:
    """Compare the medians of the last epochs with those of the first."""
    late, early = statistics.median(last), statistics.median(first)
    ratio = late / early
    name = f"{name}, epochs 99,001 to 100,000 against 1 to 1,000"
    return Row(name, f"{late * 1e6:.1f} us", f"{early * 1e6:.1f} us", ratio, "<= 1.5", ratio <= 1.5)


def measure() -> list[Row]:
    """Measure all rows of this file."""
    with tempfile.TemporaryDirectory() as scratch:
        journal = journal_times(Path(scratch))
    with tempfile.TemporaryDirectory() as scratch:
        *results, writing = ledger_times(Path(scratch))
    share = f"rewritten at most {MAX_WRITE_SHARE:.0%} of the time"
    return [
        flat("journal: an epoch's record", *journal),
        flat("results: an epoch applied", *results),
        Row("results: 100,000 epochs written", f"{writing:.2f} s", share, None, "", None),
    ]
