"""The records that the diagnostics process has not acknowledged yet."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

from diagnostics.contract.journal import read_journal


class Backlog:
    """Records of the journal by their index, from the first that is still wanted to the newest.

    Attributes:
        acknowledged: Number of records that the consumer has applied.
    """

    def __init__(self, records: Sequence[bytes]) -> None:
        """Begin with all of ``records``."""
        self._records = deque(records)
        self._first = 0
        self.acknowledged = 0

    def __len__(self) -> int:
        """Return the number of records that there ever were."""
        return self._first + len(self._records)

    @property
    def first(self) -> int:
        """Index of the first record that is still kept."""
        return self._first

    def append(self, record: bytes) -> None:
        """Add the newest record."""
        self._records.append(record)

    def __getitem__(self, index: int) -> bytes:
        """Return a record that is still kept."""
        return self._records[index - self._first]

    def acknowledge(self, cursor: int) -> Iterator[tuple[int, bytes]]:
        """Drop the records before ``cursor``; yield each with its index."""
        self.acknowledged = max(self.acknowledged, cursor)
        while self._first < cursor:
            self._first += 1
            yield self._first - 1, self._records.popleft()

    def rewind(self, cursor: int, journal: Path) -> bool:
        """Take up records again that were acknowledged: the results were lost and are rebuilt.

        Returns:
            Whether the journal still had them.
        """
        earlier = read_journal(journal).payloads[cursor : self._first]
        if len(earlier) < self._first - cursor:
            return False
        self._records.extendleft(reversed(earlier))
        self._first = self.acknowledged = cursor
        return True
