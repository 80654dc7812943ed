"""The options of ``--serve``: what is wrong with them, and what they cost without it."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from monitord.command import main
from tests.monitord_trees import write_results


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--serve", "--host", "0.0.0.0"], "--host 0.0.0.0: other machines could reach the page"),
        (["--serve", "--host", "0.0.0.0", "--token", "short"], "at least 16 letters"),
        (["--serve", "--token-file", "missing"], "--token-file missing: cannot be read"),
        (["--serve", "--host", "no.such.host.invalid"], "--host no.such.host.invalid"),
        (["--serve", "--port", "70000"], "'70000' is not a port from 0 to 65535"),
        (["--serve", "--once"], "--serve: goes with watching"),
        (["--port", "8000"], "--port: goes with --serve"),
        (["--serve", "--token", "x" * 20, "--token-file", "f"], "--token: not with --token-file"),
    ],
)
def test_bad_options_are_one_clear_message_and_status_2(
    tmp_path: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_results(tmp_path / "run", 1)
    try:
        status: Any = main([str(tmp_path), *options])
    except SystemExit as end:  # argparse's own way
        status = end.code
    assert status == 2 and message in capsys.readouterr().err


def test_a_port_that_is_taken_is_one_clear_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_results(tmp_path / "run", 1)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main([str(tmp_path), "--serve", "--port", port]) == 2
    shown = capsys.readouterr().err
    assert f"--port {port}: cannot listen" in shown and "give another --port" in shown


def test_without_serve_the_monitor_loads_nothing_of_the_page() -> None:
    code = "import sys, monitord.service, monitord.command; print(' '.join(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"starlette", "uvicorn", "asyncio", "monitord.page"} & set(out.stdout.split())
