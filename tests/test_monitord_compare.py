"""``monitord compare``: a few runs side by side, many below each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitord.terminal.names import wrapped
from tests.monitord_trees import command, ended_run


@pytest.fixture
def many(tmp_path: Path) -> Path:
    for index in range(12):
        ended_run(tmp_path, f"sweep_{index}", 0.01 * (index + 1), 20.0 - index)
    return tmp_path


def lines_of_runs(out: str) -> list[list[str]]:
    return [line.split() for line in out.splitlines() if line.startswith("sweep_")]


def test_more_runs_than_fit_side_by_side_have_a_line_each_with_the_keys_that_differ(
    many: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    status, out, _ = command("compare", many)
    assert status == 0
    head = next(line for line in out.splitlines() if line.startswith("run "))
    assert "learning_rate" in head and "batch_size" not in head
    assert [words[0] for words in lines_of_runs(out)] == [f"sweep_{i}" for i in range(12)]
    assert ["0.12" in words for words in lines_of_runs(out)] == [False] * 11 + [True]
    assert max(map(len, out.splitlines())) <= 100
    monkeypatch.setenv("COLUMNS", "44")
    _, out, _ = command("compare", many)
    assert "training.learning_rate: no room; a pipe or --json has all keys" in out


def test_a_comparison_can_be_filtered_and_sorted(many: Path) -> None:
    _, out, _ = command("compare", many, "--filter", "lr>0.025", "--sort", "-best")
    assert [words[0] for words in lines_of_runs(out)] == [f"sweep_{i}" for i in range(2, 12)]
    _, out, _ = command("compare", many, "--filter", "lr>0.105", "--sort", "best")
    assert out.index("sweep_11") < out.index("sweep_10"), "two runs: side by side"
    status, _, err = command("compare", many, "--filter", "lr>0.115")
    assert status == 2 and "--filter lr>0.115: 1 run there; name at least two" in err


def test_a_wrong_option_of_compare_gets_one_line_with_the_nearest(many: Path) -> None:
    status, _, err = command("compare", many, "--fliter", "lr>1")
    assert status == 2 and "--filter" in err and len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "width", "lines"),
    [
        ("reference_3blob_20261101_seed_1", 16, ["reference_3blob_", "20261101_seed_1"]),
        ("lr=0.003-wd=0.1", 9, ["lr=0.003-", "wd=0.1"]),
        ("averyverylongword_a", 10, ["averyveryl", "ongword_a"]),
        ("", 5, [""]),
    ],
)
def test_the_head_of_a_column_is_broken_where_a_word_ends(
    name: str, width: int, lines: list[str]
) -> None:
    assert wrapped(name, width).split("\n") == lines
