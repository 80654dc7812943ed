"""Batches made ahead: the next one in a thread of its own while this one is worked on."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future

from trainer.crew import Crew
from trainer.data import Batch, SignalSource


class BatchesAhead:
    """The batches of a source, each made while the one before it is worked on.

    They are the same batches: each is a function of seed, epoch and step alone. Two sources take
    turns, so that one's buffer can be filled while the other's is read; a batch is valid until the
    next one is asked for.
    """

    def __init__(self, new_source: Callable[[], SignalSource], crew: Crew) -> None:
        """Take what makes a source, and the crew whose feeder does the work."""
        self._at_work, self._next = new_source(), new_source()
        self.n_samples, self.batch_size = self._next.n_samples, self._next.batch_size
        self.n_batches = self._next.n_batches
        self._crew = crew
        self._coming: tuple[tuple[int, int], Future[Batch]] | None = None
        self._made: tuple[tuple[int, int], Batch] | None = None

    def batch(self, epoch: int, step: int) -> Batch:
        """Return batch ``step`` (from 0) of ``epoch``; asking for the last one again is free.

        Raises:
            Exception: What went wrong in the other thread.
        """
        place = epoch, step
        if self._made is not None and self._made[0] == place:
            return self._made[1]
        made = self._take(place)
        self._made = place, made
        self._at_work, self._next = self._next, self._at_work
        after = (epoch, step + 1) if step + 1 < self.n_batches else (epoch + 1, 0)
        source = self._next
        self._coming = after, self._crew.later(lambda: source.batch(*after))
        return made

    def _take(self, place: tuple[int, int]) -> Batch:
        """Return the batch that is being made, or, after a jump, make another one."""
        if self._coming is not None:
            coming, future = self._coming
            batch = future.result()
            if coming == place:
                return batch
        return self._next.batch(*place)
