"""Weeks in minutes: a million epochs through journal, consumer and monitor."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from diagnostics.consumer.ledger import MAX_WRITE_SHARE, Ledger
from diagnostics.contract.events import EpochEnded, RunEnded, Timing, decode_event, encode_event
from diagnostics.contract.folder import RunFolder
from diagnostics.contract.journal import JournalWriter
from monitord.fleet import Fleet
from monitord.states import State
from tests.conftest import epochs_of, strict_json
from tests.monitord_trees import again, look
from tests.test_monitord_reading import started

N_RUNS, N_EPOCHS, N_PER_CHUNK = 100, 10_000, 500
MIB = 1 << 20
TIMING = Timing(
    train_seconds=1.0, test_seconds=0.1, emit_seconds=0.0, samples_per_second=9.0,
    peak_memory_bytes=1,
)  # fmt: skip


def epoch_of(number: int) -> EpochEnded:
    loss = 100.0 / number
    losses = {"loss": loss, "scaled_loss": loss, "loss_on": loss, "loss_off": 0.0}
    at = "2026-01-01T00:00:00.000+00:00"
    return EpochEnded(at=at, epoch=number, train=losses, test=losses, timing=TIMING)


class Life:
    """One run from its first epoch to its last, and what it cost."""

    def __init__(self, root: Path) -> None:
        self.files = RunFolder(root)
        self.cpu_s: list[float] = []
        self.commits: list[tuple[float, float]] = []

    def live(self, fleet: Fleet) -> None:
        self.files.root.mkdir()
        journal, ledger = JournalWriter(self.files.journal), Ledger(self.files)
        journal.append(started(epochs=N_EPOCHS))
        ledger.apply(decode_event(started(epochs=N_EPOCHS)))
        for first in range(1, N_EPOCHS + 1, N_PER_CHUNK):
            before = time.process_time()
            for number in range(first, first + N_PER_CHUNK):
                record = encode_event(epoch_of(number))
                assert journal.append(record)
                ledger.apply(decode_event(record), {"n_blobs": 3, "blob_separation": 0.9})
            self.cpu_s.append(time.process_time() - before)
            if ledger.is_due():
                self.commit(ledger)
            if first == N_EPOCHS // 2 + 1:
                again(fleet)
        end = RunEnded(
            at="2026-01-01T00:00:00Z", segment=0, status="completed", reason=None,
            training_duration_seconds=1.0,
        )  # fmt: skip
        assert journal.append(encode_event(end))
        ledger.apply(end)
        assert ledger.commit()
        journal.close()

    def commit(self, ledger: Ledger) -> None:
        cpu_begun = time.thread_time()
        assert ledger.commit()
        self.commits.append((time.monotonic(), time.thread_time() - cpu_begun))


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_a_million_epochs_leave_memory_descriptors_time_and_the_share_of_writing_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """100 runs of 10,000 epochs, one after the other, under one monitor."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # waiting is not what is tested
    me, fleet = psutil.Process(), look(tmp_path)
    memory, descriptors, cpu_s = [], [], []
    for number in range(N_RUNS):
        life = Life(tmp_path / f"run_{number:03d}")
        life.live(fleet)
        again(fleet)
        memory.append(me.memory_info().rss)
        descriptors.append(me.num_fds())
        cpu_s.append(life.cpu_s)
        for (ended, spent_s), (following, _) in zip(life.commits, life.commits[1:], strict=False):
            assert spent_s <= MAX_WRITE_SHARE * (following - ended) + 1e-3
        if number % 20 == 0:
            results = strict_json(life.files.results)
            assert epochs_of(results) == list(range(1, N_EPOCHS + 1))
            assert results["status"] == "completed"
    assert len(fleet.runs) == N_RUNS
    assert all(run.verdict.state is not State.UNREADABLE for run in fleet.runs)
    assert len(set(descriptors)) == 1, descriptors
    kept = 2 * (N_RUNS - 10) * N_EPOCHS * 12 * 8  # the monitor's own columns, with room to grow
    assert memory[-1] - memory[9] < kept + 100 * MIB
    shutil.rmtree(tmp_path)  # a gigabyte
    chunks = np.array(cpu_s)
    assert np.median(chunks[:, -4:]) < 2 * np.median(chunks[:, :4]), "epochs cost more as runs age"
    assert np.median(chunks[-10:]) < 2 * np.median(chunks[:10]), "runs cost more as they pile up"
