"""What the user asked to watch: folders, run folders, files in them, and patterns."""

from __future__ import annotations

import difflib
import glob
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from diagnostics.contract.errors import BlobwatchError


class NoSuchRunError(BlobwatchError, FileNotFoundError):
    """No folder answers to the given path or pattern; the message names near matches."""


@dataclass(frozen=True, slots=True)
class Root:
    """One path or pattern.

    Attributes:
        given: As the user wrote it.
        base: The folder itself; of a pattern, the longest leading part without wildcards.
        pattern: The absolute pattern, or None.
    """

    given: str
    base: Path
    pattern: str | None = None

    def folders(self) -> list[Path]:
        """Return the folders that exist for it now."""
        if self.pattern is None:
            return [self.base]
        found = (Path(path) for path in sorted(glob.glob(self.pattern)))
        return [path for path in found if path.is_dir()]

    @property
    def identity(self) -> str:
        """A short name that tells this root from others with the same base."""
        if self.pattern is None:
            return ""
        return hashlib.sha256(os.fsencode(self.pattern)).hexdigest()[:12]


def parse_root(given: str | Path) -> Root:
    """Return the root for a path or pattern, relative to the working directory.

    Raises:
        NoSuchRunError: There is nothing of that name.
    """
    path = Path(os.path.abspath(os.path.expanduser(given)))
    if not path.exists() and glob.has_magic(str(given)):
        parts = path.parts
        n_plain = next(i for i, part in enumerate(parts) if glob.has_magic(part))
        base = Path(*parts[:n_plain])
        if not base.is_dir():
            raise NoSuchRunError(no_such(given))
        return Root(str(given), base, str(path))
    if path.is_file():
        path = path.parent
    if not path.is_dir():
        raise NoSuchRunError(no_such(given))
    return Root(str(given), path)


def parse_roots(given: Sequence[str | Path]) -> list[Root]:
    """Return the roots, each once; see `parse_root`."""
    roots: dict[tuple[Path, str | None], Root] = {}
    for item in given:
        root = parse_root(item)
        roots.setdefault((root.base, root.pattern), root)
    return list(roots.values())


def no_such(given: str | Path) -> str:
    """Return the message for a path that is not there, with near matches."""
    path = Path(os.path.abspath(os.path.expanduser(given)))
    near = near_matches(path)
    hint = f"; near matches: {', '.join(near)}" if near else ""
    return f"{given}: no such experiment or folder{hint}"


def near_matches(path: Path, n_most: int = 3) -> list[str]:
    """Return paths beside ``path`` whose names resemble its name, best first."""
    parent = path.parent
    try:
        names = [entry.name for entry in os.scandir(parent) if entry.is_dir()]
    except OSError:
        return []
    visible = [name for name in names if not name.startswith(".")]
    stem = path.name.rstrip("*?")
    starting = sorted(name for name in visible if stem and name.startswith(stem))
    close = difflib.get_close_matches(path.name, visible, n=n_most, cutoff=0.5)
    shown = _shown(parent)
    return [os.path.join(shown, name) for name in dict.fromkeys([*starting, *close])][:n_most]


def _shown(folder: Path) -> str:
    """Return ``folder`` relative to the working directory where it lies below it."""
    try:
        relative = str(folder.relative_to(Path.cwd()))
    except ValueError:
        return str(folder)
    return "" if relative == "." else relative
