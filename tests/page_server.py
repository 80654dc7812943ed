"""A monitor that serves its page, as a process or without a network, and requests to it."""

from __future__ import annotations

import asyncio
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

from monitord.fleet import Fleet
from monitord.page.address import Address
from monitord.page.api import Api
from monitord.page.board import BoardKeeper
from monitord.page.events import Pulse
from monitord.page.server import make_app
from tests.monitord_trees import wait_for

PATIENCE_S = 60.0
TOKEN = "a-token-for-the-tests"
ADDRESS = Address(host="127.0.0.1", port=1, token=TOKEN, title="t", cookie="c")


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

    def id_of(self, name: str) -> str:
        rows = self.json("/api/runs")["runs"]
        return str(next(row["id"] for row in rows if row["name"] == name))

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


class Asked:
    """The application without a network: one request after the other."""

    def __init__(self, fleet: Fleet) -> None:
        self.keeper = BoardKeeper()
        self.keeper.follow(fleet, [], 0.0)
        self.api = Api(self.keeper, Pulse(), "t")
        self.app = make_app(self.api, ADDRESS)

    def ask(self, path: str, query: str = "") -> tuple[int, bytes]:
        scope = {
            "type": "http", "http_version": "1.1", "method": "GET", "path": path,
            "raw_path": path.encode(), "query_string": query.encode(), "root_path": "",
            "scheme": "http", "server": ("127.0.0.1", 1), "client": ("127.0.0.1", 2),
            "headers": [(b"host", b"localhost"), (b"authorization", f"Bearer {TOKEN}".encode())],
        }  # fmt: skip
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            await asyncio.sleep(0)
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        asyncio.run(self.app(scope, receive, send))
        return sent[0]["status"], b"".join(each.get("body", b"") for each in sent)


def write_hostile(folder: Path, content: dict[str, Any], config: Any) -> None:
    folder.mkdir(parents=True)
    # as Python writes it: NaN, Infinity, lone surrogates and all
    (folder / "results.json").write_bytes(json.dumps(content).encode("ascii"))
    (folder / "config.json").write_bytes(json.dumps(config).encode("ascii"))
