"""Requests in, replies out: the loop around a trial."""

from __future__ import annotations

import contextlib
import os
import queue
import sys
import threading
import time
from collections.abc import Iterator
from typing import IO

import msgspec
import torch

from diagnostics.contract.trials import (
    PROTOCOL_VERSION,
    Describe,
    Described,
    Failed,
    Finished,
    MeasureMemory,
    MeasurePhases,
    MeasureProducts,
    Park,
    Prepare,
    Prepared,
    ProductsMeasured,
    Reply,
    Request,
    TakeWindow,
    TrainEpochs,
)
from trainer.config import validate
from trainer.trial.learning import train_epochs
from trainer.trial.occupancy import limit_growth
from trainer.trial.subject import Subject
from trainer.trial.timing import product_rate, take_window, time_phases

REFUSED_MEMORY = (
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
)
"""What PyTorch says in a plain RuntimeError where the CPU or a library of the GPU got none."""


class Trial:
    """A network in training that answers requests."""

    def __init__(self, request: Prepare) -> None:
        """Build everything; the first steps are taken by `prepare`."""
        if request.threads is not None:
            torch.set_num_threads(request.threads)
        self._subject = Subject(validate(request.config, "trial"))

    def prepare(self, request: Prepare) -> Prepared:
        """Take the first steps, under the limit: threads start and allocators grow here."""
        subject = self._subject
        # Threads and their stacks come before the limit, so that it bounds the batches alone.
        torch.mm(torch.ones(256, 256), torch.ones(256, 256))
        base_bytes = subject.peaks.read().peak_bytes
        if request.growth_bytes is not None and subject.device.type == "cpu":
            limit_growth(request.growth_bytes)
        step_s = 0.0
        for _ in range(request.n_steps):
            started = time.perf_counter()
            subject.take_one()
            subject.synchronize()
            step_s = time.perf_counter() - started
        subject.test_loss()
        subject.synchronize()
        return Prepared(
            threads=subject.n_threads(),
            base_bytes=base_bytes,
            step_s=step_s,
            memory=subject.peaks.read(),
        )

    def answer(self, request: Request) -> Iterator[Reply]:
        """Yield the replies to a request."""
        subject = self._subject
        match request:
            case TakeWindow():
                yield take_window(subject, request.n_steps, request.n_warm_up)
            case TrainEpochs():
                yield from train_epochs(subject, request)
                yield Finished()
            case MeasurePhases():
                yield time_phases(subject, request.n_steps)
            case MeasureProducts():
                yield ProductsMeasured(flops_per_s=product_rate(subject, request.seconds))
            case MeasureMemory():
                yield subject.peaks.read()
            case Park():
                subject.park()
                yield Finished()
            case Prepare() | Describe():
                raise ValueError(f"{type(request).__name__}: the trial is prepared already")


def describe(name: str) -> Described:
    """Return what is known of a device; a GPU that does not exist means the CPU."""
    device = torch.device(name)
    free: int | None
    total: int | None
    if device.type == "cuda" and (device.index or 0) < torch.cuda.device_count():
        free, total = torch.cuda.mem_get_info(device)
        shown = torch.cuda.get_device_name(device)
    else:
        device, shown, free, total = torch.device("cpu"), "CPU", None, None
    return Described(
        protocol=PROTOCOL_VERSION,
        device=str(device),
        device_name=shown,
        torch_version=str(torch.__version__),
        free_bytes=free,
        total_bytes=total,
    )


def serve(requests: Iterator[bytes], output: IO[bytes]) -> int:
    """Answer requests until they end; return the exit status."""
    decoder: msgspec.json.Decoder[Request] = msgspec.json.Decoder(Request)
    trial: Trial | None = None

    def send(reply: Reply) -> None:
        output.write(msgspec.json.encode(reply) + b"\n")
        output.flush()

    for line in requests:
        try:
            request = decoder.decode(line)
            if isinstance(request, Describe):
                send(describe(request.device))
            elif trial is None:
                if not isinstance(request, Prepare):
                    raise ValueError("the first request must be Prepare")
                trial = Trial(request)
                send(trial.prepare(request))
            else:
                for reply in trial.answer(request):
                    send(reply)
        except (MemoryError, torch.OutOfMemoryError) as error:
            send(Failed(kind="out_of_memory", message=_first_line(error)))
            return 1
        except Exception as error:
            memory = any(words in str(error) for words in REFUSED_MEMORY)
            kind = "out_of_memory" if memory else "error"
            send(Failed(kind=kind, message=_first_line(error)))
            return 1
    return 0


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"[:500]


def _lines(source: IO[bytes]) -> Iterator[bytes]:
    """Yield lines; when the profiler is gone, end the process at once, whatever it is doing."""
    arrived: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def read() -> None:
        for line in source:
            arrived.put(line)
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    while True:
        yield arrived.get()


def main() -> int:
    """Serve on standard input and output."""
    # What a library prints must not get between the replies.
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with contextlib.suppress(BrokenPipeError):
        return serve(_lines(sys.stdin.buffer), replies)
    return 1
