"""Training by several processes, started by torchrun."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from diagnostics.contract.errors import BlobwatchError
from tests.conftest import long_epochs_config, run, strict_json, tiny_config, wait_for
from trainer.config import DataConfig
from trainer.data import SignalSource
from trainer.ranks import LostRankError, Ranks, join

Launch = Callable[..., subprocess.Popen[str]]
CPU = torch.device("cpu")


@pytest.fixture
def torchrun() -> Iterator[Launch]:
    """Start torchrun; what a failed test leaves at work is ended."""
    started = []

    def start(*arguments: object, cwd: Path, restarts: int = 0) -> subprocess.Popen[str]:
        started.append(launch(*arguments, cwd=cwd, restarts=restarts))
        return started[-1]

    yield start
    for launcher in started:
        if launcher.poll() is None:
            launcher.terminate()  # it ends its ranks
            launcher.communicate(timeout=60)


def launch(*arguments: object, cwd: Path, restarts: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += [f"--max-restarts={restarts}", "-m", "trainer", "--quiet"]
    return subprocess.Popen(
        [*command, *map(str, arguments)],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def history(root: Path) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = strict_json(root / "results.json")["training_history"]
    return entries


def epochs_recorded(root: Path) -> int:
    """Count the journal's epochs; the results may lag behind them."""
    return (root / "events.log").read_bytes().count(b"epochended")


@pytest.mark.parametrize(("size", "k"), [(2, 2), (3, 1), (7, 3)])
def test_the_ranks_parts_make_up_the_batch_of_one_process(size: int, k: int) -> None:
    config = DataConfig(d=4096, sparsity=k, n_train=130, device="cpu")
    alone = SignalSource(config, 130, 70, "train", CPU)
    parts = [
        SignalSource(config, 130, 70, "train", CPU, ranks=Ranks(rank, size)) for rank in range(size)
    ]
    for step in (0, 1):
        whole = alone.batch(3, step)
        shares = [part.batch(3, step) for part in parts]
        assert torch.equal(torch.cat([share.inputs for share in shares]), whole.inputs)
        assert torch.equal(torch.cat([share.active for share in shares]), whole.active)
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.slow
def test_two_processes_train_as_one_does_and_one_of_them_writes(
    torchrun: Launch, tmp_path: Path
) -> None:
    # 401 samples in batches of 200: the last batch leaves one process without any.
    config = tiny_config(batch_size=200)
    config["data"]["n_train"] = 401
    (tmp_path / "config.json").write_text(json.dumps(config))
    status, _, err = run("trainer", "config.json", "--output-dir", "one", "--quiet", cwd=tmp_path)
    assert status == 0, err
    process = torchrun("config.json", "--output-dir", "two", cwd=tmp_path)
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    one, two = history(tmp_path / "one"), history(tmp_path / "two")
    assert [entry["epoch"] for entry in two] == [1, 2, 3]
    for mine, theirs in zip(one, two, strict=True):
        for part in ("train", "test"):
            assert theirs[part] == pytest.approx(mine[part], rel=1e-4)
    assert (tmp_path / "two" / "events.log").read_bytes().count(b"runstarted") == 1


def ranks_of(launcher: subprocess.Popen[str]) -> dict[int, psutil.Process]:
    """Return the training processes by rank."""
    found = {}
    for child in psutil.Process(launcher.pid).children():
        try:
            found[int(child.environ()["RANK"])] = child
        except (KeyError, psutil.Error):
            continue
    return found


def begin(torchrun: Launch, tmp_path: Path, restarts: int) -> subprocess.Popen[str]:
    (tmp_path / "config.json").write_text(json.dumps(long_epochs_config()))
    process = torchrun("config.json", "--output-dir", "run", cwd=tmp_path, restarts=restarts)
    results = tmp_path / "run" / "results.json"
    wait_for(lambda: results.exists() and len(history(tmp_path / "run")) >= 2, 150)
    return process


@pytest.mark.slow
def test_a_lost_rank_ends_the_run_as_failed_with_the_reason(
    torchrun: Launch, tmp_path: Path
) -> None:
    process = begin(torchrun, tmp_path, restarts=0)
    ranks_of(process)[1].kill()
    output, _ = process.communicate(timeout=200)
    assert process.returncode != 0
    path = tmp_path / "run" / "results.json"
    wait_for(lambda: strict_json(path)["status"] != "running", 60)
    results = strict_json(path)
    assert results["status"] == "failed"
    assert "another process was lost" in json.dumps(results)
    assert "failed: another process was lost" in output


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_after_a_lost_rank_torchruns_restart_continues_the_run(
    torchrun: Launch, tmp_path: Path, victim: int
) -> None:
    process = begin(torchrun, tmp_path, restarts=1)
    before = ranks_of(process)
    before[victim].kill()
    # Torchrun ends the survivor too and starts both again.
    wait_for(lambda: len(set(ranks_of(process).values()) - set(before.values())) == 2, 150)
    reached = epochs_recorded(tmp_path / "run")
    wait_for(lambda: len(history(tmp_path / "run")) > reached + 2, 150)
    for rank in ranks_of(process).values():
        rank.send_signal(signal.SIGINT)
    process.communicate(timeout=200)
    path = tmp_path / "run" / "results.json"
    wait_for(lambda: strict_json(path)["status"] != "running", 60)
    results = strict_json(path)
    assert results["status"] == "interrupted"
    epochs = [entry["epoch"] for entry in results["training_history"]]
    assert epochs == list(range(1, len(epochs) + 1))


class Asked:
    """A stop that was asked for."""

    reason = "stopped by SIGTERM"


def test_a_rank_that_torchrun_signals_while_the_gpu_never_ends_has_lost_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("trainer.ranks.STOPPED_GRACE_S", 0.05)
    ranks = Ranks(0, 2)
    ranks.agree(Asked())
    answers = iter([False, False, True])
    ranks.wait_for(lambda: next(answers))
    with pytest.raises(LostRankError, match=r"another process was lost \(stopped by SIGTERM; no"):
        ranks.wait_for(lambda: False)


@pytest.mark.parametrize(
    ("device", "reason"),
    [("cuda:1", "data.device 'cuda:1': under torchrun each"), ("cuda", "2 GPUs here; start at")],
)
def test_each_rank_has_a_gpu_of_its_own_or_says_what_to_do(
    device: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(BlobwatchError, match=reason):
        join(device)
