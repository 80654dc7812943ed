"""Opening files that must be regular files: no link is followed, no pipe or device is waited for.

Where another user could plant something under a name that we use, the worst that happens is a
message.
"""

from __future__ import annotations

import errno
import os
import stat
from io import TextIOWrapper
from pathlib import Path


def open_regular(path: Path, flags: int, mode: int = 0o644) -> int:
    """Open ``path`` and return its descriptor.

    Raises:
        OSError: It cannot be opened, is a symbolic link (ELOOP), or is no regular file (EINVAL).
    """
    flags |= getattr(os, "O_NOFOLLOW", 0) | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, mode)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise OSError(errno.ELOOP, "is a symbolic link", str(path)) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return descriptor


def open_for_appending(path: Path) -> TextIOWrapper:
    """Open a log at its end."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    return os.fdopen(open_regular(path, flags), "a", encoding="utf-8", errors="replace")


def read_regular(path: Path, start: int = 0) -> bytes:
    """Read the whole file, from byte ``start`` on."""
    with os.fdopen(open_regular(path, os.O_RDONLY), "rb") as file:
        file.seek(start)
        return file.read()
