"""The events of a run: what the trainer writes to the journal and ships to diagnostics.

They are typed, versioned and encoded as msgpack. docs/messages.md describes every field.
"""

from __future__ import annotations

from typing import Literal

import msgspec

SCHEMA_VERSION = 1

Status = Literal["running", "completed", "failed", "interrupted"]
EndStatus = Literal["completed", "failed", "interrupted"]
Metrics = dict[str, float]


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """Where the wall time of one epoch went.

    Attributes:
        train_seconds: Training, data included.
        test_seconds: Evaluation on the validation set.
        emit_seconds: Time that the event cost the training thread: the copy of this epoch's
            snapshot and the journal write of the epoch before.
        samples_per_second: Training samples by training time.
        peak_memory_bytes: Highest memory so far: of the GPU's allocator on CUDA, else of the
            process (resident set).
    """

    train_seconds: float
    test_seconds: float
    emit_seconds: float
    samples_per_second: float
    peak_memory_bytes: int


class ProcessIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """A process, told apart from a later one of the same number by its start time.

    Attributes:
        host: Network name of the machine.
        pid: Process number there.
        started_at: Start of the process, seconds since 1970 (UTC).
    """

    host: str
    pid: int
    started_at: float


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag=str.lower):
    """Base of all events.

    Attributes:
        at: When it happened, by the trainer's clock, ISO 8601 in UTC.
    """

    at: str


class RunStarted(Event, frozen=True, kw_only=True):
    """A training process began to work on the run, for the first time or again.

    Attributes:
        schema_version: Version of these events.
        run_id: Random name of the run, the same in all of its segments.
        segment: 0 for the first process, one more for each that resumed.
        experiment_name: As configured.
        output_dir: The run's folder, absolute.
        device: Where training runs, such as ``cpu`` or ``cuda:0``.
        epochs: Number of epochs that stage one shall have at its end.
        stage2_epochs: Number of epochs of each trace in stage two; 0 without stage two.
        num_traces: Number of traces in stage two; 0 without stage two.
        first_epoch: The first epoch that this process will complete, from 1.
        recorded: Trace (-1 for stage one) and epoch of the last one that the journal had; what
            results have beyond it was taken from a process that could not write its journal.
        process: The training process.
        environment: Versions and hardware, name to text.
        diagnostics: Whether diagnostics are enabled.
    """

    schema_version: int = SCHEMA_VERSION
    run_id: str
    segment: int
    experiment_name: str
    output_dir: str
    device: str
    epochs: int
    stage2_epochs: int = 0
    num_traces: int = 0
    first_epoch: int = 1
    recorded: tuple[int, int] | None = None
    process: ProcessIdentity
    environment: dict[str, str]
    diagnostics: bool


class TraceStarted(Event, frozen=True, kw_only=True):
    """A trace of stage two began: an encoder was drawn from a mixture and frozen.

    Attributes:
        trace: Number of the trace, from 0.
        shares: Share of each component of the Gaussian mixture fitted to the encoder weights of
            stage one, in the order of the means.
        means: Mean of each component.
        stds: Standard deviation of each component.
    """

    trace: int
    shares: tuple[float, ...]
    means: tuple[float, ...]
    stds: tuple[float, ...]


class EpochEnded(Event, frozen=True, kw_only=True):
    """An epoch was trained and evaluated.

    Attributes:
        epoch: Number of the epoch, from 1.
        trace: None in stage one; the number of the trace, from 0, in stage two.
        train: Means over the epoch's training samples: ``loss``, ``scaled_loss``, ``loss_on``,
            ``loss_off``; more names may follow.
        test: Means over the validation samples: ``scaled_loss``, ``loss_on``, ``loss_off``.
        timing: Where the time went.
    """

    epoch: int
    trace: int | None = None
    train: Metrics
    test: Metrics
    timing: Timing


class RunEnded(Event, frozen=True, kw_only=True):
    """The training process ended in an orderly way.

    Attributes:
        segment: The segment that ended.
        status: How it ended.
        reason: Why, in a sentence, unless it completed.
        training_duration_seconds: Wall time of all segments together.
    """

    segment: int
    status: EndStatus
    reason: str | None
    training_duration_seconds: float


AnyEvent = RunStarted | TraceStarted | EpochEnded | RunEnded

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[AnyEvent] = msgspec.msgpack.Decoder(AnyEvent)


def encode_event(event: AnyEvent) -> bytes:
    """Encode an event as msgpack; non-finite numbers stay what they are."""
    return _encoder.encode(event)


def decode_event(payload: bytes) -> AnyEvent:
    """Decode an event.

    Raises:
        msgspec.DecodeError: The payload is no event of this version (`msgspec.ValidationError`
            for a wrong type or a missing field).
    """
    return _decoder.decode(payload)
