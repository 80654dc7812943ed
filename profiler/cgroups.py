"""The control groups above this process, which limit its memory and its CPU time (Linux)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

Version = Literal["cgroup v1", "cgroup v2"]


def folders(controller: str, root: Path = Path("/")) -> list[tuple[Version, Path]]:
    """Return the folders of this process's group and of all above it, the innermost first.

    A limit anywhere above binds as well. In a container the path may not be visible at all, but
    the topmost folder is.

    Args:
        controller: ``memory`` or ``cpu``; in version 2 a group has all of them in one folder.
        root: Where ``proc`` and ``sys`` are; another folder in tests.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    found: list[tuple[Version, Path]] = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        base = root / "sys/fs/cgroup"
        version: Version = "cgroup v2"
        if controllers:
            version, base = "cgroup v1", base / controller
            if controller not in controllers.split(","):
                continue
        parts = [part for part in path.split("/") if part and part != ".."]
        found += [(version, base.joinpath(*parts[:n])) for n in range(len(parts), -1, -1)]
    return found
