from __future__ import annotations

import os
from pathlib import Path

import pytest

from monitord.finding.mounts import Mount, mount_of, read_mounts
from monitord.finding.roots import parse_roots
from monitord.finding.sweeping import Sweeper, pace_for
from monitord.states import State
from tests.monitord_trees import (
    again,
    epochs_of,
    look,
    losses,
    names,
    only,
    run_without_privileges,
    wait_for,
    watching,
    write_results,
)


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
    first, second = run_without_privileges(script, tmp_path)
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
