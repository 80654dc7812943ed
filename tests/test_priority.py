"""The diagnostics leave the processor to training, and do not stay behind for that."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from diagnostics.consumer import priority as module
from diagnostics.consumer.priority import AT_EASE, BEHIND, FAIR, LATE_S, PROMPT_S, Priority
from tests.conftest import long_epochs_config, start, wait_for

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/autogroup").exists(), reason="this kernel has no scheduling by session"
)


def session_nice(pid: int) -> int:
    return int(Path(f"/proc/{pid}/autogroup").read_text().split()[-1])


@pytest.fixture
def session() -> Iterator[int]:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=-1, start_new_session=True)
    yield process.pid
    process.communicate(b"\n")


def apply(priority: Priority, pid: int) -> int:
    time.sleep(0.15)  # the system takes ten such changes a second
    priority.apply([pid])
    return session_nice(pid)


def test_diagnostics_are_at_ease_across_sessions_while_nothing_waits(session: int) -> None:
    priority = Priority()
    assert apply(priority, session) == BEHIND
    priority.follow(None)
    assert apply(priority, session) == AT_EASE


def test_diagnostics_that_fell_behind_get_more_of_the_processor(session: int) -> None:
    priority = Priority()
    priority.follow(None)
    assert apply(priority, session) == AT_EASE
    priority.follow(LATE_S / 2)
    assert apply(priority, session) == AT_EASE
    priority.follow(LATE_S * 2)
    assert apply(priority, session) == BEHIND
    priority.follow(LATE_S / 2)
    assert apply(priority, session) == BEHIND
    priority.follow(PROMPT_S / 2)
    assert apply(priority, session) == AT_EASE


def test_what_loads_for_long_gets_as_much_as_training(
    session: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOADING_S", 0.5)
    priority = Priority()
    assert apply(priority, session) == BEHIND
    priority.watch_loading(session)
    wait_for(lambda: session_nice(session) == FAIR)
    priority.follow(None)
    assert apply(priority, session) == AT_EASE


def test_a_diagnostics_process_whose_imports_take_long_gets_as_much_as_training() -> None:
    code = (
        "from diagnostics.consumer import priority\n"
        "priority.LOADING_S = 0.5\n"
        "with priority.low_priority():\n"
        "    print('loading', flush=True); input()\n"
        "print('loaded', flush=True); input()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=-1, stdout=-1, text=True, start_new_session=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == "loading\n"
        wait_for(lambda: session_nice(process.pid) == FAIR)
        process.stdin.write("\n\n")
        process.stdin.flush()
        assert process.stdout.readline() == "loaded\n"


def test_the_worker_of_a_supervised_run_is_at_ease_once_it_has_caught_up(
    tmp_path: Path,
) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(long_epochs_config()))
    training = start("trainer", path, "--output-dir", tmp_path / "run", "--quiet", cwd=tmp_path)
    try:
        deadline = time.monotonic() + 60
        while AT_EASE not in worker_priorities(tmp_path / "run"):
            assert time.monotonic() < deadline, worker_priorities(tmp_path / "run")
            time.sleep(0.1)
    finally:
        training.kill()
        training.communicate()


def worker_priorities(run: Path) -> list[int]:
    """The session priorities of the processes of this run that compute diagnostics."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
            if b"diagnostics.consumer.worker" in command and bytes(run) in command:
                found.append(session_nice(int(process.name)))
        except OSError:
            continue
    return found
