"""Training never waits for diagnostics: stopped, slow, or absent."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import zmq

from diagnostics.contract.events import EpochEnded, decode_event
from diagnostics.contract.folder import RunFolder
from diagnostics.contract.journal import read_journal
from diagnostics.contract.locks import FolderLock
from tests.chaos import PATIENCE_S, Campaign, Trainers
from tests.conftest import epochs_of, tiny_config, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
MIB = 1 << 20
SNAPSHOT_BUDGET_BYTES = 256 * MIB
SECONDS = {"stopped": 60.0, "slow": 10.0, "absent": 10.0}


@pytest.fixture
def campaign(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Campaign]:
    config = tiny_config(epochs=10**6)
    config["data"]["d"], config["model"]["hidden_size"] = 256, 64
    name = "tests.cheap:Slow" if request.param == "slow" else "tests.cheap:Norm"
    (tmp_path / "config.json").write_text(json.dumps(config | {"diagnostics": [name]}))
    trainers = Trainers()
    yield Campaign(trainers, tmp_path / "run", tmp_path / "config.json", seed=1)
    trainers.close()


def emit_seconds(files: RunFolder) -> list[float]:
    events = [decode_event(payload) for payload in read_journal(files.journal).payloads]
    return [event.timing.emit_seconds for event in events if isinstance(event, EpochEnded)]


def waiting_bytes(files: RunFolder) -> int:
    total = 0
    for entry in os.scandir(files.snapshots):
        try:
            total += entry.stat().st_size
        except FileNotFoundError:
            continue
    return total


@pytest.mark.parametrize(
    ("campaign", "how"), [(how, how) for how in SECONDS], indirect=["campaign"]
)
def test_the_emit_call_costs_the_same_while_diagnostics_are_stopped_slow_or_absent(
    campaign: Campaign, how: str
) -> None:
    files, trainer = campaign.files, psutil.Process(campaign.pid)
    wait_for(files.results.exists, PATIENCE_S)
    wait_for(lambda: len(emit_seconds(files)) > 200, PATIENCE_S)
    n_before, memory = len(emit_seconds(files)), trainer.memory_info().rss
    stopped = [p for p in trainer.children(recursive=True) if how == "stopped"]
    lock = FolderLock(files.consumer_lock, "the test")
    for process in stopped:
        process.suspend()
    if how == "absent":
        for process in trainer.children(recursive=True):
            process.kill()
        wait_for(lambda: _taken(lock), PATIENCE_S)
    until = time.monotonic() + SECONDS[how]
    most = kept = 0
    while time.monotonic() < until or len(emit_seconds(files)) < n_before + 200:
        most = max(most, trainer.memory_info().rss)
        kept = max(kept, waiting_bytes(files))
        time.sleep(0.5)
    n_after = len(emit_seconds(files))
    for process in stopped:
        process.resume()
    lock.release()
    assert most - memory < 600 * MIB
    assert kept <= SNAPSHOT_BUDGET_BYTES + MIB
    seconds = np.array(emit_seconds(files))
    usual, now = seconds[20:n_before], seconds[n_before:n_after]
    assert np.median(now) < 5 * np.median(usual) + 0.005
    assert np.percentile(now, 99) < 10 * np.percentile(usual, 99) + 0.1
    results = campaign.finish()
    assert len(epochs_of(results)) >= n_after


def _taken(lock: FolderLock) -> bool:
    try:
        lock.acquire()
    except Exception:
        return False
    return True


def test_control_a_socket_that_must_deliver_makes_its_sender_wait(tmp_path: Path) -> None:
    with (
        zmq.Context() as context,
        context.socket(zmq.PUSH) as push,
        context.socket(zmq.PULL) as pull,
    ):
        push.setsockopt(zmq.LINGER, 0)
        push.setsockopt(zmq.SNDTIMEO, 500)
        push.bind(f"ipc://{tmp_path}/s")
        pull.connect(f"ipc://{tmp_path}/s")
        with pytest.raises(zmq.Again):
            for _ in range(100_000):
                push.send(bytes(131_072))
