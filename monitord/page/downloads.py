"""What can be taken away: a run's numbers as CSV or JSON, pictures as PNG or SVG."""

from __future__ import annotations

import csv
import io
import math
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from diagnostics.contract import strictjson
from monitord.draw.process import (
    RenderProcess,
    WorkerDiedError,
    WorkerHungError,
    WorkerStoppedError,
)
from monitord.draw.request import DrawOptions, RenderJob
from monitord.page.board import Entry
from monitord.page.points import shown_name
from monitord.page.replies import shown
from monitord.series import RunSeries

MAX_NUMBERS = 5_000_000
ROWS_AT_ONCE = 500
MAX_WAITING = 4
DRAW_LIMIT_S = 60.0


class TooMuchError(Exception):
    """More was asked for than one answer may hold; the message says what to do instead."""


def check_size(entry: Entry) -> None:
    """Raise `TooMuchError` if a run has more numbers than a download may hold."""
    n_numbers = entry.series.epochs.size * (1 + len(entry.series.values))
    if n_numbers > MAX_NUMBERS:
        raise TooMuchError(
            f"{n_numbers:,} numbers, more than {MAX_NUMBERS:,}: take the run's results.json"
        )


def csv_of(entry: Entry) -> Iterator[bytes]:
    """Yield a run's numbers as CSV, an epoch a line; what has no value is empty."""
    series = entry.series
    recorded = series.recorded()
    yield _line(["epoch", *map(_harmless, recorded)])
    columns = [series.epochs, *recorded.values()]
    marks = [None, *(series.nonfinite.get(name) for name in recorded)]
    for start in range(0, series.epochs.size, ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        block = [
            _cells(column[part].tolist(), None if mark is None else mark[part])
            for column, mark in zip(columns, marks, strict=True)
        ]
        yield b"".join(_line(row) for row in zip(*block, strict=True))


def _cells(values: list[float], marks: np.ndarray | None) -> list[str]:
    cells = ["" if math.isnan(v) else repr(v).removesuffix(".0") for v in values]
    for place in np.flatnonzero(marks) if marks is not None else ():
        cells[place] = repr(values[place])  # nan, inf or -inf
    return cells


def _line(cells: Sequence[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode("utf-8", "replace")


def _harmless(name: str) -> str:
    """Return a name that no spreadsheet takes for a formula."""
    name = shown_name(name)
    return f"'{name}" if name[:1] in ("=", "+", "-", "@", "\t") else name


def json_of(entry: Entry) -> bytes:
    """Return a run's configuration and numbers as strict JSON."""
    series = entry.series
    content = {
        "name": entry.row.name,
        "state": entry.row.state,
        "config": shown(series.config),
        "restarts": list(series.restarts),
        "epochs": series.epochs,
        "series": {shown_name(name): column for name, column in series.recorded().items()},
        "nonfinite": {shown_name(n): series.epochs[m] for n, m in series.nonfinite.items()},
    }
    return strictjson.encode(content)


class PictureMaker:
    """Draws pictures on request, one at a time, in the process that draws all pictures.

    The process starts with the first picture and ends with the server.
    """

    def __init__(self) -> None:
        """Start nothing yet."""
        self._lock = threading.Lock()
        self._waiting = threading.BoundedSemaphore(MAX_WAITING)
        self._process: RenderProcess | None = None
        self._closed = False

    def draw(
        self, runs: Sequence[RunSeries], options: DrawOptions, kind: Literal["png", "svg"]
    ) -> bytes:
        """Return a picture of ``runs``.

        Raises:
            TooMuchError: Too many pictures are waiting already, or it could not be drawn.
        """
        if not self._waiting.acquire(blocking=False):
            raise TooMuchError("too many pictures are being drawn; try again in a moment")
        try:
            with self._lock, tempfile.TemporaryDirectory(prefix="monitord-") as folder:
                if self._closed:
                    raise TooMuchError("the monitor is ending")
                self._process = self._process or RenderProcess(nice=5)
                job = RenderJob(output=Path(folder) / f"run.{kind}", runs=runs, options=options)
                answer = self._process.draw(job, timeout_s=DRAW_LIMIT_S)
                if answer.reason is not None:
                    raise TooMuchError(f"not drawn: {answer.reason}")
                return job.output.read_bytes()
        except (WorkerDiedError, WorkerHungError, WorkerStoppedError, OSError) as error:
            raise TooMuchError(f"not drawn: {error or 'it took too long'}") from None
        finally:
            self._waiting.release()

    def close(self) -> None:
        """End the process; a picture that is being drawn is given up."""
        self._closed = True
        if self._process is not None:
            self._process.interrupt()
        with self._lock:
            if self._process is not None:
                self._process.stop(grace_s=0.1)
                self._process.close()
