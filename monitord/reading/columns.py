"""A growing table of float columns by epoch: the memory of one run.

Rows are appended into spare capacity, so that n epochs cost O(n) in all, and a `RunSeries` made
earlier stays valid: it is a view of the first rows.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from monitord.series import AT, Floats

Marks = NDArray[np.bool_]
MAX_SERIES = 2_000
"""More names than this in one run are ignored: a file must not fill the memory with names."""


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive epochs, as read from a file.

    Attributes:
        epochs: Epoch numbers; float64 of shape (n_epochs,).
        values: Dotted name to float64 of shape (n_epochs,), NaN where there is no value; ``at``
            in seconds since 1970.
        nonfinite: Dotted name to bool of shape (n_epochs,), True where NaN or an infinity was
            recorded.
    """

    epochs: Floats
    values: dict[str, Floats]
    nonfinite: dict[str, Marks] = field(default_factory=dict)


_generations = itertools.count(1)


class Columns:
    """Epochs in increasing order, and every numeric series over them.

    Attributes:
        n_epochs: How many epochs there are.
        n_puts: How often something was put in; the stamp of what was put in last.
        generation: Another number whenever epochs were taken away, unique in this process.
    """

    def __init__(self) -> None:
        """Begin without epochs."""
        self.n_epochs = 0
        self.n_puts = 0
        self.generation = next(_generations)
        self._stamps = np.empty(0, dtype=np.int64)
        self._epochs: Floats = np.empty(0)
        self._values: dict[str, Floats] = {}
        self._nonfinite: dict[str, Marks] = {}

    @property
    def epochs(self) -> Floats:
        """Epoch numbers, increasing; float64 of shape (n_epochs,)."""
        return self._epochs[: self.n_epochs]

    @property
    def stamps(self) -> NDArray[np.int64]:
        """Which `put` (1, 2, ...) wrote each epoch last; int64 of shape (n_epochs,)."""
        return self._stamps[: self.n_epochs]

    def values(self) -> dict[str, Floats]:
        """Return dotted name to float64 of shape (n_epochs,): views, not copies."""
        return {name: column[: self.n_epochs] for name, column in self._values.items()}

    def series(self) -> dict[str, Floats]:
        """Return the same without ``at``, which is no series."""
        return {name: column for name, column in self.values().items() if name != AT}

    def nonfinite(self) -> dict[str, Marks]:
        """Return dotted name to bool of shape (n_epochs,), for names with such an epoch."""
        return {name: marks[: self.n_epochs] for name, marks in self._nonfinite.items()}

    def get(self, name: str) -> Floats | None:
        """Return one series of shape (n_epochs,), or None."""
        column = self._values.get(name)
        return None if column is None else column[: self.n_epochs]

    def names(self) -> list[str]:
        """Return the dotted names of all series."""
        return list(self.series())

    def last_epoch(self) -> int:
        """Return the number of the last epoch, 0 if there is none."""
        return int(self._epochs[self.n_epochs - 1]) if self.n_epochs else 0

    def put(self, block: Block) -> None:
        """Add epochs, or overwrite those that are known already (as late diagnostics do)."""
        if not len(block.epochs):
            return
        self.n_puts += 1
        if not len(self._epochs) and len(block.values) <= MAX_SERIES:
            # the first reading is taken over as it is: most runs are finished and never grow
            self._epochs, self.n_epochs = block.epochs, len(block.epochs)
            self._values, self._nonfinite = dict(block.values), dict(block.nonfinite)
            self._stamps = np.full(self.n_epochs, self.n_puts)
            return
        rows = self._rows_for(block.epochs)
        for name, values in block.values.items():
            column = self._values.get(name)
            if column is None:
                if len(self._values) >= MAX_SERIES:
                    continue
                column = self._values[name] = np.full(len(self._epochs), np.nan)
            column[rows] = values
        for name, marks in self._nonfinite.items():
            if name in block.values:
                marks[rows] = False
        for name, new in block.nonfinite.items():
            marks = self._nonfinite.setdefault(name, np.zeros(len(self._epochs), dtype=np.bool_))
            marks[rows] = new
        self._stamps[rows] = self.n_puts  # after the values: a reader beside us may see old ones

    def cut_from(self, epoch: int) -> None:
        """Forget ``epoch`` and all later ones: they are being trained again.

        The rows move to fresh memory, since a `RunSeries` may still show the old ones.
        """
        n_kept = int(np.searchsorted(self.epochs, epoch))
        order = np.arange(n_kept)
        self._rearrange(self._epochs[:n_kept].copy(), order)
        self.n_epochs = n_kept
        self.generation = next(_generations)

    def _rows_for(self, epochs: Floats) -> slice | NDArray[np.intp]:
        n_old, n_new = self.n_epochs, len(epochs)
        if n_old == 0 or epochs[0] > self._epochs[n_old - 1]:
            self._reserve(n_old + n_new)
            self._epochs[n_old : n_old + n_new] = epochs
            self.n_epochs = n_old + n_new
            return slice(n_old, n_old + n_new)
        union = np.union1d(self.epochs, epochs)
        if len(union) > n_old:
            if np.array_equal(union[:n_old], self.epochs):
                self._reserve(len(union))
                self._epochs[: len(union)] = union
            else:
                self._rearrange(union, np.searchsorted(union, self.epochs))
            self.n_epochs = len(union)
        return np.searchsorted(union, epochs)

    def _reserve(self, n_rows: int) -> None:
        if n_rows <= len(self._epochs):
            return
        # The first reading is exact (most runs are finished); growth doubles.
        size = n_rows if not len(self._epochs) else max(n_rows, 2 * len(self._epochs), 32)
        self._rearrange(np.resize(self._epochs, size), np.arange(self.n_epochs), size)

    def _rearrange(self, epochs: Floats, places: NDArray[np.intp], size: int | None = None) -> None:
        size = len(epochs) if size is None else size
        n_kept = len(places)
        for name, column in self._values.items():
            fresh = np.full(size, np.nan)
            fresh[places] = column[:n_kept]
            self._values[name] = fresh
        for name, marks in self._nonfinite.items():
            moved = np.zeros(size, dtype=np.bool_)
            moved[places] = marks[:n_kept]
            self._nonfinite[name] = moved
        stamps = np.zeros(size, dtype=np.int64)
        stamps[places] = self._stamps[:n_kept]
        self._stamps = stamps
        self._epochs = epochs
