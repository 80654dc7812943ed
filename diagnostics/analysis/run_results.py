"""What a run's ``results.json`` says of its blobs."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diagnostics.contract import strictjson
from diagnostics.contract.errors import BlobwatchError
from diagnostics.contract.folder import RunFolder

History = list[dict[str, Any]]


def run_results(folder: Path) -> dict[str, Any]:
    """Return the results of a run; empty where there are none.

    Raises:
        BlobwatchError: They are damaged.
    """
    path = RunFolder(folder).results
    return dict(strictjson.decode(path.read_bytes(), path)) if path.is_file() else {}


def whole_results(folder: Path) -> tuple[dict[str, Any], str | None]:
    """Return the results of a run, empty where they are damaged, and what is wrong with them."""
    try:
        return run_results(folder), None
    except BlobwatchError as error:
        return {}, f"{error}; python -m diagnostics {folder} writes it anew"


def history_of(results: Mapping[str, Any], trace: int | None) -> History:
    """Return the history of stage one or of a trace of stage two; empty where there is none."""
    if trace is None:
        return list(results.get("training_history") or [])
    traces = (results.get("stage2") or {}).get("traces") or []
    return next((list(t["training_history"]) for t in traces if t["trace"] == trace), [])


def blob_history(results: Mapping[str, Any], trace: int | None = None) -> History:
    """Return the epochs of a stage or trace that say how many blobs there were."""
    history = history_of(results, trace)
    return [entry for entry in history if "n_blobs" in (entry.get("diagnostics") or {})]


def born_epoch(
    results: Mapping[str, Any], trend: Sequence[Mapping[str, Any]], trace: int | None = None
) -> int | None:
    """Return the epoch since which there have been as many blobs as at the trend's last.

    As the run saw it at every epoch, if it saw the same number; else by the epochs of the trend,
    of which there must be two at least; else None.
    """
    last = trend[-1]
    for entry in blob_history(results, trace):
        found = entry["diagnostics"]
        if entry["epoch"] == last["epoch"] and found["n_blobs"] == last["n_blobs"]:
            born = found.get("blob_born_epoch")
            return None if born is None else int(born)
    if len(trend) < 2:
        return None
    alike = itertools.takewhile(lambda row: row["n_blobs"] == last["n_blobs"], reversed(trend))
    born = [row["epoch"] for row in alike][-1]
    return None if born is None else int(born)
