"""Locks that end with their holder: an advisory lock on an open file, freed by the kernel.

A lock file that a dead process left behind is no obstacle, and whether the holder is alive is
asked of the kernel, not guessed from a process number.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from pathlib import Path
from types import TracebackType

from diagnostics.contract.errors import FolderInUseError
from diagnostics.contract.regular import open_regular

ATTEMPTS = 5


class FolderLock:
    """An exclusive lock, held from `acquire` until `release` or the death of the process."""

    def __init__(self, path: Path, holder: str) -> None:
        """Name the lock file and what holds it, for the message (``"a trainer"``)."""
        self.path = path
        self.holder = holder
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock at once.

        Raises:
            FolderInUseError: Another live process holds it.
        """
        try:
            descriptor = open_regular(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as refused:
            raise FolderInUseError(f"{self.path}: cannot lock: {refused.strerror}") from None
        error = _lock(descriptor)
        if error is not None:
            pid = os.read(descriptor, 32).decode("ascii", "replace").strip()
            os.close(descriptor)
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise FolderInUseError(f"{self.path}: cannot lock: {error.strerror}")
            raise FolderInUseError(
                f"{self.path.parent.parent}: {self.holder} is at work here (process {pid or '?'});"
                " wait for it or stop it"
            )
        # Who holds it is for people to read; on a full disk the lock holds all the same.
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor

    def is_lost(self) -> bool:
        """Return whether the lock is held on a file that is no longer at its path.

        Then it keeps nobody out: whoever comes makes a new file.
        """
        if self._descriptor is None:
            return False
        try:
            return not os.path.samestat(os.fstat(self._descriptor), self.path.lstat())
        except OSError:
            return True

    def release(self) -> None:
        """Give the lock back; the file stays, so that nobody locks a file that is gone."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> FolderLock:
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def _lock(descriptor: int) -> OSError | None:
    """Lock at once; try a few times, since `is_held` holds the lock for a moment too."""
    for attempt in range(ATTEMPTS):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return None
        except OSError as error:
            if attempt == ATTEMPTS - 1:
                return error
            time.sleep(0.01)
    return None


def is_held(path: Path) -> bool:
    """Return whether a live process holds the lock at ``path``."""
    try:
        descriptor = open_regular(path, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False
