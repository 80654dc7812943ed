"""A crew: the threads that share the work of one step on the CPU.

PyTorch's own threads meet after every operation; with operations of a tenth of a millisecond they
spend more time meeting than working, and all wait when another process takes a core for a moment.
A crew meets a few times in a step: each member works through its part of the batch by itself, in
slices that stay in its core's cache. Where a step is too small even for that (the members would
wait for Python's lock, not work), one thread does it all and another makes the next batch.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, TypeVar

import torch

Result = TypeVar("Result")
SMALL_MEMBER = 1 << 17
"""With fewer activations than this for each thread, operations are too short to be shared."""
MAX_FED_BYTES = 64 << 20
"""Largest batch that is made ahead: it takes a second buffer."""


class Crew:
    """Members 0 to ``size - 1``; member 0 is the thread that calls.

    Attributes:
        size: Number of members. A crew of one leaves threading to PyTorch; a larger one turns
            PyTorch's own threads off while it is at work (inside its ``with`` block).
        has_feeder: Whether a thread beside the one member can make batches ahead; PyTorch then has
            one thread less.
    """

    def __init__(self, size: int = 1, *, has_feeder: bool = False) -> None:
        """Prepare a crew; its threads start with its ``with`` block."""
        self.size, self.has_feeder = size, has_feeder
        self._others: ThreadPoolExecutor | None = None

    def __enter__(self) -> Crew:
        if self.size > 1 or self.has_feeder:
            before = self._threads_before = torch.get_num_threads()
            torch.set_num_threads(max(1, before - 1) if self.has_feeder else 1)
            self._others = ThreadPoolExecutor(max(1, self.size - 1), "crew", _start_member)
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

    def later(self, work: Callable[[], Result]) -> Future[Result]:
        """Let the feeder do ``work`` while this thread goes on; without one, do it now."""
        if self._others is not None:
            return self._others.submit(work)
        done: Future[Result] = Future()
        done.set_result(work())
        return done

    def part(self, n: int, member: int) -> slice:
        """Return a member's part of ``n`` rows: contiguous, of nearly equal sizes."""
        return slice(n * member // self.size, n * (member + 1) // self.size)


def _start_member() -> None:
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)


SOLO = Crew()


def best_crew(batch_size: int, d: int, hidden: int, device: torch.device) -> Crew:
    """Return the crew that pays: as many members as PyTorch would use threads, or one.

    Each member has gradients of its own, which are added up; that is cheap where a member has
    several times more samples than there are hidden units. A small step is done by one member,
    with a feeder beside it.
    """
    n_threads = torch.get_num_threads()
    if device.type != "cpu" or n_threads == 1:
        return SOLO
    if batch_size * hidden < SMALL_MEMBER * n_threads:
        return Crew(has_feeder=4 * batch_size * d <= MAX_FED_BYTES)
    return Crew(n_threads if batch_size >= 2 * hidden * n_threads else 1)
