"""Atomic replacement of files: a reader sees the old file or the new one, never a part.

The order is that of git and SQLite: temporary file in the same folder, write, flush,
fsync, rename, fsync of the folder.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

TEMPORARY_SUFFIX = ".tmp"


@contextlib.contextmanager
def open_atomic(path: Path, *, sync: bool = True, mode: int = 0o644) -> Iterator[IO[bytes]]:
    """Open ``path`` for binary writing; it appears, whole, when the block ends without error.

    Args:
        path: The file to replace. Its folder must exist. A symbolic link at ``path`` is itself
            replaced, its target stays untouched.
        sync: Wait until data and name are on the disk (survives a power cut, not only a kill).
        mode: Permissions of the new file, before the umask.

    Yields:
        A writable, seekable binary file.

    Raises:
        OSError: The folder cannot be written or the disk is full. ``path`` is as it was and the
            temporary file is gone. A failed fsync is an error, it is never tried again: the
            kernel may already have dropped the data.
    """
    temporary = path.with_name(temporary_name(path.name))
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
    try:
        with os.fdopen(os.open(temporary, flags, mode), "w+b") as file:
            yield file
            file.flush()
            if sync:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    if sync:
        sync_folder(path.parent)


def write_atomic(path: Path, data: bytes, *, sync: bool = True, mode: int = 0o644) -> None:
    """Replace the contents of ``path`` by ``data`` in one step; see `open_atomic`."""
    with open_atomic(path, sync=sync, mode=mode) as file:
        file.write(data)


def temporary_name(name: str) -> str:
    """Return the name of this process's temporary file for ``name``, hidden and at most 255 bytes.

    The process id is in it, so two writers never share one and leftovers can be told apart.
    """
    tail = f".{os.getpid()}{TEMPORARY_SUFFIX}"
    stem = os.fsencode(name)[: 255 - 1 - len(tail)]
    return os.fsdecode(b"." + stem) + tail


def sync_folder(folder: Path) -> None:
    """Flush the folder's entries to the disk, so that a rename survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(folder: Path, name: str) -> int:
    """Remove temporary files for ``name`` that killed writers left in ``folder``; return how many.

    Call it only while holding the lock of the file's writer.
    """
    prefix = f".{name}."
    leftovers = [
        entry
        for entry in folder.iterdir()
        if entry.name.startswith(prefix) and entry.name.endswith(TEMPORARY_SUFFIX)
    ]
    for leftover in leftovers:
        with contextlib.suppress(OSError):
            leftover.unlink()
    return len(leftovers)
