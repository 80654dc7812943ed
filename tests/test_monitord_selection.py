"""Which runs a table shows, in which order and columns."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from monitord.terminal.filters import FilterError, natural, parse_filter
from tests.monitord_trees import (
    command,
    write_sweep,
)


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    return write_sweep(tmp_path)


def test_what_the_table_is_sorted_or_filtered_by_has_a_column_and_so_has_what_is_asked_for(
    sweep: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    (heads,) = (line.split() for line in command(sweep, "--once")[1].splitlines() if "best" in line)
    assert "lr" not in heads
    for options in (
        ["--sort", "-lr"],
        ["--filter", "lr>0"],
        ["--columns", "lr,min.test.scaled_loss"],
    ):
        lines = command(sweep, "--once", *options)[1].splitlines()
        (heads,) = (line.split() for line in lines if "best" in line)
        rows = [line.split() for line in lines if "2/2" in line]
        assert heads[2] == "lr" and {row[3] for row in rows} == {"0.02", "0.1"}
        assert ("min.test.scaled_loss" in heads) == ("--columns" in options)


def test_names_and_numbers_with_a_decimal_point_are_in_the_order_of_their_values() -> None:
    found = sorted(["lr0.02", "lr0.003", "lr0.01", "lr0.001", "v1.10.0", "v1.9.0"], key=natural)
    assert found == ["lr0.001", "lr0.003", "lr0.01", "lr0.02", "v1.9.0", "v1.10.0"]


@pytest.mark.parametrize(
    ("word", "meant"),
    [("runing", "did you mean running?"), ("completed", "did you mean finished?")],
)
def test_a_state_that_there_is_not_is_refused_with_the_nearest(word: str, meant: str) -> None:
    with pytest.raises(FilterError, match=rf"no state is '{word}'; {re.escape(meant)}"):
        parse_filter(f"state={word}")
    assert parse_filter("state=fin*,running")


def test_once_tells_the_reasons_of_runs_in_trouble_where_there_is_no_column_for_them(
    sweep: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "70")
    assert "run_1: the run says that it failed" in command(sweep, "--once")[1].splitlines()
