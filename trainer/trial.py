"""``python -m trainer.trial``: one training process that measures what it is asked to.

The profiler's other half. It reads one JSON request a line from standard input and writes one JSON
reply a line to standard output; the schema is the message classes below (protocol version 1). It
drives the trainer's own functions (`take_step`, `evaluate`, `SignalSource`), makes no experiment
folder, writes no file, and ends when its standard input does. Units: seconds and bytes.
"""

from __future__ import annotations

import contextlib
import os
import queue
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import msgspec
import torch

from diagnostics.contract.folder import RunFolder
from diagnostics.contract.trials import (
    PROTOCOL_VERSION,
    Describe,
    Described,
    EpochTrained,
    Failed,
    Finished,
    MeasureMemory,
    MeasurePhases,
    MeasureProducts,
    MemoryUsed,
    Park,
    PhasesTimed,
    Prepare,
    Prepared,
    ProductsMeasured,
    Reply,
    Request,
    TakeWindow,
    TrainEpochs,
    WindowTaken,
)
from trainer.config import ExperimentConfig, validate
from trainer.data import Batch, SignalSource
from trainer.gradient_noise import gradient_moments
from trainer.loop import VALIDATION_BUFFER_BYTES, evaluate, take_step, weight_penalty
from trainer.losses import new_loss
from trainer.model import TwoLayerNet, new_model
from trainer.objective import new_objective
from trainer.optimizers import new_optimizer
from trainer.run import Run

CURVE_POINTS = 50
"""Points of the loss curve in an epoch."""
NOISE_BATCHES = 4
WINDOW_EPOCH = 1 << 41
NOISE_EPOCH = 1 << 40
"""Data streams of the windows and of the gradient noise scale: no epoch of training has them."""
PRODUCT_SIZE = 1024
HOST_CHECK_STEPS = 64
"""Steps between two looks at the losses: each look waits for the device."""


