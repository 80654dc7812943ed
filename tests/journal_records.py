"""Records of a journal for the monitor's tests, as a trainer on another host writes them."""

from __future__ import annotations

from pathlib import Path

from diagnostics.contract.events import EpochEnded, ProcessIdentity, RunStarted, Timing
from diagnostics.contract.events import encode_event as encode
from diagnostics.contract.journal import JournalWriter

HERE = ProcessIdentity(host="elsewhere", pid=1, started_at=0.0)


def started(segment: int = 0, first: int = 1, epochs: int = 9) -> bytes:
    return encode(
        RunStarted(
            at="2026-01-01T00:00:00Z", run_id="r", segment=segment, experiment_name="x",
            output_dir="/x", device="cpu", epochs=epochs, first_epoch=first, process=HERE,
            environment={}, diagnostics=True,
        )
    )  # fmt: skip


def ended_epoch(epoch: int, loss: float, trace: int | None = None) -> bytes:
    timing = Timing(
        train_seconds=2.0, test_seconds=0.5, emit_seconds=0.0, samples_per_second=1.0,
        peak_memory_bytes=1,
    )  # fmt: skip
    test = {"scaled_loss": loss}
    return encode(
        EpochEnded(
            at="2026-01-01T00:00:00Z", epoch=epoch, trace=trace, train=test, test=test,
            timing=timing,
        )
    )  # fmt: skip


def journal_of(folder: Path, *records: bytes) -> JournalWriter:
    """Make a run's folder with a journal that begins with ``records``."""
    folder.mkdir(exist_ok=True)
    journal = JournalWriter(folder / "events.log")
    for record in records:
        journal.append(record)
    return journal
