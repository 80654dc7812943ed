from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from monitord.liveness import Process, is_alive, parse_process
from monitord.states import Facts, Limits, State, judge, time_left
from monitord.terminal.rows import make_row
from tests.monitord_trees import again, entry, history, look, only, write_results

LIVE = {"n_epochs": 4, "last_epoch": 4, "n_planned": 20, "status": "running"}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield process
    process.kill()
    process.wait()


def identity(pid: int) -> dict[str, object]:
    started_at = psutil.Process(pid).create_time()
    return {"host": socket.gethostname(), "pid": pid, "started_at": started_at}


@pytest.mark.parametrize(
    ("facts", "state", "words"),
    [
        (Facts(**LIVE), State.RUNNING, "epoch 4 of 20"),
        (Facts(status="running"), State.WAITING, "no epoch yet"),
        (Facts(**LIVE, silent_s=61), State.STALLED, "silent for over 1m00s"),
        (Facts(**LIVE, silent_s=61, epoch_s=30), State.RUNNING, "epoch 4 of 20"),
        (Facts(**LIVE, silent_s=80, epoch_s=30), State.SLOW, "usual epoch 30s"),
        (Facts(**LIVE, silent_s=151, epoch_s=30), State.STALLED, "usual epoch 30s"),
        (Facts(**LIVE, silent_s=400, process_alive=True, pid=7), State.STALLED, "7 is alive"),
        (Facts(**LIVE, process_alive=False, pid=7), State.INTERRUPTED, "process 7 is gone"),
        (Facts(**LIVE | {"status": "failed"}, status_reason="boom"), State.FAILED, "boom"),
        (Facts(**LIVE | {"status": "interrupted"}), State.INTERRUPTED, "interrupted"),
        (Facts(**LIVE | {"status": "completed"}), State.FINISHED, "completed at epoch 4"),
        (Facts(**LIVE, nonfinite="test.loss", nonfinite_since=3), State.DIVERGED, "since epoch 3"),
        (
            Facts(**LIVE, loss_first=50, loss_best=4, loss_last=90),
            State.DIVERGED,
            "loss 90, its best was 4",
        ),
        (
            Facts(**LIVE, loss_first=900, loss_best=4, loss_last=90, losses=(4, 70, 80, 90)),
            State.DIVERGED,
            "loss 90, its best was 4",
        ),
        (
            Facts(**LIVE, loss_first=900, loss_best=4, loss_last=90, losses=(4, 5, 4, 90)),
            State.RUNNING,
            "epoch 4",  # one bad epoch
        ),
        (
            Facts(**LIVE, loss_first=9, loss_best=1e-9, loss_last=2e-7, losses=(2e-7,) * 3),
            State.RUNNING,
            "epoch 4",  # noise near zero
        ),
        (Facts(**LIVE, loss_first=9e19, loss_best=4e18, loss_last=4e18), State.DIVERGED, "beyond"),
        (Facts(**LIVE, loss_first=100, loss_best=4, loss_last=90), State.RUNNING, "epoch 4"),
        (Facts(n_epochs=20, last_epoch=20, n_planned=20), State.FINISHED, "all 20 epochs"),
        (Facts(**LIVE, unreadable="since 12:00: empty"), State.UNREADABLE, "12:00: empty"),
        (Facts(**LIVE | {"n_epochs": 30}, epoch_s=2, recent_epoch_s=6), State.SLOW, "take 6.0s"),
    ],
)
def test_each_state_has_its_rule_and_its_reason(facts: Facts, state: State, words: str) -> None:
    verdict = judge(facts)
    assert verdict.state is state
    assert words in verdict.reason


def test_a_completed_run_whose_loss_is_not_finite_is_diverged_not_finished() -> None:
    verdict = judge(Facts(**LIVE | {"status": "completed"}, nonfinite="test.loss"))
    assert verdict.state is State.DIVERGED
    assert "completed" in verdict.reason


def test_the_limits_of_silence_can_be_set() -> None:
    facts = Facts(**LIVE, silent_s=20)
    assert judge(facts, Limits(stalled_s=15)).state is State.STALLED


def test_time_left_comes_from_recent_epochs_and_counts_down_in_silence() -> None:
    facts = Facts(n_epochs=10, last_epoch=10, n_planned=20, epoch_s=1.0, recent_epoch_s=3.0)
    assert time_left(facts) == 30.0
    assert time_left(Facts(**LIVE)) is None
    silent = Facts(n_epochs=10, last_epoch=10, n_planned=20, recent_epoch_s=3.0, silent_s=2.0)
    assert time_left(silent) == 28.0


