from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diagnostics.contract.events import EpochEnded, ProcessIdentity, RunEnded, RunStarted, Timing
from diagnostics.contract.events import encode_event as encode
from diagnostics.contract.journal import JournalWriter
from monitord.reading import files as reading
from monitord.reading.columns import Block, Columns
from monitord.states import State
from monitord.terminal.filters import parse_filter
from monitord.terminal.rows import make_row, row_as_json
from tests.monitord_trees import again, entry, history, look, losses, names, only, write_results

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


def test_the_guides_minimal_file_is_read_into_float_arrays(tmp_path: Path) -> None:
    diagnostics = {"silhouette_score": None, "n_clusters_dbscan": 1, "cluster_centers": [[0, 1]]}
    write_results(tmp_path / "run", [entry(1, diagnostics=diagnostics), entry(2, 7.5)])
    run = only(look(tmp_path))
    assert losses(run) == [100.0, 7.5]
    counts = run.series().get("diagnostics.n_clusters_dbscan")
    assert counts.dtype == np.float64
    assert counts[0] == 1
    assert np.isnan(counts[1])
    assert "diagnostics.cluster_centers" not in run.columns.names()
    assert "diagnostics.silhouette_score" in run.columns.names()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"  \n", "empty"),
        (b'{"training_history": [{"epoch": 1, "test"', "cut off"),
        (b'{"training_history": [}]}', "not JSON"),
        (b'{"experiment_name": "\xff\xfe", "training_history": []}', "not UTF-8"),
        (b"[" * 200_000 + b"]" * 200_000, "nested too deeply"),
        (b"[1, 2, 3]", "holds a list"),
        (b"17", "holds a int"),
        (b'{"training_history": {"epoch": 1}}', "training_history is a dict"),
        (b"\x00" * 4096, "not JSON"),
    ],
)
def test_a_broken_file_leaves_the_last_good_state_and_says_why_and_since_when(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    folder = write_results(tmp_path / "run", 5)
    fleet = look(tmp_path)
    (folder / "results.json").write_bytes(content)
    again(fleet)
    run = only(fleet)
    assert run.verdict.state is State.UNREADABLE
    assert run.verdict.reason.startswith("unreadable since ")
    assert reason in run.verdict.reason
    assert losses(run) == [100.0, 50.0, 100 / 3, 25.0, 20.0]
    write_results(folder, 6)
    again(fleet)
    assert run.verdict.state is State.RUNNING
    assert len(losses(run)) == 6


def test_nulls_that_are_named_nonfinite_are_marked_and_other_nulls_are_not(tmp_path: Path) -> None:
    last = entry(2) | {"test": {"scaled_loss": None}, "nonfinite": {"test.scaled_loss": "nan"}}
    write_results(tmp_path / "run", [entry(1, diagnostics={"s": None}), last])
    run = only(look(tmp_path))
    assert list(run.series().nonfinite["test.scaled_loss"]) == [False, True]
    assert "diagnostics.s" not in run.series().nonfinite
    assert run.verdict.state is State.DIVERGED
    assert "test.scaled_loss is not finite since epoch 2" in run.verdict.reason


@pytest.mark.parametrize(
    "entries",
    [
        [1, "two", None, [], {}],
        [{"epoch": "one", "test": 5}, {"epoch": None, "test": {"scaled_loss": "low"}}],
        [{"epoch": 1, "test": {"scaled_loss": [1]}}, {"epoch": 2, "test": {"scaled_loss": {}}}],
        [{"epoch": True, "x": 10**400}, {"epoch": 2, "x": -(10**400)}],
        [{"epoch": float("1e300"), "x": 1}],
        [{str(i): i for i in range(5000)}],
    ],
)
def test_wrong_types_anywhere_in_the_history_never_stop_the_monitor(
    tmp_path: Path, entries: list[Any]
) -> None:
    write_results(tmp_path / "run", entries, status=["odd"], process="none", epochs="many")
    run = only(look(tmp_path))
    assert run.columns.n_epochs == len(entries)
    assert run.verdict.state is not State.UNREADABLE
    assert len(run.columns.names()) <= 2000


@pytest.mark.parametrize("name", ['a"b', "a\\b", "a\nb", "\x00", "\ud800"])
def test_a_series_of_any_name_is_read_and_stops_no_other_run(tmp_path: Path, name: str) -> None:
    write_results(tmp_path / "odd", [entry(1) | {name: 2.5}])
    write_results(tmp_path / "plain", 3)
    fleet = look(tmp_path)
    assert names(fleet) == ["odd", "plain"]
    odd = next(run for run in fleet.runs if run.name == "odd")
    assert odd.series().get(name).tolist() == [2.5]


def test_a_file_without_history_waits_for_its_first_epoch(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "results.json").write_text('{"status": "running"}')
    assert only(look(tmp_path)).verdict.state is State.WAITING


def test_a_folder_or_a_pipe_named_results_json_is_unreadable_not_a_crash(tmp_path: Path) -> None:
    (tmp_path / "a" / "results.json").mkdir(parents=True)
    (tmp_path / "b").mkdir()
    os.mkfifo(tmp_path / "b" / "results.json")
    fleet = look(tmp_path)
    reasons = {run.name: run.verdict.reason for run in fleet.runs}
    assert "is a folder" in reasons["a"]
    assert "not a regular file" in reasons["b"]


def test_a_file_without_permission_is_unreadable_and_comes_back(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "run")
    script = """
import sys
from pathlib import Path
from tests.monitord_trees import *
folder = Path(sys.argv[1])
fleet = look(folder.parent)
(folder / "results.json").chmod(0)
again(fleet)
(folder / "results.json").touch()
again(fleet)
print(fleet.runs[0].verdict.reason, len(losses(fleet.runs[0])))
(folder / "results.json").chmod(0o600)
(folder / "results.json").touch()
again(fleet)
print(fleet.runs[0].verdict.reason)
"""
    # root may read every file, but not as nobody in a namespace of its own
    prefix = ["unshare", "--user"] if os.geteuid() == 0 else []
    done = subprocess.run(
        [*prefix, sys.executable, "-W", "error", "-c", script, str(folder)],
        cwd=Path(__file__).parent.parent, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    if prefix and done.stderr.startswith("unshare:"):
        pytest.skip(f"no private user namespace here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert "Permission denied" in first
    assert first.endswith(" 3"), "the last good state stays"
    assert second == "epoch 3"


def test_a_huge_file_is_refused_with_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MAX_RESULTS_BYTES", 1000)
    write_results(tmp_path / "run", 100)
    assert "more than the 1000" in only(look(tmp_path)).verdict.reason


def test_a_file_that_did_not_change_is_not_read_again(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "run")
    os.utime(folder / "results.json", (1e9, 1e9))
    fleet = look(tmp_path)
    for _ in range(5):
        again(fleet)
    assert fleet.tally.n_readings == 1


def test_only_entries_that_changed_are_decoded_again() -> None:
    def data(entries: list[Any]) -> bytes:
        return json.dumps({"training_history": entries}).encode()

    first = reading.parse_results(data(history(5)))
    second = reading.parse_results(data(history(8)), first.checksums)
    assert second.n_known == 5
    assert list(second.block.epochs) == [6, 7, 8]
    shorter = reading.parse_results(data(history(2)), first.checksums)
    assert shorter.n_known == 2


def test_a_history_that_shrinks_is_a_restart_and_its_earlier_segment_is_kept(
    tmp_path: Path,
) -> None:
    folder = write_results(tmp_path / "run", 8)
    fleet = look(tmp_path)
    write_results(folder, [entry(1, 77.0), entry(2, 66.0)])
    again(fleet)
    run = only(fleet)
    assert losses(run) == [77.0, 66.0]
    assert run.restarts == (1,)
    assert [len(series.epochs) for series in run.earlier] == [8]
    assert run.earlier[0].get("test.scaled_loss")[7] == 12.5


def test_a_history_that_goes_back_and_on_is_a_restart_at_the_epoch_where_it_differs(
    tmp_path: Path,
) -> None:
    folder = write_results(tmp_path / "run", 8)
    fleet = look(tmp_path)
    write_results(folder, [*history(5), entry(6, 1.0), entry(7, 1.0), entry(8, 1.0)])
    again(fleet)
    run = only(fleet)
    assert run.restarts == (6,)
    assert losses(run)[5:] == [1.0, 1.0, 1.0]
    assert len(run.earlier) == 1


def test_epochs_that_begin_again_inside_one_file_are_a_restart(tmp_path: Path) -> None:
    write_results(tmp_path / "run", [*history(4), entry(1, 9.0), entry(2, 8.0)])
    run = only(look(tmp_path))
    assert losses(run) == [9.0, 8.0]
    assert run.restarts == (1,)
    assert len(run.earlier[0].epochs) == 4


def test_diagnostics_that_come_late_fill_epochs_that_are_known(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "run", 3)
    fleet = look(tmp_path)
    entries = [entry(epoch, diagnostics={"n_blobs": 3}) for epoch in (1, 2, 3)]
    write_results(folder, entries)
    again(fleet)
    run = only(fleet)
    assert list(run.series().get("diagnostics.n_blobs")) == [3, 3, 3]
    assert not run.restarts


def test_the_journal_alone_is_enough_and_only_its_new_records_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    journal = JournalWriter(folder / "events.log")
    journal.append(started())
    journal.append(ended_epoch(1, 5.0))
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
    folder.mkdir()
    journal = JournalWriter(folder / "events.log")
    journal.append(started())
    for epoch in range(1, 5):
        journal.append(ended_epoch(epoch, 10.0 / epoch))
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
    folder.mkdir()
    journal = JournalWriter(folder / "events.log")
    journal.append(started())
    journal.append(ended_epoch(1, 5.0))
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
    folder.mkdir()
    journal = JournalWriter(folder / "events.log")
    for payload in (started(), ended_epoch(1, 5.0), ended_epoch(2, 4.0)):
        journal.append(payload)
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


def test_series_made_earlier_do_not_change_when_epochs_are_added_or_cut() -> None:
    columns = Columns()
    columns.put(Block(np.array([1.0, 2.0]), {"a": np.array([1.0, 2.0])}))
    earlier, epochs = columns.values()["a"], columns.epochs
    columns.put(Block(np.array([3.0]), {"a": np.array([3.0]), "b": np.array([9.0])}))
    columns.cut_from(2)
    columns.put(Block(np.array([2.0]), {"a": np.array([20.0])}))
    assert earlier.tolist() == [1.0, 2.0]
    assert epochs.tolist() == [1.0, 2.0]
    assert columns.values()["a"].tolist() == [1.0, 20.0]
    assert np.isnan(columns.values()["b"]).all()


def test_epochs_in_a_gap_are_sorted_in() -> None:
    columns = Columns()
    columns.put(Block(np.array([1.0, 5.0]), {"a": np.array([1.0, 5.0])}))
    columns.put(Block(np.array([3.0]), {"a": np.array([3.0])}))
    assert columns.epochs.tolist() == [1.0, 3.0, 5.0]
    assert columns.values()["a"].tolist() == [1.0, 3.0, 5.0]


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
    folder.mkdir()
    journal = JournalWriter(folder / "events.log")
    for payload in (started(), ended_epoch(1, 5.0), ended_epoch(1, 7.0, trace=0)):
        journal.append(payload)
    journal.close()
    run = only(look(tmp_path))
    assert losses(run) == [5.0]
    assert list(run.series().traces["trace0"].get("test.scaled_loss")) == [7.0]
