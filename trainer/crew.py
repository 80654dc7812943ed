"""A crew: the threads that share the work of one step on the CPU.

PyTorch's own threads meet after every operation; with operations of a tenth of a millisecond they
spend more time meeting than working, and all wait when another process takes a core for a moment.
A crew meets a few times in a step: each member works through its part of the batch by itself, in
slices that stay in its core's cache.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any

import torch

MEMBER_NUMBERS = 200_000
"""Coordinates of samples that a member needs; with fewer, PyTorch's own threads were faster."""


class Crew:
    """Members 0 to ``size - 1``; member 0 is the thread that calls.

    Attributes:
        size: Number of members.
        threads: PyTorch's own threads while the crew is at work (inside its ``with`` block); None
            leaves them as they are. Those of a larger crew than one are turned off.
    """

    def __init__(self, size: int = 1, threads: int | None = None) -> None:
        """Prepare a crew; its threads start with its ``with`` block."""
        self.size = size
        self.threads = threads if size == 1 else 1
        self._others: ThreadPoolExecutor | None = None

    def __enter__(self) -> Crew:
        self._threads_before = torch.get_num_threads()
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        if self.size > 1:
            self._others = ThreadPoolExecutor(self.size - 1, "crew", _start_member)
            self.each(lambda member: None)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._others is not None:
            self._others.shutdown()
            self._others = None
        if self.threads is not None:
            torch.set_num_threads(self._threads_before)

    def each(self, work: Callable[[int], Any]) -> None:
        """Call ``work(member)`` in every member's thread; return when all are done.

        Gradients are not recorded in the other members' threads.

        Raises:
            Exception: What a member raised, after all have ended.
        """
        if self._others is None:
            for member in range(self.size):
                work(member)
            return
        running = [self._others.submit(work, member) for member in range(1, self.size)]
        try:
            work(0)
        finally:
            for future in running:
                future.exception()
        for future in running:
            future.result()

    def deal(self, n: int, work: Callable[[int, int], Any]) -> None:
        """Call ``work(member, piece)`` once for each piece below ``n``, whichever member is free.

        So a member whose core is slow for a while takes fewer; what a piece gives must not depend
        on who takes it.
        """
        pieces = iter(range(n))

        def take(member: int) -> None:
            for piece in pieces:
                work(member, piece)

        self.each(take)

    def part(self, n: int, member: int) -> slice:
        """Return a member's part of ``n`` rows: contiguous, of nearly equal sizes."""
        return slice(n * member // self.size, n * (member + 1) // self.size)


def _start_member() -> None:
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)


SOLO = Crew()


def crew_size(batch_size: int, d: int, hidden: int) -> int:
    """Return how many members pay on the CPU, at most as many as PyTorch would use threads.

    Each member has gradients of its own, which are added up: cheap where a member has several times
    more samples than there are hidden units. And members hold each other up between operations,
    since Python runs one of them at a time: a member's part must be work of some milliseconds.
    """
    n = min(torch.get_num_threads(), batch_size // (2 * hidden), batch_size * d // MEMBER_NUMBERS)
    return max(1, n)
