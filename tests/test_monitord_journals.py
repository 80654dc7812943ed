from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diagnostics.contract.events import RunEnded
from diagnostics.contract.events import encode_event as encode
from diagnostics.contract.journal import JournalWriter
from monitord.reading import files as reading
from monitord.states import State
from monitord.terminal.filters import parse_filter
from monitord.terminal.rows import make_row, row_as_json
from tests.journal_records import ended_epoch, journal_of, started
from tests.monitord_trees import again, entry, history, look, losses, names, only, write_results


def test_the_journal_alone_is_enough_and_only_its_new_records_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    journal = journal_of(folder, started(), ended_epoch(1, 5.0))
    fleet = look(tmp_path)
    run = only(fleet)
    assert losses(run) == [5.0]
    assert run.planned_epochs() == 9
    end = run.journal_end
    journal.append(ended_epoch(2, float("nan")))
    again(fleet)
    assert run.journal_end > end
    assert run.series().nonfinite["test.scaled_loss"].tolist() == [False, True]
    assert run.epoch_seconds()[0] == 2.5
    journal.append(
        encode(
            RunEnded(
                at="2026-01-01T00:00:00Z", segment=0, status="failed", reason="out of memory",
                training_duration_seconds=1.0,
            )
        )
    )  # fmt: skip
    journal.close()
    again(fleet)
    assert (run.verdict.state, run.verdict.reason) == (State.FAILED, "out of memory")


def test_results_fill_in_diagnostics_for_epochs_that_the_journal_told_first(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "run"
    epochs = [ended_epoch(epoch, 10.0 / epoch) for epoch in range(1, 5)]
    journal = journal_of(folder, started(), *epochs)
    fleet = look(tmp_path)
    entries = [
        {
            "epoch": e,
            "test": {"scaled_loss": 10.0 / e},
            "diagnostics": {"n_blobs": e, "blob_born_epoch": e},
        }
        for e in (1, 2)
    ]
    write_results(folder, entries, status="running", segments=[{"segment": 0}], run_id="r")
    again(fleet)
    run = only(fleet)
    assert losses(run) == [10.0, 5.0, 10 / 3, 2.5]
    assert run.series().get("diagnostics.n_blobs")[:2].tolist() == [1, 2]
    assert np.isnan(run.series().get("diagnostics.n_blobs")[2:]).all()
    row = make_row(run, 0.0)
    assert (row.epoch, row.n_blobs, row.born) == (4, 2, 2), "the table tells the last that is known"
    assert run.series().born == 2, "and so do the pictures"
    assert not run.restarts
    journal.close()


def test_a_journal_that_is_ahead_of_an_empty_results_file_is_no_restart(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    journal = journal_of(folder, started(), ended_epoch(1, 5.0))
    fleet = look(tmp_path)
    write_results(folder, [], run_id="r", status="running")
    again(fleet)
    for epoch in (2, 3):
        journal.append(ended_epoch(epoch, 5.0 - epoch))
        again(fleet)
    run = only(fleet)
    assert losses(run) == [5.0, 3.0, 2.0]
    assert (run.restarts, run.earlier) == ((), [])
    write_results(folder, [entry(1, 5.0), entry(2, 3.0)], run_id="r", status="running")
    again(fleet)
    assert losses(run) == [5.0, 3.0, 2.0]
    write_results(folder, [], run_id="another", status="running")
    again(fleet)
    assert len(run.earlier) == 1, "another run in the same folder is a restart"
    journal.close()


def test_results_are_not_read_again_when_only_the_journal_grew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_results(tmp_path / "run", [entry(1, 5.0)], status="running")
    os.utime(folder / "results.json", ns=(0, 10**18))
    journal = JournalWriter(folder / "events.log")
    journal.append(started())
    os.utime(folder / "events.log", ns=(0, 10**18))
    fleet = look(tmp_path)
    monkeypatch.setattr(reading, "parse_results", lambda *_: pytest.fail("read again"))
    journal.append(ended_epoch(2, 4.0))
    again(fleet)
    assert losses(only(fleet)) == [5.0, 4.0]
    journal.close()


def test_a_resumed_run_shows_its_restart_and_a_torn_record_harms_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    journal = journal_of(folder, started(), ended_epoch(1, 5.0), ended_epoch(2, 4.0))
    with open(folder / "events.log", "ab") as file:
        file.write(b"\x20\x00\x00\x00torn")
    fleet = look(tmp_path)
    assert losses(only(fleet)) == [5.0, 4.0]
    journal.close()
    resumed = JournalWriter(folder / "events.log")
    resumed.append(started(segment=1, first=3))
    resumed.append(ended_epoch(3, 3.0))
    resumed.close()
    again(fleet)
    assert losses(only(fleet)) == [5.0, 4.0, 3.0]
    assert only(fleet).restarts == (3,)


def test_a_log_of_another_program_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "events.log").write_text("GET / 200\n")
    assert names(look(tmp_path)) == []


def stage_two(*n_epochs: int) -> dict[str, Any]:
    """Return ``stage2`` of a results file: traces with so many epochs each."""
    traces = [
        {"trace": number, "comparison": None, "training_history": history(n)}
        for number, n in enumerate(n_epochs)
    ]
    return {"mixture": {"shares": [1.0], "means": [0.0], "stds": [1.0]}, "traces": traces}


def test_traces_of_stage_two_are_series_of_their_own_and_count_as_news(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "run", 2, status="running", stage2=stage_two(3))
    fleet = look(tmp_path)
    run = only(fleet)
    assert list(run.series().traces["trace0"].get("test.scaled_loss")) == [100.0, 50.0, 100 / 3]
    assert run.columns.last_epoch() == 2
    before = run.data_version
    write_results(folder, 2, status="running", stage2=stage_two(3, 1))
    again(fleet)
    assert run.data_version > before
    assert run.verdict.reason == "stage two: trace 1, epoch 1"
    assert "trace1.test.scaled_loss" in run.series().names()
    row = row_as_json(make_row(run, 0.0), run)
    assert row["last"]["trace0.test.scaled_loss"] == pytest.approx(100 / 3)
    assert parse_filter("trace0.test.scaled_loss<40")[0].holds(run, make_row(run, 0.0))


@pytest.mark.parametrize("odd", [5, [], {"traces": 3}, {"traces": [1, {}, {"trace": "a"}]}])
def test_a_stage_two_of_any_other_type_is_no_stage_two(tmp_path: Path, odd: Any) -> None:
    write_results(tmp_path / "run", 2, stage2=odd)
    assert only(look(tmp_path)).series().traces == {}


def test_epochs_of_stage_two_are_read_from_the_journal_before_results_tell_them(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "run"
    journal = journal_of(folder, started(), ended_epoch(1, 5.0), ended_epoch(1, 7.0, trace=0))
    journal.close()
    run = only(look(tmp_path))
    assert losses(run) == [5.0]
    assert list(run.series().traces["trace0"].get("test.scaled_loss")) == [7.0]
