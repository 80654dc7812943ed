"""Disk trouble is survivable: full, limited, failing, read-only (docs/reliability.md)."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from diagnostics.contract.atomic import write_atomic
from diagnostics.contract.folder import RunFolder
from diagnostics.contract.journal import JournalWriter, read_journal
from tests import faults
from tests.chaos import Campaign, Trainers, fire_config
from tests.conftest import ROOT, run, strict_json, tiny_config, wait_for

pytestmark = pytest.mark.timeout(1500)


@pytest.fixture(scope="module")
def trainers() -> Iterator[Trainers]:
    started = Trainers()
    yield started
    started.close()


class Trouble:
    """Makes a disk bad and good again under a run."""

    def __init__(self, campaign: Campaign) -> None:
        self.campaign = campaign
        self.disk = campaign.folder.parent
        self.ballast: Path | None = None

    def begin(self, kind: str) -> None:
        match kind:
            case "full disk":
                self.ballast = faults.fill(self.disk)
            case "file-size limit":
                size = self.campaign.files.journal.stat().st_size
                faults.limit_file_size(self.campaign.pid, size + 100)
            case "read-only disk":
                faults.remount(self.disk, "ro")

    def end(self, kind: str) -> None:
        match kind:
            case "full disk":
                assert self.ballast is not None
                self.ballast.unlink()
            case "file-size limit":
                faults.limit_file_size(self.campaign.pid)
            case "read-only disk":
                faults.remount(self.disk, "rw")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["full disk", "file-size limit"])
def test_training_goes_on_while_the_disk_is_in_trouble_and_everything_is_written_afterwards(
    trainers: Trainers, tmp_path: Path, kind: str
) -> None:
    with faults.small_disk(tmp_path / "disk", 32 << 20) as disk:
        campaign = Campaign(trainers, disk / "run", fire_config(tmp_path / "config.json"), seed=1)
        results = campaign.files.results
        wait_for(lambda: results.exists() and strict_json(results)["training_history"], 300)
        trouble = Trouble(campaign)
        trouble.begin(kind)
        wait_for(lambda: "training goes on, the epochs wait" in campaign.last_words(), 300)
        end = read_journal(campaign.files.journal).end
        before = campaign.cpu_seconds()
        wait_for(lambda: campaign.cpu_seconds() > before + 1.0, 300)  # it works on
        # A record that does not fit is seen torn for a moment, before it is taken back.
        wait_for(lambda: read_journal(campaign.files.journal).fault is None, 300)
        assert read_journal(campaign.files.journal).end == end
        strict_json(results)
        assert campaign.last_words().count("the epochs wait") == 1
        assert campaign.last_words().count("the last whole one stays") <= 1
        assert "Traceback" not in campaign.last_words()
        trouble.end(kind)
        wait_for(lambda: read_journal(campaign.files.journal).end > end, 300)
        campaign.finish()
        assert "Traceback" not in campaign.last_words()


@pytest.mark.slow
def test_a_run_that_ends_on_a_full_disk_says_so_and_resuming_it_brings_everything(
    trainers: Trainers, tmp_path: Path
) -> None:
    with faults.small_disk(tmp_path / "disk", 32 << 20) as disk:
        config = fire_config(tmp_path / "config.json")
        campaign = Campaign(trainers, disk / "run", config, seed=1, quiet_limit_s=1)
        wait_for(campaign.files.results.exists, 300)
        ballast = faults.fill(disk)
        wait_for(lambda: "training goes on, the epochs wait" in campaign.last_words(), 300)
        os.kill(campaign.pid, signal.SIGTERM)
        assert trainers.wait(campaign.pid) == 1
        assert "events could not be written" in campaign.last_words()
        assert "Traceback" not in campaign.last_words()
        ballast.unlink()
        campaign.resume()
        campaign.finish()


@pytest.mark.parametrize("kind", ["full disk", "read-only disk"])
def test_a_run_that_cannot_begin_says_why_and_leaves_no_half_made_folder(
    tmp_path: Path, kind: str
) -> None:
    with faults.small_disk(tmp_path / "disk", 1 << 20) as disk:
        config = fire_config(tmp_path / "config.json")
        if kind == "full disk":
            faults.fill(disk)
        else:
            faults.remount(disk, "ro")
        before = sorted(os.listdir(disk))
        status, out, err = run(
            "trainer", config, "--output-dir", disk / "run", "--quiet", cwd=tmp_path
        )
        assert status == 2, err
        assert len(err.splitlines()) == 1
        assert ("No space left" if kind == "full disk" else "Read-only") in err
        assert "Traceback" not in out + err
        assert sorted(os.listdir(disk)) == before


@pytest.mark.slow
def test_failing_fsyncs_of_real_processes_cost_a_warning_and_nothing_else(tmp_path: Path) -> None:
    """strace makes each thread's sixth to ninth fsync fail, in trainer and diagnostics."""
    if not faults.has_strace():
        pytest.skip("strace cannot be used here")
    config = fire_config(tmp_path / "config.json", epochs=60)
    folder = tmp_path / "run"
    inject = ["-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync"]
    inject += ["-e", "inject=fsync:error=EIO:when=6..9"]
    train = [sys.executable, "-m", "trainer", config, "--output-dir", folder, "--quiet"]
    done = subprocess.run(
        ["strace", *inject, *train],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        timeout=1200,
    )
    assert done.returncode == 0, done.stderr
    assert "Input/output error" in done.stderr
    assert "Traceback" not in done.stderr
    wait_for(lambda: strict_json(folder / "results.json")["status"] == "completed", 120)
    assert [e["epoch"] for e in strict_json(folder / "results.json")["training_history"]] == list(
        range(1, 61)
    )


