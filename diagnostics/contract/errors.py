"""The errors that a user may see: one line each, naming what is wrong and the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BlobwatchError(Exception):
    """Base of all errors that commands print as one line, with exit status 2."""


class UnreadableFileError(BlobwatchError):
    """A file is missing, broken, or of a version that this program does not know."""


class FolderInUseError(BlobwatchError):
    """Another live process holds the lock that this one needs."""


class UnknownNameError(BlobwatchError):
    """A name that nothing answers to; the message lists the nearest ones."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean X?"`` for the closest known name, or an empty string."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {matches[0]}?" if matches else ""
