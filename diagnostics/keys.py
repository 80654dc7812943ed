"""Making the keys with which trainer and diagnostics process know each other over TCP."""

from __future__ import annotations

from pathlib import Path

import zmq

from diagnostics.contract.endpoint import write_key
from diagnostics.contract.folder import make_private_folder


def make_keys(folder: Path) -> list[str]:
    """Make both sides' key pairs and an allow-list with the one diagnostics process.

    Args:
        folder: Is created with mode 0700; the secrets in it have mode 0600.

    Returns:
        Lines that say what each file is for.

    Raises:
        BlobwatchError: There are keys already, or they cannot be written.
    """
    make_private_folder(folder)
    for name in ("trainer", "consumer"):
        public, secret = zmq.curve_keypair()
        write_key(folder / f"{name}.secret", secret, 0o600)
        write_key(folder / f"{name}.public", public, 0o600)
        if name == "consumer":
            write_key(folder / "allowed", public, 0o600)
    return [
        f"{folder}/trainer.secret, trainer.public: who the trainer is",
        f"{folder}/consumer.secret, consumer.public: who the diagnostics process is",
        f"{folder}/allowed: public keys that may connect, one a line",
        "on another machine the diagnostics process needs consumer.* and trainer.public alone",
    ]
