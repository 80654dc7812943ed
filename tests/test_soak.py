"""Weeks in minutes: a million epochs through journal, consumer and monitor."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import ClassVar

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
from tests.journal_records import started
from tests.monitord_trees import again, look

N_CHUNKS = 20
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

    def __init__(self, root: Path, n_epochs: int) -> None:
        self.files = RunFolder(root)
        self.n_epochs = n_epochs
        self.cpu_s: list[float] = []
        self.commits: list[tuple[float, float]] = []

    def live(self, fleet: Fleet) -> None:
        self.files.root.mkdir()
        journal, ledger = JournalWriter(self.files.journal), Ledger(self.files)
        journal.append(started(epochs=self.n_epochs))
        ledger.apply(decode_event(started(epochs=self.n_epochs)))
        n_per_chunk = self.n_epochs // N_CHUNKS
        for first in range(1, self.n_epochs + 1, n_per_chunk):
            before = time.process_time()
            for number in range(first, first + n_per_chunk):
                record = encode_event(epoch_of(number))
                assert journal.append(record)
                ledger.apply(decode_event(record), {"n_blobs": 3, "blob_separation": 0.9})
                self.epoch_ended(ledger)
            self.cpu_s.append(time.process_time() - before)
            if ledger.is_due():
                self.commit(ledger)
            if first == self.n_epochs // 2 + 1:
                again(fleet)
        end = RunEnded(
            at="2026-01-01T00:00:00Z", segment=0, status="completed", reason=None,
            training_duration_seconds=1.0,
        )  # fmt: skip
        assert journal.append(encode_event(end))
        ledger.apply(end)
        assert ledger.commit()
        journal.close()

    def epoch_ended(self, ledger: Ledger) -> None:
        """Nothing more: the ledger says when it is due."""

    def commit(self, ledger: Ledger) -> None:
        cpu_begun = time.thread_time()
        assert ledger.commit()
        self.commits.append((time.monotonic(), time.thread_time() - cpu_begun))


class NaiveLife(Life):
    """The control: results are written at every epoch, and a file is never closed."""

    left_open: ClassVar[list[int]] = []

    def live(self, fleet: Fleet) -> None:
        super().live(fleet)
        self.left_open.append(os.open(self.files.results, os.O_RDONLY))

    def epoch_ended(self, ledger: Ledger) -> None:
        self.commit(ledger)


def faults_of(tmp_path: Path, kind: type[Life], n_runs: int, n_epochs: int) -> set[str]:
    """Live ``n_runs`` one after the other under one monitor; return what was not as at first."""
    me, fleet = psutil.Process(), look(tmp_path)
    faults: set[str] = set()
    memory, descriptors, lives = [], [], []
    for number in range(n_runs):
        life = kind(tmp_path / f"run_{number:03d}", n_epochs)
        life.live(fleet)
        lives.append(life)
        again(fleet)
        memory.append(me.memory_info().rss)
        descriptors.append(me.num_fds())
        for (ended, spent_s), (following, _) in zip(life.commits, life.commits[1:], strict=False):
            if spent_s > MAX_WRITE_SHARE * (following - ended) + 1e-3:
                faults.add("share of writing")
        if number % 20 == 0:
            results = strict_json(life.files.results)
            assert epochs_of(results) == list(range(1, n_epochs + 1))
            assert results["status"] == "completed"
    assert len(fleet.runs) == n_runs
    assert all(run.verdict.state is not State.UNREADABLE for run in fleet.runs)
    if len(set(descriptors)) > 1:
        faults.add("descriptors")
    kept = 2 * n_runs * n_epochs * 12 * 8  # the monitor's own columns, with room to grow
    if memory[-1] - memory[n_runs // 10] > kept + 100 * MIB:
        faults.add("memory")
    chunks = np.array([life.cpu_s for life in lives])
    if np.median(chunks[:, -4:]) > 2 * np.median(chunks[:, :4]):
        faults.add("time as a run ages")
    if np.median(chunks[-n_runs // 10 :]) > 2 * np.median(chunks[: n_runs // 10]):
        faults.add("time as runs pile up")
    return faults


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_a_million_epochs_leave_memory_descriptors_time_and_the_share_of_writing_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """100 runs of 10,000 epochs, one after the other, under one monitor."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # waiting is not what is tested
    assert faults_of(tmp_path, Life, n_runs=100, n_epochs=10_000) == set()
    shutil.rmtree(tmp_path)  # a gigabyte


@pytest.mark.slow
def test_control_a_writer_of_every_epoch_that_closes_nothing_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    faults = faults_of(tmp_path, NaiveLife, n_runs=10, n_epochs=1_000)
    for descriptor in NaiveLife.left_open:
        os.close(descriptor)
    assert faults >= {"share of writing", "descriptors"}
