"""Whom the page's server refuses, and what it never tells."""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitord.page.files import _OWN
from monitord.page.guard import POLICY
from tests.monitord_trees import wait_for, write_results
from tests.page_server import Served, served, strict


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("page") / "experiments"
    write_results(root / "run_0", 4)
    with served(root) as running:
        wait_for(lambda: running.json("/api/runs")["n_all"] == 1, "the run")
        yield running


def test_it_listens_on_loopback_alone(server: Served) -> None:
    listening = subprocess.run(
        ["cat", "/proc/net/tcp"], capture_output=True, text=True, check=True
    ).stdout
    port = f":{server.port:04X}"
    hosts = {line.split()[1] for line in listening.splitlines() if f"{port} 00000000:0000" in line}
    assert hosts == {f"0100007F{port}"}


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_it_is_read_only(server: Served, method: str) -> None:
    status, headers, _ = server.ask("/api/runs", method=method)
    assert status == 405 and headers["allow"] == "GET, HEAD"


def test_without_the_token_nothing_about_runs_is_told(server: Served) -> None:
    run_id = server.id_of("run_0")
    paths = ["/api/runs", "/api/events", "/api/openapi.json", f"/api/runs/{run_id}/data.csv"]
    for path in paths:
        for token in (None, server.token[:-1], server.token + "x", "\xff"):
            status, _, body = server.ask(path, token=token)
            assert status == 401 and set(strict(body)) == {"error"}
    status, _, body = server.ask("/", token=None)
    assert status == 200 and b"experiments" not in body


def test_the_token_in_the_address_becomes_a_cookie_that_scripts_cannot_read(
    server: Served,
) -> None:
    status, headers, _ = server.ask(f"/?token={server.token}", token=None)
    cookie = headers["set-cookie"]
    assert status == 303 and headers["location"] == "/"
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie
    status, _, _ = server.ask("/api/runs", token=None, Cookie=f"other=1; {cookie.split(';')[0]}")
    assert status == 200
    status, headers, _ = server.ask("/?token=wrong", token=None)
    assert status == 303 and "set-cookie" not in headers


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8765", "localhost.evil.example", "", "x@localhost", "[::"],
)
def test_other_host_names_are_refused_so_that_rebinding_gains_nothing(
    server: Served, host: str
) -> None:
    assert server.ask("/api/runs", Host=host)[0] in (400, 421)
    assert server.ask("/", Host=host)[0] in (400, 421)


def test_a_forwarded_port_of_any_number_is_fine(server: Served) -> None:
    for host in ("localhost:1234", "127.0.0.1", "LOCALHOST", "[::1]:9"):
        assert server.ask("/api/runs", Host=host)[0] == 200


def test_requests_that_other_pages_make_are_refused(server: Served) -> None:
    for origin in ("http://evil.example", "null", f"https://127.0.0.1:{server.port}"):
        assert server.ask("/api/runs", Origin=origin)[0] == 403
    assert server.ask("/api/runs", Sec_Fetch_Site="cross-site")[0] == 403
    assert server.ask("/api/runs", Origin=f"http://127.0.0.1:{server.port}")[0] == 200


def test_every_answer_forbids_foreign_and_inline_script(server: Served) -> None:
    for path in ("/", "/api/runs", "/nowhere", "/static/main.js", "/charts/uPlot.iife.js"):
        _, headers, _ = server.ask(path)
        assert headers["content-security-policy"] == POLICY
        assert headers["x-content-type-options"] == "nosniff"
    assert "unsafe" not in POLICY and "default-src 'none'" in POLICY
    page = (_OWN / "index.html").read_text()
    assert not re.search(r"<script(?![^>]* src=)|<style|\son\w+=|javascript:|style=", page)


def test_the_page_and_its_scripts_ask_no_other_host(server: Served) -> None:
    for path in _OWN.iterdir():
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|//cdn|@import|innerHTML|insertAdjacentHTML|eval\(", text)


@pytest.mark.parametrize(
    "path",
    [
        "/api/runs/..%2f..%2fetc%2fpasswd", "/api/runs/%2e%2e/series", "/static/../server.py",
        "/static/..%2f..%2fserver.py", "/charts/%2e%2e%2f__init__.py", "/../../etc/passwd",
        "/api/runs/run_0", "/api/runs/run_0/densities/1", "/static/", "/api/runs/%00",
    ],
)  # fmt: skip
def test_no_path_of_a_request_reaches_the_file_system(server: Served, path: str) -> None:
    status, _, body = server.ask(path)
    assert status == 404 and set(strict(body)) == {"error"}


def test_addresses_and_parameters_are_bounded(server: Served) -> None:
    run_id = server.id_of("run_0")
    assert server.ask("/api/runs?filter=" + "x" * 9000)[0] == 414
    assert server.ask("/api/runs?filter=name~" + "x" * 3000)[0] == 400
    assert server.ask("/api/runs?limit=-1")[0] == 400
    assert server.ask(f"/api/runs/{run_id}/series?" + "&".join(["name=a"] * 201))[0] == 400
    assert server.ask("/api/compare")[0] == 400
    assert server.ask(f"/api/runs/{run_id}/picture.png?smooth=1e9")[0] == 400


@pytest.mark.slow
def test_the_token_outlives_a_restart_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    write_results(tmp_path / "run")
    with served(tmp_path) as first:
        kept = first.token
    (path,) = (tmp_path / ".blobwatch").glob("*-token")
    assert path.stat().st_mode & 0o777 == 0o600
    with served(tmp_path) as second:
        assert second.token == kept
    path.chmod(0o644)  # somebody may have read it: a new one
    with served(tmp_path) as third:
        assert third.token != kept
        assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.slow
def test_another_host_warns_and_takes_the_token_of_the_file(tmp_path: Path) -> None:
    write_results(tmp_path / "run")
    (tmp_path / "token").write_text("my-own-long-token-1234\n")
    options = ("--host", "0.0.0.0", "--token-file", tmp_path / "token")
    with served(tmp_path, *options) as running:
        assert running.token == "my-own-long-token-1234"
        assert running.lines[3].startswith("warning: --host 0.0.0.0: everybody")
        assert running.ask("/api/runs", Host="evil.example")[0] == 421
        assert running.ask("/api/runs", Host=socket.gethostname())[0] == 200