def failing(call: Callable[..., Any], code: int, which: int) -> Callable[..., Any]:
    """Return ``call`` as it is but for its ``which``-th use, which the system refuses."""
    n_calls = 0

    def refuse(*arguments: Any, **options: Any) -> Any:
        nonlocal n_calls
        n_calls += 1
        if n_calls == which:
            raise OSError(code, os.strerror(code))
        return call(*arguments, **options)

    return refuse


@pytest.mark.parametrize(
    ("name", "code", "which", "replaced"),
    [
        ("fsync", errno.EIO, 1, False),  # of the file
        ("fsync", errno.EIO, 2, True),  # of the folder: the name may not survive a power cut
        ("replace", errno.EXDEV, 1, False),
        ("replace", errno.EACCES, 1, False),
        ("open", errno.ENOSPC, 1, False),
        ("open", errno.EROFS, 1, False),
    ],
)
def test_a_refused_step_of_an_atomic_write_is_an_error_and_leaves_a_whole_file_and_no_temporary(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    code: int,
    which: int,
    replaced: bool,
) -> None:
    path = tmp_path / "results.json"
    write_atomic(path, b"old")
    with monkeypatch.context() as patch:
        patch.setattr(os, name, failing(getattr(os, name), code, which))
        with pytest.raises(OSError) as caught:
            write_atomic(path, b"new")
    assert caught.value.errno == code
    assert path.read_bytes() == (b"new" if replaced else b"old")
    assert os.listdir(tmp_path) == ["results.json"]
    write_atomic(path, b"newer")
    assert path.read_bytes() == b"newer"


def test_a_short_write_is_completed_or_undone(tmp_path: Path) -> None:
    """In a process of its own, since the limit is one of the process."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (5000, resource.RLIM_INFINITY))
            try:
                write_atomic(path, bytes(100_000))
            except OSError as error:
                status = 0 if error.errno == errno.EFBIG else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_journal_whose_fsync_failed_is_written_anew_before_it_counts_as_safe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "events.log"
    writer = JournalWriter(path)
    writer.append(b"one")
    inode = path.stat().st_ino
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing(os.fsync, errno.EIO, 1))
        assert not writer.sync()
    assert "cannot reach the disk" in caplog.text
    writer.append(b"two")
    assert path.stat().st_ino == inode
    assert writer.sync()
    assert path.stat().st_ino != inode, "the same pages were synced again, as if that helped"
    writer.append(b"three")
    writer.close()
    assert read_journal(path).payloads == [b"one", b"two", b"three"]


@pytest.mark.slow
def test_a_checkpoint_never_gets_ahead_of_the_journal(trainers: Trainers, tmp_path: Path) -> None:
    """A run whose journal is refused keeps its last checkpoint, so that resuming skips nothing."""
    config = fire_config(tmp_path / "config.json", epochs=40)
    folder = RunFolder(tmp_path / "run")
    log = tmp_path / "log"
    command = (config, "--output-dir", folder.root, "--quiet")
    pid = trainers.start(*command, log=log, file_size=8000, quiet_limit_s=1)
    assert trainers.wait(pid) == 1
    assert "could not be written" in log.read_text()
    assert "Traceback" not in log.read_text()
    assert trainers.wait(trainers.start("--resume", folder.root, "--quiet", log=log)) == 0
    results = strict_json(folder.results)
    assert [entry["epoch"] for entry in results["training_history"]] == list(range(1, 41))
    assert results["status"] == "completed"
    assert folder.model.exists()


def test_a_folder_that_may_only_be_read_is_refused_with_its_name(tmp_path: Path) -> None:
    """As nobody where the tests are root, whom permissions do not bind."""
    from trainer.config import load_config
    from trainer.hardware import build_model
    from trainer.opening import open_new

    build_model(load_config(tiny_config()), torch.device("cpu"))  # all of PyTorch is loaded now
    with faults.open_folder() as root:
        closed = root / "closed"
        closed.mkdir(mode=0o555)
        config = tiny_config() | {"output_dir": str(closed)}
        said = faults.as_nobody(lambda: open_new(load_config(config)))
        assert said == f"BlobwatchError: {closed}: cannot be written; choose another --output-dir"
        config["output_dir"] = str(closed / "run")
        said = faults.as_nobody(lambda: open_new(load_config(config)))
        assert "cannot create the folder (Permission denied)" in said
        assert os.listdir(closed) == []
