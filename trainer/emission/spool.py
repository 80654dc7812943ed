"""The spool: snapshots on disk until the diagnostics process has acknowledged them."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor

from diagnostics.contract.atomic import remove_leftovers, write_atomic
from diagnostics.contract.events import EpochEnded
from diagnostics.contract.snapshot import (
    PARTS,
    Part,
    SnapshotHeader,
    pack_snapshot,
    read_snapshot,
    snapshot_name,
    take_parts,
    unpack_snapshot,
)
from diagnostics.contract.trouble import Trouble

logger = logging.getLogger(__name__)

SHIPPED_BYTES = 16 << 20
"""Weights on the host up to this size are shipped as they are: the diagnostics process makes the
parts of them in time that nobody else wants."""
Frames = list[memoryview]


@dataclass(frozen=True, slots=True)
class WeightsCopy:
    """The weights after an epoch, copied.

    Attributes:
        encoder: W1 of shape (hidden, d), where the network lives.
        decoder: W2 of shape (d, hidden).
        ready: CUDA event after which the copy is complete; None on CPU.
        seed: Seed of the sample of pairs.
        epoch: The epoch that ended.
        trace: Its trace, None in stage one.
    """

    encoder: Tensor
    decoder: Tensor
    ready: torch.cuda.Event | None
    seed: int
    epoch: int
    trace: int | None

    @property
    def n_bytes(self) -> int:
        """Size of the copy in bytes."""
        return self.encoder.nbytes + self.decoder.nbytes


class Spool:
    """Keeps snapshots as files, up to a byte budget; what does not fit is marked as dropped."""

    def __init__(self, folder: Path, n_samples: int, budget_bytes: int) -> None:
        """Use ``folder``, which is created; files of an earlier process are kept and counted."""
        folder.mkdir(mode=0o700, exist_ok=True)
        remove_leftovers(folder, "")
        self._folder = folder
        self._n_samples = n_samples
        self._budget_bytes = budget_bytes
        self._sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
        self._trouble = Trouble()
        self._side: torch.cuda.Stream | None = None

    def put(
        self, copy: WeightsCopy, needs: Collection[Part] | None
    ) -> tuple[SnapshotHeader, Frames]:
        """Compute the parts that are needed, keep them, and return them.

        Args:
            copy: The weights.
            needs: The parts; None while nobody has said: then all parts that fit the budget.
        """
        wanted = set(PARTS if needs is None else needs)
        room = self._budget_bytes - sum(self._sizes.values())
        ships = copy.ready is None and copy.n_bytes <= min(SHIPPED_BYTES, room // 2)
        derived: tuple[Part, ...] = ()
        if wanted and ships:
            derived = tuple(part for part in PARTS if part in wanted and part != "weights")
            wanted = {"weights"}
        elif needs is None and copy.n_bytes > room:
            wanted.discard("weights")
        header, frames = self._take(copy, wanted)
        header = msgspec.structs.replace(header, derived=derived)
        if sum(frame.nbytes for frame in frames) > room:
            header = SnapshotHeader(
                n_pairs=header.n_pairs,
                dropped=f"snapshots waiting for diagnostics exceed {self._budget_bytes} bytes",
            )
            frames = []
        packed = pack_snapshot(header, frames)
        self._keep(packed, copy.epoch, copy.trace)
        # Not the frames from above: they may be the copied weights, which are used again.
        return unpack_snapshot(packed)

    def put_mark(self, epoch: int, trace: int | None, dropped: str) -> None:
        """Keep the mark that a snapshot was dropped, with its reason."""
        self._keep(pack_snapshot(SnapshotHeader(dropped=dropped), []), epoch, trace)

    def _keep(self, packed: bytes, epoch: int, trace: int | None) -> None:
        name = snapshot_name(epoch, trace)
        try:
            write_atomic(self._folder / name, packed, sync=False)
            self._sizes[name] = len(packed)
        except OSError as error:
            if self._trouble.is_news():
                reason = error.strerror
                logger.warning("%s: snapshots are not kept for now (%s)", self._folder, reason)
        else:
            self._trouble.is_over()

    def get(self, event: EpochEnded) -> tuple[SnapshotHeader, Frames] | None:
        """Return the snapshot of an epoch, or None if there is none."""
        try:
            return read_snapshot(self._folder / snapshot_name(event.epoch, event.trace))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            return SnapshotHeader(dropped=str(error)), []

    def remove(self, event: EpochEnded) -> None:
        """Forget the snapshot of an epoch whose diagnostics are in the results."""
        name = snapshot_name(event.epoch, event.trace)
        self._sizes.pop(name, None)
        with contextlib.suppress(OSError):
            (self._folder / name).unlink()

    def _take(self, copy: WeightsCopy, parts: Collection[Part]) -> tuple[SnapshotHeader, Frames]:
        if copy.ready is None:
            return self._compute(copy, parts)
        # One stream for all: memory that was freed on one is not used again on another.
        side = self._side = self._side or torch.cuda.Stream(copy.encoder.device)
        side.wait_event(copy.ready)
        with torch.cuda.device(copy.encoder.device), torch.cuda.stream(side):
            return self._compute(copy, parts)

    def _compute(self, copy: WeightsCopy, parts: Collection[Part]) -> tuple[SnapshotHeader, Frames]:
        encoder: Any = copy.encoder
        decoder: Any = copy.decoder
        if copy.ready is None:
            # NumPy views, not tensors: one parallel operation of PyTorch in this thread would make
            # OpenMP count a second team, and put training's threads to sleep between operations.
            encoder, decoder = encoder.numpy(), decoder.numpy()
        return take_parts(encoder, decoder, parts, n_samples=self._n_samples, seed=copy.seed)
