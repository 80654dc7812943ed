from __future__ import annotations

import json
import os
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
from monitord.finding.mounts import Mount, mount_of, read_mounts
from monitord.finding.roots import parse_roots
from monitord.finding.sweeping import Sweeper, pace_for
from monitord.finding.watches import watches_used
from monitord.finding.watching import Watcher
from monitord.states import State
from tests.conftest import start
from tests.monitord_trees import (
    again,
    epochs_of,
    history,
    look,
    losses,
    names,
    only,
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


def test_runs_below_a_folder_that_cannot_be_asked_for_a_moment_are_not_forgotten(
    tmp_path: Path,
) -> None:
    write_results(tmp_path / "sub" / "run", 2)
    script = """
import sys
from pathlib import Path
from tests.monitord_trees import *
root = Path(sys.argv[1])
fleet = look(root)
(root / "sub").chmod(0)
again(fleet)
print(only(fleet).verdict.reason, len(losses(only(fleet))))
(root / "sub").chmod(0o700)
write_results(root / "sub" / "run", 5)
again(fleet)
print(only(fleet).verdict.reason)
"""
    prefix = ["unshare", "--user"] if os.geteuid() == 0 else []
    done = subprocess.run(
        [*prefix, sys.executable, "-W", "error", "-c", script, str(tmp_path)],
        cwd=Path(__file__).parent.parent, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    if prefix and done.stderr.startswith("unshare:"):
        pytest.skip(f"no private user namespace here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert "Permission denied" in first
    assert first.endswith(" 2"), "the last good state stays"
    assert second == "epoch 5"


def test_hidden_folders_are_skipped(tmp_path: Path) -> None:
    write_results(tmp_path / ".cache" / "run", 1)
    write_results(tmp_path / "run" / ".blobwatch", 1)
    write_results(tmp_path / "run", 1)
    assert names(look(tmp_path)) == ["run"]


def test_without_any_event_the_sweep_finds_every_change(tmp_path: Path) -> None:
    write_results(tmp_path / "a", 1)
    with watching(tmp_path, watch=False, interval_s=0.05) as daemon:
        write_results(tmp_path / "a", 5)
        write_results(tmp_path / "new" / "b", 2)
        wait_for(lambda: epochs_of(daemon, "a") == 5, "the changed run")
        wait_for(lambda: epochs_of(daemon, "new/b") == 2, "the new run")


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


def test_a_delete_followed_by_a_create_as_polling_shows_it_is_not_the_end_of_a_run(
    tmp_path: Path,
) -> None:
    folder = write_results(tmp_path / "run", 3)
    fleet = look(tmp_path, grace_s=5.0)
    (folder / "results.json").unlink()
    again(fleet)
    run = only(fleet)
    assert run.verdict.state is State.RUNNING
    assert len(losses(run)) == 3
    write_results(folder, 4)
    again(fleet)
    assert only(fleet) is run
    assert len(losses(run)) == 4


def test_a_file_that_stays_away_is_said_to_be_gone_and_the_last_state_stays(
    tmp_path: Path,
) -> None:
    folder = write_results(tmp_path / "run", 3)
    fleet = look(tmp_path)
    (folder / "results.json").unlink()
    again(fleet)
    assert "results.json is gone" in only(fleet).verdict.reason
    assert len(losses(only(fleet))) == 3


def test_a_file_broken_for_less_than_the_grace_is_no_trouble_yet(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "run", 3)
    fleet = look(tmp_path, grace_s=60.0)
    (folder / "results.json").write_text('{"training_history": [')
    again(fleet)
    assert only(fleet).verdict.state is State.RUNNING


def test_two_writes_within_one_tick_with_the_same_size_and_inode_are_both_seen(
    tmp_path: Path,
) -> None:
    folder = write_results(tmp_path / "run", [])
    path = folder / "results.json"
    fleet = look(tmp_path)
    text = '{"training_history": [{"epoch": 1, "test": {"scaled_loss": %d}}]}'
    path.write_text(text % 1)
    again(fleet)
    status = path.stat()
    path.write_text(text % 2)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    again(fleet)
    assert losses(only(fleet)) == [2.0]


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


def test_loops_of_links_count_each_folder_once(tmp_path: Path) -> None:
    write_results(tmp_path / "run", 1)
    (tmp_path / "run" / "again").symlink_to(tmp_path)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "twin").symlink_to(tmp_path / "run")
    fleet = look(tmp_path)
    assert names(fleet) == ["run"]
    assert fleet.last_sweep is not None
    assert len(fleet.last_sweep.folders) == 2


def test_a_run_behind_a_link_is_found_by_the_sweep(tmp_path: Path) -> None:
    write_results(tmp_path / "elsewhere" / "run", 1)
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "linked").symlink_to(tmp_path / "elsewhere" / "run")
    assert names(look(tmp_path / "root")) == ["linked"]


def test_a_folder_too_deep_is_left_out_and_counted(tmp_path: Path) -> None:
    write_results(tmp_path.joinpath(*["d"] * 60), 1)
    fleet = look(tmp_path)
    assert not fleet.runs
    assert fleet.last_sweep is not None
    assert fleet.last_sweep.n_hidden_by_bounds == 1


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


def test_network_and_fuse_file_systems_are_told_from_local_ones() -> None:
    mounts = [
        Mount("/", "ext4"), Mount("/data", "nfs4"), Mount("/data/fast", "xfs"),
        Mount("/home/me/remote", "fuse.sshfs"),
    ]  # fmt: skip
    assert mount_of(Path("/data/a"), mounts).is_remote
    assert not mount_of(Path("/data/fast/b"), mounts).is_remote
    assert not mount_of(Path("/database"), mounts).is_remote
    assert mount_of(Path("/home/me/remote"), mounts).is_remote


def test_the_mount_table_of_this_machine_is_read() -> None:
    if not Path("/proc/self/mountinfo").exists():
        pytest.skip("no mount table here")
    assert any(mount.point == "/" for mount in read_mounts())


def test_the_sweep_is_faster_where_events_never_come_and_gives_way_to_its_cost() -> None:
    assert pace_for(True, None).interval(0.01) < pace_for(False, None).interval(0.01)
    assert pace_for(False, None).interval(0.001) == 2.0
    assert pace_for(False, None).interval(1.0) == 15.0
    assert pace_for(True, 3.5).interval(9.0) == 3.5


def test_a_sweep_asks_again_only_for_folders_that_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(10):
        folder = write_results(tmp_path / f"run_{number}", 1)
        os.utime(folder, (1e9, 1e9))
    os.utime(tmp_path, (1e9, 1e9))
    sweeper = Sweeper(parse_roots([tmp_path]))
    sweeper.sweep()
    asked: list[str] = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: (asked.append(path), scandir(path))[1])
    assert len(sweeper.sweep().runs) == 10
    assert asked == []
    write_results(tmp_path / "run_3", 2)
    sweeper.sweep()
    assert asked == [str(tmp_path / "run_3")]


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
