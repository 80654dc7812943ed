"""Configuration files: reading JSON without losing anything, and the presets."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from diagnostics.contract.errors import nearest
from trainer.validation import ConfigError


def read_config(source: Path | str) -> tuple[dict[str, Any], str]:
    """Return a configuration as a nested dict, not yet validated, and where it is from.

    Args:
        source: A path, the name of a preset, or ``-`` for standard input.

    Raises:
        ConfigError: It cannot be read, or is no JSON object.
    """
    path = config_path(source)
    try:
        text = sys.stdin.buffer.read() if str(source) == "-" else path.read_bytes()
    except IsADirectoryError:
        run = f"; it is a run: give {path}/config.json to repeat it, or --resume {path} to go on"
        hint = run if (path / "config.json").is_file() else "; give a JSON file or a preset"
        raise ConfigError(f"{source}: is a folder{hint}") from None
    except OSError as error:
        known = ", ".join(preset_names())
        near = nearest(str(source), preset_names())
        remedy = f"{near} Give" if near else "; give"
        raise ConfigError(
            f"{source}: cannot read ({error.strerror}){remedy} a JSON file or a preset: {known}"
        ) from None
    try:
        nested = json.loads(text, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid JSON: {error}") from None
    if not isinstance(nested, dict):
        raise ConfigError(f"{path}: must be a JSON object, got {type(nested).__name__}")
    return nested, str(path)


def config_path(source: Path | str) -> Path:
    """Return the file that a configuration is read from: the path itself, or a preset's file."""
    path = Path(source)
    if not path.is_file() and str(source) in preset_names():
        return preset_folder() / f"{source}.json"
    return path


def preset_folder() -> Path:
    """Return the folder of the presets: beside an installed package, or in a checkout."""
    here = Path(__file__).resolve().parent
    installed = here / "presets"
    return installed if installed.is_dir() else here.parent / "configs"


def preset_names() -> list[str]:
    """Return the names of the presets, sorted."""
    return sorted(path.stem for path in preset_folder().glob("*.json"))


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build a JSON object, refusing a repeated key: one of its values would be lost silently."""
    keys = [key for key, _ in pairs]
    if repeated := sorted({key for key in keys if keys.count(key) > 1}):
        raise ValueError(f"repeated key: {', '.join(repeated)}")
    return dict(pairs)
