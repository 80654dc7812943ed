"""When the results are written: soon, and yet at a bounded cost; and what they never hold."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from diagnostics.consumer import ledger as module
from diagnostics.consumer.ledger import Ledger
from diagnostics.contract.atomic import write_atomic
from diagnostics.contract.events import decode_event
from diagnostics.contract.folder import RunFolder
from tests.conftest import epochs_of, strict_json, wait_for
from tests.journal_records import started
from tests.test_worker import event


def begun(folder: Path) -> Ledger:
    ledger = Ledger(RunFolder(folder))
    ledger.apply(decode_event(started()))
    return ledger


def slow_disk(monkeypatch: pytest.MonkeyPatch, *seconds: float) -> None:
    """The next writes take so long."""
    waits = iter(seconds)

    def write(*arguments: Any) -> None:
        time.sleep(next(waits, 0.0))
        write_atomic(*arguments)

    monkeypatch.setattr(module, "write_atomic", write)


def test_a_process_that_was_stopped_while_it_wrote_writes_again_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_disk(monkeypatch, 2.0)
    ledger = begun(tmp_path)
    assert ledger.commit()
    ledger.apply(event(1))
    wait_for(ledger.is_due, 2.0)


def test_a_disk_that_stays_slow_is_left_alone_most_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_disk(monkeypatch, *[0.3] * 3)
    ledger = begun(tmp_path)
    for epoch in (1, 2, 3):
        assert ledger.commit()
        ledger.apply(event(epoch))
    ended = time.monotonic()
    wait_for(ledger.is_due, 10.0)
    assert time.monotonic() - ended > 0.3  # it waits as long at least, however busy the machine


def test_what_one_epoch_lost_is_known_to_the_next_from_before(tmp_path: Path) -> None:
    ledger = begun(tmp_path)
    ledger.apply(event(1), {"n_blobs": 3, "blob_born_epoch": 1, "sampled": 1})
    ledger.apply(event(2), {"sampled": 2}, {"blob_structure": "took too long"})
    assert ledger.previous == {"n_blobs": 3, "blob_born_epoch": 1, "sampled": 2}
    assert ledger.commit()
    again = Ledger(RunFolder(tmp_path))
    again.apply(decode_event(started()))
    assert again.previous == ledger.previous


def test_epochs_that_no_journal_recorded_are_dropped_when_the_run_is_resumed(
    tmp_path: Path,
) -> None:
    ledger = begun(tmp_path)
    for epoch in (1, 2, 3):
        ledger.apply(event(epoch))
    assert ledger.commit()
    again = Ledger(RunFolder(tmp_path))
    start = msgspec.structs.replace(decode_event(started()), segment=1, recorded=(-1, 1))
    again.apply(start)
    assert not again.has(event(2))
    again.apply(event(2))
    assert again.commit()
    results = strict_json(tmp_path / "results.json")
    assert epochs_of(results) == [1, 2]
    assert [segment["status"] for segment in results["segments"]] == ["interrupted", "running"]
