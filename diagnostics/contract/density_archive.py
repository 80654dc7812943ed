"""The archive of a run's density grids, ``densities.log``: one compact grid for each epoch.

It is a journal (see `diagnostics.contract.journal`): appended to, never changed in place, and whole
up to its last record however its writer ended. Beyond a size every other epoch is dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from diagnostics.contract.atomic import open_atomic
from diagnostics.contract.density import DensityGrid
from diagnostics.contract.errors import UnreadableFileError
from diagnostics.contract.journal import HEADER, JournalWriter, frame, read_journal

ARCHIVE_NAME = "densities.log"
DEFAULT_MAX_BYTES = 32 << 20


class Record(msgspec.Struct, frozen=True):
    """One epoch's grid.

    Attributes:
        epoch: Its number.
        stride: Of so many epochs one was kept when this was written.
        grid: What `DensityGrid.compact` made.
    """

    epoch: int
    stride: int
    grid: bytes


@dataclass(frozen=True, slots=True, eq=False)
class ArchivedGrid:
    """A grid and its epoch."""

    epoch: int
    grid: DensityGrid


def read_records(folder: Path) -> list[Record]:
    """Return the grids of a run as they are kept, packed; none without a file.

    Raises:
        UnreadableFileError: The file is no archive of this version.
    """
    return _read(folder / ARCHIVE_NAME)


def read_archive(folder: Path) -> list[ArchivedGrid]:
    """Return the grids that a run has kept, in the order of their epochs; none without a file.

    Raises:
        UnreadableFileError: The file is no archive of this version.
    """
    path = folder / ARCHIVE_NAME
    try:
        grids = [
            ArchivedGrid(record.epoch, DensityGrid.from_compact(record.grid))
            for record in _read(path)
        ]
    except ValueError as error:
        raise UnreadableFileError(f"{path}: {error}") from None
    return sorted(grids, key=lambda archived: archived.epoch)


class ArchiveWriter:
    """Appends grids to a run's archive; each epoch once, however often it is replayed."""

    def __init__(self, folder: Path, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        """Open or create the archive in ``folder``; keep it under about ``max_bytes``."""
        self._path = folder / ARCHIVE_NAME
        self._max_bytes = max_bytes
        self._open()

    def add(self, epoch: int, grid: DensityGrid, *, last: bool = False) -> bool:
        """Keep the grid of an epoch; return whether it is in the archive now.

        Args:
            epoch: Its number, from 1.
            grid: Its grid.
            last: Keep it even if the archive is thinned out and it is not its turn.
        """
        if epoch in self.epochs:
            return True
        if (epoch - 1) % self.stride and not last:
            return False
        data = msgspec.msgpack.encode(Record(epoch, self.stride, grid.compact()))
        self._journal.append(data)
        self.epochs.add(epoch)
        while self.n_bytes > self._max_bytes and len(self.epochs) > 2:
            self._thin_out(epoch if last else None)
        return epoch in self.epochs

    @property
    def n_bytes(self) -> int:
        """Size of the file."""
        return self._path.stat().st_size

    def close(self) -> None:
        """Close the file."""
        self._journal.close()

    def _open(self) -> None:
        self._journal = JournalWriter(self._path)
        records = [_decode(payload, self._path) for payload in self._journal.payloads]
        self._journal.payloads = []  # the grids need not stay in memory
        self.epochs = {record.epoch for record in records}
        self.stride = records[-1].stride if records else 1

    def _thin_out(self, last: int | None) -> None:
        """Keep every other epoch, and the run's last, in a new file that replaces this one."""
        self._journal.close()
        records = _read(self._path)
        stride = 2 * self.stride
        with open_atomic(self._path, sync=False) as file:
            file.write(HEADER)
            for record in records:
                if (record.epoch - 1) % stride == 0 or record.epoch == last:
                    kept = Record(record.epoch, stride, record.grid)
                    file.write(frame(msgspec.msgpack.encode(kept)))
        self._open()


def _read(path: Path) -> list[Record]:
    return [_decode(payload, path) for payload in read_journal(path).payloads]


def _decode(payload: bytes, path: Path) -> Record:
    try:
        return msgspec.msgpack.decode(payload, type=Record)
    except msgspec.DecodeError as error:
        raise UnreadableFileError(f"{path}: not an archive of density grids: {error}") from None
