"""What the page's API answers without a network: its document, its bounds, comparisons."""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from starlette.datastructures import QueryParams

from monitord.page.details import MAX_KEYS
from tests.monitord_trees import look
from tests.page_server import Asked, strict, write_hostile

HISTORY = {"training_history": [{"epoch": 1, "train": {"loss": 2.0}}]}


def write_runs(root: Path, n_runs: int, config: Any) -> Asked:
    for i in range(n_runs):
        write_hostile(root / f"run_{i}", HISTORY, config(i))
    return Asked(look(root))


def test_the_document_names_the_parameters_that_are_accepted_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = write_runs(tmp_path, 2, lambda i: {"seed": i})
    monkeypatch.setattr(asked.api.pictures, "draw", lambda *given: b"")
    used: set[str] = set()
    for name in ("get", "getlist"):
        told = getattr(QueryParams, name)

        def read(self: QueryParams, key: str, *rest: Any, told: Any = told) -> Any:
            used.add(key)
            return told(self, key, *rest)

        monkeypatch.setattr(QueryParams, name, read)
    run_id = next(iter(asked.keeper.board.entries))
    document = strict(asked.ask("/api/openapi.json")[1])
    documented: dict[str, set[str]] = defaultdict(set)
    accepted: dict[str, set[str]] = {}
    for path, item in document["paths"].items():
        for parameter in item["get"]["parameters"]:
            if parameter["in"] == "query":
                documented[path].add(parameter["name"])
        used.clear()
        target = path.replace("{id}", run_id).replace("{epoch}", "1")
        status, _ = asked.ask(target, f"id={run_id}" if "compare" in path else "")
        assert status in (200, 404)  # there is no density picture
        accepted[path] = set(used)
    assert accepted == {path: documented[path] for path in document["paths"]}
    assert accepted["/api/compare/picture.svg"] == {"id", "log", "smooth", "name"}


def test_a_download_tells_nan_and_infinities_apart_and_json_stays_strict(tmp_path: Path) -> None:
    tests = [{"x": value} for value in (math.nan, math.inf, -math.inf, None, 2.5)]
    history = [
        {"epoch": i + 1, "at": f"1970-01-01T00:01:0{i}Z", "test": test}
        for i, test in enumerate(tests)
    ]
    write_hostile(tmp_path / "run", {"training_history": history}, {})
    asked = Asked(look(tmp_path))
    (run_id,) = asked.keeper.board.entries
    lines = asked.ask(f"/api/runs/{run_id}/data.csv")[1].decode().splitlines()
    assert lines == ["epoch,at,test.x", "1,60,nan", "2,61,inf", "3,62,-inf", "4,63,", "5,64,2.5"]
    told = strict(asked.ask(f"/api/runs/{run_id}/data.json")[1])
    assert told["series"] == {"at": [60, 61, 62, 63, 64], "test.x": [None] * 4 + [2.5]}
    assert told["nonfinite"] == {"test.x": [1, 2, 3]}
    part = strict(asked.ask(f"/api/runs/{run_id}/series")[1])
    assert part["values"] == told["series"] and part["nonfinite"] == told["nonfinite"]
    assert strict(asked.ask(f"/api/runs/{run_id}")[1])["series"] == ["test.x"]


def test_differences_of_huge_configurations_are_bounded_and_say_what_is_left_out(
    tmp_path: Path,
) -> None:
    n_keys = 3_000
    many = write_runs(
        tmp_path / "many", 3, lambda i: {f"key_{k:04}": f"{i} {k}" for k in range(n_keys)}
    )
    query = "&".join(f"id={run_id}" for run_id in many.keeper.board.entries)
    answer = strict(many.ask("/api/compare", query)[1])
    assert len(answer["configuration"]) == MAX_KEYS
    assert answer["n_keys_left_out"] == n_keys - MAX_KEYS
    large = write_runs(
        tmp_path / "large", 20, lambda i: {f"k{k}": f"{i}" * 1_900 for k in range(100)}
    )
    query = "&".join(f"id={run_id}" for run_id in large.keeper.board.entries)
    body = large.ask("/api/compare", query)[1]
    assert len(body) < 1_100_000 and strict(body)["n_keys_left_out"] > 0


def test_a_value_too_large_for_a_comparison_is_told_by_its_size(tmp_path: Path) -> None:
    asked = write_runs(tmp_path, 2, lambda i: {"text": f"{i}" * 100_000, "few": i})
    query = "&".join(f"id={run_id}" for run_id in asked.keeper.board.entries)
    answer = strict(asked.ask("/api/compare", query)[1])
    assert "too large to be shown (100,002 bytes)" in answer["configuration"]["text"]
    assert sorted(answer["configuration"]["few"]) == [0, 1] and answer["n_keys_left_out"] == 0
