"""Run folders for the monitor's tests: written as a trainer would, read back as a user would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from monitord.daemon import Daemon
from monitord.finding.roots import parse_roots
from monitord.fleet import Fleet
from monitord.reading.runs import Run
from tests.conftest import ROOT, run


def entry(epoch: int, loss: float | None = None, **more: Any) -> dict[str, Any]:
    value = 100.0 / epoch if loss is None else loss
    return {
        "epoch": epoch,
        "train": {"loss": value + 1, "scaled_loss": value + 0.5},
        "test": {"scaled_loss": value},
    } | more


def history(n_epochs: int, first: int = 1) -> list[dict[str, Any]]:
    return [entry(epoch) for epoch in range(first, first + n_epochs)]


def write_results(folder: Path, n_epochs: int | list[Any] = 3, **fields: Any) -> Path:
    """Replace ``results.json`` as trainers do: a temporary file, then a rename."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = history(n_epochs) if isinstance(n_epochs, int) else n_epochs
    temporary = folder / f".results.json.{os.getpid()}.tmp"
    temporary.write_text(json.dumps({**fields, "training_history": entries}))
    temporary.replace(folder / "results.json")
    return folder


def look(*roots: Path | str, **options: Any) -> Fleet:
    fleet = Fleet(parse_roots([str(root) for root in roots]), **({"grace_s": 0.0} | options))
    again(fleet)
    return fleet


def again(fleet: Fleet) -> None:
    fleet.sweep()
    fleet.judge()


def only(fleet: Fleet) -> Run:
    assert len(fleet.runs) == 1, [run.name for run in fleet.runs]
    return fleet.runs[0]


def names(fleet: Fleet) -> list[str]:
    return sorted(run.name for run in fleet.runs)


def losses(run: Run) -> list[float]:
    return list(run.series().get("test.scaled_loss"))


def wait_for(condition: Callable[[], Any], what: str, timeout_s: float = 30.0) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.01)
    return found


@contextmanager
def watching(*roots: Path, **options: Any) -> Iterator[Daemon]:
    """Run a daemon in a thread; it watches when the block begins."""
    daemon = Daemon(parse_roots(list(roots)), **options)
    thread = threading.Thread(target=daemon.run)
    thread.start()
    wait_for(lambda: daemon.health.n_steps > 1, "the daemon to watch")
    try:
        yield daemon
    finally:
        daemon.stop()
        thread.join(10)
        assert not thread.is_alive()


def epochs_of(daemon: Daemon, name: str) -> int:
    run = next((run for run in daemon.fleet.runs if run.name == name), None)
    return run.columns.last_epoch() if run is not None else -1


def ended_run(root: Path, name: str, lr: float, loss: float, status: str = "completed") -> Path:
    """Write the folder of a run of two epochs."""
    entries = [entry(1, 50.0), entry(2, loss, diagnostics={"n_blobs": 3, "blob_separation": 4.5})]
    folder = write_results(root / name, entries, status=status, epochs=2, run_id=name)
    config = {"training": {"learning_rate": lr, "batch_size": 100}, "data": {"seed": 1}}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def write_sweep(root: Path) -> Path:
    """Write three runs: two that differ in the loss they reached, one that failed."""
    ended_run(root, "run_2", 0.02, 9.5)
    ended_run(root, "run_10", 0.02, 8.5)
    ended_run(root, "run_1", 0.1, 7.5, status="failed")
    return root


def command(*arguments: object) -> tuple[int, str, str]:
    """Run the command to its end; return status, output and errors."""
    return run("monitord", *arguments, cwd=ROOT)


def run_without_privileges(script: str, folder: Path) -> list[str]:
    """Run a Python script on a folder, as a user whom permissions bind; return its lines.

    Root may read every file, but not as nobody in a namespace of its own.
    """
    prefix = ["unshare", "--user"] if os.geteuid() == 0 else []
    done = subprocess.run(
        [*prefix, sys.executable, "-W", "error", "-c", script, str(folder)],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    if prefix and done.stderr.startswith("unshare:"):
        pytest.skip(f"no private user namespace here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
