"""A real run that waits between its epochs: what is measured beside it can take turns with it.

    python -m benchmarks.paced_run CONFIG OVERRIDES

It opens, trains and closes as ``python -m trainer`` does. Before each epoch it waits for a line on
its standard input, and after each it prints the samples a second that ``results.json`` holds for
that epoch. The epoch's own clock does not run while it waits.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.table import PYTHON
from trainer.config import load_config
from trainer.hooks import Hook, Hooks
from trainer.run import Run


class Pace(Hook):
    """Holds the run until it is told to go on."""

    def run_started(self, run: Run) -> None:
        print("ready", flush=True)
        sys.stdin.readline()

    def epoch_ended(self, run: Run, event: Any) -> None:
        print(event.timing.samples_per_second, flush=True)
        if event.epoch < run.config.training.epochs:
            sys.stdin.readline()


class PacedRun:
    """The run seen from the process that gives it its turns."""

    def __init__(self, config: str, folder: Path, **overrides: Any) -> None:
        """Start it and wait until it is ready for its first epoch."""
        overrides |= {"output_dir": str(folder), "data.device": "cpu"}
        self._process = subprocess.Popen(
            [PYTHON, "-m", "benchmarks.paced_run", config, json.dumps(overrides)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.rates: list[float] = []
        self._read()

    def epoch(self) -> float:
        """Let it train one epoch; return and keep its samples a second."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        self.rates.append(float(self._read()))
        return self.rates[-1]

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the run ended before its time")
        return line


def main(config: str, overrides: str) -> None:
    """Train at the pace of standard input; ``overrides`` is a JSON object."""
    from trainer.checkpoints import Checkpointer
    from trainer.interruption import Interruption
    from trainer.opening import open_new
    from trainer.stages import train_stages

    opened = open_new(load_config(config, json.loads(overrides)))
    with Interruption() as stop:
        train_stages(opened.run, Hooks([opened.emitter, Checkpointer(), Pace()]), stop)
    opened.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
