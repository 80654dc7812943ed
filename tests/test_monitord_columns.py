"""What a file tells of each epoch beside plain numbers: its time, NaN and infinities."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diagnostics.contract.events import EpochEnded, Timing, encode_event
from diagnostics.contract.journal import JournalWriter
from monitord.alerting.alerts import holds
from monitord.alerting.rules import Rule
from monitord.draw.curves import Scale, value_axis
from monitord.reading.columns import Block, Columns
from monitord.reading.pace import Pace
from monitord.reading.tabulation import tabulate
from monitord.reading.times import seconds_of
from monitord.states import State
from monitord.terminal.rows import make_row
from tests.monitord_trees import again, entry, look, only, wait_for, watching, write_results

AT = ("2026-01-18T14:30:22.250000+00:00", "2026-01-18T14:31:00Z")
SECONDS = [1768746622.25, 1768746660.0]


def write_body(folder: Path, *tests: str) -> Path:
    """Write ``results.json`` with one text of JSON for each epoch's ``test``."""
    history = [f'{{"epoch": {i + 1}, "test": {text}}}' for i, text in enumerate(tests)]
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(f'{{"training_history": [{", ".join(history)}]}}')
    return folder


@pytest.mark.parametrize("odd", [{}, {"nonfinite": {"x": "nan"}}], ids=["alike", "each its own"])
def test_the_time_of_each_epoch_is_kept_and_is_no_series(
    tmp_path: Path, odd: dict[str, Any]
) -> None:
    first, second = entry(1, at=AT[0]), entry(2, at=AT[1])
    write_results(tmp_path / "run", [first, second | odd], started_at=AT[0])
    series = only(look(tmp_path)).series()
    assert series.at is not None and series.at.tolist() == SECONDS
    assert series.began == SECONDS[0]
    assert "at" not in series.names()


def test_epochs_without_a_time_have_none_and_numbers_are_seconds(tmp_path: Path) -> None:
    times = [SECONDS[0], None, "soon", True, 10**400]
    write_results(tmp_path / "run", [entry(i + 1, at=at) for i, at in enumerate(times)])
    series = only(look(tmp_path)).series()
    assert series.at is not None and series.at[0] == SECONDS[0] and np.isnan(series.at[1:]).all()
    write_results(tmp_path / "bare", 2)
    bare = next(run for run in look(tmp_path).runs if run.name == "bare")
    assert bare.series().at is None and bare.series().began is None


def test_a_time_without_a_zone_is_utc() -> None:
    assert seconds_of("1970-01-02T00:00:00") == seconds_of("1970-01-02T01:00:00+01:00") == 86400.0
    assert [seconds_of(odd) for odd in ("", "x", [], {}, math.nan, math.inf)] == [None] * 6


def append_to_journal(folder: Path, epoch: int, at: str) -> None:
    timing = Timing(
        train_seconds=1.0, test_seconds=0.0, emit_seconds=0.0, samples_per_second=1.0,
        peak_memory_bytes=1,
    )  # fmt: skip
    loss = {"scaled_loss": 1.0}
    journal = JournalWriter(folder / "events.log")
    event = EpochEnded(at=at, epoch=epoch, trace=None, train=loss, test=loss, timing=timing)
    journal.append(encode_event(event))
    journal.close()


def test_the_journal_tells_the_time_of_an_epoch_before_results_do(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "run", [entry(1, at=AT[0])], status="running")
    append_to_journal(folder, 2, AT[1])
    series = only(look(tmp_path)).series()
    assert series.at is not None and series.at.tolist() == SECONDS


def test_the_birth_of_the_blobs_stays_while_diagnostics_lag_behind_the_journal(
    tmp_path: Path,
) -> None:
    born = {"n_blobs": 3, "blob_born_epoch": 1}
    folder = write_results(tmp_path / "run", [entry(1, diagnostics=born)], status="running")
    append_to_journal(folder, 2, AT[1])
    run = only(look(tmp_path))
    assert run.columns.last_epoch() == 2
    assert run.series().born == make_row(run, 0.0).born == 1


