"""Data-parallel training: the processes that ``torchrun`` started share every batch.

Each process is a rank. It computes the gradients of its part of the batch; they are averaged over
all, so the ranks' networks stay the same, and the mathematics is that of one process with the same
batch. Rank 0 alone writes. Everything that the ranks must agree on travels with the gradients.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor

from diagnostics.contract.errors import BlobwatchError
from trainer.rendezvous import meet

TIMEOUT = timedelta(minutes=10)
"""A rank that answers nothing for so long is lost; one that died is noticed at once."""
GPU_STEPS_BETWEEN_LOOKS = 16
"""On GPUs the ranks ask only so often who wants to stop: reading the answer waits for the GPU."""
STOPPED_GRACE_S, POLL_S = 20.0, 1e-3
"""Below the 30 s that torchrun leaves to those whom it has signalled."""


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
        self._n_steps = 0
        self._is_broken = False

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

    def average_gradients(self, parameters: Iterable[Tensor], share: float) -> None:
        """Replace gradients of means over each rank's samples by those of the mean over all.

        Args:
            parameters: The network's.
            share: This rank's samples by those of all.

        Raises:
            LostRankError: A rank is gone.
        """
        if self.size == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flag = float(bool(self._stop and self._stop.reason))
        flat = torch.cat(
            [*(g.flatten() * share for g in gradients), gradients[0].new_full((1,), flag)]
        )
        with self._noticing_losses():
            dist.all_reduce(flat)
        self._n_steps += 1
        if not (flat.is_cuda and self._n_steps % GPU_STEPS_BETWEEN_LOOKS):
            self._wait(flat)
            self._someone_stops = bool(flat[-1])
        parts = flat[:-1].split([gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def sum(self, values: Tensor) -> Tensor:
        """Replace values by their sums over all ranks, and return them.

        Raises:
            LostRankError: A rank is gone.
        """
        if self.size > 1:
            with self._noticing_losses():
                dist.all_reduce(values)
            self._wait(values)
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
        with self._noticing_losses():
            dist.broadcast(length, 0)
        self._wait(length)
        content = torch.zeros(int(length), dtype=torch.uint8, device=device)
        if self.is_writer and payload:
            content.copy_(torch.frombuffer(bytearray(payload), dtype=torch.uint8))
        if len(content):
            with self._noticing_losses():
                dist.broadcast(content, 0)
            self._wait(content)
        return content.cpu().numpy().tobytes()

    def leave(self) -> None:
        """End the connection; a broken one between GPUs ends with the process."""
        if self.size > 1 and not (self._is_broken and dist.get_backend() == "nccl"):
            dist.destroy_process_group()

    def _wait(self, values: Tensor) -> None:
        """Wait until values are there. NCCL only enqueues: what happens to it is seen here."""
        if values.is_cuda:
            done = torch.cuda.Event()
            done.record(torch.cuda.current_stream(values.device))
            self.wait_for(done.query)

    def wait_for(self, is_done: Callable[[], bool]) -> None:
        """Wait until the GPU is done, in Python, where signals are heard.

        ``torchrun`` signals the ranks that are left when one has died. Then nothing comes any more.

        Raises:
            LostRankError: A rank is gone.
        """
        gives_up_at = float("inf")
        with self._noticing_losses():
            while not is_done():
                time.sleep(POLL_S)
                if gives_up_at == float("inf") and self._stop and self._stop.reason:
                    gives_up_at = time.monotonic() + STOPPED_GRACE_S
                if time.monotonic() > gives_up_at:
                    raise RuntimeError(f"{self._stop and self._stop.reason}; no answer since")

    @contextmanager
    def _noticing_losses(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            self._is_broken = True
            line = (str(error).splitlines() or [type(error).__name__])[0]
            raise LostRankError(f"another process was lost ({line[:200]})") from None


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

    Raises:
        BlobwatchError: The device is one of several, or there are more ranks than GPUs.
    """
    on_gpu = device.startswith("cuda") and torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(_own_gpu(device, int(os.environ["LOCAL_RANK"])))
    store, rank, size = meet(TIMEOUT)
    backend = "nccl" if on_gpu else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=TIMEOUT)
    return Ranks(rank, size)


def _own_gpu(device: str, local_rank: int) -> int:
    if device != "cuda":
        raise BlobwatchError(
            f"data.device {device!r}: under torchrun each process takes its own GPU; set 'cuda'"
        )
    n = torch.cuda.device_count()
    if local_rank >= n:
        raise BlobwatchError(
            f"{n} GPUs here; start at most as many processes: --nproc-per-node {n}"
        )
    return local_rank
