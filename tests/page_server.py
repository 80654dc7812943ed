"""A real monitor that serves its page, and requests to it, for the page's tests."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from tests.monitord_trees import wait_for

PATIENCE_S = 60.0


class Served:
    """A process ``monitord ROOT --serve``, and how to ask it."""

    def __init__(self, root: Path, *options: object, port: int = 0) -> None:
        command = [sys.executable, "-W", "error", "-m", "monitord", str(root), "--serve"]
        command += ["--port", str(port), "--no-plots", *map(str, options)]
        self.lines: list[str] = []
        self.errors: list[str] = []
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
        self._threads = [
            threading.Thread(target=self._collect, args=(self.process.stdout, self.lines)),
            threading.Thread(target=self._collect, args=(self.process.stderr, self.errors)),
        ]
        for thread in self._threads:
            thread.start()
        wait_for(lambda: self.lines or self.process.poll() is not None, "address", PATIENCE_S)
        if not self.lines:
            self.close()
            raise AssertionError(f"monitord ended: {self.errors}")
        self.url = self.lines[0].split()[1]
        parts = urlsplit(self.url)
        assert parts.port is not None
        self.port = parts.port
        self.token = parts.query.removeprefix("token=")

    def _collect(self, stream: Any, into: list[str]) -> None:
        for line in stream:
            into.append(line.rstrip("\n"))

    def ask(
        self, path: str, *, method: str = "GET", token: str | None = "", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Send one request; ``token`` empty for the right one, None for none."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            sent.setdefault("Authorization", f"Bearer {token or self.token}")
        try:
            connection.request(method, path, headers=sent)
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, found, answer.read()
        finally:
            connection.close()

    def json(self, path: str, *pairs: tuple[str, object]) -> Any:
        target = f"{path}?{urlencode(pairs)}" if pairs else path
        status, _, body = self.ask(target)
        assert status == 200, (status, body)
        return strict(body)

    def stop(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)
        self.process.wait(PATIENCE_S)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
        for thread in self._threads:
            thread.join(PATIENCE_S)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()


@contextmanager
def served(root: Path, *options: object, port: int = 0) -> Iterator[Served]:
    server = Served(root, *options, port=port)
    try:
        yield server
    finally:
        server.close()


def strict(data: bytes) -> Any:
    """Decode JSON that holds nothing another language's parser would refuse."""

    def refuse(token: str) -> None:
        raise AssertionError(f"{token} is not strict JSON")

    return json.loads(data.decode("utf-8"), parse_constant=refuse)
