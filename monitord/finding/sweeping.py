"""The truth about what is on the disk: every run folder, with the identity of its files.

A sweep asks for (inode, mtime_ns, size) of the files of every known run and reads again only the
folders whose own mtime changed, as git does with its index. A folder or file that changed so
recently that its clock may not show a second change is looked at once more ("racy").
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from monitord.finding.mounts import mount_of, read_mounts
from monitord.finding.roots import Root

Signature = tuple[int, int, int]
"""Inode, mtime in nanoseconds, size in bytes of a file; zeros if there is none."""
NO_FILE: Signature = (0, 0, 0)
Signatures = tuple[Signature, Signature, Signature]
"""Of a run folder's results file, journal and configuration."""
NO_FILES: Signatures = (NO_FILE, NO_FILE, NO_FILE)
MAX_DEPTH = 48
MAX_FOLDERS = 500_000
_RACY_NS = 2_000_000_000
_FULL_EVERY_S = 60.0


@dataclass(slots=True)
class _Folder:
    """What the last reading of a folder found."""

    path: str
    mtime_ns: int = -1
    racy: bool = True
    subfolders: list[str] = field(default_factory=list)
    results: str | None = None
    journal: str | None = None
    config: str | None = None
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class Sweep:
    """What one sweep found.

    Attributes:
        runs: Run folder to the signatures of its files.
        roots: Run folder to the root under which it was found.
        folders: All folders that exist, runs or not.
        n_hidden_by_bounds: Folders left out since they are too deep or too many.
        unreadable: Folders that cannot be looked into, with the reason of each.
        cpu_s: Processor time that it took.
        wall_s: Wall time that it took.
    """

    runs: dict[str, Signatures]
    roots: dict[str, str]
    folders: Collection[str]
    n_hidden_by_bounds: int
    cpu_s: float
    wall_s: float
    unreadable: Sequence[tuple[str, str]] = ()


class Sweeper:
    """Sweeps the roots, remembering what cannot have changed."""

    def __init__(self, roots: Sequence[Root]) -> None:
        """Look up the roots' file systems; nothing is read yet."""
        self.roots = list(roots)
        self._known: dict[str, _Folder] = {}
        self._suspects: set[str] = set()
        self._full_at = time.monotonic() + _FULL_EVERY_S
        mounts = read_mounts()
        self.mounts = {root: mount_of(root.base, mounts) for root in self.roots}
        self.is_remote = any(mount.is_remote for mount in self.mounts.values())

    def suspect(self, folders: Iterable[str]) -> None:
        """Have these folders read again at the next sweep."""
        self._suspects.update(folders)

    def sweep(self) -> Sweep:
        """Look at everything; never raises for what it finds."""
        cpu, wall = time.thread_time(), time.perf_counter()
        now = time.monotonic()
        if self.is_remote or now >= self._full_at:
            # mtimes of folders are not to be trusted for ever, and not at all over a network
            self._full_at = now + _FULL_EVERY_S
            for folder in self._known.values():
                folder.racy = True
        sweep = Sweep({}, {}, (), 0, 0.0, 0.0)
        kept: dict[str, _Folder] = {}
        n_bounded = 0
        seen: set[tuple[int, int]] = set()
        racy_since = time.time_ns() - _RACY_NS
        for root in self.roots:
            for top in root.folders():
                n_bounded += self._walk(str(top), seen, kept, sweep, racy_since)
        self._known = kept
        self._suspects.clear()
        cpu, wall = time.thread_time() - cpu, time.perf_counter() - wall
        unreadable = [(f.path, f.trouble) for f in kept.values() if f.trouble is not None]
        return Sweep(sweep.runs, sweep.roots, kept.keys(), n_bounded, cpu, wall, unreadable)

    def _walk(
        self,
        top: str,
        seen: set[tuple[int, int]],
        kept: dict[str, _Folder],
        sweep: Sweep,
        racy_since: int,
    ) -> int:
        pending = [(top, 0)]
        n_bounded = 0
        while pending:
            path, depth = pending.pop()
            try:
                status = os.stat(path)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError:
                # A server that does not answer for a moment is not the end of what it holds
                self._keep(path, kept)
                continue
            if not stat.S_ISDIR(status.st_mode):
                continue
            identity = (status.st_dev, status.st_ino)
            if identity in seen:
                continue  # a link to a folder above or beside: each folder counts once
            if depth > MAX_DEPTH or len(kept) >= MAX_FOLDERS:
                n_bounded += 1
                continue
            seen.add(identity)
            folder = self._known.get(path) or _Folder(path)
            kept[path] = folder
            mtime_ns = status.st_mtime_ns
            if folder.racy or folder.mtime_ns != mtime_ns or path in self._suspects:
                _read_folder(folder)
                folder.mtime_ns = mtime_ns
                folder.racy = mtime_ns > racy_since
            if folder.results is not None or folder.journal is not None:
                results, journal = signature_of(folder.results), signature_of(folder.journal)
                if results != NO_FILE or journal != NO_FILE:
                    sweep.runs[path] = results, journal, signature_of(folder.config)
                    sweep.roots[path] = top
            pending.extend((sub, depth + 1) for sub in reversed(folder.subfolders))
        return n_bounded

    def _keep(self, top: str, kept: dict[str, _Folder]) -> None:
        """Keep what is known of a folder that cannot be asked about, and of all below it."""
        pending = [top]
        while pending:
            folder = self._known.get(pending.pop())
            if folder is not None and folder.path not in kept:
                kept[folder.path] = folder
                folder.racy = True
                pending.extend(folder.subfolders)


