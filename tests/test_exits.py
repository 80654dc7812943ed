"""Every way in which a run can end: the last epoch is there, nothing hangs, nobody is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from diagnostics.contract.events import EpochEnded, decode_event
from diagnostics.contract.folder import RunFolder
from diagnostics.contract.journal import read_journal
from diagnostics.contract.locks import is_held
from tests import cheap
from tests.chaos import PATIENCE_S, Trainers
from tests.conftest import epochs_of, strict_json, tiny_config, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
SIZES = {"8 kB": (32, 16), "131 kB": (256, 64), "4 MB": (1024, 512)}
WAYS = {
    "return": (0, "completed", None),
    "exception": (1, "failed", "RuntimeError: a bug"),
    "sys.exit": (7, "failed", "SystemExit: 7"),
    "SIGTERM": (143, "interrupted", "stopped by SIGTERM"),
    "SIGINT twice": (130, None, None),
    "SIGHUP": (129, "interrupted", "stopped by SIGHUP"),
    "closed terminal": (129, "interrupted", "stopped by SIGHUP"),
    "parent killed": (None, "completed", None),
}
"""How it ends: exit status, and what the results say."""


@pytest.fixture(scope="module")
def trainers() -> Iterator[Trainers]:
    started = Trainers()
    yield started
    started.close()


def family(folder: Path) -> list[psutil.Process]:
    """Return the diagnostics processes of the run and their workers."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        words = process.info["cmdline"] or []
        if str(folder) in words and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


def epochs_in_journal(files: RunFolder) -> list[int]:
    events = [decode_event(payload) for payload in read_journal(files.journal).payloads]
    return [event.epoch for event in events if isinstance(event, EpochEnded)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("way", WAYS)
def test_however_a_run_ends_its_last_epoch_is_there_and_no_process_is_left(
    trainers: Trainers, tmp_path: Path, way: str, size: str
) -> None:
    d, hidden = SIZES[size]
    files = RunFolder(tmp_path / "run")
    planned = 4 if way in ("return", "exception", "sys.exit", "parent killed") else 10**6
    config: dict[str, Any] = tiny_config(epochs=planned) | {"diagnostics": [cheap.NAME]}
    config["data"]["d"], config["model"]["hidden_size"] = d, hidden
    (tmp_path / "config.json").write_text(json.dumps(config))
    more: dict[str, Any] = {}
    if way in ("exception", "sys.exit"):
        more["end"] = way
    if way == "parent killed":
        more["parent"] = True
    main, terminal = os.openpty()
    if way == "closed terminal":
        more["terminal"] = os.ttyname(terminal)
    log = tmp_path / "log"
    command = (tmp_path / "config.json", "--output-dir", files.root, "--quiet")
    pid = trainers.start(*command, log=log, **more)
    os.close(terminal)
    wait_for(lambda: files.journal.exists() and epochs_in_journal(files), PATIENCE_S)

    if way.startswith("SIG"):
        os.kill(pid, getattr(signal, way.split()[0]))
        if way == "SIGINT twice":
            time.sleep(0.01)
            os.kill(pid, signal.SIGINT)
    elif way == "parent killed":
        os.kill(pid, signal.SIGKILL)
    if way != "return":
        os.close(main)
    status = trainers.wait(pid)
    if way == "return":
        os.close(main)

    code, word, reason = WAYS[way]
    said = log.read_text()[-3000:]
    if code is not None:
        assert status == code, said
    wait_for(lambda: not is_held(files.trainer_lock), PATIENCE_S)
    wait_for(lambda: not family(files.root), PATIENCE_S)
    trained = epochs_in_journal(files)
    results = strict_json(files.results)
    assert epochs_of(results) == trained == list(range(1, len(trained) + 1))
    assert all("norm" in e["diagnostics"] or e["diagnostic_errors"] for e in results_of(results))
    assert results["status"] != "running"
    if word is not None:
        assert (results["status"], results["status_reason"]) == (word, reason)
    if word == "completed":
        assert trained[-1] == 4


def test_control_a_child_that_does_not_watch_its_parent_is_seen_as_left(tmp_path: Path) -> None:
    child = f"import time; time.sleep({PATIENCE_S})"
    code = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', *sys.argv[1:]]).wait()"
    with subprocess.Popen([sys.executable, "-c", code, child, str(tmp_path)]) as parent:
        wait_for(lambda: len(family(tmp_path)) == 2, PATIENCE_S)
        parent.kill()
    (left,) = family(tmp_path)
    assert left.cmdline()[-2] == child
    left.kill()


def results_of(results: dict[str, Any]) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = results["training_history"]
    return entries
