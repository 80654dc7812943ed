"""The mount table: on which kinds of file system events never come."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_NETWORK = frozenset(
    [
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "ncpfs",
        "afs",
        "9p",
        "ceph",
        "lustre",
        "gpfs",
        "beegfs",
        "glusterfs",
        "panfs",
        "orangefs",
        "ocfs2",
        "gfs2",
        "virtiofs",
        "vboxsf",
        "vmhgfs",
        "prl_fs",
        "fuse",
        "fuseblk",
        "davfs",
        "acfs",
        "wekafs",
        "drvfs",
    ]
)


@dataclass(frozen=True, slots=True)
class Mount:
    """A mounted file system.

    Attributes:
        point: Where it is mounted.
        kind: Its type, such as ``ext4`` or ``fuse.sshfs``.
    """

    point: str
    kind: str

    @property
    def is_remote(self) -> bool:
        """Whether others may change files there without this kernel's knowledge."""
        return self.kind in _NETWORK or self.kind.startswith("fuse.")


def read_mounts(table: Path = Path("/proc/self/mountinfo")) -> list[Mount]:
    """Return the mounted file systems; empty where there is no mount table."""
    try:
        lines = table.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return []
    mounts = []
    for line in lines:
        before, dash, after = line.partition(" - ")
        fields = before.split(" ")
        if dash and len(fields) >= 5:
            mounts.append(Mount(_unescaped(fields[4]), after.split(" ")[0]))
    return mounts


def mount_of(path: Path, mounts: list[Mount]) -> Mount:
    """Return the file system that holds ``path``; of several on one point, the topmost."""
    real = os.path.realpath(path)
    best = Mount("/", "unknown")
    for mount in mounts:
        point = mount.point.rstrip("/")
        if (real == point or real.startswith(f"{point}/")) and len(mount.point) >= len(best.point):
            best = mount
    return best


def _unescaped(field: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        field = field.replace(code, character)
    return field
