"""What watches what, and what cannot be seen."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from diagnostics.contract.locks import FolderLock
from monitord.daemon import Daemon
from monitord.finding.roots import parse_roots
from tests.conftest import ROOT, start
from tests.monitord_trees import (
    command,
    ended_run,
    run_without_privileges,
    wait_for,
    write_results,
    write_sweep,
)


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    return write_sweep(tmp_path)


def test_doctor_prints_back_end_watches_overflows_sweep_and_slowest_read(sweep: Path) -> None:
    status, out, _ = command("doctor", sweep)
    assert status == 0
    for word in ("back-end", "InotifyObserver", "watches", "allowed", "sweep", "slowest read"):
        assert word in out
    process = start("monitord", sweep, "--no-plots", cwd=ROOT)
    try:
        wait_for((sweep / ".blobwatch" / "monitor-status.json").exists, "the status file")
        out = command("doctor", sweep)[1]
        assert f"process {process.pid}" in out
        assert "overflows" in out
    finally:
        process.terminate()
        process.communicate()


def test_doctor_names_some_of_what_cannot_be_read_and_a_remedy(tmp_path: Path) -> None:
    for index in range(8):
        (tmp_path / f"run_{index}").mkdir()
        (tmp_path / f"run_{index}" / "results.json").write_text('{"training_history": [')
    status, out, _ = command("doctor", tmp_path)
    problems = [line for line in out.splitlines() if line.startswith("PROBLEM")]
    assert status == 1 and len(problems) == 5 and "run_0: results.json: cut off" in problems[0]
    assert "and 3 runs more. Remedy: python -m diagnostics RUN" in out


def test_a_folder_that_may_not_be_read_is_named_by_doctor_and_by_the_monitor(
    tmp_path: Path,
) -> None:
    ended_run(tmp_path / "closed", "run", 0.1, 5.0)
    ended_run(tmp_path, "open", 0.1, 5.0)
    script = (
        "import sys, time; from pathlib import Path;"
        "from monitord.daemon import Daemon; from monitord.finding.roots import parse_roots;"
        "from monitord.terminal.doctor import run_doctor;"
        "daemon = Daemon(parse_roots([sys.argv[1]]), watch=False); daemon.step();"
        "print(daemon.watch_trouble()); daemon.close(); run_doctor([sys.argv[1]])"
    )
    (tmp_path / "closed").chmod(0)
    try:
        lines = run_without_privileges(script, tmp_path)
    finally:
        (tmp_path / "closed").chmod(0o755)
    assert lines[0].endswith("closed: cannot be read (Permission denied)")
    assert any(line.startswith("PROBLEM") and "closed: cannot" in line for line in lines[1:])


def test_a_root_that_is_gone_is_said_until_it_is_back(tmp_path: Path) -> None:
    root = tmp_path / "experiments"
    write_results(root / "run", 1)
    daemon = Daemon(parse_roots([root]), watch=False, interval_s=0.01)
    daemon.step()
    assert daemon.watch_trouble() is None
    root.rename(tmp_path / "elsewhere")
    assert daemon.watch_trouble() == f"{root}: the folder is gone; waiting for it"
    (tmp_path / "elsewhere").rename(root)
    assert daemon.watch_trouble() is None
    daemon.close()


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A monitor whose root, ``experiments``, is removed under it."""
    root = tmp_path / "experiments"
    ended_run(root, "run", 0.1, 5.0)
    process = start("monitord", root, "--no-plots", cwd=ROOT)
    wait_for((root / ".blobwatch" / "monitor-status.json").exists, "the status file")
    shutil.rmtree(root)
    yield process
    process.terminate()
    process.communicate()


def test_a_root_that_is_removed_and_made_anew_is_still_watched_by_one_monitor(
    tmp_path: Path, watched: subprocess.Popen[str]
) -> None:
    root = tmp_path / "experiments"
    ended_run(root, "again", 0.1, 5.0)
    wait_for((root / ".blobwatch" / "monitor-status.json").exists, "the status file")
    status, _, err = command(root, "--no-plots")
    assert status == 2
    assert f"another monitord is at work here (process {watched.pid})" in err


def test_a_monitor_whose_root_was_taken_over_while_it_was_away_ends_and_says_so(
    tmp_path: Path, watched: subprocess.Popen[str]
) -> None:
    fresh = tmp_path / "fresh"
    (fresh / ".blobwatch").mkdir(parents=True, mode=0o700)
    with FolderLock(fresh / ".blobwatch" / "monitor.lock", "another monitord"):
        fresh.rename(tmp_path / "experiments")
        _, err = watched.communicate(timeout=30)
    assert watched.returncode == 2
    assert f"another monitord is at work here (process {os.getpid()})" in err
