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
from trainer.noise import NoiseSource
from trainer.ranks import ALONE, Ranks

Split = Literal["train", "validation", "weights", "optimizer", "diagnostics"]
PAIRWISE_SPARSITY = 64
"""Up to this many active coordinates, Floyd's algorithm is cheaper than sorting random keys."""
NOISE = 1 << 63
"""In place of a step: the seed that an epoch's noise begins with."""


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch of the denoising task.

    Attributes:
        inputs: Signal plus noise; float32 of shape (B, d).
        active: Positions of the ones of the signal, distinct in each row; int64 of shape (B, k).
        share: These samples by those of all ranks' parts of the same batch.
    """

    inputs: Tensor
    active: Tensor
    share: float = 1.0

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
        self._generator = torch.Generator(device)
        self._ranks = ranks
        self._noise = NoiseSource(
            config.noise_variance**0.5,
            (self.batch_size, config.d),
            n_samples,
            lambda epoch: stream_seed(config.seed, split, epoch, NOISE),
            device,
            crew,
            ranks,
        )
        self._made: tuple[int, int, Batch] | None = None

    def batch(self, epoch: int, step: int) -> Batch:
        """Return batch ``step`` (from 0) of ``epoch``; asking for the last one again is free."""
        if self._made is not None and self._made[:2] == (epoch, step):
            return self._made[2]
        config = self.config
        self._generator.manual_seed(stream_seed(config.seed, self.split, epoch, step))
        size = self._noise.rows(step)
        active = distinct_positions(size, config.d, config.sparsity, self._generator)
        inputs, active = self._noise.batch(epoch, step), active[self._ranks.part(size)]
        inputs.scatter_add_(1, active, inputs.new_ones(()).expand(active.shape))
        batch = Batch(inputs, active, len(inputs) / size)
        self._made = epoch, step, batch
        return batch


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
