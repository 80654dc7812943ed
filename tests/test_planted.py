"""Something else where a file of ours should be: the run is refused or works, victims are whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from diagnostics.contract.folder import RunFolder
from tests.chaos import Trainers, fire_config
from tests.conftest import epochs_of, run, strict_json

PRECIOUS = b"not to be touched\n" * 100
PLACES = {
    "link to a file": ["journal", "results", "config", "checkpoint", "model", "log", "private",
                       "trainer_lock", "consumer_lock", "token", "snapshots", "socket"],
    "link to nowhere": ["journal", "results", "log", "trainer_lock"],
    "link to a folder": ["private", "results", "log", "snapshots"],
    "file": ["journal", "private", "snapshots", "socket"],
    "pipe": ["journal", "results", "config", "log", "trainer_lock", "socket"],
    "folder": ["journal", "results", "checkpoint", "model", "log", "socket"],
}  # fmt: skip
"""What is planted, and where."""


@pytest.fixture(scope="module")
def trainers() -> Iterator[Trainers]:
    started = Trainers()
    yield started
    started.close()


def path_of(files: RunFolder, what: str) -> Path:
    return files.private / "events.sock" if what == "socket" else Path(getattr(files, what))


def plant(path: Path, kind: str, victim: Path) -> None:
    """Put something of this kind at ``path``."""
    match kind:
        case "link to a file":
            path.symlink_to(victim / "file")
        case "link to nowhere":
            path.symlink_to(victim / "absent")
        case "link to a folder":
            path.symlink_to(victim)
        case "file":
            path.write_bytes(PRECIOUS)
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", PLACES)
def test_whatever_is_planted_under_a_name_of_ours_the_run_is_refused_or_works_and_victims_are_whole(
    trainers: Trainers, tmp_path: Path, kind: str
) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "file").write_bytes(PRECIOUS)
    config = fire_config(tmp_path / "config.json", epochs=2)
    outcomes: dict[str, int] = {}
    for what in PLACES[kind]:
        files = RunFolder(tmp_path / f"run_{what}")
        path = path_of(files, what)
        path.parent.mkdir(parents=True)
        plant(path, kind, victim)
        log = tmp_path / f"{what}.log"
        command = (config, "--output-dir", files.root, "--quiet")
        status = trainers.wait(trainers.start(*command, log=log, quiet_limit_s=3))
        said = log.read_text()
        outcomes[what] = status
        assert status in (0, 1, 2), (what, said)
        assert "Traceback" not in said, (what, said)
        if status:
            assert str(files.root) in said, (what, said)
        else:
            if what == "consumer_lock":
                refused = run("diagnostics", files.root, cwd=tmp_path)
                assert (refused[0], "is a symbolic link" in refused[2]) == (3, True)
                path.unlink()
            run("diagnostics", files.root, cwd=tmp_path)
            assert epochs_of(strict_json(files.results)) == [1, 2], (what, said)
        assert (victim / "file").read_bytes() == PRECIOUS, what
        assert os.listdir(victim) == ["file"], what
    assert 0 in outcomes.values()
    assert 2 in outcomes.values()


def test_control_a_naive_log_writes_through_a_planted_link(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(PRECIOUS)
    (tmp_path / "run.log").symlink_to(victim)
    with open(tmp_path / "run.log", "ab") as log:
        log.write(b"a line")
    assert victim.read_bytes() != PRECIOUS
