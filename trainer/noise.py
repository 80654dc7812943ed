"""The noise of batches: made by a crew in blocks, and where that pays one batch ahead.

Shapes: B samples of a batch, d coordinates.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from trainer.crew import Crew, Pieces
from trainer.ranks import Ranks

BLOCK_NUMBERS = 1 << 16
GPU_BLOCKS = 8
AHEAD_BYTES = 16 << 20
"""Batches up to this size are made ahead, beside what one thread does alone in a step. In a step
with a larger one that is hardly any time, and a second buffer is much memory."""


class Begun(NamedTuple):
    """The noise of a batch, (B, d), of which pieces may still be missing."""

    key: tuple[int, int]
    noise: Tensor
    pieces: Pieces


class NoiseSource:
    """Makes independent N(0, std^2) numbers for the batches of one split.

    A block of rows has a seed of its own, whichever member or rank makes it. The buffers are
    reused: a batch's noise is valid until the next is asked for.
    """

    def __init__(
        self,
        std: float,
        shape: tuple[int, int],
        n_samples: int,
        first_seed: Callable[[int], int],
        device: torch.device,
        crew: Crew,
        ranks: Ranks,
    ) -> None:
        """Prepare.

        Args:
            std: Standard deviation.
            shape: (B, d) of a batch of all ranks together.
            n_samples: Samples an epoch; its last batch may be smaller.
            first_seed: Gives the seed that an epoch's first block has; the others count on.
            device: Where it is made.
            crew: Who makes it.
            ranks: This process makes its own rows of each batch.
        """
        self._std = std
        self._batch_size, d = shape
        self._n_samples = n_samples
        self._first_seed = first_seed
        self._crew = crew
        self._ranks = ranks
        self._block_rows = block_rows(self._batch_size, d, device)
        self._generators = [torch.Generator(device) for _ in range(crew.size)]
        most = min(self._batch_size, self._batch_size // ranks.size + 2 * self._block_rows)
        is_ahead = crew.size > 1 and 4 * most * d <= AHEAD_BYTES
        self._buffers = [torch.empty(most, d, device=device) for _ in range(1 + is_ahead)]
        self._ahead: Begun | None = None

    def rows(self, step: int) -> int:
        """Return the number of samples in a batch of all ranks together."""
        return min(self._batch_size, self._n_samples - step * self._batch_size)

    def batch(self, epoch: int, step: int) -> Tensor:
        """Return the noise of this process's rows of a batch."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            ahead.pieces.complete()
        if ahead is None or ahead.key != (epoch, step):
            ahead = self._begin(epoch, step)
            ahead.pieces.complete()
        if len(self._buffers) > 1 and self.rows(step + 1) > 0:
            self._ahead = self._begin(epoch, step + 1)
        return ahead.noise

    def _begin(self, epoch: int, step: int) -> Begun:
        size, rows = self.rows(step), self._block_rows
        mine = self._ranks.part(size)
        # Neighbouring numbers, not hashes: PyTorch's generator on the CPU takes 32 bits of a seed,
        # and among that few the hashes of some ten thousand blocks would soon repeat.
        n_blocks = -(-self._batch_size // rows)
        first = mine.start // rows
        seed = self._first_seed(epoch) + step * n_blocks + first
        whole = self._buffers[step % len(self._buffers)]
        whole = whole[: min(size, -(-mine.stop // rows) * rows) - first * rows]

        def fill(member: int, block: int) -> None:
            generator = self._generators[member]
            generator.manual_seed((seed + block) % 2**64)
            whole[block * rows : (block + 1) * rows].normal_(std=self._std, generator=generator)

        pieces = self._crew.begin(-(-len(whole) // rows), fill)
        noise = whole[mine.start - first * rows : mine.stop - first * rows]
        return Begun((epoch, step), noise, pieces)


def block_rows(batch_size: int, d: int, device: torch.device) -> int:
    """Return how many rows of a batch get their noise from one seed."""
    if device.type == "cpu":
        return max(1, BLOCK_NUMBERS // d)
    return -(-batch_size // GPU_BLOCKS)
