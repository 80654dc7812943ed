"""One trial from its start to its verdict. Units: seconds, bytes."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass

from diagnostics.contract.trials import (
    Describe,
    Described,
    EpochTrained,
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
from profiler.backend import Backend, TrialProcess
from profiler.measure import Window
from profiler.plan import Rule, learning_rate, trial_config
from profiler.record import Epoch, TrialRecord
from profiler.settings import Settings
from profiler.status import TrialFailure
from trainer.config import ExperimentConfig

GROWTH_SLACK_BYTES = 256 << 20
"""Address space that allocators reserve but do not use, on top of the budget."""
WARM_UP_SHARE = 1 / 8
"""Steps before a window, as a share of it, rounded down, and one more."""
LONG_STEP_S = 1.0
"""A step longer than that needs none: waking up takes a hundredth of it."""
PRODUCTS_S = 0.3


@dataclass(slots=True)
class LiveTrial:
    """A trial from its start to its end.

    Attributes:
        process: Where it runs.
        record: What is known of it.
        timeout_s: Time for all its answers together; waiting for its turn does not count.
        spent_s: Time that its answers took so far.
        step_s: Seconds of one step, as far as is known.
        is_open: Whether the process is there.
    """

    process: TrialProcess
    record: TrialRecord
    timeout_s: float
    spent_s: float = 0.0
    step_s: float = 0.0
    is_open: bool = True

    def ask(self, request: Request) -> Generator[Reply]:
        """Yield the replies to a request while the trial's time lasts."""
        started = time.monotonic()
        try:
            yield from self.process.ask(request, max(0.0, self.timeout_s - self.spent_s))
        except TrialFailure as failure:
            if failure.status != "timed_out":
                raise
            limit = f"--timeout {self.timeout_s:g} s for the whole trial"
            raise TrialFailure("timed_out", f"{failure.message} ({limit})") from None
        finally:
            self.spent_s += time.monotonic() - started

    def one(self, request: Request) -> Reply:
        """Return the only reply to a request."""
        with contextlib.closing(self.ask(request)) as replies:
            return next(replies)

    def prepare(
        self, config: ExperimentConfig, device: str, settings: Settings, budget_bytes: int | None
    ) -> None:
        """Build the trial and take its first steps, within the budget; note its memory."""
        growth = None
        if device == "cpu" and budget_bytes is not None:
            growth = budget_bytes + GROWTH_SLACK_BYTES
        reply = self.one(
            Prepare(
                config=trial_config(config, self.record.batch_size, device),
                threads=settings.threads,
                growth_bytes=growth,
            )
        )
        assert isinstance(reply, Prepared)
        self.step_s = reply.step_s
        self.record.base_bytes = reply.base_bytes
        self.record.threads = reply.threads
        self._note_memory(reply.memory, budget_bytes)

    def train(
        self, n_epochs: int, settings: Settings, epoch_ended: Callable[[], None] = lambda: None
    ) -> None:
        """Run the epochs for the losses; what was trained before a failure stays in the record."""
        request = TrainEpochs(
            n_epochs=n_epochs,
            learning_rate=self.record.learning_rate,
            to_loss=settings.to_loss,
            noise_samples=settings.noise_samples,
        )
        for reply in self.ask(request):
            assert isinstance(reply, EpochTrained)
            self.record.epochs = [*self.record.epochs, _epoch(reply)]
            self.record.curve = [*self.record.curve, *reply.curve]
            if reply.train_loss is None or reply.test_loss is None:
                raise TrialFailure("diverged", f"the loss was not finite in epoch {reply.epoch}")
            epoch_ended()
        if self.record.epochs:
            last = self.record.epochs[-1]
            self.step_s = last.wall_s / max(1, last.n_steps)
        memory = self.one(MeasureMemory())
        assert isinstance(memory, MemoryUsed)
        self._note_memory(memory, None)
        self.record.status = "completed"

    def window(self, number: int, seconds: float) -> Window:
        """Take one window of about ``seconds`` and return it with the contention around it."""
        n_steps = self._n_steps(seconds)
        n_warm_up = 0 if self.step_s > LONG_STEP_S else 1 + int(WARM_UP_SHARE * n_steps)
        waited, stolen = self.process.lost_s()
        reply = self.one(TakeWindow(n_steps=n_steps, n_warm_up=n_warm_up))
        waited_after, stolen_after = self.process.lost_s()
        assert isinstance(reply, WindowTaken)
        known = waited is not None and waited_after is not None
        self.step_s = reply.wall_s / reply.n_steps
        return Window(
            round=number,
            n_steps=reply.n_steps,
            n_samples=reply.n_samples,
            wall_s=reply.wall_s,
            cpu_s=reply.cpu_s,
            system_s=reply.system_s,
            n_page_faults=reply.n_page_faults,
            waited_s=waited_after - waited if known else None,  # type: ignore[operator]
            stolen_s=max(0.0, stolen_after - stolen),
        )

    def fail(self, failure: TrialFailure) -> None:
        """Note the verdict; figures of a failed trial are kept in the record, but not used."""
        self.record.status, self.record.error_message = failure.status, failure.message

    def close(self) -> None:
        """End the process, whatever it is doing."""
        self.is_open = False
        self.process.close()

    def park(self) -> None:
        """Let it give its buffers back until the next window."""
        self.one(Park())

    def phases(self, seconds: float) -> PhasesTimed:
        """Return where the time of a step goes."""
        reply = self.one(MeasurePhases(n_steps=self._n_steps(seconds)))
        assert isinstance(reply, PhasesTimed)
        return reply

    def products(self) -> float:
        """Return the machine's rate of matrix products, in operations a second."""
        reply = self.one(MeasureProducts(seconds=PRODUCTS_S))
        assert isinstance(reply, ProductsMeasured)
        return reply.flops_per_s

    def _n_steps(self, seconds: float) -> int:
        return max(1, math.ceil(seconds / max(self.step_s, 1e-6)))

    def _note_memory(self, memory: MemoryUsed, budget_bytes: int | None) -> None:
        """Keep the peaks; what spills out of the device, or over the budget, does not fit."""
        if self.record.status != "completed":
            # Else the peak of the whole trial is known: this process took its first steps alone.
            self.record.memory = memory
        total = memory.device_total_bytes
        if total is not None and (memory.reserved_bytes or 0) > total:
            raise TrialFailure("out_of_memory", "spilled out of the GPU's memory into the host's")
        if total is None and budget_bytes is not None and memory.peak_bytes > budget_bytes:
            raise TrialFailure(
                "out_of_memory",
                f"used {memory.peak_bytes / 1e9:.2f} GB,"
                f" above the budget of {budget_bytes / 1e9:.2f} GB",
            )


def new_trial(
    backend: Backend, config: ExperimentConfig, size: int, rule: Rule, timeout_s: float
) -> LiveTrial:
    """Start a fresh process for a size; its verdict stays ``interrupted`` until it has another."""
    record = TrialRecord(
        batch_size=size,
        rule=rule,
        learning_rate=learning_rate(config, size, rule),
        status="interrupted",
        error_message="stopped before it was complete",
    )
    return LiveTrial(backend.start(), record, timeout_s)


def describe(trial: LiveTrial, device: str) -> Described:
    """Return the device where trials will run, and its memory."""
    reply = trial.one(Describe(device=device))
    assert isinstance(reply, Described)
    return reply


def _epoch(reply: EpochTrained) -> Epoch:
    return Epoch(
        n_steps=reply.n_steps,
        n_samples=reply.n_samples,
        wall_s=reply.wall_s,
        train_loss=reply.train_loss,
        test_loss=reply.test_loss,
        noise=reply.noise,
        reached=reply.reached,
    )
