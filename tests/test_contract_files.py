"""Atomic files, strict JSON, locks, private folders."""

from __future__ import annotations

import json
import math
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from diagnostics.contract import strictjson
from diagnostics.contract.atomic import open_atomic, remove_leftovers, temporary_name, write_atomic
from diagnostics.contract.errors import BlobwatchError, FolderInUseError
from diagnostics.contract.folder import RunFolder
from diagnostics.contract.locks import FolderLock, is_held

HOLD = """
import sys, time
from pathlib import Path
from diagnostics.contract.locks import FolderLock
FolderLock(Path(sys.argv[1]), "a trainer").acquire()
print("held", flush=True)
time.sleep(60)
"""


def test_a_failed_write_leaves_the_old_file_and_no_temporary(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    write_atomic(path, b"old")
    with pytest.raises(RuntimeError), open_atomic(path) as file:
        file.write(b"half of the n")
        raise RuntimeError
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["results.json"]


def test_a_failed_fsync_is_an_error_and_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "results.json"
    write_atomic(path, b"old")
    calls = []

    def fail(descriptor: int) -> None:
        calls.append(descriptor)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output"):
        write_atomic(path, b"new")
    assert len(calls) == 1
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["results.json"]


def test_a_symbolic_link_is_replaced_and_its_target_untouched(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    link = tmp_path / "results.json"
    link.symlink_to(victim)
    write_atomic(link, b"new")
    assert victim.read_bytes() == b"precious"
    assert not link.is_symlink()


def test_a_planted_link_at_the_temporary_name_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / temporary_name("results.json")).symlink_to(victim)
    write_atomic(tmp_path / "results.json", b"new")
    assert victim.read_bytes() == b"precious"
    assert (tmp_path / "results.json").read_bytes() == b"new"


def test_names_of_255_bytes_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("ü" * 127)
    write_atomic(path, b"x")
    assert path.read_bytes() == b"x"


def test_leftovers_of_killed_writers_are_removed_and_nothing_else(tmp_path: Path) -> None:
    for name in (".results.json.123.tmp", ".results.json.9.tmp", ".other.tmp", "results.json"):
        (tmp_path / name).write_bytes(b"")
    assert remove_leftovers(tmp_path, "results.json") == 2
    assert sorted(os.listdir(tmp_path)) == [".other.tmp", "results.json"]


def test_whatever_is_written_is_strict_json_that_says_what_was_lost() -> None:
    nonfinite: dict[str, str] = {}
    value = {
        "a": float("nan"),
        "b": [1.5, float("-inf")],
        "c": np.float32(2),
        "d": np.array([1, 2]),
        "e": 10**30,
        "f": 1e-320,
        "g": "\ud800 lone",
        "h": np.int64(3),
        "i": True,
        "j": (None,),
    }
    plain = strictjson.plain(value, "", nonfinite)
    assert nonfinite == {"a": "nan", "b[1]": "-inf"}
    text = strictjson.encode(plain)
    back = json.loads(text, parse_constant=lambda token: pytest.fail(token))
    assert back["a"] is None
    assert back["b"] == [1.5, None]
    assert back["c"] == 2.0
    assert back["d"] == [1, 2]
    assert back["e"] == 1e30
    assert back["f"] == 1e-320
    assert back["i"] is True
    assert not any(isinstance(v, float) and math.isnan(v) for v in back.values())


def test_what_has_no_json_form_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match=r"a\.b: object has no JSON form"):
        strictjson.plain({"a": {"b": object()}})


def hold(path: Path) -> subprocess.Popen[bytes]:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    return holder


def test_a_held_lock_is_refused_with_the_holders_process(tmp_path: Path) -> None:
    path = tmp_path / "run" / ".blobwatch" / "trainer.lock"
    path.parent.mkdir(parents=True)
    holder = hold(path)
    try:
        assert is_held(path)
        with pytest.raises(FolderInUseError, match=f"run: a trainer is .*process {holder.pid}"):
            FolderLock(path, "a trainer").acquire()
    finally:
        holder.kill()
        holder.communicate()


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    path = tmp_path / "trainer.lock"
    holder = hold(path)
    holder.kill()
    holder.communicate()
    assert not is_held(path)
    with FolderLock(path, "a trainer"):
        assert path.read_text() == f"{os.getpid()}\n"


def test_a_symbolic_link_in_place_of_a_lock_is_refused(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / "lock").symlink_to(victim)
    with pytest.raises(FolderInUseError, match="cannot lock"):
        FolderLock(tmp_path / "lock", "a trainer").acquire()
    assert victim.read_bytes() == b"precious"


def test_the_private_folder_is_closed_to_others(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.private.mkdir(mode=0o777)
    folder.private.chmod(0o777)
    folder.make_private()
    assert stat.S_IMODE(folder.private.stat().st_mode) == 0o700


def test_a_link_in_place_of_the_private_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / ".blobwatch").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BlobwatchError, match="must be a folder"):
        RunFolder(tmp_path).make_private()


def test_a_socket_path_too_long_for_the_system_moves_to_a_short_private_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory() as short:
        monkeypatch.setenv("XDG_RUNTIME_DIR", short)
        check_long_socket_path(tmp_path)


def check_long_socket_path(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / "run"
    deep.mkdir(parents=True)
    address = RunFolder(deep).socket_address()
    assert address == RunFolder(deep).socket_address()
    path = Path(address.removeprefix("ipc://"))
    assert len(os.fsencode(path)) < 104
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
