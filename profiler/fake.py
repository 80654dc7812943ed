"""A back-end without processes, for tests: sizes have known speed, memory, losses and accidents.

It stands behind the same boundary as `profiler.backend.ProcessBackend`.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from diagnostics.contract.trials import (
    PROTOCOL_VERSION,
    Described,
    EpochTrained,
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
from profiler.backend import TrialProcess
from profiler.status import Status, TrialFailure


@dataclass(slots=True, kw_only=True)
class FakeMachine:
    """What the fake trials measure.

    Attributes:
        device: ``cpu`` or ``cuda``.
        overhead_s: Seconds of a step that do not depend on its size.
        sample_s: Seconds a sample.
        base_bytes: Memory without a batch.
        bytes_per_sample: Memory a sample of the batch.
        capacity_bytes: More than that is out of memory.
        s_min: Steps constant of the loss curve, for the law S(B) = s_min (1 + b_noise/B).
        b_noise: Its noise scale.
        zero_loss: Loss before training; it falls to a fifth of that.
        slowness: Factor on the time of the n-th window of the whole session.
        waited_share: Share of the n-th window that its threads waited for a core.
        accidents: By size: the request's name at which it happens, the verdict, the message.
    """

    device: str = "cpu"
    overhead_s: float = 2e-3
    sample_s: float = 1e-5
    base_bytes: int = 300_000_000
    bytes_per_sample: int = 20_000
    capacity_bytes: int = 1 << 60
    s_min: float = 50.0
    b_noise: float = 200.0
    zero_loss: float = 16.0
    slowness: Callable[[int], float] = lambda n: 1.0
    waited_share: Callable[[int], float] = lambda n: 0.0
    accidents: dict[int, tuple[str, Status, str]] = field(default_factory=dict)
    n_windows: int = 0
    n_running: int = 0
    n_started: int = 0
    window_sizes: list[int] = field(default_factory=list)
    trials: list[FakeTrial] = field(default_factory=list)
    most_resident_bytes: int = 0

    def note_resident(self) -> None:
        """Keep the most memory that all trials together held at any moment."""
        held = sum(trial.resident_bytes() for trial in self.trials)
        self.most_resident_bytes = max(self.most_resident_bytes, held)


class FakeBackend:
    """Starts trials on a `FakeMachine`."""

    def __init__(self, machine: FakeMachine | None = None) -> None:
        """Use this machine, or one with the default figures."""
        self.machine = machine or FakeMachine()

    def start(self) -> TrialProcess:
        self.machine.n_running += 1
        self.machine.n_started += 1
        trial = FakeTrial(self.machine)
        self.machine.trials.append(trial)
        return trial

    def wait_for_cores(self, threads: int, limit_s: float) -> None:
        """Return at once."""


class FakeTrial:
    """One fake trial."""

    def __init__(self, machine: FakeMachine) -> None:
        """Run on this machine."""
        self._machine = machine
        self._size = 0
        self._n_train = 0
        self._open = True
        self._is_parked = True
        self._waited_s = 0.0

    def ask(self, request: Request, timeout_s: float | None) -> Iterator[Reply]:
        accident = self._machine.accidents.get(self._size)
        if isinstance(request, Prepare):
            accident = self._machine.accidents.get(request.config["training"]["batch_size"])
        if accident is not None and accident[0] == type(request).__name__:
            raise TrialFailure(accident[1], accident[2])
        self._is_parked = isinstance(request, Park)
        match request:
            case Prepare():
                yield self._prepare(request)
            case TrainEpochs():
                yield from self._train(request)
            case TakeWindow():
                yield self._window(request)
            case MeasurePhases():
                step = self._step_s() * request.n_steps
                yield PhasesTimed(
                    n_steps=request.n_steps,
                    data_s=0.2 * step,
                    step_s=0.8 * step,
                    forward_s=0.3 * step,
                    backward_s=0.4 * step,
                    optimizer_s=0.1 * step,
                    step_operations=1e5 * self._size,
                )
            case MeasureProducts():
                yield ProductsMeasured(flops_per_s=5e10)
            case MeasureMemory():
                yield self._memory()
            case Park():
                yield Finished()
            case _:
                yield self._described()

    def lost_s(self) -> tuple[float | None, float]:
        return self._waited_s, 0.0

    def resident_bytes(self) -> int:
        if not self._open:
            return 0
        return self._machine.base_bytes if self._is_parked else self._memory().peak_bytes

    def close(self) -> None:
        if self._open:
            self._open = False
            self._machine.n_running -= 1

    def _described(self) -> Described:
        gpu = self._machine.device != "cpu"
        return Described(
            protocol=PROTOCOL_VERSION,
            device=self._machine.device,
            device_name="Fake GPU" if gpu else "CPU",
            torch_version="0",
            free_bytes=self._machine.capacity_bytes if gpu else None,
            total_bytes=self._machine.capacity_bytes if gpu else None,
        )

    def _prepare(self, request: Prepare) -> Prepared:
        self._size = request.config["training"]["batch_size"]
        self._n_train = request.config["data"]["n_train"]
        memory = self._memory()
        if memory.peak_bytes > self._machine.capacity_bytes:
            raise TrialFailure("out_of_memory", "OutOfMemoryError: fake")
        self._machine.note_resident()
        return Prepared(
            threads=1,
            base_bytes=self._machine.base_bytes,
            step_s=self._step_s(),
            memory=memory,
        )

    def _memory(self) -> MemoryUsed:
        machine = self._machine
        peak = machine.base_bytes + machine.bytes_per_sample * self._size
        if machine.device == "cpu":
            return MemoryUsed(peak_bytes=peak)
        return MemoryUsed(
            peak_bytes=peak,
            reserved_bytes=peak,
            device_used_bytes=peak,
            device_total_bytes=machine.capacity_bytes,
            n_allocator_retries=0,
        )

    def _step_s(self) -> float:
        return self._machine.overhead_s + self._machine.sample_s * self._size

    def _window(self, request: TakeWindow) -> WindowTaken:
        machine = self._machine
        noise = random.Random(machine.n_windows).uniform(0.995, 1.005)  # noqa: S311 - not a secret
        wall = request.n_steps * self._step_s() * machine.slowness(machine.n_windows) * noise
        machine.note_resident()
        self._waited_s += wall * machine.waited_share(machine.n_windows)
        machine.n_windows += 1
        machine.window_sizes.append(self._size)
        return WindowTaken(
            n_steps=request.n_steps,
            n_samples=request.n_steps * self._size,
            wall_s=wall,
            cpu_s=wall,
            system_s=0.0,
            n_page_faults=0,
        )

    def _train(self, request: TrainEpochs) -> Iterator[Reply]:
        machine = self._machine
        per_epoch = math.ceil(self._n_train / self._size)
        steps = 0
        for epoch in range(1, request.n_epochs + 1):
            n_steps = per_epoch
            if request.to_loss is not None:
                left = [
                    s for s in range(1, per_epoch + 1) if self._loss(steps + s) <= request.to_loss
                ]
                # A few steps more, as the real trial takes.
                n_steps = left[0] + 5 if left else per_epoch
            reached = request.to_loss is not None and self._loss(steps + n_steps) <= request.to_loss
            curve = [(steps + s + 0.5, self._loss(steps + s)) for s in range(n_steps)]
            steps += n_steps
            yield EpochTrained(
                epoch=epoch,
                n_steps=n_steps,
                n_samples=min(self._n_train, n_steps * self._size),
                wall_s=n_steps * self._step_s(),
                train_loss=self._loss(steps - n_steps / 2),
                test_loss=self._loss(steps),
                curve=curve,
                noise=[(100, machine.b_noise, 1.0), (100, machine.b_noise, 1.01)],
                reached=reached,
            )
            if reached:
                return

    def _loss(self, steps: float) -> float:
        machine = self._machine
        pace = machine.s_min * (1 + machine.b_noise / self._size)
        return machine.zero_loss * (0.2 + 0.8 * math.exp(-steps / pace))
