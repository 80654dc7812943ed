"""Messages between the consumer and its worker process, as msgpack over two pipes."""

from __future__ import annotations

from typing import Any

import msgspec

from diagnostics.contract.snapshot import Part, SnapshotHeader


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The worker has loaded its diagnostics.

    Attributes:
        names: Their names, in order.
        needs: The union of what they need of the snapshot.
        limits: Name to time limit in seconds.
        errors: Name to reason, for those that could not be loaded.
    """

    names: tuple[str, ...]
    needs: tuple[Part, ...]
    limits: dict[str, float]
    errors: dict[str, str]


class Task(msgspec.Struct, frozen=True, tag="task"):
    """An epoch to analyse; ``n_frames`` raw frames follow.

    Attributes:
        record: The event, as in the journal.
        header: Layout of the frames.
        n_frames: Number of frames.
        names: The diagnostics that are wanted.
        previous: Fields of the epoch before.
        fields: Fields of this epoch that are there already.
        last: Whether it is the last epoch as planned.
    """

    record: bytes
    header: SnapshotHeader
    n_frames: int
    names: tuple[str, ...]
    previous: dict[str, Any]
    fields: dict[str, Any]
    last: bool


class Began(msgspec.Struct, frozen=True, tag="began"):
    """A diagnostic is about to be loaded or to compute: from here on its time limit runs."""

    name: str


class Done(msgspec.Struct, frozen=True, tag="done"):
    """A diagnostic has ended; exactly one of ``fields`` and ``error`` is there."""

    name: str
    fields: dict[str, Any] | None
    error: str | None
