"""Whatever is in a run's files, the page's API answers strict JSON and breaks nothing."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitord.page.densities import DensityReader
from monitord.page.events import events_since
from tests.monitord_trees import again, look
from tests.page_server import Asked, strict, write_hostile

TEXTS = st.text(max_size=12) | st.sampled_from(
    ["<script>alert(1)</script>", "__proto__", "=1+1", "\ud800", "a\x00b", "../..", "\u202e"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**40), 10**40) | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
GROUPS = st.dictionaries(
    st.sampled_from(["loss", "scaled_loss", "n_blobs", "blob_separation", "blob_born_epoch"])
    | TEXTS,
    st.floats() | st.integers(-5, 10**20) | VALUES,
    max_size=4,
)
ENTRIES = st.lists(
    st.fixed_dictionaries(
        {"epoch": st.integers(-3, 30) | VALUES, "train": GROUPS, "test": GROUPS},
        optional={"diagnostics": GROUPS, "timing": GROUPS, "nonfinite": VALUES},
    )
    | VALUES,
    max_size=6,
)
FIELDS = st.dictionaries(
    st.sampled_from(
        ["status", "status_reason", "epochs", "process", "environment", "segments", "config",
         "started_at", "ended_at", "device", "experiment_name", "training_duration_seconds"]
    ),
    VALUES,
    max_size=5,
)  # fmt: skip


@pytest.mark.slow
@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(ENTRIES, FIELDS, VALUES, TEXTS)
def test_any_results_file_is_answered_in_strict_json(
    entries: Any, fields: Any, config: Any, name: str
) -> None:
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "run"
        write_hostile(folder, {**fields, "training_history": entries}, config)
        plain = name.replace("/", "_").replace("\0", "_").strip(".") or "run"
        with contextlib.suppress(OSError, UnicodeEncodeError):
            folder.rename(Path(root) / plain)
        asked = Asked(look(Path(root)))
        for run_id in asked.keeper.board.entries:
            for path in ("", "/series", "/densities", "/data.json"):
                status, body = asked.ask(f"/api/runs/{run_id}{path}")
                assert status == 200, body
                strict(body)
            status, body = asked.ask("/api/compare", f"id={run_id}")
            assert status == 200 and strict(body)["ids"] == [run_id]
            status, body = asked.ask(f"/api/runs/{run_id}/data.csv")
            assert status == 200
            body.decode()
        status, body = asked.ask("/api/runs", "sort=-best,name")
        assert status == 200 and len(strict(body)["runs"]) == len(asked.keeper.board.entries)
        for event in events_since(asked.keeper, asked.keeper.board, 0):
            data = event.split(b"data: ")[1]
            assert data.count(b"\n") == 2  # nothing in a name ends an event
            strict(data)


def test_a_file_that_breaks_keeps_the_last_good_numbers_and_says_why(tmp_path: Path) -> None:
    write_hostile(tmp_path / "run", {"training_history": [{"epoch": 1, "loss": 2.0}]}, {})
    fleet = look(tmp_path)
    (tmp_path / "run" / "results.json").write_text("{")
    again(fleet)
    asked = Asked(fleet)
    (run_id,) = asked.keeper.board.entries
    detail = strict(asked.ask(f"/api/runs/{run_id}")[1])
    assert detail["row"]["state"] == "unreadable" and "cut off" in detail["trouble"]
    assert strict(asked.ask(f"/api/runs/{run_id}/series")[1])["values"]["loss"] == [2.0]


def test_configurations_too_deep_or_large_are_told_instead_of_shown(tmp_path: Path) -> None:
    deep: Any = 1
    for _ in range(800):
        deep = {"a": deep}
    write_hostile(tmp_path / "deep", {"training_history": []}, deep)
    write_hostile(tmp_path / "large", {"training_history": []}, {"a": "x" * 300_000})
    asked = Asked(look(tmp_path))
    told = {}
    for run_id, entry in asked.keeper.board.entries.items():
        status, body = asked.ask(f"/api/runs/{run_id}")
        assert status == 200 and len(body) < 300_000
        told[entry.row.name] = strict(body)["config"]
    assert "too large to be shown" in told["large"]
    assert isinstance(told["deep"], str | dict)


def test_a_pipe_a_folder_or_nonsense_as_densities_is_a_reason_not_a_wait(tmp_path: Path) -> None:
    reader = DensityReader()
    assert "density_archive" in str(reader.listing(tmp_path).trouble)
    path = tmp_path / "densities.log"
    os.mkfifo(path)
    assert "not a regular file" in str(reader.listing(tmp_path).trouble)
    assert reader.picture(tmp_path, 1) is None
    path.unlink()
    path.write_bytes(b"nonsense" * 100)
    assert "cannot be read" in str(reader.listing(tmp_path).trouble)
    path.unlink()
    path.symlink_to("/dev/zero")
    assert "not a regular file" in str(reader.listing(tmp_path).trouble)
