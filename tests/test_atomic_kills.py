"""Readers never see a broken file, whenever its writer is killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from diagnostics.contract.atomic import remove_leftovers, write_atomic
from tests.atomic_writers import document, is_whole
from tests.conftest import ROOT

pytestmark = pytest.mark.timeout(900)


@dataclass
class Reader:
    """Reads the file as fast as it can, and counts what it sees."""

    path: Path
    n_reads: int = 0
    n_torn: int = 0
    stopping: bool = False

    def read(self) -> None:
        while not self.stopping:
            self.n_torn += not is_whole(self.path.read_bytes())
            self.n_reads += 1


@dataclass
class Siege:
    """What came of killing writers."""

    reader: Reader
    n_kills: int = 0
    n_inside: int = 0


def besiege(path: Path, how: str, n_kills: int, n_reads: int, seed: int) -> Siege:
    """Kill ``n_kills`` writers at random moments, and read on until ``n_reads`` reads are done."""
    write_atomic(path, document(0))
    reader = Reader(path)
    thread = threading.Thread(target=reader.read)
    siege, dice = Siege(reader), random.Random(seed)
    with subprocess.Popen(
        [sys.executable, str(ROOT / "tests" / "atomic_writers.py"), str(path), how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    ) as writers:
        assert writers.stdin is not None
        assert writers.stdout is not None
        thread.start()
        try:
            while siege.n_kills < n_kills or reader.n_reads < n_reads:
                writers.stdin.write("\n")
                writers.stdin.flush()
                pid = int(writers.stdout.readline())
                time.sleep(dice.uniform(0, 0.02))
                os.kill(pid, signal.SIGKILL)
                assert writers.stdout.readline() == "dead\n"
                siege.n_kills += 1
                siege.n_inside += bool(remove_leftovers(path.parent, path.name))
        finally:
            reader.stopping = True
            thread.join()
            writers.stdin.close()
    return siege


@pytest.mark.slow
def test_a_reader_never_sees_a_broken_file_in_300_kills_and_30000_reads(tmp_path: Path) -> None:
    siege = besiege(tmp_path / "results.json", "atomic", 300, 30_000, seed=1)
    assert siege.reader.n_torn == 0
    assert siege.n_inside > 30, "hardly any kill hit a write"
    assert is_whole((tmp_path / "results.json").read_bytes())


def test_control_a_file_written_in_place_is_seen_broken(tmp_path: Path) -> None:
    siege = besiege(tmp_path / "results.json", "naive", 20, 200, seed=1)
    assert siege.reader.n_torn > 0