class Trial:
    """A network in training, without a folder, that answers requests."""

    def __init__(self, request: Prepare) -> None:
        """Build everything; the first steps are taken by `prepare`."""
        if request.threads is not None:
            torch.set_num_threads(request.threads)
        self.config: ExperimentConfig = validate(request.config, "trial")
        self.device = torch.device(self.config.data.device)
        self.loss = new_loss(self.config.loss)
        self.objective = new_objective(self.config)
        self.run = self._new_run(self.config)
        self._source: SignalSource | None = None
        self._step = 0
        self._was_low = False

    def prepare(self, request: Prepare) -> Prepared:
        """Take the first steps, under the limit: threads start and allocators grow here."""
        # Threads and their stacks come before the limit, so that it bounds the batches alone.
        torch.mm(torch.ones(256, 256), torch.ones(256, 256))
        base_bytes = self._memory().peak_bytes
        if request.growth_bytes is not None and self.device.type == "cpu":
            limit = status_bytes("VmSize") + request.growth_bytes
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        step_s = 0.0
        for _ in range(request.n_steps):
            started = time.perf_counter()
            self._take_one()
            self._synchronize()
            step_s = time.perf_counter() - started
        evaluate(self.run, self._validation(), self.objective)
        self._synchronize()
        return Prepared(
            threads=torch.get_num_threads(),
            base_bytes=base_bytes,
            step_s=step_s,
            memory=self._memory(),
        )

    def answer(self, request: Request) -> Iterator[Reply]:
        """Yield the replies to a request."""
        match request:
            case TakeWindow():
                yield self._window(request)
            case TrainEpochs():
                yield from self._train(request)
                yield Finished()
            case MeasurePhases():
                yield self._phases(request.n_steps)
            case MeasureProducts():
                yield self._products(request.seconds)
            case MeasureMemory():
                yield self._memory()
            case Park():
                self._park()
                yield Finished()
            case Prepare() | Describe():
                raise ValueError(f"{type(request).__name__}: the trial is prepared already")

    def _window(self, request: TakeWindow) -> WindowTaken:
        for _ in range(1 + request.n_steps // 8):
            self._take_one()
        self._synchronize()
        before = resource.getrusage(resource.RUSAGE_SELF)
        cpu, started = time.process_time(), time.perf_counter()
        n_samples = sum(self._take_one() for _ in range(request.n_steps))
        self._synchronize()
        wall = time.perf_counter() - started
        after = resource.getrusage(resource.RUSAGE_SELF)
        return WindowTaken(
            n_steps=request.n_steps,
            n_samples=n_samples,
            wall_s=wall,
            cpu_s=time.process_time() - cpu,
            system_s=after.ru_stime - before.ru_stime,
            n_page_faults=after.ru_minflt - before.ru_minflt,
        )

    def _train(self, request: TrainEpochs) -> Iterator[EpochTrained]:
        """Train as `trainer.loop.train_epoch` does, keeping every step's loss."""
        config = msgspec.structs.replace(
            self.config,
            training=msgspec.structs.replace(
                self.config.training, learning_rate=request.learning_rate
            ),
        )
        self.run = self._new_run(config)
        self._was_low = False
        before = 0
        for epoch in range(1, request.n_epochs + 1):
            trained = self._train_epoch(epoch, before, request)
            before += trained.n_steps
            yield trained
            if trained.reached or trained.train_loss is None or trained.test_loss is None:
                return

    def _train_epoch(self, epoch: int, before: int, request: TrainEpochs) -> EpochTrained:
        source = self._train_source()
        noise = [self._moments(epoch, i, request.noise_samples) for i in range(NOISE_BATCHES)]
        pending: list[torch.Tensor] = []
        losses: list[float] = []
        sizes: list[int] = []
        reached = False
        started = time.perf_counter()
        for step in range(source.n_batches):
            batch = source.batch(epoch, step)
            pending.append(take_step(self.run, self.objective, batch)[:2])
            sizes.append(len(batch))
            if len(pending) >= HOST_CHECK_STEPS or step + 1 == source.n_batches:
                losses += torch.stack(pending).sum(1).tolist()
                pending.clear()
                if request.to_loss is not None:
                    # Twice in a row: noise alone does not do that, and the curve needs a few
                    # points below the target for the crossing to be read off.
                    low, was_low = _recent(losses, sizes) <= request.to_loss, self._was_low
                    self._was_low = low
                    if low and was_low:
                        reached = True
                        break
        wall = time.perf_counter() - started
        test = evaluate(self.run, self._validation(), self.objective)["scaled_loss"]
        n_samples = sum(sizes)
        mean = sum(a * n for a, n in zip(losses, sizes, strict=True)) / n_samples
        return EpochTrained(
            epoch=epoch,
            n_steps=len(sizes),
            n_samples=n_samples,
            wall_s=wall,
            train_loss=_finite(mean),
            test_loss=_finite(test),
            curve=[(before + x, y) for x, y in _binned(losses) if _finite(y) is not None],
            noise=[m for m in noise if m is not None],
            reached=reached,
        )

    def _moments(self, epoch: int, index: int, n: int) -> tuple[int, float, float] | None:
        if n < 2:
            return None
        source = SignalSource(self.config.data, n * NOISE_BATCHES, n, "train", self.device)
        batch = source.batch(NOISE_EPOCH + epoch, index)
        found = gradient_moments(self.run.model, self.loss, batch, weight_penalty(self.run))
        if _finite(found.trace) is None or _finite(found.squared_norm) is None:
            return None
        return found.n_samples, found.trace, found.squared_norm

    def _phases(self, n_steps: int) -> PhasesTimed:
        """Time data and step from outside, and the step's inside where it passes known points."""
        marks: dict[str, float] = {}
        totals = dict.fromkeys(("data", "step", "forward", "backward", "optimizer"), 0.0)
        seen = 0

        def mark(name: str) -> Callable[..., None]:
            def note(*_: Any) -> None:
                self._synchronize()
                marks[name] = time.perf_counter()

            return note

        def timed(model: TwoLayerNet, batch: Batch) -> Any:
            terms = self.objective(model, batch)
            mark("forward")()
            return terms

        optimizer = self.run.optimizer
        handles = [
            optimizer.register_step_pre_hook(mark("backward")),
            optimizer.register_step_post_hook(mark("optimizer")),
        ]
        try:
            for _ in range(n_steps):
                marks.clear()
                mark("start")()
                batch = self._next_batch()
                mark("data")()
                take_step(self.run, timed, batch)
                mark("step")()
                totals["data"] += marks["data"] - marks["start"]
                totals["step"] += marks["step"] - marks["data"]
                if {"forward", "backward", "optimizer"} <= marks.keys():
                    seen += 1
                    totals["forward"] += marks["forward"] - marks["data"]
                    totals["backward"] += marks["backward"] - marks["forward"]
                    totals["optimizer"] += marks["optimizer"] - marks["backward"]
        finally:
            for handle in handles:
                handle.remove()
        whole = seen == n_steps
        return PhasesTimed(
            n_steps=n_steps,
            data_s=totals["data"],
            step_s=totals["step"],
            forward_s=totals["forward"] if whole else None,
            backward_s=totals["backward"] if whole else None,
            optimizer_s=totals["optimizer"] if whole else None,
        )

    def _products(self, seconds: float) -> ProductsMeasured:
        left = torch.ones(PRODUCT_SIZE, PRODUCT_SIZE, device=self.device)
        out = torch.empty_like(left)
        best, ends = float("inf"), time.perf_counter() + seconds
        while best == float("inf") or time.perf_counter() < ends:
            self._synchronize()
            started = time.perf_counter()
            torch.mm(left, left, out=out)
            self._synchronize()
            best = min(best, time.perf_counter() - started)
        return ProductsMeasured(flops_per_s=2 * PRODUCT_SIZE**3 / best)

    def _memory(self) -> MemoryUsed:
        if self.device.type != "cuda":
            return MemoryUsed(peak_bytes=status_bytes("VmHWM"))
        free, total = torch.cuda.mem_get_info(self.device)
        stats = torch.cuda.memory_stats(self.device)
        return MemoryUsed(
            peak_bytes=torch.cuda.max_memory_allocated(self.device),
            reserved_bytes=torch.cuda.max_memory_reserved(self.device),
            device_used_bytes=total - free,
            device_total_bytes=total,
            n_allocator_retries=int(stats.get("num_alloc_retries", 0)),
        )

    def _park(self) -> None:
        self._source = None
        self.run.optimizer.zero_grad()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _take_one(self) -> int:
        batch = self._next_batch()
        take_step(self.run, self.objective, batch)
        return len(batch)

    def _next_batch(self) -> Any:
        source = self._train_source()
        # Epochs that training never uses; their last, smaller batches come in turn as well.
        epoch, step = divmod(self._step, source.n_batches)
        batch = source.batch(WINDOW_EPOCH + epoch, step)
        self._step += 1
        return batch

    def _train_source(self) -> SignalSource:
        if self._source is None:
            data = self.config.data
            size = self.config.training.batch_size
            self._source = SignalSource(data, data.n_train, size, "train", self.device)
        return self._source

    def _validation(self) -> SignalSource:
        data = self.config.data
        rows = max(1, VALIDATION_BUFFER_BYTES // (4 * data.d))
        return SignalSource(data, data.n_val, rows, "validation", self.device)

    def _new_run(self, config: ExperimentConfig) -> Run:
        model = new_model(config, self.device)
        return Run(
            config=config,
            folder=RunFolder(Path(os.devnull)),
            run_id="trial",
            segment=0,
            device=self.device,
            model=model,
            optimizer=new_optimizer(config, model),
        )

    def _synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


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


def status_bytes(key: str) -> int:
    """Return ``VmHWM``, ``VmRSS`` or ``VmSize`` of this process (Linux), in bytes.

    Not ru_maxrss: a child's begins with its parent's peak, because exec keeps it.
    """
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        line = next(line for line in status if line.startswith(f"{key}:"))
    return int(line.split()[1]) * 1024


def _finite(value: float) -> float | None:
    return value if abs(value) < float("inf") else None


def _recent(losses: list[float], sizes: list[int], n_samples: int = 2000) -> float:
    """Return the mean loss of the last ``n_samples`` samples, or of one step where it has more."""
    n_steps = max(1, min(len(losses), n_samples // max(1, sizes[0])))
    return sum(losses[-n_steps:]) / n_steps


def _binned(losses: list[float]) -> list[tuple[float, float]]:
    """Return at most `CURVE_POINTS` points: middle of the bin in steps taken, mean loss."""
    n = len(losses)
    n_bins = min(n, CURVE_POINTS)
    edges = [round(i * n / n_bins) for i in range(n_bins + 1)]
    return [
        ((low + high) / 2, sum(losses[low:high]) / (high - low)) for low, high in pairwise(edges)
    ]


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
            # On the CPU PyTorch reports a refused allocation as a plain RuntimeError.
            text = str(error)
            memory = "can't allocate memory" in text or "not enough memory" in text
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


if __name__ == "__main__":
    # Not sys.exit: the interpreter would wait for the lock that the reading thread holds.
    os._exit(main())
