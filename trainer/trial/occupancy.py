"""Memory of the trial: of this process, and of the GPU. Units: bytes."""

from __future__ import annotations

import contextlib
import ctypes
import resource
from collections.abc import Iterator

import msgspec
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


class PeakMeter:
    """The peaks of training: what an instrument uses within `excluded` does not count.

    The kernel's peak of a process can be started anew (proc(5), ``clear_refs``), and so can that of
    the GPU's allocator. Where it cannot, what was known before the first instrument stands.
    """

    def __init__(self, device: torch.device) -> None:
        """Read the peaks of this process and ``device``."""
        self._device = device
        self._known: MemoryUsed | None = None
        self._is_frozen = False

    def read(self) -> MemoryUsed:
        """Return the peaks so far."""
        if self._known is not None and self._is_frozen:
            return self._known
        now = memory_used(self._device)
        if self._known is None:
            return now
        return msgspec.structs.replace(
            now,
            peak_bytes=max(now.peak_bytes, self._known.peak_bytes),
            reserved_bytes=None
            if now.reserved_bytes is None
            else max(now.reserved_bytes, self._known.reserved_bytes or 0),
            device_used_bytes=None
            if now.device_used_bytes is None
            else max(now.device_used_bytes, self._known.device_used_bytes or 0),
        )

    @contextlib.contextmanager
    def excluded(self) -> Iterator[None]:
        """Within, nothing counts, and the limit of `limit_growth` does not hold."""
        self._known = self.read()
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        self._is_frozen = not _start_peaks_anew(self._device)


def _start_peaks_anew(device: torch.device) -> bool:
    """Let the peaks begin at what is in use now; return whether that was possible."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        return True
    # What the allocator holds but nobody uses would count from now on (malloc_trim(3), glibc).
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as references:
            references.write("5")
    except OSError:
        return False
    return True


def limit_growth(n_bytes: int) -> None:
    """Let the address space of this process grow by so much from here, and no further."""
    limit = status_bytes("VmSize") + n_bytes
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def status_bytes(key: str) -> int:
    """Return ``VmHWM`` or ``VmSize`` of this process (Linux).

    Not ru_maxrss: a child's begins with its parent's peak, because exec keeps it.
    """
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        line = next(line for line in status if line.startswith(f"{key}:"))
    return int(line.split()[1]) * 1024