def test_infinities_keep_their_sign_however_they_are_written(tmp_path: Path) -> None:
    write_body(
        tmp_path / "run",
        '{"a": Infinity, "b": -Infinity, "c": 1e999, "d": "-inf", "e": NaN, "f": null}',
        '{"a": 1.0, "b": 1.0, "c": -1e999, "d": 1.0, "e": 1.0, "f": 1.0}',
    )
    series = only(look(tmp_path)).series()
    first = {name: series.get(f"test.{name}")[0] for name in "abcd"}
    assert first == {"a": np.inf, "b": -np.inf, "c": np.inf, "d": -np.inf}
    assert series.get("test.c")[1] == -np.inf
    assert np.isnan(series.get("test.e")[0]) and np.isnan(series.get("test.f")[0])
    marks = {name: flags.tolist() for name, flags in series.nonfinite.items()}
    alone = [True, False]
    assert marks == {
        "test.a": alone, "test.b": alone, "test.c": [True, True], "test.d": alone, "test.e": alone,
    }  # fmt: skip


def test_nulls_are_the_infinities_that_the_file_names_them(tmp_path: Path) -> None:
    last = entry(2) | {"test": {"scaled_loss": None}, "nonfinite": {"test.scaled_loss": "-inf"}}
    write_results(tmp_path / "run", [entry(1), last])
    run = only(look(tmp_path))
    assert run.series().get("test.scaled_loss").tolist() == [100.0, -np.inf]
    assert run.verdict.state is State.DIVERGED


def test_an_infinite_loss_is_neither_best_nor_last_nor_on_the_axis(tmp_path: Path) -> None:
    write_body(
        tmp_path / "run", '{"scaled_loss": 3}', '{"scaled_loss": -1e999}', '{"scaled_loss": 1e999}'
    )
    run = only(look(tmp_path))
    row = make_row(run, 0.0)
    assert (row.loss_best, row.loss_best_epoch, row.loss_last) == (3.0, 1, None)
    loss = run.series().get("test.scaled_loss")
    axis = value_axis(Scale.LOSS, [loss], log_y=False, height_in=2.0)
    assert axis.high < 10 and np.isnan(axis.positions(loss)[1:]).all()


def test_infinite_durations_and_counts_count_for_nothing(tmp_path: Path) -> None:
    columns = Columns()
    timing = {"timing.train_seconds": np.array([1.0, 2.0]), "timing.test_seconds": [0.5, np.inf]}
    values = {name: np.array(column) for name, column in timing.items()}
    columns.put(Block(np.array([1.0, 2.0]), values))
    assert Pace().seconds(columns, 1) == (1.75, 1.75)
    write_body(tmp_path / "run", '{"x": 1}', '{"x": 1}')
    run = only(look(tmp_path))
    counts = [{"epoch": 1, "diagnostics": {"n_blobs": math.inf}}]
    counts += [{"epoch": 2, "diagnostics": {"n_blobs": 1}}]
    run.columns.put(tabulate(counts))
    assert not holds(Rule(on="blobs_lost"), run, make_row(run, 0.0))


def test_a_configuration_that_changed_alone_is_read_again(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "run", 2, status="completed")
    (folder / "config.json").write_text('{"training": {"epochs": 5}, "data": {"seed": 1}}')
    fleet = look(tmp_path)
    run = only(fleet)
    before, numbers, known = run.version, run.data_version, run.series()
    assert known.config["data"] == {"seed": 1}
    (folder / "config.json").write_text(json.dumps({"training": {"epochs": 77}}))
    again(fleet)
    assert run.config == run.series().config == {"training": {"epochs": 77}}
    assert run.planned_epochs() == run.series().n_planned == 77
    assert run.version > before and run.data_version == numbers
    assert run.series().values.keys() == known.values.keys()
    (folder / "config.json").write_text('{"training": {"epo')  # being written just now
    again(fleet)
    assert run.config == {"training": {"epochs": 77}}


def test_a_configuration_edited_in_place_is_seen_by_its_event_before_any_sweep(
    tmp_path: Path,
) -> None:
    folder = write_results(tmp_path / "runs" / "run", 2, status="completed")
    (folder / "config.json").write_text('{"seed": 1}')
    with watching(tmp_path / "runs", interval_s=3600) as daemon:
        (run,) = daemon.fleet.runs
        assert run.config == {"seed": 1}
        (folder / "config.json").write_text('{"seed": 2}')
        wait_for(lambda: run.config == {"seed": 2}, "the configuration")
