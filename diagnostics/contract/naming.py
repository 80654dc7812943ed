"""How users name a run: by its folder, by a file of it, or by the name of its experiment."""

from __future__ import annotations

from pathlib import Path

from diagnostics.contract.errors import UnknownNameError, nearest

EXPERIMENTS = Path("experiments")
"""Where runs go that are not told otherwise, relative to the working folder."""
STAMP_LENGTH = len("_20260118_143022")


def find_run(name: str | Path) -> Path:
    """Return the folder (or file) of a run.

    Args:
        name: A path that exists, or the name of an experiment: the most recent run of that name
            under ``experiments/``, by the time in its folder's name, then by change.

    Raises:
        UnknownNameError: There is no such run; the message names a near one.
    """
    path = Path(name)
    if path.exists():
        return path
    runs = runs_named(str(name))
    if not runs:
        known = {folder.name[:-STAMP_LENGTH] or folder.name for folder in _folders()}
        raise UnknownNameError(
            f"{name}: no such run, neither a path nor in {EXPERIMENTS}/{nearest(str(name), known)}"
        )
    return max(runs, key=lambda run: (run.name[len(str(name)) :], run.stat().st_mtime))


def runs_named(name: str) -> list[Path]:
    """Return the folders under ``experiments/`` that hold a run of this experiment."""
    return [path for path in _folders() if path.name == name or _is_stamped(path.name, name)]


def _folders() -> list[Path]:
    return [path for path in EXPERIMENTS.iterdir() if path.is_dir()] if EXPERIMENTS.is_dir() else []


def _is_stamped(folder: str, name: str) -> bool:
    if not folder.startswith(name):
        return False
    stamp = folder[len(name) :]
    digits = stamp.replace("_", "")
    return len(stamp) >= STAMP_LENGTH and stamp.startswith("_") and digits.isdigit()
