"""Where the ranks of one start of a training meet.

``torchrun`` keeps its key-value store when it starts the ranks again, and PyTorch does not tell the
starts apart: a new rank may read the address of one that died (its restart counter cannot help,
each machine has its own). So the ranks first agree on a prefix that was never used before.
"""

from __future__ import annotations

import os
import time
import uuid
from datetime import timedelta

from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

PAUSE_S = 0.02


def meet(timeout: timedelta) -> tuple[Store, int, int]:
    """Return a store that only the ranks of this start use, this one's rank, and how many they are.

    Raises:
        TimeoutError: Not all ranks came within the timeout (rank 0).
        torch.distributed.DistStoreError: Rank 0 did not come within the timeout (other ranks).
    """
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    store, _, _ = next(rendezvous("env://", rank, size, timeout=timeout))
    store.set_timeout(timeout)
    prefix = _invite(store, size, timeout) if rank == 0 else _accept(store, rank)
    return PrefixStore(prefix, store), rank, size


def _invite(store: Store, size: int, timeout: timedelta) -> str:
    """As rank 0, answer every rank that knocks until all of this start have come in."""
    prefix = f"blobwatch/{uuid.uuid4().hex}"
    deadline = time.monotonic() + timeout.total_seconds()
    waiting = set(range(1, size))
    while waiting:
        for rank in sorted(waiting):
            knock = f"blobwatch/knock/{rank}"
            if store.check([knock]):  # perhaps one of an earlier start: then nobody comes in
                store.set(f"blobwatch/answer/{store.get(knock).decode()}", prefix)
            if store.check([f"{prefix}/in/{rank}"]):
                waiting.discard(rank)
        if time.monotonic() > deadline:
            raise TimeoutError(f"ranks {sorted(waiting)} did not come")
        time.sleep(PAUSE_S)
    return prefix


def _accept(store: Store, rank: int) -> str:
    """Knock as nobody did before, and come in where rank 0 says."""
    name = uuid.uuid4().hex
    store.set(f"blobwatch/knock/{rank}", name)
    prefix = str(store.get(f"blobwatch/answer/{name}"), "ascii")
    store.set(f"{prefix}/in/{rank}", "")
    return prefix