def _read_folder(folder: _Folder) -> None:
    """Find the subfolders and the files of interest; keeps what it knew if it cannot look."""
    subfolders: list[str] = []
    results = journal = config = None
    try:
        with os.scandir(folder.path) as entries:
            for entry in entries:
                name = entry.name
                if name == "results.json":
                    results = entry.path
                elif name == "events.log":
                    journal = entry.path
                elif name == "config.json":
                    config = entry.path
                elif name[0] != "." and _is_folder(entry):
                    subfolders.append(entry.path)
    except OSError as error:
        folder.trouble = error.strerror or type(error).__name__
        return
    folder.trouble = None
    subfolders.sort()
    folder.subfolders = subfolders
    folder.results, folder.journal, folder.config = results, journal, config


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def signature_of(path: str | None) -> Signature:
    """Return the identity of a file's contents, as far as the file system tells it."""
    if path is None:
        return NO_FILE
    try:
        status = os.stat(path)
    except OSError:
        return NO_FILE
    return (status.st_ino, status.st_mtime_ns, status.st_size)


def signatures_in(folder: str) -> Signatures:
    """Return the signatures of the files of a run folder."""
    results, journal = f"{folder}/results.json", f"{folder}/events.log"
    return signature_of(results), signature_of(journal), signature_of(f"{folder}/config.json")


@dataclass(slots=True)
class Pace:
    """How often to sweep: as often as a share of one processor allows, within bounds.

    Attributes:
        share: Share of one processor for sweeping.
        least_s: Never more often than this.
        most_s: Never more seldom than this.
    """

    share: float
    least_s: float
    most_s: float

    def interval(self, cpu_s: float) -> float:
        """Return the seconds until the next sweep, from the cost of the last one."""
        return min(max(cpu_s / self.share, self.least_s), self.most_s)


def pace_for(is_remote: bool, fixed_s: float | None, n_unwatched: int = 0) -> Pace:
    """Return the pace of sweeping.

    Args:
        is_remote: Events never come there: sweep more often, at a higher share.
        fixed_s: The user's ``--interval``, or None.
        n_unwatched: Folders for which no event comes, since the watch limit is reached.
    """
    if fixed_s is not None:
        return Pace(1.0, fixed_s, fixed_s)
    if is_remote:
        return Pace(0.03, 1.0, 5.0)
    if n_unwatched:
        return Pace(0.01, 1.0, 8.0)
    return Pace(0.002, 2.0, 15.0)


def display_name(folder: str, top: str, n_tops: int) -> str:
    """Return a run's name: its path below its root, with the root's name if there are several."""
    if folder == top:
        return Path(folder).name or folder
    relative = os.path.relpath(folder, top)
    return os.path.join(Path(top).name, relative) if n_tops > 1 else relative
