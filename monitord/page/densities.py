"""The density pictures of a run, from its ``densities.log``, all in one window of weights."""

from __future__ import annotations

import base64
import math
import os
import stat
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from diagnostics.contract.density import DensityGrid
from diagnostics.contract.density_archive import ARCHIVE_NAME, Record, read_records
from diagnostics.contract.density_view import View, raster, view_of
from diagnostics.contract.errors import UnreadableFileError
from monitord.page.answers import Densities, Density
from monitord.terminal.lettering import plain_text

SIZE = 224
MAX_ARCHIVE_BYTES = 128 << 20
N_FOR_VIEW = 48
"""Of a long archive so many grids, evenly chosen, decide on the window."""
NOTHING = "no density pictures; they need the diagnostic density_archive"


@dataclass(frozen=True, slots=True)
class Album:
    """The records of one archive as it was at one moment, still packed, and their window."""

    signature: tuple[int, int, int]
    records: dict[int, Record]
    view: View


class DensityReader:
    """Reads archives; keeps the last one that was looked at. Safe from any thread."""

    def __init__(self) -> None:
        """Begin with nothing read."""
        self._lock = threading.Lock()
        self._folder: Path | None = None
        self._album: Album | None = None

    def listing(self, folder: Path) -> Densities:
        """Return which pictures there are; the trouble instead where there are none."""
        try:
            album = self._read(folder)
        except (OSError, ValueError, UnreadableFileError) as error:
            return _none(f"{ARCHIVE_NAME} cannot be read: {_reason(error, folder)}")
        if album is None or not album.records:
            return _none(NOTHING)
        view = album.view
        return Densities(
            epochs=sorted(album.records),
            encoder=view.encoder,
            decoder=view.decoder,
            size=SIZE,
            trouble=None,
        )

    def picture(self, folder: Path, epoch: int) -> Density | None:
        """Return the picture of an epoch, or None if there is none."""
        try:
            album = self._read(folder)
            record = None if album is None else album.records.get(epoch)
            if album is None or record is None:
                return None
            grid = DensityGrid.from_compact(record.grid)
        except (OSError, ValueError, UnreadableFileError):
            return None
        return Density(
            epoch=epoch,
            n_pairs=grid.n_pairs,
            n_outside=album.view.n_outside(grid),
            n_nonfinite=grid.n_nonfinite_pairs,
            pixels=base64.b64encode(_pixels(grid, album.view)).decode("ascii"),
        )

    def _read(self, folder: Path) -> Album | None:
        with self._lock:  # one archive at a time: they are large
            path = folder / ARCHIVE_NAME
            try:
                status = os.stat(path)
            except FileNotFoundError:
                return None
            if not stat.S_ISREG(status.st_mode):
                raise ValueError("is not a regular file")
            if status.st_size > MAX_ARCHIVE_BYTES:
                raise ValueError(f"has {status.st_size} bytes, more than {MAX_ARCHIVE_BYTES}")
            signature = (status.st_ino, status.st_mtime_ns, status.st_size)
            album = self._album
            if album is None or self._folder != folder or album.signature != signature:
                records = {record.epoch: record for record in read_records(folder)}
                album = Album(signature, records, _view(records))
                self._folder, self._album = folder, album
            return album


def _view(records: dict[int, Record]) -> View:
    epochs = sorted(records)
    places = np.unique(np.linspace(0, len(epochs) - 1, min(N_FOR_VIEW, len(epochs))).astype(int))
    return view_of([DensityGrid.from_compact(records[epochs[place]].grid) for place in places])


def _pixels(grid: DensityGrid, view: View) -> bytes:
    """Return the density as bytes, the highest decoder weights first; see `Density.pixels`."""
    density = raster(grid, view, SIZE)[::-1]
    low, high = (math.log(limit) for limit in view.density)
    with np.errstate(divide="ignore"):
        share = (np.log(density) - low) / max(high - low, 1e-9)
    levels = np.clip(np.nan_to_num(1 + 254 * share, neginf=0.0), 1, 255)
    return np.where(density > 0, levels, 0).astype(np.uint8).tobytes()


def _none(trouble: str) -> Densities:
    return Densities(epochs=[], encoder=(0.0, 1.0), decoder=(0.0, 1.0), size=SIZE, trouble=trouble)


def _reason(error: Exception, folder: Path) -> str:
    text = error.strerror if isinstance(error, OSError) else str(error)
    return plain_text((text or "").replace(f"{folder / ARCHIVE_NAME}: ", ""))
