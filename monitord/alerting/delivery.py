"""Delivery of alerts to commands and webhooks, in a thread of its own, bounded in every way."""

from __future__ import annotations

import logging
import queue
import subprocess
import threading
import urllib.error
import urllib.request
from typing import Any

from diagnostics.contract import strictjson
from monitord.alerting.rules import Delivery

logger = logging.getLogger(__name__)

MAX_WAITING = 1_000
COMMAND_TIMEOUT_S = 30.0
WEBHOOK_TIMEOUT_S = 5.0
RETRY_AFTER_S = (1.0, 4.0, 15.0)


class Courier:
    """Sends one alert after another; a slow receiver delays only other alerts."""

    def __init__(self, retry_after_s: tuple[float, ...] = RETRY_AFTER_S) -> None:
        """Take the pauses in seconds before a webhook is tried again."""
        self._retry_after_s = retry_after_s
        self._waiting: queue.Queue[tuple[Delivery, bytes] | None] = queue.Queue(MAX_WAITING)
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self.n_lost = 0

    def send(self, delivery: Delivery, event: dict[str, Any]) -> None:
        """Have ``event`` delivered as JSON; returns at once."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="alerts", daemon=True)
            self._thread.start()
        try:
            self._waiting.put_nowait((delivery, strictjson.encode(event)))
        except queue.Full:
            self.n_lost += 1
            logger.warning("%d alerts are waiting already; one is lost", MAX_WAITING)

    def wait_idle(self) -> None:
        """Wait until everything was delivered or given up."""
        self._waiting.join()

    def close(self) -> None:
        """Stop now: what has not been delivered is lost, and said so."""
        self._closing.set()
        if self._thread is None:
            return
        child = self._child
        if child is not None:
            child.kill()
        self._thread.join(0.5)
        n_left = self._waiting.qsize()
        if n_left:
            logger.warning("%d alerts were not delivered", n_left)

    def _serve(self) -> None:
        while not self._closing.is_set():
            try:
                item = self._waiting.get(timeout=0.2)
            except queue.Empty:
                continue
            try:
                if item is not None:
                    self._deliver(*item)
            except Exception as error:
                logger.warning("alert not delivered: %s: %s", type(error).__name__, error)
            finally:
                self._waiting.task_done()

    def _deliver(self, delivery: Delivery, data: bytes) -> None:
        if delivery.kind == "command":
            self._run(delivery.command, data)
        elif delivery.kind == "webhook":
            self._post(delivery.url, data)

    def _run(self, command: tuple[str, ...], data: bytes) -> None:
        quiet = subprocess.DEVNULL
        try:
            child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=quiet, stderr=quiet)
        except OSError as error:
            logger.warning("alert command %s: %s", command[0], error.strerror)
            return
        with child:
            self._child = child
            try:
                child.communicate(data + b"\n", timeout=COMMAND_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                child.kill()
                logger.warning("alert command %s: killed after %g s", command[0], COMMAND_TIMEOUT_S)
            finally:
                self._child = None
        if child.returncode:
            logger.warning("alert command %s: exit status %d", command[0], child.returncode)

    def _post(self, url: str, data: bytes) -> None:
        headers = {"Content-Type": "application/json", "User-Agent": "monitord"}
        for pause_s in (*self._retry_after_s, None):
            request = urllib.request.Request(url, data, headers, method="POST")  # noqa: S310
            try:
                with urllib.request.urlopen(request, timeout=WEBHOOK_TIMEOUT_S):  # noqa: S310
                    return
            except (OSError, ValueError) as error:
                refused = isinstance(error, urllib.error.HTTPError) and 400 <= error.code < 500
                if pause_s is None or refused:
                    logger.warning("webhook %s: %s; given up", url, error)
                    return
            if self._closing.wait(pause_s):
                return
