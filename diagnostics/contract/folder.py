"""Where the files of a run are, and the private folder for its socket, locks and snapshots."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from diagnostics.contract.errors import BlobwatchError

MAX_IPC_PATH_BYTES = 100
"""Unix socket paths hold 108 bytes on Linux and 104 on macOS, the final zero byte included."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The files of one run, ``experiments/NAME_STAMP/``."""

    root: Path

    @property
    def config(self) -> Path:
        """The complete configuration, as run."""
        return self.root / "config.json"

    @property
    def results(self) -> Path:
        """The results, written by the diagnostics process alone."""
        return self.root / "results.json"

    @property
    def journal(self) -> Path:
        """The journal, written by the trainer alone."""
        return self.root / "events.log"

    @property
    def checkpoint(self) -> Path:
        """Everything that is needed to continue training."""
        return self.root / "checkpoint.pt"

    @property
    def model(self) -> Path:
        """The final weights."""
        return self.root / "model.pth"

    def trace(self, trace: int) -> Path:
        """The final weights of a trace of stage two, counted from 0."""
        return self.root / f"trace_{trace:02d}.pth"

    @property
    def log(self) -> Path:
        """What trainer and diagnostics process had to say."""
        return self.root / "run.log"

    @property
    def private(self) -> Path:
        """Folder of mode 0700 for locks, socket and snapshots."""
        return self.root / ".blobwatch"

    @property
    def trainer_lock(self) -> Path:
        """Held by the trainer for as long as it lives."""
        return self.private / "trainer.lock"

    @property
    def consumer_lock(self) -> Path:
        """Held by the diagnostics process for as long as it lives."""
        return self.private / "consumer.lock"

    @property
    def token(self) -> Path:
        """The secret that a consumer must show on the socket (mode 0600)."""
        return self.private / "token"

    @property
    def snapshots(self) -> Path:
        """Snapshots that the diagnostics process has not acknowledged yet."""
        return self.private / "snapshots"

    def make_private(self) -> None:
        """Create the private folder, or check that it is this user's and nobody else's.

        Raises:
            BlobwatchError: The folder is a link, another user's, or open to others.
        """
        make_private_folder(self.private)

    def socket_address(self) -> str:
        """Return the ZeroMQ address of the run's socket.

        It lies in the private folder; if that path is too long for a Unix socket, in a folder of
        this user's under ``XDG_RUNTIME_DIR`` or the temporary folder, under a name made from the
        run's path, so that both sides find it.
        """
        path = self.private.resolve() / "events.sock"
        if len(os.fsencode(path)) > MAX_IPC_PATH_BYTES:
            base = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
            folder = base / f"blobwatch-{os.getuid()}"
            make_private_folder(folder)
            digest = hashlib.sha256(os.fsencode(self.private.resolve())).hexdigest()[:24]
            path = folder / digest
        return f"ipc://{os.fsdecode(os.fsencode(path))}"


def make_private_folder(folder: Path) -> None:
    """Create ``folder`` with mode 0700, or check the one that is there; see `make_private`."""
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        pass
    except OSError as error:
        raise BlobwatchError(f"{folder}: cannot create: {error.strerror}") from None
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise BlobwatchError(f"{folder}: must be a folder; remove what is there")
    if status.st_uid != os.getuid():
        raise BlobwatchError(f"{folder}: belongs to another user; remove it or use another folder")
    if stat.S_IMODE(status.st_mode) & 0o077:
        folder.chmod(0o700)
