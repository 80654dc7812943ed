"""The messages between monitord and its render process: typed msgpack and raw arrays, no pickle.

A frame is an 8-byte length, then a 4-byte length of the head, the head (msgpack), and the bytes of
all arrays one after the other: float64 and bool, little-endian, in the order in which the head
names them.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

import msgspec
import numpy as np

from monitord.draw.request import DrawOptions, RenderJob
from monitord.series import RunSeries

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
    shown = job.options.shown_series()
    heads: list[RunHead] = []
    arrays: list[bytes] = []
    for run in job.runs:
        values = [name for name in dict.fromkeys(shown) if name in run.values]
        nonfinite = [name for name in dict.fromkeys(shown) if name in run.nonfinite]
        heads.append(
            RunHead(
                name=_utf8(run.name),
                n_epochs=run.epochs.size,
                values=values,
                nonfinite=nonfinite,
                restarts=[int(epoch) for epoch in run.restarts],
                n_planned=run.n_planned,
                born=run.born,
                diagnostics_missing=None
                if run.diagnostics_missing is None
                else _utf8(run.diagnostics_missing),
            )
        )
        arrays += [run.epochs.astype("<f8", copy=False).tobytes()]
        arrays += [run.values[name].astype("<f8", copy=False).tobytes() for name in values]
        arrays += [run.nonfinite[name].astype("?", copy=False).tobytes() for name in nonfinite]
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
    offset = start + n_head
    runs = []
    for run in head.runs:
        n = run.n_epochs
        epochs = np.frombuffer(frame, "<f8", n, offset)
        offset += 8 * n
        values = {}
        for name in run.values:
            values[name] = np.frombuffer(frame, "<f8", n, offset)
            offset += 8 * n
        nonfinite = {}
        for name in run.nonfinite:
            nonfinite[name] = np.frombuffer(frame, "?", n, offset)
            offset += n
        runs.append(
            RunSeries(
                name=run.name,
                epochs=epochs,
                values=values,
                nonfinite=nonfinite,
                restarts=tuple(run.restarts),
                n_planned=run.n_planned,
                born=run.born,
                diagnostics_missing=run.diagnostics_missing,
            )
        )
    return RenderJob(output=Path(os.fsdecode(head.output)), runs=runs, options=head.options)


def _utf8(text: str) -> str:
    """Return ``text`` without lone surrogates, which names of files that are no UTF-8 have."""
    return text.encode("utf-8", "replace").decode("utf-8")
