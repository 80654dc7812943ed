"""Real faults of disks, for tests: a full file system, a file-size limit, a read-only mount."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

NOBODY = 65534


def needs_root() -> None:
    """Skip, and say why, where the fault can only be made by root; CI is root."""
    if os.geteuid() != 0:
        pytest.skip("mounting a file system takes root")


@contextlib.contextmanager
def small_disk(at: Path, n_bytes: int) -> Iterator[Path]:
    """Mount a file system with room for ``n_bytes`` at ``at``."""
    needs_root()
    at.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={n_bytes},mode=0755", "tmpfs", at]
    made = subprocess.run(mount, capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no file system can be mounted here: {made.stderr.strip()}")
    try:
        yield at
    finally:
        subprocess.run(["umount", "--lazy", at], check=True)


def fill(disk: Path) -> Path:
    """Take all the room there is; the ballast's path, to be removed for room again."""
    ballast = disk / "ballast"
    with open(ballast, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(1 << 20)):
            pass
    with open(ballast, "ab", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(512)):
            pass
    return ballast


def limit_file_size(pid: int, n_bytes: int = resource.RLIM_INFINITY) -> None:
    """Let no process of the family write a file beyond ``n_bytes``: EFBIG, after a short write."""
    family = [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    for member in family:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(member, resource.RLIMIT_FSIZE, (n_bytes, resource.RLIM_INFINITY))


def remount(at: Path, how: str) -> None:
    """Make a mounted file system read-only (``ro``) or writable (``rw``)."""
    subprocess.run(["mount", "-o", f"remount,{how}", at], check=True)


def has_strace() -> bool:
    """Return whether system calls can be made to fail from outside."""
    try:
        probe = ["strace", "-qq", "-e", "trace=fsync", "-e", "inject=fsync:error=EIO", "true"]
        return subprocess.run(probe, capture_output=True).returncode == 0
    except OSError:
        return False


@contextlib.contextmanager
def open_folder() -> Iterator[Path]:
    """Make a folder whose parents every user may enter, as pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="blobwatch-tests-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def as_nobody(act: Callable[[], object]) -> str:
    """Do something in a fork of this process, as user nobody where this one is root.

    Returns:
        ``repr`` of what it returned, or the kind and text of what it raised.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setresgid(NOBODY, NOBODY, NOBODY)
                os.setresuid(NOBODY, NOBODY, NOBODY)
            try:
                said = repr(act())
            except Exception as error:
                said = f"{type(error).__name__}: {error}"
            os.write(writing, said.encode("utf-8", "replace")[:4096])
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        said = answer.read().decode()
    os.waitpid(pid, 0)
    return said
