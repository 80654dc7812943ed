"""Bad result files: the monitor stays alive, the row says why, and the others are untouched."""

from __future__ import annotations

import copy
import io
import json
import random
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from diagnostics.contract.journal import HEADER, frame
from monitord.states import State
from monitord.terminal.listing import Selection, print_table
from tests.journal_records import ended_epoch, started
from tests.monitord_trees import again, history, look, losses, write_results

NASTY = [
    None, True, -1, 0, 10**400, 1e308, -0.0, float("nan"), float("inf"), "", "x" * 10_000, "\ud800",
    "\x1b[2J\x07", [], [[[]]], {}, {"": {"": {}}}, [1, "2", None], {"epoch": "epoch"},
]  # fmt: skip
"""Values where others are expected."""


def document() -> dict[str, Any]:
    return {
        "schema_version": 1, "run_id": "r", "experiment_name": "x", "output_dir": "/x",
        "status": "running", "status_reason": None, "device": "cpu", "epochs": 9,
        "started_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z",
        "process": {"host": "elsewhere", "pid": 1, "started_at": 0.0}, "environment": {},
        "segments": [{"segment": 0, "first_epoch": 1, "status": "running"}],
        "final_metrics": None,
        "config": {"training": {"epochs": 9, "enable_diagnostics": True}},
        "training_history": [
            entry | {
                "diagnostics": {"n_blobs": 3, "blob_separation": 0.5, "cluster_centers": [[0, 1]]},
                "timing": {"train_seconds": 1.0, "test_seconds": 0.1},
                "nonfinite": {"train.loss": "nan"},
            }
            for entry in history(5)
        ],
    }  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to every value inside."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items if isinstance(value, dict | list) else ():
        if isinstance(inner, dict | list):
            yield from places(inner, (*path, key))
        else:
            yield (*path, key)


def with_wrong_values(dice: random.Random) -> bytes:
    """Return a document in which a few values are not what they should be."""
    changed = copy.deepcopy(document())
    for _ in range(dice.randrange(1, 4)):
        *way, last = dice.choice(list(places(changed)))
        place = changed
        for key in way:
            place = place[key]
        if dice.random() < 0.2:
            del place[last]
        else:
            place[last] = copy.deepcopy(dice.choice(NASTY))
    return json.dumps(changed).encode()


def with_wrong_bytes(data: bytes, dice: random.Random) -> bytes:
    """Return ``data`` cut, flipped, doubled or filled with noise somewhere."""
    changed = bytearray(data)
    for _ in range(dice.randrange(1, 4)):
        place, length = dice.randrange(len(changed) or 1), dice.randrange(1, 60)
        match dice.randrange(6):
            case 0:
                del changed[place:]
            case 1:
                del changed[place : place + length]
            case 2 if changed:
                changed[place] ^= 1 << dice.randrange(8)
            case 3:
                changed[place:place] = dice.randbytes(length)
            case 4:
                changed[place:place] = changed[: 10 * length]
            case _:
                changed[place : place + length] = bytes(length)
    return bytes(changed)


def journal(dice: random.Random) -> bytes:
    """Return a journal of a run, whose records may be out of order, strange, or twice there."""
    records = [started(), *(ended_epoch(epoch, 9.0 / epoch) for epoch in range(1, 6))]
    records += [started(segment=1, first=3), ended_epoch(-(2**62), float("nan")), b"\x80", b"\xc1"]
    if dice.random() < 0.7:
        dice.shuffle(records)
    return HEADER + b"".join(frame(record) for record in records[: dice.randrange(1, 11)])


def bad_file(number: int, dice: random.Random) -> tuple[str, bytes]:
    """Return the name and content of a mutated file."""
    match number % 5:
        case 0 | 1:
            return "results.json", with_wrong_values(dice)
        case 2:
            return "results.json", with_wrong_bytes(json.dumps(document()).encode(), dice)
        case 3:
            return "events.log", journal(dice)
        case _:
            return "events.log", with_wrong_bytes(journal(dice), dice)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_10000_mutated_results_and_journals_leave_the_monitor_alive_and_other_runs_untouched(
    tmp_path: Path, seed: int
) -> None:
    """Half of them each; a hundred at a time beside five runs that are well."""
    dice, n_per_round = random.Random(seed), 100
    for number in range(5):
        write_results(tmp_path / f"good_{number}", number + 3, status="completed")
    for number in range(n_per_round):
        (tmp_path / f"bad_{number}").mkdir()
    fleet = look(tmp_path)
    well = {run.name: losses(run) for run in fleet.runs}
    assert len(well) == 5
    n_unreadable = 0
    for turn in range(50):
        for number in range(n_per_round):
            name, data = bad_file(number + turn, dice)
            for old in (tmp_path / f"bad_{number}").iterdir():
                old.unlink()
            (tmp_path / f"bad_{number}" / name).write_bytes(data)
        again(fleet)
        shown = io.StringIO()
        with redirect_stdout(shown):
            print_table(fleet, Selection([], "name"), "x", 0.0)
        assert "good_4" in shown.getvalue()
        assert "\x1b[2J" not in shown.getvalue()
        for run in fleet.runs:
            run.series()
            if run.name in well:
                assert losses(run) == well[run.name]
                assert run.verdict.state is State.FINISHED
            elif run.verdict.state is State.UNREADABLE:
                n_unreadable += 1
                assert run.verdict.reason.startswith("unreadable since ")
    assert n_unreadable > 500, "the mutations hardly hurt"
    assert fleet.tally.n_readings > 5000


def test_control_what_is_shown_of_a_run_that_is_not_mutated_is_what_was_written(
    tmp_path: Path,
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "results.json").write_text(json.dumps(document()))
    (run,) = look(tmp_path).runs
    assert run.verdict.state is not State.UNREADABLE
    assert losses(run) == [100.0, 50.0, 100 / 3, 25.0, 20.0]
