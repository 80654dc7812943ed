"""Messages between the trainer (ROUTER) and the diagnostics process (DEALER).

The consumer asks with `Fetch`: "I have applied ``cursor`` records, send up to ``credit`` more".
That is greeting, acknowledgement and heartbeat in one, so nothing depends on an earlier message.
The trainer answers each record with a `Deliver`, followed by the raw frames of its snapshot.
Messages are msgpack by schema; whatever does not fit is counted and ignored. docs/messages.md has
the rest.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from diagnostics.contract.snapshot import Part, SnapshotHeader

PROTOCOL_VERSION = 1
MAX_REQUEST_BYTES = 4096
MAX_CREDIT = 256


class Fetch(msgspec.Struct, frozen=True, kw_only=True):
    """What a consumer asks for.

    Attributes:
        protocol: Version of these messages.
        token: The run's secret, read from its private folder.
        cursor: Number of journal records that the consumer has applied and committed.
        credit: How many more records it wants before it asks again, 1 to `MAX_CREDIT`.
        needs: Parts of the snapshot that its diagnostics need; None while it does not know yet.
    """

    protocol: int = PROTOCOL_VERSION
    token: str
    cursor: int
    credit: int
    needs: tuple[Part, ...] | None = None


class Deliver(msgspec.Struct, frozen=True, kw_only=True):
    """One record of the journal; the frames of its snapshot follow as frames of their own.

    Attributes:
        protocol: Version of these messages.
        index: Position of the record in the journal, from 0.
        record: The record as the journal has it.
        snapshot: Layout of the frames that follow; None if the event has no snapshot.
    """

    protocol: int = PROTOCOL_VERSION
    index: int
    record: bytes
    snapshot: SnapshotHeader | None = None


_encoder = msgspec.msgpack.Encoder()
_fetch = msgspec.msgpack.Decoder(Fetch)
_deliver = msgspec.msgpack.Decoder(Deliver)


def encode(message: Fetch | Deliver) -> bytes:
    """Encode a message as msgpack."""
    return _encoder.encode(message)


def decode_fetch(frames: Sequence[bytes]) -> Fetch:
    """Decode and check a request.

    Raises:
        ValueError: It is malformed, of another version, or asks for something out of bounds.
    """
    if len(frames) != 1 or len(frames[0]) > MAX_REQUEST_BYTES:
        raise ValueError("a request is one frame of at most 4096 bytes")
    try:
        fetch = _fetch.decode(frames[0])
    except msgspec.DecodeError as error:
        raise ValueError(f"malformed request: {error}") from None
    if fetch.protocol != PROTOCOL_VERSION:
        raise ValueError(f"protocol {fetch.protocol}; this side speaks {PROTOCOL_VERSION}")
    if fetch.cursor < 0 or not 1 <= fetch.credit <= MAX_CREDIT:
        raise ValueError(f"cursor {fetch.cursor} or credit {fetch.credit} out of bounds")
    return fetch


def decode_deliver(frame: bytes) -> Deliver:
    """Decode the first frame of an answer.

    Raises:
        ValueError: It is malformed or of another version.
    """
    try:
        deliver = _deliver.decode(frame)
    except msgspec.DecodeError as error:
        raise ValueError(f"malformed answer: {error}") from None
    if deliver.protocol != PROTOCOL_VERSION:
        raise ValueError(f"protocol {deliver.protocol}; this side speaks {PROTOCOL_VERSION}")
    return deliver
