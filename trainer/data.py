"""Sparse signals with Gaussian noise, made on the device in whole batches.

Shapes: B samples of a batch, d coordinates, k active ones (``sparsity``). Each batch is a function
of (seed, split, epoch, step) alone (and of the kind of device), so batches do not depend on what
ran before or on the number of threads, and a run can be continued at any step.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from trainer.config import DataConfig
from trainer.crew import SOLO, Crew
from trainer.ranks import ALONE, Ranks

Split = Literal["train", "validation", "weights", "optimizer", "diagnostics"]
PAIRWISE_SPARSITY = 64
"""Up to this many active coordinates, Floyd's algorithm is cheaper than sorting random keys."""
BLOCK_NUMBERS = 1 << 16
GPU_BLOCKS = 8
NOISE = 1 << 63
"""In place of a step: the seed that an epoch's noise begins with."""


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch of the denoising task.

    Attributes:
        inputs: Signal plus noise; float32 of shape (B, d).
        active: Positions of the ones of the signal, distinct in each row; int64 of shape (B, k).
    """

    inputs: Tensor
    active: Tensor

    def __len__(self) -> int:
        return self.inputs.shape[0]


def stream_seed(seed: int, split: Split, epoch: int = 0, step: int = 0) -> int:
    """Return the seed of one independent random stream, an integer of 64 bits."""
    key = struct.pack("<QQQ", seed, epoch, step) + split.encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little")


class SignalSource:
    """Makes the batches of one split.

    The buffers are reused: a batch is valid until the next one is made.
    """

    def __init__(
        self,
        config: DataConfig,
        n_samples: int,
        batch_size: int,
        split: Split,
        device: torch.device,
        crew: Crew = SOLO,
        ranks: Ranks = ALONE,
    ) -> None:
        """Prepare to make ``n_samples`` an epoch; the last batch may be smaller.

        With several ranks, each makes its own rows of the same batches.
        """
        self.config = config
        self.n_samples = n_samples
        self.batch_size = min(batch_size, n_samples)
        self.split = split
        self.n_batches = -(-n_samples // self.batch_size)
        self._crew = crew
        self._generator = torch.Generator(device)
        self._noises = [torch.Generator(device) for _ in range(crew.size)]
        self._ranks = ranks
        self._block_rows = block_rows(self.batch_size, config.d, device)
        most = self.batch_size // ranks.size + 2 * self._block_rows
        self._inputs = torch.empty(min(self.batch_size, most), config.d, device=device)
        self._made: tuple[int, int, Batch] | None = None

    def batch(self, epoch: int, step: int) -> Batch:
        """Return batch ``step`` (from 0) of ``epoch``; asking for the last one again is free."""
        if self._made is not None and self._made[:2] == (epoch, step):
            return self._made[2]
        config = self.config
        self._generator.manual_seed(stream_seed(config.seed, self.split, epoch, step))
        size = min(self.batch_size, self.n_samples - step * self.batch_size)
        active = distinct_positions(size, config.d, config.sparsity, self._generator)
        mine = self._ranks.part(size)
        inputs, active = self._noise(epoch, step, size, mine), active[mine]
        inputs.scatter_add_(1, active, inputs.new_ones(()).expand(active.shape))
        batch = Batch(inputs, active)
        self._made = epoch, step, batch
        return batch

    def _noise(self, epoch: int, step: int, size: int, mine: slice) -> Tensor:
        """Return the noise of some rows of a batch of ``size``, in the buffer.

        It is made in blocks, each with a seed of its own, whichever member or rank makes it.
        """
        std, rows = self.config.noise_variance**0.5, self._block_rows
        # Neighbouring numbers, not hashes: PyTorch's generator on the CPU takes 32 bits of a seed,
        # and among that few the hashes of some ten thousand blocks would soon repeat.
        n_blocks = -(-self.batch_size // rows)
        seed = stream_seed(self.config.seed, self.split, epoch, NOISE) + step * n_blocks
        first = mine.start // rows
        buffer = self._inputs[: min(size, -(-mine.stop // rows) * rows) - first * rows]

        def fill(member: int, block: int) -> None:
            noise = self._noises[member]
            noise.manual_seed((seed + first + block) % 2**64)
            buffer[block * rows : (block + 1) * rows].normal_(std=std, generator=noise)

        self._crew.deal(-(-len(buffer) // rows), fill)
        return buffer[mine.start - first * rows : mine.stop - first * rows]


def block_rows(batch_size: int, d: int, device: torch.device) -> int:
    """Return how many rows of a batch get their noise from one seed."""
    if device.type == "cpu":
        return max(1, BLOCK_NUMBERS // d)
    return -(-batch_size // GPU_BLOCKS)


def distinct_positions(n_rows: int, d: int, k: int, generator: torch.Generator) -> Tensor:
    """Draw k distinct positions out of d for each row, every subset equally likely.

    Floyd's algorithm, all rows at once: draw from the first d-k+1, d-k+2, ... positions and take
    the last of them where the draw is there already (Bentley and Floyd, CACM 30, 1987).

    Returns:
        int64 tensor of shape (n_rows, k), in no particular order.
    """
    device = generator.device
    if k > PAIRWISE_SPARSITY:
        keys = torch.rand(n_rows, d, generator=generator, device=device)
        return keys.topk(k, dim=1, sorted=False).indices
    chosen = torch.empty(n_rows, k, dtype=torch.int64, device=device)
    for i, last in enumerate(range(d - k, d)):
        drawn = torch.randint(last + 1, (n_rows,), generator=generator, device=device)
        if i:
            taken = (chosen[:, :i] == drawn[:, None]).any(dim=1)
            drawn.masked_fill_(taken, last)
        chosen[:, i] = drawn
    return chosen
