"""Data-parallel training: the processes that ``torchrun`` started share every batch.

Each process is a rank. It computes the gradients of its part of the batch; they are averaged over
all, so the ranks' networks stay the same, and the mathematics is that of one process with the same
batch. Rank 0 alone writes. Everything that the ranks must agree on travels with the gradients.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor

from trainer.rendezvous import meet

TIMEOUT = timedelta(minutes=10)
"""A rank that answers nothing for so long is lost; one that died is noticed at once."""


class LostRankError(RuntimeError):
    """Another rank ended or cannot be reached."""


class Stop(Protocol):
    """Says whether training shall end after the batch at work."""

    @property
    def reason(self) -> str | None:
        """Why training shall end, or None to go on."""
        ...


class Ranks:
    """The ranks of a training, as one of them sees them; by default it is alone.

    Attributes:
        rank: Number of this one; rank 0 writes.
        size: How many there are.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        """Describe; see `join` for ranks that are connected."""
        self.rank = rank
        self.size = size
        self._stop: Stop | None = None
        self._someone_stops = False

    @property
    def is_writer(self) -> bool:
        """Whether this rank keeps the run's files."""
        return self.rank == 0

    @property
    def reason(self) -> str | None:
        """Why training shall end, known to all ranks after the same step."""
        if not self._someone_stops:
            return None
        return (self._stop and self._stop.reason) or "another process was stopped"

    def agree(self, stop: Stop) -> Stop:
        """Return a stop that all ranks obey after the same step."""
        if self.size == 1:
            return stop
        self._stop = stop
        return self

    def part(self, n: int) -> slice:
        """Return this rank's rows of ``n``."""
        return slice(n * self.rank // self.size, n * (self.rank + 1) // self.size)

    def average_gradients(self, parameters: Iterable[Tensor], n_samples: int) -> None:
        """Replace gradients of means over each rank's samples by those of the mean over all.

        Raises:
            LostRankError: A rank is gone.
        """
        if self.size == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        wants_to_stop = bool(self._stop and self._stop.reason)
        flat = torch.cat(
            [
                *(gradient.flatten() * n_samples for gradient in gradients),
                gradients[0].new_tensor([n_samples, wants_to_stop]),
            ]
        )
        self.sum(flat)
        n_all, self._someone_stops = float(flat[-2]), bool(flat[-1])
        parts = flat[:-2].split([gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient)).div_(n_all)

    def sum(self, values: Tensor) -> Tensor:
        """Replace values by their sums over all ranks, and return them.

        Raises:
            LostRankError: A rank is gone.
        """
        if self.size > 1:
            with _noticing_losses():
                dist.all_reduce(values)
        return values

    def share(self, payload: bytes | None) -> bytes:
        """Return rank 0's payload in every rank.

        Args:
            payload: What to share; ignored in other ranks.

        Raises:
            LostRankError: A rank is gone.
        """
        device = torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")
        length = torch.tensor([len(payload or b"")], device=device)
        with _noticing_losses():
            dist.broadcast(length, 0)
        content = torch.zeros(int(length), dtype=torch.uint8, device=device)
        if self.is_writer and payload:
            content.copy_(torch.frombuffer(bytearray(payload), dtype=torch.uint8))
        if len(content):
            with _noticing_losses():
                dist.broadcast(content, 0)
        return content.cpu().numpy().tobytes()

    def leave(self) -> None:
        """End the connection."""
        if self.size > 1:
            dist.destroy_process_group()


ALONE = Ranks()


def is_under_torchrun() -> bool:
    """Return whether ``torchrun`` started this process as one of several."""
    return "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def is_restarted() -> bool:
    """Return whether ``torchrun`` started all ranks again, after one was lost."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def join(device: str) -> Ranks:
    """Connect with the other ranks: NCCL between GPUs, gloo between CPUs.

    Args:
        device: ``data.device``; with ``cuda`` each rank of a machine takes its own GPU.
    """
    on_gpu = device.startswith("cuda") and torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    store, rank, size = meet(TIMEOUT)
    backend = "nccl" if on_gpu else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=TIMEOUT)
    return Ranks(rank, size)


@contextmanager
def _noticing_losses() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        line = (str(error).splitlines() or [type(error).__name__])[0]
        raise LostRankError(f"another process was lost ({line[:200]})") from None
