"""No epoch lost, none twice: hundreds of kills of real runs (docs/reliability.md)."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from tests.chaos import Campaign, Trainers, fire_config
from tests.conftest import ROOT, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def trainers() -> Iterator[Trainers]:
    started = Trainers()
    yield started
    started.close()


@pytest.mark.parametrize("seed", range(4))
def test_no_epoch_is_lost_or_doubled_in_200_kills_of_the_diagnostics_process(
    trainers: Trainers, tmp_path: Path, seed: int
) -> None:
    campaign = Campaign(trainers, tmp_path / "run", fire_config(tmp_path / "config.json"), seed)
    while campaign.n_kills["consumer"] < 50:
        campaign.kill_consumer()
    results = campaign.finish()
    assert campaign.n_inside["consumer"] > 5
    assert len(results["segments"]) == 1
    assert all("norm" in entry["diagnostics"] for entry in results["training_history"])


@pytest.mark.parametrize("seed", range(4))
def test_no_epoch_is_lost_or_doubled_in_100_kills_of_the_trainer(
    trainers: Trainers, tmp_path: Path, seed: int
) -> None:
    campaign = Campaign(trainers, tmp_path / "run", fire_config(tmp_path / "config.json"), seed)
    while campaign.n_kills["trainer"] < 25:
        campaign.kill_trainer()
        campaign.resume()
    results = campaign.finish()
    assert campaign.n_inside["trainer"] > 2
    assert len(results["segments"]) == 26


@pytest.mark.parametrize("seed", range(3))
def test_no_epoch_is_lost_or_doubled_in_150_mixed_kills(
    trainers: Trainers, tmp_path: Path, seed: int
) -> None:
    campaign = Campaign(trainers, tmp_path / "run", fire_config(tmp_path / "config.json"), seed)
    while sum(campaign.n_kills.values()) < 50:
        if campaign.dice.random() < 0.5:
            campaign.kill_trainer()
            campaign.resume()
        else:
            campaign.kill_consumer()
    campaign.finish()


@pytest.mark.parametrize(("sends", "takes"), [("PUB", "SUB"), ("PUSH", "PULL")])
def test_control_a_consumer_that_trusts_the_wire_loses_epochs_when_it_is_killed(
    tmp_path: Path, sends: str, takes: str
) -> None:
    """The same kills at the same random moments; what is missed here is what the journal saves."""
    history, address, dice = tmp_path / "history.json", f"ipc://{tmp_path}/s", random.Random(1)
    n_sent, over = 0, threading.Event()

    def train() -> None:
        nonlocal n_sent
        with zmq.Context() as context, context.socket(getattr(zmq, sends)) as socket:
            socket.setsockopt(zmq.LINGER, 0)
            socket.bind(address)
            while not over.wait(0.002):
                try:
                    socket.send(b"%d" % (n_sent + 1), zmq.NOBLOCK)
                except zmq.Again:
                    continue  # a PUSH whose peer is dead keeps the epoch for the next
                n_sent += 1

    def missing() -> set[int]:
        seen = json.loads(history.read_bytes()) if history.exists() else []
        return set(range(1, max(seen, default=0) + 1)) - set(seen)

    trainer = threading.Thread(target=train)
    trainer.start()
    try:
        for n_kills in range(1, 201):
            mark = history.stat().st_ino if history.exists() else 0
            consumer = subprocess.Popen(
                [sys.executable, ROOT / "tests" / "naive_consumer.py", takes, address, history],
                env=os.environ | {"PYTHONPATH": str(ROOT)},
            )
            wait_for(lambda mark=mark: history.exists() and history.stat().st_ino != mark)
            time.sleep(dice.uniform(0, 0.15))
            consumer.send_signal(signal.SIGKILL)
            consumer.wait()
            if n_kills >= 5 and missing():
                break
    finally:
        over.set()
        trainer.join()
    assert missing(), f"{n_kills} kills of the consumer cost none of {n_sent} epochs"


@pytest.mark.chaos
@pytest.mark.timeout(0)
def test_no_epoch_is_lost_or_doubled_in_as_many_kills_as_there_is_time_for(
    trainers: Trainers, tmp_path: Path, chaos: tuple[int, float]
) -> None:
    """A run after the other, each under fire for a minute; the seed is printed at the top."""
    seed, seconds = chaos
    deadline, n_kills = time.monotonic() + seconds, 0
    while time.monotonic() < deadline:
        folder = tmp_path / f"run_{seed}"
        campaign = Campaign(trainers, folder, fire_config(tmp_path / "config.json"), seed)
        until = min(deadline, time.monotonic() + 60)
        while time.monotonic() < until:
            kind = campaign.dice.random()
            if kind < 0.4:
                campaign.kill_trainer()
                campaign.resume()
            elif kind < 0.8:
                campaign.kill_consumer()
            else:
                campaign.kill_both()
                campaign.resume()
        campaign.finish()
        n_kills += sum(campaign.n_kills.values())
        seed += 1
    sys.stdout.write(f"{n_kills} kills, no epoch lost or doubled\n")
