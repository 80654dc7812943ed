"""The messages between monitord and its render process: typed msgpack and raw arrays, no pickle.

A frame is an 8-byte length, then a 4-byte length of the head, the head (msgpack), and the bytes of
all arrays one after the other: float64 and bool, little-endian, in the order in which the head
names them.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from monitord.draw.request import DrawOptions, RenderJob
from monitord.series import TEST_LOSS, RunSeries

FRAME_LENGTH = struct.Struct("<Q")
HEAD_LENGTH = struct.Struct("<I")
MAX_FRAME_BYTES = 1 << 32


class RunHead(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What a frame says of one run; its arrays follow: epochs, values, non-finite marks."""

    name: str
    n_epochs: int
    values: list[str]
    nonfinite: list[str]
    restarts: list[int]
    n_planned: int | None
    born: int | None
    diagnostics_missing: str | None
    traces: dict[str, RunHead]


class JobHead(msgspec.Struct, frozen=True, kw_only=True):
    """One picture to be made. ``output`` is the path's bytes: names need not be UTF-8."""

    output: bytes
    options: DrawOptions
    runs: list[RunHead]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """How a picture went: ``reason`` is None if it was written; times in seconds."""

    reason: str | None
    took_s: float
    cpu_s: float


def encode_job(job: RenderJob) -> list[bytes]:
    """Return the frame of ``job`` in parts; only the series that its picture shows are sent."""
    shown = tuple(dict.fromkeys(job.options.shown_series()))
    arrays: list[bytes] = []
    heads = [_put_run(run, shown, arrays) for run in job.runs]
    head = msgspec.msgpack.encode(
        JobHead(output=os.fsencode(job.output), options=job.options, runs=heads)
    )
    body = b"".join(arrays)
    length = HEAD_LENGTH.size + len(head) + len(body)
    return [FRAME_LENGTH.pack(length), HEAD_LENGTH.pack(len(head)), head, body]


def decode_job(frame: bytes) -> RenderJob:
    """Return the job of a frame without its first length.

    Raises:
        ValueError: The frame is not what `encode_job` makes.
    """
    (n_head,) = HEAD_LENGTH.unpack_from(frame)
    start = HEAD_LENGTH.size
    head = msgspec.msgpack.decode(frame[start : start + n_head], type=JobHead)
    arrays = _Arrays(frame, start + n_head)
    runs = [_take_run(run, arrays) for run in head.runs]
    return RenderJob(output=Path(os.fsdecode(head.output)), runs=runs, options=head.options)


def _put_run(run: RunSeries, shown: tuple[str, ...], arrays: list[bytes]) -> RunHead:
    """Append the arrays of a run, those of its traces last, and return what describes them."""
    values = [name for name in shown if name in run.values]
    nonfinite = [name for name in shown if name in run.nonfinite]
    arrays += [run.epochs.astype("<f8", copy=False).tobytes()]
    arrays += [run.values[name].astype("<f8", copy=False).tobytes() for name in values]
    arrays += [run.nonfinite[name].astype("?", copy=False).tobytes() for name in nonfinite]
    missing = run.diagnostics_missing
    return RunHead(
        name=_utf8(run.name),
        n_epochs=run.epochs.size,
        values=values,
        nonfinite=nonfinite,
        restarts=[int(epoch) for epoch in run.restarts],
        n_planned=run.n_planned,
        born=run.born,
        diagnostics_missing=None if missing is None else _utf8(missing),
        traces={
            name: _put_run(trace, _own_names(name, shown), arrays)
            for name, trace in run.traces.items()
        },
    )


def _own_names(trace: str, shown: tuple[str, ...]) -> tuple[str, ...]:
    """Return the series of a trace that a picture shows, without the trace's name."""
    asked = (name.removeprefix(f"{trace}.") for name in shown if name.startswith(f"{trace}."))
    return tuple(dict.fromkeys((*asked, TEST_LOSS)))


class _Arrays:
    """Takes arrays out of a frame, one after the other."""

    def __init__(self, frame: bytes, offset: int) -> None:
        self._frame, self._offset = frame, offset

    def take(self, kind: str, n: int) -> NDArray[Any]:
        found = np.frombuffer(self._frame, kind, n, self._offset)
        self._offset += found.nbytes
        return found


def _take_run(head: RunHead, arrays: _Arrays) -> RunSeries:
    n = head.n_epochs
    return RunSeries(
        name=head.name,
        epochs=arrays.take("<f8", n),
        values={name: arrays.take("<f8", n) for name in head.values},
        nonfinite={name: arrays.take("?", n) for name in head.nonfinite},
        restarts=tuple(head.restarts),
        n_planned=head.n_planned,
        born=head.born,
        diagnostics_missing=head.diagnostics_missing,
        traces={name: _take_run(trace, arrays) for name, trace in head.traces.items()},
    )


def _utf8(text: str) -> str:
    """Return ``text`` without lone surrogates, which names of files that are no UTF-8 have."""
    return text.encode("utf-8", "replace").decode("utf-8")
