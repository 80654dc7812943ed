"""Running and comparing experiments from Python; each run is a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diagnostics.contract import strictjson
from diagnostics.contract.errors import BlobwatchError, UnreadableFileError
from diagnostics.contract.naming import EXPERIMENTS, find_run, runs_named
from diagnostics.contract.results import read_results
from trainer.config import ConfigLike, ExperimentConfig, load_config


class RunFailedError(BlobwatchError):
    """A training process ended without completing its run."""


def run_experiment(
    config: ConfigLike, name: str | None = None, wait: bool = True, *, quiet: bool = False
) -> dict[str, Any] | subprocess.Popen[bytes]:
    """Train in a process of its own.

    Args:
        config: A nested dict, a typed configuration, a path or a preset's name; not changed.
        name: Name of the experiment; None for the configured one.
        wait: Wait for the end and return the results; otherwise return at once.
        quiet: Let the process print warnings and errors only.

    Returns:
        The contents of ``results.json``, or with ``wait=False`` the process.

    Raises:
        ConfigError: The configuration is not valid; nothing was started.
        RunFailedError: The run did not complete; its files are in its folder.
    """
    overrides = {} if name is None else {"experiment_name": name}
    typed = load_config(config, overrides)
    command = [sys.executable, "-m", "trainer", "-", *(["--quiet"] if quiet else [])]
    process = subprocess.Popen(command, stdin=subprocess.PIPE)
    assert process.stdin is not None
    with process.stdin as pipe:
        pipe.write(strictjson.encode(typed))
    if not wait:
        return process
    try:
        status = process.wait()
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)
        status = process.wait()
    folder = Path(typed.output_dir) if typed.output_dir else _folder_of(process, typed)
    if status != os.EX_OK:
        raise RunFailedError(f"{folder}: the run ended with status {status}; see {folder}/run.log")
    return load_results(folder)


def _folder_of(process: subprocess.Popen[bytes], config: ExperimentConfig) -> Path:
    """Return the folder that a process made; others of the same name may run beside it."""
    for folder in sorted(runs_named(config.experiment_name), reverse=True):
        try:
            if read_results(folder / "results.json").process.pid == process.pid:
                return folder
        except (FileNotFoundError, UnreadableFileError):
            continue
    return EXPERIMENTS / config.experiment_name


def quick_run(
    base: ConfigLike = "quick_3blob", name: str = "quick_run", **overrides: Any
) -> dict[str, Any]:
    """Run a small experiment and return its results; overrides as in `create_config`."""
    results = run_experiment(load_config(base, overrides), name)
    assert isinstance(results, dict)
    return results


def load_results(name: str | Path) -> dict[str, Any]:
    """Return the contents of a run's ``results.json``.

    Args:
        name: A run's folder, its ``results.json``, or the name of an experiment: the most recent
            run of that name under ``experiments/``, by the time in its folder's name.

    Raises:
        UnknownNameError: There is no such run; the message names near ones.
        UnreadableFileError: Its results cannot be read.
    """
    path = find_run(name)
    path = path / "results.json" if path.is_dir() else path
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UnreadableFileError(f"{path}: cannot read: {error.strerror}") from None
    results: dict[str, Any] = strictjson.decode(data, path)
    return results


def compare_experiments(names: Sequence[str | Path]) -> list[dict[str, Any]]:
    """Return one row for each experiment: name, status, epochs, last losses, blobs, configuration.

    The configuration holds only the keys, dotted, in which the experiments differ.
    """
    rows, configs = [], []
    for name in names:
        folder = find_run(name)
        results = load_results(folder)
        last = (results.get("training_history") or [{}])[-1]
        diagnostics = last.get("diagnostics") or {}
        rows.append(
            {
                "name": str(name),
                "folder": str(folder),
                "status": results.get("status"),
                "epochs": last.get("epoch", 0),
                "train_loss": (last.get("train") or {}).get("scaled_loss"),
                "test_loss": (last.get("test") or {}).get("scaled_loss"),
                "n_blobs": diagnostics.get("n_blobs"),
                "separation": diagnostics.get("blob_separation"),
            }
        )
        configs.append(_dotted(json.loads((folder / "config.json").read_bytes())))
    keys = sorted({key for config in configs for key in config})
    different = [k for k in keys if len({json.dumps(c.get(k)) for c in configs}) > 1]
    for row, config in zip(rows, configs, strict=True):
        row["config"] = {key: config.get(key) for key in different}
    return rows


def _dotted(nested: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(nested, dict):
        return {prefix: nested}
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        flat |= _dotted(value, f"{prefix}.{key}" if prefix else key)
    return flat
