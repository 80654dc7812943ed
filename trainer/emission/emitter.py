"""The emitter: commits each event to the journal and hands the snapshot to the I/O thread."""

from __future__ import annotations

import logging
import os
import platform
import socket
import sys
import time
from typing import Any

import msgspec
import numpy as np
import psutil
import torch
from torch import Tensor

from diagnostics.contract.events import (
    AnyEvent,
    EpochEnded,
    ProcessIdentity,
    RunEnded,
    RunStarted,
    TraceStarted,
    encode_event,
)
from diagnostics.contract.journal import JournalWriter
from diagnostics.contract.results import utc_now
from trainer.data import stream_seed
from trainer.emission.courier import Courier
from trainer.emission.spool import WeightsCopy
from trainer.hooks import Hook
from trainer.mixture import Mixture
from trainer.run import Outcome, Run

logger = logging.getLogger(__name__)


class Emitter(Hook):
    """Writes events to the journal (the commit point) and feeds the courier.

    The training thread pays for a copy of the weights and one write; it never waits for the
    diagnostics process until the run has ended.
    """

    def __init__(self, journal: JournalWriter, courier: Courier) -> None:
        """Take over an open journal and a courier that is not started yet."""
        self._journal = journal
        self._courier = courier
        self._append_seconds = 0.0
        self._last = max(_epoch_keys(journal.payloads), default=(-1, 0))
        self._ended = False

    @property
    def is_idle(self) -> bool:
        """Whether the diagnostics process has taken all that was emitted."""
        return self._courier.is_idle

    def secure(self, *, sync: bool) -> bool:
        """Return whether every event is in the journal, and with ``sync`` on the disk.

        A checkpoint must not get ahead of the journal: resuming would skip what it lacks.
        """
        if self._ended or not sync:
            return self._journal.n_waiting == 0
        return self._journal.sync()

    @property
    def n_unwritten(self) -> int:
        """Number of events that the disk has refused so far."""
        return self._journal.n_waiting

    def run_started(self, run: Run) -> None:
        self._commit(_started_event(run, self._last))
        self._courier.start()

    def trace_started(self, run: Run, mixture: Mixture) -> None:
        assert run.position.trace is not None
        key = (run.position.trace, 0)
        if key > self._last:
            self._last = key
            self._commit(
                TraceStarted(
                    at=utc_now(),
                    trace=run.position.trace,
                    shares=mixture.shares,
                    means=mixture.means,
                    stds=mixture.stds,
                )
            )

    def epoch_ended(self, run: Run, event: EpochEnded) -> None:
        started = time.perf_counter()
        key = _epoch_key(event)
        if key <= self._last:
            # A resumed run trains epochs again that the journal has, from a checkpoint that is
            # older than the journal; they are the same, so the first record stays.
            return
        self._last = key
        copy = self._copy_weights(run, event) if run.config.training.enable_diagnostics else None
        seconds = time.perf_counter() - started + self._append_seconds
        timing = msgspec.structs.replace(event.timing, emit_seconds=seconds)
        self._commit(msgspec.structs.replace(event, timing=timing), copy)

    def run_finished(self, run: Run, outcome: Outcome) -> None:
        self._end(run, outcome)

    def run_failed(self, run: Run, error: BaseException) -> None:
        self._end(run, Outcome("failed", f"{type(error).__name__}: {error}"[:500]))

    def _end(self, run: Run, outcome: Outcome) -> None:
        if self._ended:
            return
        self._ended = True
        event = RunEnded(
            at=utc_now(),
            segment=run.segment,
            status=outcome.status,
            reason=outcome.reason,
            training_duration_seconds=run.total_seconds,
        )
        self._commit(event)
        self._courier.finish()
        self._journal.sync()
        self._journal.close()

    def _commit(self, event: AnyEvent, copy: WeightsCopy | str | None = None) -> None:
        started = time.perf_counter()
        payload = encode_event(event)
        self._journal.append(payload)
        self._courier.post(payload, copy)
        self._append_seconds = time.perf_counter() - started

    def _copy_weights(self, run: Run, event: EpochEnded) -> WeightsCopy | str:
        """Copy the weights, since the next step changes them; a reason instead if none may wait."""
        model = run.model
        n_bytes = 8 * model.fc1.weight.numel()
        if not self._courier.has_room(n_bytes):
            return "the diagnostics fell behind and the memory for snapshots is full"
        ready = None
        encoder, decoder = self._courier.spare() or (None, None)
        encoder = _copied(model.fc1.weight, encoder)
        decoder = _copied(model.fc2.weight, decoder)
        if run.device.type == "cuda":
            ready = torch.cuda.Event()
            ready.record(torch.cuda.current_stream(run.device))
        trace = 0 if event.trace is None else event.trace + 1
        seed = stream_seed(run.config.data.seed, "diagnostics", event.epoch, trace)
        return WeightsCopy(encoder, decoder, ready, seed, event.epoch, event.trace)


def _copied(weight: Tensor, buffer: Tensor | None) -> Tensor:
    """Copy weights, into a used buffer if there is one: fresh memory would cost page faults."""
    weight = weight.detach()
    if buffer is None:
        return weight.clone()
    if weight.device.type != "cpu":
        return buffer.copy_(weight)
    # One thread: waking a second one takes longer than the copy.
    np.copyto(buffer.numpy(), weight.numpy())
    return buffer


def _started_event(run: Run, recorded: tuple[int, int]) -> RunStarted:
    training = run.config.training
    two_stages = training.two_stage_training
    me = psutil.Process()
    return RunStarted(
        at=utc_now(),
        run_id=run.run_id,
        segment=run.segment,
        experiment_name=run.config.experiment_name,
        output_dir=str(run.folder.root.resolve()),
        device=str(run.device),
        epochs=training.epochs,
        stage2_epochs=(training.stage2_epochs or training.epochs) if two_stages else 0,
        num_traces=training.num_traces if two_stages else 0,
        first_epoch=run.position.epoch,
        recorded=recorded,
        process=ProcessIdentity(
            host=socket.gethostname(), pid=os.getpid(), started_at=me.create_time()
        ),
        environment=environment(run.device),
        diagnostics=training.enable_diagnostics,
    )


def environment(device: torch.device) -> dict[str, str]:
    """Return what a run depends on beside its configuration: versions, hardware, threads."""
    found = {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cpu_count": str(os.cpu_count()),
        "torch_threads": str(torch.get_num_threads()),
        "command": " ".join(sys.argv),
    }
    if device.type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(device)
        found["cuda"] = str(torch.version.cuda)
    return found


def _epoch_key(event: EpochEnded) -> tuple[int, int]:
    return (-1 if event.trace is None else event.trace), event.epoch


def _epoch_keys(payloads: list[bytes]) -> list[tuple[int, int]]:
    from diagnostics.contract.events import decode_event

    events: list[Any] = [decode_event(payload) for payload in payloads]
    return [_epoch_key(event) for event in events if isinstance(event, EpochEnded)]
