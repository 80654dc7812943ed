"""The supervisor: starts the diagnostics process, and starts it again when it dies."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from pathlib import Path

from diagnostics.contract.endpoint import Endpoint
from diagnostics.contract.folder import RunFolder
from diagnostics.contract.locks import is_held
from diagnostics.contract.regular import open_for_appending

logger = logging.getLogger(__name__)

FIRST_DELAY_S = 0.1
MAX_DELAY_S = 10.0
MAX_FRUITLESS_STARTS = 8
"""So many deaths in a row without one event acknowledged, and a run does not wait for it to end."""


class Supervisor:
    """Keeps one diagnostics process at work on a run."""

    def __init__(self, folder: RunFolder, endpoint: Endpoint | None = None) -> None:
        """Prepare for the run in ``folder``; nothing is started before the first `check`."""
        self._options = ["--supervised"]
        if endpoint is not None:
            self._options += ["--connect", endpoint.address, "--keys", str(endpoint.keys)]
        self._files = folder
        self._child: subprocess.Popen[bytes] | None = None
        self._next_start = 0.0
        self._fruitless = 0
        self._acknowledged_at_start = -1

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self._files.root

    @property
    def has_given_up(self) -> bool:
        """Whether the process died so often without progress that it is not worth waiting for.

        While training goes on it is started again all the same: what ails it may pass.
        """
        return self._fruitless >= MAX_FRUITLESS_STARTS

    def check(self, acknowledged: int) -> None:
        """Start the process if there is none; call this often.

        Args:
            acknowledged: Number of events that it has taken so far, to tell whether it gets on.
        """
        if self._child is not None:
            status = self._child.poll()
            if status is None:
                return
            self._child = None
            self._plan_restart(status, acknowledged)
        if time.monotonic() >= self._next_start:
            self._start(acknowledged)

    def _plan_restart(self, status: int, acknowledged: int) -> None:
        progressed = acknowledged > self._acknowledged_at_start
        self._fruitless = 0 if progressed else self._fruitless + 1
        delay_s = min(MAX_DELAY_S, FIRST_DELAY_S * 2**self._fruitless)
        if is_held(self._files.consumer_lock):
            # Somebody attached a diagnostics process by hand: leave the work to it.
            self._fruitless = 0
            delay_s = 1.0
        else:
            logger.warning(
                "the diagnostics process ended with status %d; started again in %.1f s",
                status,
                delay_s,
            )
        self._next_start = time.monotonic() + delay_s

    def _start(self, acknowledged: int) -> None:
        self._acknowledged_at_start = acknowledged
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        try:
            with open_for_appending(self._files.log) as log:
                self._child = subprocess.Popen(
                    [
                        sys.executable,
                        "-m",
                        "diagnostics",
                        "attach",
                        *self._options,
                        str(self.folder),
                    ],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=environment,
                    start_new_session=True,
                )
        except OSError as error:
            logger.warning("the diagnostics process cannot be started: %s", error)
            self._next_start = time.monotonic() + MAX_DELAY_S
            self._fruitless += 1

    def leave(self) -> None:
        """Let the process end by itself: it knows from the journal and the lock when to."""
        if self._child is not None:
            try:
                self._child.wait(timeout=2)
            except subprocess.TimeoutExpired:
                logger.info("the diagnostics process is still finishing")
                self._child.returncode = 0  # no longer ours: Python would warn of it at the end
