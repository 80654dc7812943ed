"""Memory of the trial: of this process, and of the GPU. Units: bytes."""

from __future__ import annotations

import resource

import torch

from diagnostics.contract.trials import MemoryUsed


def memory_used(device: torch.device) -> MemoryUsed:
    """Return the peaks so far."""
    if device.type != "cuda":
        return MemoryUsed(peak_bytes=status_bytes("VmHWM"))
    free, total = torch.cuda.mem_get_info(device)
    stats = torch.cuda.memory_stats(device)
    return MemoryUsed(
        peak_bytes=torch.cuda.max_memory_allocated(device),
        reserved_bytes=torch.cuda.max_memory_reserved(device),
        device_used_bytes=total - free,
        device_total_bytes=total,
        n_allocator_retries=int(stats.get("num_alloc_retries", 0)),
    )


def limit_growth(n_bytes: int) -> None:
    """Let the address space of this process grow by so much from here, and no further."""
    limit = status_bytes("VmSize") + n_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def status_bytes(key: str) -> int:
    """Return ``VmHWM`` or ``VmSize`` of this process (Linux).

    Not ru_maxrss: a child's begins with its parent's peak, because exec keeps it.
    """
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        line = next(line for line in status if line.startswith(f"{key}:"))
    return int(line.split()[1]) * 1024
