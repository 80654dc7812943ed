from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from monitord.daemon import Daemon
from monitord.finding.hints import EVENT_KINDS
from monitord.finding.roots import parse_roots
from monitord.finding.watches import watches_used
from monitord.finding.watching import Watcher
from tests.conftest import start
from tests.monitord_trees import (
    epochs_of,
    history,
    names,
    wait_for,
    watching,
    write_results,
)

NEVER = 3600.0
"""An interval of sweeping so long that what is seen was seen by an event."""


def private_namespace() -> list[str]:
    """Return the command that runs another one in a user namespace of its own, or skip."""
    command = ["unshare", "--user", "--map-root-user"]
    try:
        subprocess.run([*command, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no private user namespace here: {error}")
    return command


def test_a_replaced_file_is_seen_by_an_event_not_by_the_sweep(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "run", 1)
    with watching(tmp_path, interval_s=NEVER) as daemon:
        for n_epochs in range(2, 12):
            write_results(folder, n_epochs)
            wait_for(lambda n=n_epochs: epochs_of(daemon, "run") == n, f"epoch {n_epochs}")
        assert daemon.fleet.n_sweeps <= 3


def test_a_file_that_is_written_in_place_is_seen_when_it_is_closed(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "run", 1)
    with watching(tmp_path, interval_s=NEVER) as daemon:
        (folder / "results.json").write_text(json.dumps({"training_history": history(7)}))
        wait_for(lambda: epochs_of(daemon, "run") == 7, "the new epochs")


def test_new_renamed_and_deleted_experiments_come_and_go_at_any_depth(tmp_path: Path) -> None:
    write_results(tmp_path / "old", 1)
    with watching(tmp_path, interval_s=NEVER) as daemon:
        write_results(tmp_path / "a" / "b" / "c" / "deep", 2)
        wait_for(lambda: epochs_of(daemon, "a/b/c/deep") == 2, "the new run")
        (tmp_path / "old").rename(tmp_path / "renamed")
        wait_for(lambda: names(daemon.fleet) == ["a/b/c/deep", "renamed"], "the renamed run")
        shutil.rmtree(tmp_path / "a")
        wait_for(lambda: names(daemon.fleet) == ["renamed"], "the end of the deleted run")


def test_only_the_event_kinds_that_are_needed_are_watched_so_reading_makes_no_events(
    tmp_path: Path,
) -> None:
    for number in range(20):
        write_results(tmp_path / f"run_{number}", 2)
    with watching(tmp_path, interval_s=NEVER) as daemon:
        assert daemon.watcher is not None
        for path in tmp_path.rglob("*"):
            if path.is_file():
                path.read_bytes()
            else:
                list(path.iterdir())
        write_results(tmp_path / "run_0", 9)
        wait_for(lambda: epochs_of(daemon, "run_0") == 9, "the change after the reading")
        assert daemon.watcher.hints.n_events <= 2
    kinds = {kind.__name__ for kind in EVENT_KINDS}
    assert not kinds & {"FileOpenedEvent", "FileClosedNoWriteEvent", "DirModifiedEvent"}


def test_the_watch_limit_is_noticed_and_said_and_the_sweep_finds_the_rest(tmp_path: Path) -> None:
    for number in range(30):
        write_results(tmp_path / f"run_{number:02d}", 1)
    script = """
import sys
open("/proc/sys/user/max_inotify_watches", "w").write("12")
from pathlib import Path
from tests.monitord_trees import *
root = Path(sys.argv[1])
with watching(root, interval_s=0.1) as daemon:
    wait_for(lambda: daemon.health.n_unwatched, "the missing watches to be noticed")
    write_results(root / "run_29", 4)
    wait_for(lambda: epochs_of(daemon, "run_29") == 4, "the run without a watch")
    print(daemon.watch_trouble())
"""
    done = subprocess.run(
        [*private_namespace(), sys.executable, "-W", "error", "-c", script, str(tmp_path)],
        cwd=Path(__file__).parent.parent, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    if "Permission denied" in done.stderr or "Read-only file system" in done.stderr:
        pytest.skip(f"the watch limit cannot be set here: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    assert "19 folders are not watched (the limit of inotify watches is reached)" in done.stdout


def test_where_not_even_the_root_can_be_watched_everything_is_swept(tmp_path: Path) -> None:
    write_results(tmp_path / "run", 1)
    script = """
import sys
open("/proc/sys/user/max_inotify_instances", "w").write("0")
from pathlib import Path
from tests.monitord_trees import *
root = Path(sys.argv[1])
with watching(root) as daemon:
    write_results(root / "run", 4)
    wait_for(lambda: epochs_of(daemon, "run") == 4, "the change")
    print(daemon.watch_trouble())
"""
    done = subprocess.run(
        [*private_namespace(), sys.executable, "-W", "error", "-c", script, str(tmp_path)],
        cwd=Path(__file__).parent.parent, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    if "Permission denied" in done.stderr or "Read-only file system" in done.stderr:
        pytest.skip(f"the instance limit cannot be set here: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    assert "inotify instance limit reached; sweeping every" in done.stdout


@pytest.mark.slow
def test_after_an_overflow_of_the_kernels_queue_nothing_is_stale(tmp_path: Path) -> None:
    # The reader is stopped for real while more events happen than the kernel's queue holds
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if limit > 50_000:
        pytest.skip(f"the event queue holds {limit} events; filling it would take too long")
    for number in range(4):
        write_results(tmp_path / f"run_{number}", 1)
    options = ["--no-plots", "--interval", "3600"]
    process = start("monitord", tmp_path, *options, cwd=Path(__file__).parent.parent)
    status = tmp_path / ".blobwatch" / "monitor-status.json"
    try:
        wait_for(lambda: status.exists() and _status(status)["watches_used"], "the watching")
        process.send_signal(signal.SIGSTOP)
        for _ in range(limit // 12 + 100):
            for number in range(4):
                write_results(tmp_path / f"run_{number}", 1)
        write_results(tmp_path / "run_3", 17)
        process.send_signal(signal.SIGCONT)
        assert process.stdout is not None
        found: list[str] = []
        reader = threading.Thread(target=lambda: found.extend(process.stdout or ()))
        reader.start()
        wait_for(lambda: any("run_3 running epoch=17" in line for line in found), "epoch 17")
        wait_for(lambda: _status(status)["n_overflows"] >= 1, "the overflow in the status")
        process.terminate()
        reader.join(10)
    finally:
        process.kill()
        process.communicate()


def _status(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_a_handler_that_fails_does_not_end_the_watching(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "run", 1)
    with watching(tmp_path, interval_s=NEVER) as daemon:
        assert daemon.watcher is not None
        hints, note = daemon.watcher.hints, daemon.watcher.hints._note
        hints._note = lambda event: 1 / 0  # type: ignore[assignment,method-assign]
        write_results(folder, 2)
        time.sleep(0.2)
        hints._note = note  # type: ignore[method-assign]
        write_results(folder, 3)
        wait_for(lambda: epochs_of(daemon, "run") == 3, "the event after the failure")


def test_an_observer_that_died_is_started_again(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "run", 1)
    with watching(tmp_path, interval_s=0.2) as daemon:
        assert daemon.watcher is not None
        observer = daemon.watcher._observer
        assert observer is not None
        observer.stop()
        wait_for(lambda: daemon.watcher and daemon.watcher.n_restarts, "the restart")
        write_results(folder, 2)
        wait_for(lambda: epochs_of(daemon, "run") == 2, "the event after the restart")


def test_a_root_that_is_deleted_and_made_again_is_watched_again(tmp_path: Path) -> None:
    root = tmp_path / "root"
    write_results(root / "a", 1)
    with watching(root, interval_s=0.2) as daemon:
        shutil.rmtree(root)
        wait_for(lambda: not daemon.fleet.runs, "the end of all runs")
        write_results(root / "b", 1)
        wait_for(lambda: names(daemon.fleet) == ["b"], "the run in the new root")
        wait_for(lambda: daemon.watcher and daemon.watcher.n_restarts, "the restart")
        daemon.interval_s = NEVER
        wait_for(lambda: daemon.sweep_interval_s == NEVER, "the last sweep")
        events = daemon.watcher.hints.n_events if daemon.watcher else 0
        write_results(root / "b", 6)
        wait_for(lambda: epochs_of(daemon, "b") == 6, "an event in the new root")
        assert daemon.watcher is not None
        assert daemon.watcher.hints.n_events > events


def test_a_root_behind_a_link_shows_new_folders_by_events(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    write_results(real / "a", 1)
    link.symlink_to(real)
    with watching(link, interval_s=NEVER) as daemon:
        write_results(real / "new", 3)
        wait_for(lambda: epochs_of(daemon, "new") == 3, "the new folder")
        write_results(real / "a", 2)
        wait_for(lambda: epochs_of(daemon, "a") == 2, "the change")
        assert daemon.fleet.n_sweeps <= 4


def test_several_roots_and_patterns_are_watched_at_once(tmp_path: Path) -> None:
    write_results(tmp_path / "one" / "a", 1)
    write_results(tmp_path / "two" / "b_1", 1)
    write_results(tmp_path / "two" / "c_1", 1)
    pattern = tmp_path / "two" / "b_*"
    with watching(tmp_path / "one", pattern, interval_s=NEVER) as daemon:
        assert names(daemon.fleet) == ["a", "b_1"]
        write_results(tmp_path / "two" / "b_2", 2)
        wait_for(lambda: names(daemon.fleet) == ["a", "b_1", "b_2"], "the new match")


def test_many_roots_cost_few_observers(tmp_path: Path) -> None:
    roots = [write_results(tmp_path / f"run_{number:03d}", 1) for number in range(60)]
    with watching(*roots, interval_s=NEVER) as daemon:
        assert daemon.watcher is not None
        assert daemon.watcher._observer is not None
        assert len(daemon.watcher._observer.emitters) == 1
        assert len(daemon.fleet.runs) == 60
        write_results(roots[59], 5)
        wait_for(lambda: epochs_of(daemon, "run_059") == 5, "the change")


def test_a_failure_in_one_part_of_a_step_does_not_end_the_others(tmp_path: Path) -> None:
    class Failing:
        due_at = float("inf")

        def follow(self, *_: object) -> None:
            raise ValueError("no")

        def close(self) -> None:
            raise ValueError("no")

    daemon = Daemon(parse_roots([write_results(tmp_path / "run", 1)]), watch=False)
    daemon.add(Failing())
    assert [run.name for run in daemon.step()] == ["run"]
    daemon.close()
    assert daemon.health.n_faults == 2
    assert daemon.health.last_fault == "ValueError: no"


def test_all_watches_are_given_back_at_the_end(tmp_path: Path) -> None:
    write_results(tmp_path / "run", 1)
    before = watches_used() or 0
    watcher = Watcher(parse_roots([tmp_path]), lambda: None)
    watcher.start()
    assert watcher.n_watches() == 2
    watcher.stop()
    watcher.stop()
    assert (watches_used() or 0) == before


@pytest.mark.slow
def test_of_ten_thousand_updates_in_ten_thousand_folders_none_is_lost(tmp_path: Path) -> None:
    folders = [write_results(tmp_path / f"run_{number:05d}", 1) for number in range(10_000)]
    with watching(tmp_path) as daemon:
        for number, folder in enumerate(folders):
            write_results(folder, 2 + number % 3)
        expected = {f"run_{number:05d}": 2 + number % 3 for number in range(10_000)}

        def complete() -> bool:
            found = {run.name: run.columns.last_epoch() for run in daemon.fleet.runs}
            return found == expected

        wait_for(complete, "all updates", 120)
