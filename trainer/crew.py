"""A crew: the threads that share the work of one step on the CPU.

PyTorch's own threads meet after every operation; with operations of a tenth of a millisecond they
spend more time meeting than working, and all wait when another process takes a core for a moment.
A crew meets a few times in a step: each member works through its part of the batch by itself, in
slices that stay in its core's cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any

import torch

PAIR_NUMBERS, MEMBER_NUMBERS = 100_000, 200_000
"""Coordinates of samples that each of two members needs, and each of more; with fewer, PyTorch's
own threads were faster. (Each of two: measured. More hold each other up more.)"""


class Pieces:
    """Work that members take piece by piece, whoever is free; see `Crew.begin`."""

    def __init__(self, crew: Crew, n: int, work: Callable[[int, int], Any]) -> None:
        """Prepare ``work(member, piece)`` for ``n`` pieces."""
        self._crew = crew
        self._left = iter(range(n))
        self._work = work
        self._are_taken = False
        self._started: list[Future[None]] = []

    def take(self, member: int, meeting: int | None = None) -> None:
        """Do pieces until there are none, or until a member is wanted at another meeting."""
        for piece in self._left:
            self._work(member, piece)
            if meeting not in (None, self._crew.n_meetings):
                return
        self._are_taken = True

    def start(self, members: Sequence[Executor], meeting: int) -> None:
        """Have the other members take pieces after what they have been given."""
        if self._are_taken:
            return
        self._started += [
            other.submit(self.take, member, meeting) for member, other in enumerate(members, 1)
        ]

    def complete(self) -> None:
        """Return when all pieces are done; the calling thread takes some too.

        Raises:
            Exception: What a piece raised, after all have ended.
        """
        self._crew.forget(self)
        self._crew.each(self.take)
        for future in self._started:
            future.result()


class Crew:
    """Members 0 to ``size - 1``; member 0 is the thread that calls.

    Attributes:
        size: Number of members.
        threads: PyTorch's own threads while the crew is at work (inside its ``with`` block); None
            leaves them as they are. Those of a larger crew than one are turned off.
        n_meetings: How often the members were called together.
    """

    def __init__(self, size: int = 1, threads: int | None = None) -> None:
        """Prepare a crew; its threads start with its ``with`` block."""
        self.size = size
        self.threads = threads if size == 1 else 1
        self.n_meetings = 0
        self._others: list[Executor] = []
        self._begun: Pieces | None = None

    def __enter__(self) -> Crew:
        self._threads_before = torch.get_num_threads()
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        if self.size > 1:
            # One thread each: what a member is given, it does in that order.
            self._others = [
                ThreadPoolExecutor(1, f"crew-{member}", _start_member)
                for member in range(1, self.size)
            ]
            self.each(lambda member: None)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._begun = None
        self.n_meetings += 1
        others, self._others = self._others, []
        for other in others:
            other.shutdown()
        if self.threads is not None:
            torch.set_num_threads(self._threads_before)

    def each(self, work: Callable[[int], Any]) -> None:
        """Call ``work(member)`` in every member's thread; return when all are done.

        Gradients are not recorded in the other members' threads.

        Raises:
            Exception: What a member raised, after all have ended.
        """
        if not self._others:
            for member in range(self.size):
                work(member)
            return
        self.n_meetings += 1
        running = [other.submit(work, member) for member, other in enumerate(self._others, 1)]
        if self._begun is not None:
            self._begun.start(self._others, self.n_meetings)
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
        Pieces(self, n, work).complete()

    def begin(self, n: int, work: Callable[[int, int], Any]) -> Pieces:
        """Begin what `deal` does at once: the other members take pieces when they have time.

        That is after their part of each meeting, until the next one, and until something else is
        begun. The caller completes what is returned.
        """
        self._begun = Pieces(self, n, work)
        return self._begun

    def forget(self, begun: Pieces) -> None:
        """Have the members take pieces of ``begun`` no more."""
        if self._begun is begun:
            self._begun = None

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
    numbers = batch_size * d
    paid = max(min(2, numbers // PAIR_NUMBERS), numbers // MEMBER_NUMBERS)
    return max(1, min(torch.get_num_threads(), batch_size // (2 * hidden), paid))
