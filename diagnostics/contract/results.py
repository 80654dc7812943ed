"""The results of a run, ``results.json``: schema, encoding and reading.

docs/results.md describes every field; ``history`` says how events become results.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from diagnostics.contract import strictjson
from diagnostics.contract.errors import UnreadableFileError
from diagnostics.contract.events import ProcessIdentity, Status
from diagnostics.contract.regular import read_regular

SCHEMA_VERSION = 1
Fields = dict[str, Any]


class Segment(msgspec.Struct, kw_only=True):
    """The work of one training process on the run.

    Attributes:
        segment: 0 for the first process, one more for each that resumed.
        started_at: When it began, ISO 8601 in UTC.
        ended_at: When it ended; null while it runs or if it died without a word.
        first_epoch: The first epoch that it was to complete.
        status: How it stands or ended.
        reason: Why it did not complete.
        process: The training process.
    """

    segment: int
    started_at: str
    ended_at: str | None = None
    first_epoch: int
    status: Status = "running"
    reason: str | None = None
    process: ProcessIdentity


class Trace(msgspec.Struct, kw_only=True):
    """A trace of stage two: a frozen encoder and the decoder that was trained on it.

    Attributes:
        trace: Number of the trace, from 0.
        comparison: ``test_scaled_loss`` of the trace's last epoch, ``stage1_test_scaled_loss`` of
            stage one's last, and their ``ratio``; null before the first epoch.
        training_history: As in stage one.
    """

    trace: int
    comparison: dict[str, float | None] | None = None
    training_history: list[msgspec.Raw]


class Stage2(msgspec.Struct, kw_only=True):
    """Stage two of a run.

    Attributes:
        mixture: The Gaussian mixture of stage one's encoder weights: ``shares``, ``means``,
            ``stds``, in the order of the means.
        traces: The traces that have begun, in order.
    """

    mixture: dict[str, tuple[float, ...]]
    traces: list[Trace]


class Results(msgspec.Struct, kw_only=True):
    """The document.

    Attributes:
        schema_version: Version of this schema.
        run_id: Random name of the run, the same in all of its segments.
        experiment_name: As configured.
        output_dir: The run's folder, absolute.
        status: running, completed, failed or interrupted.
        status_reason: Why it failed or was interrupted, else null.
        device: Where training runs or ran last.
        epochs: Number of epochs that stage one shall have at its end.
        stage2_epochs: Epochs of each trace in stage two; 0 without stage two.
        num_traces: Traces in stage two; 0 without stage two.
        started_at: When the first segment began, ISO 8601 in UTC.
        updated_at: When this file was written.
        ended_at: When the last segment ended, or null.
        training_duration_seconds: Wall time of all segments, null until the end of the first.
        process: The training process at work, or the last one.
        environment: Versions and hardware, name to text.
        segments: One entry for each training process that worked on the run.
        training_history: One entry per epoch: ``epoch``, ``train``, ``test``, ``timing``, ``at``,
            ``diagnostics`` where enabled, ``diagnostic_errors`` and ``nonfinite`` where there are.
        stage2: Stage two; null without it.
        final_metrics: The last epoch's ``epoch``, ``train``, ``test`` and ``diagnostics``; null
            until the end.
    """

    schema_version: int = SCHEMA_VERSION
    run_id: str
    experiment_name: str
    output_dir: str
    status: Status = "running"
    status_reason: str | None = None
    device: str
    epochs: int
    stage2_epochs: int = 0
    num_traces: int = 0
    started_at: str
    updated_at: str
    ended_at: str | None = None
    training_duration_seconds: float | None = None
    process: ProcessIdentity
    environment: dict[str, str]
    segments: list[Segment]
    training_history: list[msgspec.Raw]
    stage2: Stage2 | None = None
    final_metrics: Fields | None = None


class Stored(msgspec.Struct):
    """The entry of an epoch as far as applying further events needs it."""

    epoch: int
    diagnostics: Fields | None = None


def utc_now() -> str:
    """Return the present time in UTC, ISO 8601 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def seconds_since(at: str) -> float:
    """Return the seconds since a time that `utc_now` gave; 0 if it is none."""
    try:
        return (datetime.now(UTC) - datetime.fromisoformat(at)).total_seconds()
    except (ValueError, TypeError):
        return 0.0


def encode_results(results: Results) -> bytes:
    """Encode the document: strict JSON, one line for each field and each epoch."""
    lines = []
    for name in results.__struct_fields__:
        value = getattr(results, name)
        if name == "training_history":
            body = _lines(value, "    ")
        elif name == "stage2" and value is not None:
            traces = [
                b'{"trace": %d, "comparison": %s, "training_history": %s}'
                % (
                    trace.trace,
                    strictjson.encode(trace.comparison),
                    _lines(trace.training_history, "      "),
                )
                for trace in value.traces
            ]
            mixture = strictjson.encode(value.mixture)
            body = b'{"mixture": %s, "traces": %s}' % (mixture, _lines(traces, "    "))
        else:
            body = strictjson.encode(value)
        lines.append(b'  "%s": %s' % (name.encode(), body))
    return b"{\n" + b",\n".join(lines) + b"\n}\n"


def _lines(items: list[Any], indent: str) -> bytes:
    if not items:
        return b"[]"
    start = b"\n" + indent.encode()
    return b"[" + start + (b"," + start).join(map(bytes, items)) + start[:-2] + b"]"


def read_results(path: Path) -> Results:
    """Read a document that this project wrote.

    Raises:
        FileNotFoundError: There is none.
        UnreadableFileError: It is not one of this version.
    """
    try:
        return msgspec.json.decode(read_regular(path), type=Results)
    except FileNotFoundError:
        raise
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableFileError(f"{path}: not a results file of version 1: {error}") from None
