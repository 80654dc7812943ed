"""The monitor's own files: its lock, what it told of already, and how it fares, for `doctor`."""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from diagnostics.contract import strictjson
from diagnostics.contract.atomic import remove_leftovers, write_atomic
from diagnostics.contract.errors import BlobwatchError
from diagnostics.contract.folder import make_private_folder
from diagnostics.contract.locks import FolderLock, is_held
from monitord.daemon import Daemon
from monitord.finding.roots import Root
from monitord.fleet import Fleet
from monitord.reading.runs import Run

STATUS_EVERY_S = 10.0
LOCKS_EVERY_S = 1.0


class OwnFiles:
    """Where the monitor of one root keeps its files: ``.blobwatch/`` in the root.

    A root that cannot be written has them under ``XDG_STATE_HOME``.
    """

    def __init__(self, root: Root) -> None:
        """Name the files of ``root``; nothing is made yet."""
        self.folder = _own_folder(root)
        stem = f"monitor-{root.identity}" if root.identity else "monitor"
        self.lock = self.folder / f"{stem}.lock"
        self.alerts = self.folder / f"{stem}-alerts.json"
        self.status = self.folder / f"{stem}-status.json"
        self.token = self.folder / f"{stem}-token"


def _own_folder(root: Root) -> Path:
    if os.access(root.base, os.W_OK):
        folder = root.base / ".blobwatch"
    else:
        state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
        digest = hashlib.sha256(os.fsencode(root.base.resolve())).hexdigest()[:16]
        folder = Path(state) / "blobwatch" / digest
        with contextlib.suppress(OSError):
            folder.parent.mkdir(parents=True, exist_ok=True)
    return folder


def own_files(root: Root) -> OwnFiles:
    """Return the monitor's files for ``root``, their folder made."""
    files = OwnFiles(root)
    make_private_folder(files.folder)
    return files


class Locks:
    """One monitor per root: the locks of all roots, held together."""

    def __init__(self, roots: Sequence[Root]) -> None:
        """Name the roots; nothing is locked yet."""
        self._locks: list[FolderLock] = []
        self.files: list[OwnFiles] = []
        self._roots = list(roots)

    def acquire(self) -> None:
        """Take the locks and remove what a killed monitor left.

        Raises:
            BlobwatchError: Another monitor watches one of the roots.
        """
        try:
            for root in self._roots:
                files = own_files(root)
                self._locks.append(_locked(files))
                self.files.append(files)
        except BlobwatchError as error:
            self.release()
            raise BlobwatchError(f"{error}; --once and --json work beside it") from None

    def retake(self) -> None:
        """Take locks again whose files were removed with their root, once it is back.

        What cannot be made for another reason, such as a full disk, is tried again the next time.

        Raises:
            BlobwatchError: Another monitor was faster.
        """
        for i, (root, files) in enumerate(zip(self._roots, self.files, strict=True)):
            lost = self._locks[i]
            if not (lost.is_lost() and root.base.exists()):
                continue
            try:
                make_private_folder(files.folder)
                self._locks[i] = _locked(files)
            except BlobwatchError:
                if is_held(files.lock):
                    raise
            else:
                lost.release()

    def release(self) -> None:
        """Give the locks back."""
        for lock in self._locks:
            lock.release()
        self._locks.clear()


def _locked(files: OwnFiles) -> FolderLock:
    lock = FolderLock(files.lock, "another monitord")
    lock.acquire()
    for path in (files.alerts, files.status, files.token):
        remove_leftovers(files.folder, path.name)
    return lock


class LockKeeper:
    """Keeps the locks while roots are removed and come back; gives way to a faster monitor."""

    def __init__(self, locks: Locks, stop: Callable[[], None]) -> None:
        """Name the locks, and what ends this monitor."""
        self._locks, self._stop = locks, stop
        self.due_at = math.inf
        self.refusal: BlobwatchError | None = None
        self._next_s = -math.inf

    def follow(self, fleet: Fleet, changed: Sequence[Run], now_s: float) -> None:
        """Look once a second."""
        if now_s < self._next_s or self.refusal is not None:
            return
        self._next_s = now_s + LOCKS_EVERY_S
        try:
            self._locks.retake()
        except BlobwatchError as error:
            self.refusal = error
            self._stop()

    def close(self) -> None:
        """Nothing to end: the locks are given back last."""


class StatusFile:
    """Writes how the daemon fares, for `doctor`, at most every ten seconds."""

    def __init__(self, daemon: Daemon, path: Path) -> None:
        """Name the daemon and the file."""
        self._daemon, self._path = daemon, path
        self._next_s = -math.inf
        self._n_sweeps = -1
        self.due_at = math.inf

    def follow(self, fleet: Fleet, changed: Sequence[Run], now_s: float) -> None:
        """Write it if it is due."""
        if now_s < self._next_s or fleet.n_sweeps == self._n_sweeps:
            return
        # the first one is from before the watching began: soon another
        pause_s = STATUS_EVERY_S if self._n_sweeps > 1 else 0.5
        self._next_s, self._n_sweeps = now_s + pause_s, fleet.n_sweeps
        with contextlib.suppress(OSError):
            data = strictjson.encode_indented(daemon_status(self._daemon))
            write_atomic(self._path, data, sync=False)

    def close(self) -> None:
        """Remove the file: nobody watches any more."""
        with contextlib.suppress(OSError):
            self._path.unlink()


def daemon_status(daemon: Daemon) -> dict[str, object]:
    """Return how a daemon fares, as plain data."""
    fleet, sweep = daemon.fleet, daemon.fleet.last_sweep
    watch = daemon.watcher.report() if daemon.watcher is not None else None
    return {
        "pid": os.getpid(),
        "written_at_s": time.time(),
        "back_end": watch.back_end if watch else "none (sweep only)",
        "watches_used": watch.n_used if watch else 0,
        "watches_allowed": watch.n_allowed if watch else None,
        "n_overflows": watch.n_overflows if watch else 0,
        "n_restarts": watch.n_restarts if watch else 0,
        "n_events": watch.n_events if watch else 0,
        "n_unwatched": daemon.health.n_unwatched,
        "trouble": daemon.watch_trouble(),
        "n_runs": len(fleet.runs),
        "n_folders": len(sweep.folders) if sweep else 0,
        "n_sweeps": fleet.n_sweeps,
        "sweep_wall_s": sweep.wall_s if sweep else None,
        "sweep_cpu_s": sweep.cpu_s if sweep else None,
        "sweep_every_s": daemon.sweep_interval_s,
        "n_readings": fleet.tally.n_readings,
        "slowest_read_s": fleet.tally.slowest_s,
        "slowest_read": fleet.tally.slowest,
        "n_faults": daemon.health.n_faults,
        "last_fault": daemon.health.last_fault,
    }
