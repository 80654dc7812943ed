from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monitord.reading import files as reading
from monitord.reading.columns import Block, Columns
from monitord.states import State
from tests.monitord_trees import (
    again,
    entry,
    history,
    look,
    losses,
    names,
    only,
    run_without_privileges,
    write_results,
)


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
    first, second = run_without_privileges(script, folder)
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
