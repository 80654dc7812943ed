"""Every file written is JSON that every parser takes: Python's in strict mode, node's, jq."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from diagnostics.consumer.ledger import Ledger
from diagnostics.contract import strictjson
from diagnostics.contract.atomic import write_atomic
from diagnostics.contract.events import EpochEnded, decode_event
from diagnostics.contract.folder import RunFolder
from tests.conftest import run, strict_json
from tests.journal_records import started
from tests.test_worker import event

NASTY: dict[str, Any] = {
    "nan": float("nan"),
    "inf": float("inf"),
    "-inf": -math.inf,
    "subnormal": 1e-320,
    "largest": 1.7976931348623157e308,
    "minus zero": -0.0,
    "float32": np.float32(1.1),
    "float16 inf": np.float16("inf"),
    "int64": np.int64(2**62),
    "uint64": np.uint64(2**64 - 1),
    "bool": np.bool_(True),
    "array": np.array([[1.5, np.nan], [np.inf, -2.0]]),
    "huge": 10**400,
    "-huge": -(10**400),
    "beyond double": 2**53 + 1,
    "lone surrogate": "\ud800",
    "low surrogate first": "\udc00\ud800",
    "controls": "\x00\x01\x1f\x7f\u2028\u2029",
    "text": 'quote " backslash \\ slash / newline \n tab \t emoji \U0001f600',
    "keys": {"\ud800": 1, "": 2, "\x00": 3, "1": 4},
    "nested": [[[{"a": [float("nan"), None, True]}]]],
}
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.floats(width=32).map(np.float32)
    | st.integers(-(2**63), 2**63 - 1).map(np.int64)
    | st.sampled_from([10**400, -(10**309), "\ud83d", 1e-320]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def accepted_by_all(paths: list[Path]) -> None:
    """Let each parser read each file."""
    for path in paths:
        strict_json(path)
    if node := shutil.which("node"):
        script = (
            "const fs = require('fs'); for (const path of process.argv.slice(1))"
            " JSON.parse(fs.readFileSync(path, {encoding: 'utf8'}));"
        )
        subprocess.run([node, "-e", script, *paths], check=True, capture_output=True, timeout=60)
    if jq := shutil.which("jq"):
        subprocess.run([jq, "-e", "type", *paths], check=True, capture_output=True, timeout=60)
    if not (node and jq):
        pytest.skip("node or jq is not installed; Python's strict parser accepted everything")


def results_with(folder: Path, values: dict[str, Any]) -> Path:
    """Write results of a run whose losses and diagnostics hold ``values``, by the real ledger."""
    folder.mkdir()
    ledger = Ledger(RunFolder(folder))
    ledger.apply(decode_event(started()))
    numbers = {k: float(v) for k, v in values.items() if isinstance(v, float)}
    first = event(1)
    bad = EpochEnded(at=first.at, epoch=1, train=numbers, test=numbers, timing=first.timing)
    ledger.apply(bad, strictjson.builtins(values), {"x": "\ud800\x00"})
    assert ledger.commit()
    return folder / "results.json"


def test_values_that_json_lacks_are_written_so_that_python_node_and_jq_accept_them(
    tmp_path: Path,
) -> None:
    plain = {k: v for k, v in NASTY.items() if k not in ("huge", "-huge")}
    paths = [results_with(tmp_path / "run", plain)]
    for number, (name, value) in enumerate(NASTY.items()):
        paths.append(tmp_path / f"{number}.json")
        write_atomic(paths[-1], strictjson.encode_indented({name: value}))
    entry = strict_json(paths[0])["training_history"][0]
    assert entry["train"]["nan"] is None
    assert entry["nonfinite"]["train.nan"] == "nan"
    assert entry["nonfinite"]["diagnostics.array[0][1]"] == "nan"
    assert entry["diagnostics"]["subnormal"] == 1e-320
    accepted_by_all(paths)


def test_300_random_values_are_written_so_that_python_node_and_jq_accept_them(
    tmp_path: Path,
) -> None:
    paths = []

    @settings(
        max_examples=300,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(VALUES)
    def write(value: Any) -> None:
        paths.append(tmp_path / f"{len(paths)}.json")
        paths[-1].write_bytes(strictjson.encode({"value": value}))

    write()
    accepted_by_all(paths)


def test_control_what_python_writes_by_default_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "naive.json"
    path.write_text(json.dumps({"loss": float("nan")}))
    with pytest.raises(AssertionError, match="NaN is not strict JSON"):
        strict_json(path)
    if node := shutil.which("node"):
        script = "JSON.parse(require('fs').readFileSync(process.argv[1], 'utf8'))"
        assert subprocess.run([node, "-e", script, path], capture_output=True).returncode != 0


@pytest.mark.slow
def test_every_json_file_of_a_diverging_run_is_accepted_by_all_three(
    tmp_path: Path, write_config: Callable[..., Path]
) -> None:
    folder = tmp_path / "run"
    config = write_config(learning_rate=1e30, optimizer_type="sgld")
    command = ("trainer", config, "--output-dir", folder, "--allow-nonfinite", "--quiet")
    assert run(*command, cwd=tmp_path)[0] == 0
    assert strict_json(folder / "results.json")["training_history"][-1]["train"]["loss"] is None
    status, out, err = run("monitord", folder, "--once", "--json", cwd=tmp_path)
    assert status == 0, err
    (tmp_path / "table.json").write_text(out)
    accepted_by_all([*folder.glob("*.json"), tmp_path / "table.json"])
