from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Two workers on two cores: a thread each, set before PyTorch is loaded.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

ROOT = Path(__file__).resolve().parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--chaos-seconds", type=float, default=600.0, help="how long `-m chaos` kills")
    parser.addoption("--chaos-seed", type=int, help="repeat an earlier campaign of `-m chaos`")


def pytest_configure(config: pytest.Config) -> None:
    # `make test &` in a script, or `nohup make test`: what is started would ignore them, too.
    for number, handler in (
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGHUP, signal.SIG_DFL),
    ):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)
    if config.option.chaos_seed is None:
        config.option.chaos_seed = random.SystemRandom().randrange(10**6)


def pytest_report_header(config: pytest.Config) -> str:
    return f"--chaos-seed {config.option.chaos_seed}"


@pytest.fixture
def chaos(request: pytest.FixtureRequest) -> tuple[int, float]:
    """The seed of this campaign of kills, and how many seconds it has."""
    return request.config.option.chaos_seed, request.config.option.chaos_seconds


def tiny_config(**training: Any) -> dict[str, Any]:
    """A run of three epochs that takes a blink."""
    return {
        "model": {"hidden_size": 16},
        "training": {"epochs": 3, "batch_size": 150, "decoder_regularization": 0.01} | training,
        "loss": {"lambda_on": 8.0},
        "data": {"d": 32, "n_train": 400, "n_val": 100, "device": "cpu", "noise_variance": 0.02},
        "experiment_name": "tiny",
        "save_plots": False,
    }


def long_epochs_config(**training: Any) -> dict[str, Any]:
    """A run that goes on until it is ended, and lets the diagnostics keep up on a busy machine."""
    config = tiny_config(**({"epochs": 10**6, "batch_size": 500} | training))
    config["data"]["n_train"] = 50_000
    return config


@pytest.fixture
def write_config(tmp_path: Path) -> Callable[..., Path]:
    def write(name: str = "config.json", **training: Any) -> Path:
        path = tmp_path / name
        path.write_text(json.dumps(tiny_config(**training)))
        return path

    return write


def start(module: str, *arguments: object, cwd: Path, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-m", module, *map(str, arguments)],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | options.pop("env", {}),
        **options,
    )


def run(module: str, *arguments: object, cwd: Path, **options: Any) -> tuple[int, str, str]:
    """Run ``python -m module arguments`` to its end: status, stdout, stderr."""
    process = start(module, *arguments, cwd=cwd, **options)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def strict_json(path: Path) -> Any:
    def refuse(token: str) -> None:
        raise AssertionError(f"{path}: {token} is not strict JSON")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def wait_for(condition: Callable[[], Any], timeout_s: float = 60.0) -> Any:
    """Wait until ``condition`` holds; its value, or a failure that shows the last one."""
    deadline = time.monotonic() + timeout_s
    value = condition()
    while not value:
        assert time.monotonic() < deadline, f"still {value!r} after {timeout_s} s"
        time.sleep(0.01)
        value = condition()
    return value


def epochs_of(results: dict[str, Any]) -> list[int]:
    return [entry["epoch"] for entry in results["training_history"]]
