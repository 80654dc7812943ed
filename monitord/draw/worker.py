"""The render process: reads jobs from standard input, writes pictures, answers on its output.

Started by `monitord.draw.renderer` as ``python -m monitord.draw.worker``. It ends as soon as its
standard input ends, whatever it is doing: so it never outlives its parent, however that died.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import queue
import signal
import sys
import threading
import time
from pathlib import Path
from typing import BinaryIO

import msgspec

from diagnostics.contract.atomic import open_atomic, temporary_name
from monitord.draw.messages import FRAME_LENGTH, MAX_FRAME_BYTES, Answer, decode_job

_log = logging.getLogger(__name__)


class Worker:
    """Draws job after job; a second thread reads the next one and watches for the end."""

    def __init__(self, jobs: BinaryIO, answers: BinaryIO) -> None:
        """Serve jobs from one stream, answer on the other."""
        self._jobs = jobs
        self._answers = answers
        self._frames: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._writing: Path | None = None

    def run(self) -> None:
        """Serve until the input ends; then the process is over."""
        threading.Thread(target=self._read, name="jobs", daemon=True).start()
        from monitord.draw.canvas import encode_figure
        from monitord.draw.request import picture_format
        from monitord.draw.sheet import Sheet

        sheet = Sheet()
        while True:
            frame = self._frames.get()
            started, cpu = time.monotonic(), time.process_time()
            reason = None
            try:
                job = decode_job(frame)
                figure = sheet.draw(job.runs, job.options)
                data = encode_figure(figure, picture_format(job.output))
                self._writing = job.output
                with open_atomic(job.output, sync=False) as file:
                    file.write(data)
            except Exception as error:
                # Whatever one job does, the next ones must be drawn; the parent logs the reason.
                reason = f"{type(error).__name__}: {error}"
                sheet = Sheet()
            self._writing = None
            took, used = time.monotonic() - started, time.process_time() - cpu
            self._answer(Answer(reason=reason, took_s=took, cpu_s=used))

    def _answer(self, answer: Answer) -> None:
        data = msgspec.msgpack.encode(answer)
        self._answers.write(FRAME_LENGTH.pack(len(data)) + data)
        self._answers.flush()

    def _read(self) -> None:
        """Read frames until the parent closes the pipe or dies, then end the process at once."""
        try:
            while True:
                head = self._jobs.read(FRAME_LENGTH.size)
                if len(head) < FRAME_LENGTH.size:
                    break
                (length,) = FRAME_LENGTH.unpack(head)
                if length > MAX_FRAME_BYTES:
                    break
                frame = self._jobs.read(length)
                if len(frame) < length:
                    break
                self._frames.put(frame)
        finally:
            self._leave()

    def _leave(self) -> None:
        """End the process now, even in the middle of a picture, leaving no temporary file."""
        writing = self._writing
        if writing is not None:
            writing.with_name(temporary_name(writing.name)).unlink(missing_ok=True)
        os._exit(0)


def main() -> None:
    """Run the render process on standard input and output."""
    faulthandler.enable()
    # Ctrl+C in a terminal reaches the whole group; the end of the input is what ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.basicConfig(level=logging.ERROR)
    jobs, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    # A stray print of a library must not get between the answers.
    os.dup2(2, 1)
    Worker(jobs, answers).run()


if __name__ == "__main__":
    main()
