"""Random kills of real runs, and what must hold afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from diagnostics.contract.events import EpochEnded, RunStarted, decode_event
from diagnostics.contract.folder import RunFolder
from diagnostics.contract.journal import read_journal
from diagnostics.contract.locks import is_held
from tests.conftest import ROOT, epochs_of, strict_json, wait_for


class Trainers:
    """Starts trainers as forks of one process that has PyTorch loaded."""

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, str(ROOT / "tests" / "prefork.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        )
        self.statuses: dict[int, int] = {}
        assert self._line() == ["ready"]

    def start(self, *argv: object, log: Path) -> int:
        """Start ``python -m trainer argv``; return its process number."""
        order = {"argv": [str(word) for word in argv], "log": str(log)}
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps(order).encode() + b"\n")
        self._server.stdin.flush()
        while len(words := self._line()) != 1:
            self.statuses[int(words[0])] = int(words[1])
        return int(words[0])

    def wait(self, pid: int) -> int:
        """Wait for a trainer's end; return its exit status."""
        while pid not in self.statuses:
            words = self._line()
            self.statuses[int(words[0])] = int(words[1])
        return self.statuses[pid]

    def close(self) -> None:
        """End the server and whatever a failed test left running."""
        for child in psutil.Process(self._server.pid).children():
            child.kill()
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait(timeout=10)

    def _line(self) -> list[str]:
        assert self._server.stdout is not None
        line = self._server.stdout.readline().decode().split()
        assert line, "the fork server died"
        return line


class Campaign:
    """One run under fire."""

    def __init__(self, trainers: Trainers, folder: Path, config: Path, seed: int) -> None:
        self.trainers = trainers
        self.folder = folder
        self.files = RunFolder(folder)
        self.dice = random.Random(seed)
        self.log = folder.with_name(f"{folder.name}.trainer.log")
        self.n_kills = {"trainer": 0, "consumer": 0}
        self.pid = trainers.start(
            config, "--output-dir", folder, "--set", "epochs=1000000", "--quiet", log=self.log
        )
        self._await_life()

    def kill_trainer(self) -> None:
        """Kill the trainer at a random moment and resume the run."""
        time.sleep(self.dice.uniform(0, 0.3))
        os.kill(self.pid, signal.SIGKILL)
        assert self.trainers.wait(self.pid) == -signal.SIGKILL
        self.n_kills["trainer"] += 1
        self.pid = self.trainers.start("--resume", self.folder, "--quiet", log=self.log)
        self._await_life()

    def kill_consumer(self) -> None:
        """Kill the diagnostics process at a random moment of its life."""
        pid = wait_for(self._consumer)
        time.sleep(self.dice.uniform(0, 0.4))
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            self.n_kills["consumer"] += 1
        wait_for(lambda: self._consumer() != pid)

    def finish(self) -> dict[str, Any]:
        """Stop the run in good order; return its results, checked against the journal."""
        os.kill(self.pid, signal.SIGTERM)
        status = self.trainers.wait(self.pid)
        assert status == 128 + signal.SIGTERM, (status, self.log.read_text()[-3000:])
        wait_for(lambda: not is_held(self.files.consumer_lock))
        results: dict[str, Any] = strict_json(self.files.results)
        scan = read_journal(self.files.journal)
        assert scan.fault is None
        events = [decode_event(payload) for payload in scan.payloads]
        trained = [event.epoch for event in events if isinstance(event, EpochEnded)]
        assert trained == list(range(1, len(trained) + 1))
        assert epochs_of(results) == trained
        assert results["status"] == "interrupted"
        assert not [path for path in self.folder.iterdir() if path.name.endswith(".tmp")]
        return results

    def _consumer(self) -> int | None:
        try:
            pid = int(self.files.consumer_lock.read_text() or 0)
        except (OSError, ValueError):
            return None
        return pid if pid and is_held(self.files.consumer_lock) else None

    def _await_life(self) -> None:
        """Wait until the trainer at work has begun its segment."""

        def begun() -> bool:
            if not psutil.pid_exists(self.pid):
                raise AssertionError(self.log.read_text()[-3000:])
            events = [decode_event(p) for p in read_journal(self.files.journal).payloads]
            starts = [event for event in events if isinstance(event, RunStarted)]
            return bool(starts) and starts[-1].process.pid == self.pid

        wait_for(begun)
