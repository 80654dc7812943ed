"""Where trainer and diagnostics process meet: the run's own socket, or TCP by explicit choice.

TCP is encrypted and both sides prove who they are (CurveZMQ, https://rfc.zeromq.org/spec/26/): the
trainer by its secret key, the diagnostics process by one whose public half is on the allow-list.
`python -m diagnostics keygen DIR` makes the keys.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from diagnostics.contract.errors import BlobwatchError
from diagnostics.contract.regular import open_regular

_KEY = re.compile(rb"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")
"""A key of 32 bytes in Z85, https://rfc.zeromq.org/spec/32/."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A TCP address and the folder of the keys.

    Attributes:
        address: ``tcp://HOST:PORT``.
        keys: Folder that `keygen` made.
    """

    address: str
    keys: Path

    @property
    def trainer_secret(self) -> bytes:
        """The trainer's secret key."""
        return read_secret(self.keys / "trainer.secret")

    @property
    def trainer_public(self) -> bytes:
        """The trainer's public key."""
        return _one_key(self.keys / "trainer.public")

    @property
    def consumer_secret(self) -> bytes:
        """The diagnostics process's secret key."""
        return read_secret(self.keys / "consumer.secret")

    @property
    def consumer_public(self) -> bytes:
        """The diagnostics process's public key."""
        return _one_key(self.keys / "consumer.public")

    @property
    def allowed(self) -> frozenset[bytes]:
        """Public keys of the diagnostics processes that may connect, from the file ``allowed``."""
        lines = _read(self.keys / "allowed").splitlines()
        listed = [line.strip() for line in lines if line.strip() and not line.startswith(b"# ")]
        return frozenset(_checked(key, self.keys / "allowed") for key in listed)


def make_endpoint(address: str | None, keys: Path | None) -> Endpoint | None:
    """Return the endpoint that a command's options name, or None for the run's own socket.

    Raises:
        BlobwatchError: Only one of the two is there, the address is not one of a single interface,
            or the keys cannot be used.
    """
    if address is None and keys is None:
        return None
    if address is None or keys is None:
        raise BlobwatchError("TCP takes an address and --keys DIR (`python -m diagnostics keygen`)")
    match = re.fullmatch(r"tcp://(\[[0-9a-fA-F:.]+\]|[0-9A-Za-z.\-]+):(\d{1,5})", address)
    if match is None or not 0 < int(match[2]) < 65536:
        raise BlobwatchError(f"{address}: must be tcp://HOST:PORT with the host of one interface")
    if match[1].strip("[]0:.") == "":
        raise BlobwatchError(
            f"{address}: would listen on every interface; name one, such as tcp://127.0.0.1:5555"
        )
    return Endpoint(address, keys)


def read_secret(path: Path) -> bytes:
    """Read a secret key, which nobody but this user may read.

    Raises:
        BlobwatchError: It cannot be read, others can read it, or it is no key.
    """
    data = _read(path, secret=True)
    return _checked(data.strip(), path)


def write_key(path: Path, key: bytes, mode: int) -> None:
    """Write a key to a new file, never over an old one.

    Raises:
        BlobwatchError: There is one already, or it cannot be written.
    """
    try:
        descriptor = open_regular(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        raise BlobwatchError(f"{path}: exists; remove it, or choose another folder") from None
    except OSError as error:
        raise BlobwatchError(f"{path}: cannot write ({error.strerror})") from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(key + b"\n")


def _one_key(path: Path) -> bytes:
    return _checked(_read(path).strip(), path)


def _read(path: Path, *, secret: bool = False) -> bytes:
    try:
        descriptor = open_regular(path, os.O_RDONLY)
    except OSError as error:
        raise BlobwatchError(
            f"{path}: cannot read ({error.strerror}); make keys with `python -m diagnostics keygen`"
        ) from None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if status.st_uid not in (os.getuid(), 0):
            raise BlobwatchError(f"{path}: belongs to another user; make keys of your own")
        if status.st_mode & (0o077 if secret else 0o022):
            mode = stat.S_IMODE(status.st_mode)
            raise BlobwatchError(f"{path}: open to others (mode {mode:04o}); chmod 600 it")
        return file.read(1 << 16)


def _checked(key: bytes, path: Path) -> bytes:
    if not _KEY.fullmatch(key):
        raise BlobwatchError(f"{path}: holds no key of 40 characters")
    return key