def test_silence_is_measured_by_the_monitors_own_clock_and_ended_by_new_data(
    tmp_path: Path,
) -> None:
    clock = Clock()
    entries = [entry(e, timing={"train_seconds": 20.0, "test_seconds": 4.0}) for e in (1, 2, 3)]
    folder = write_results(tmp_path / "run", entries, status="running", epochs=20)
    fleet = look(tmp_path, clock=clock)
    run = only(fleet)
    assert run.verdict.state is State.RUNNING
    clock.now += 70
    fleet.judge()
    assert run.verdict.state is State.SLOW
    clock.now += 51
    fleet.judge()
    assert run.verdict.state is State.STALLED
    write_results(folder, [*entries, entry(4)], status="running", epochs=20)
    again(fleet)
    assert run.verdict.state is State.RUNNING
    left_s = make_row(run, clock.now).left_s
    assert left_s is not None
    assert left_s == pytest.approx(16 * 24.0)


def test_an_old_file_without_status_is_stalled_at_first_sight(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "run", 3)
    os.utime(folder / "results.json", (1e9, 1e9))
    assert only(look(tmp_path)).verdict.state is State.STALLED


def test_a_file_without_status_is_finished_when_its_planned_epochs_are_there(
    tmp_path: Path,
) -> None:
    folder = write_results(tmp_path / "run", 3)
    (folder / "config.json").write_text(json.dumps({"training": {"epochs": 3}}))
    assert only(look(tmp_path)).verdict.state is State.FINISHED


def test_a_run_whose_process_is_killed_is_interrupted_at_the_next_look(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    process = identity(sleeper.pid)
    write_results(tmp_path / "run", 3, status="running", process=process)
    clock = Clock()
    fleet = look(tmp_path, clock=clock)
    assert only(fleet).verdict.state is State.RUNNING
    sleeper.kill()
    sleeper.wait()
    clock.now += 3
    fleet.judge()
    run = only(fleet)
    assert run.verdict.state is State.INTERRUPTED
    assert f"process {sleeper.pid} is gone" in run.verdict.reason


def test_a_killed_process_that_nobody_waited_for_is_not_alive(
    sleeper: subprocess.Popen[bytes],
) -> None:
    process = parse_process(identity(sleeper.pid))
    assert process is not None
    assert is_alive(process) is True
    sleeper.kill()
    psutil.wait_procs([], timeout=0)
    while psutil.Process(sleeper.pid).status() != psutil.STATUS_ZOMBIE:
        pass
    assert is_alive(process) is False


def test_another_process_with_the_same_number_is_not_the_runs(
    sleeper: subprocess.Popen[bytes],
) -> None:
    here = socket.gethostname()
    assert is_alive(Process(here, sleeper.pid, 12345.0)) is False


def test_a_process_on_another_host_is_neither_alive_nor_dead(tmp_path: Path) -> None:
    assert is_alive(Process("another-host", os.getpid(), None)) is None
    process = {"host": "another-host", "pid": 1, "started_at": 0.0}
    write_results(tmp_path / "run", 3, status="running", process=process)
    assert only(look(tmp_path)).verdict.state is State.RUNNING


@pytest.mark.parametrize(
    "found",
    [None, 7, {}, {"host": 1, "pid": 2}, {"host": "x", "pid": -1}, {"host": "x", "pid": "7"}],
)
def test_a_process_that_is_written_wrongly_is_no_process(found: object) -> None:
    assert parse_process(found) is None


def test_the_pace_of_a_run_without_timing_is_what_the_monitor_saw(tmp_path: Path) -> None:
    clock = Clock()
    folder = write_results(tmp_path / "run", 1)
    fleet = look(tmp_path, clock=clock)
    for n_epochs in (2, 3, 4):
        clock.now += 7
        write_results(folder, history(n_epochs))
        again(fleet)
    assert only(fleet).epoch_seconds() == pytest.approx((7.0, 7.0), abs=0.5)


def test_a_row_holds_no_number_that_is_not_finite(tmp_path: Path) -> None:
    bad = entry(2) | {"test": {"scaled_loss": None}}
    write_results(tmp_path / "run", [entry(1), bad], status="running")
    fleet = look(tmp_path)
    row = make_row(only(fleet), 1e6)
    for name in row.__dataclass_fields__:
        value = getattr(row, name)
        assert not isinstance(value, float) or math.isfinite(value), name
