"""``density_archive``: keeps every epoch's density grid, so that a movie needs no checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from diagnostics.contract.density_archive import DEFAULT_MAX_BYTES, ArchiveWriter
from diagnostics.contract.protocol import Epoch, Value
from diagnostics.contract.snapshot import Part


class DensityArchive:
    """Appends the grid of each epoch of stage one to ``densities.log`` in the run's folder."""

    name = "density_archive"
    needs: frozenset[Part] = frozenset({"density"})

    def __init__(self, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        """Set the size beyond which every other epoch is dropped."""
        if max_bytes < 1:
            raise ValueError(f"max_bytes: got {max_bytes}; accepted: positive numbers")
        self.max_bytes = max_bytes
        self._writer: tuple[Path, ArchiveWriter] | None = None

    def compute(self, epoch: Epoch) -> Mapping[str, Value]:
        """Keep the grid; return the archive's size and number of epochs.

        Stage two is left out: its encoders are frozen, and its epochs' numbers begin again.
        """
        if epoch.event.trace is not None:
            return {}
        if self._writer is None or self._writer[0] != epoch.folder:
            self.close()
            self._writer = epoch.folder, ArchiveWriter(epoch.folder, self.max_bytes)
        writer = self._writer[1]
        writer.add(epoch.event.epoch, epoch.snapshot.density, last=epoch.last)
        return {
            "density_archive_epochs": len(writer.epochs),
            "density_archive_bytes": writer.n_bytes,
        }

    def close(self) -> None:
        """Close the archive, if one is open."""
        if self._writer is not None:
            self._writer[1].close()
            self._writer = None
