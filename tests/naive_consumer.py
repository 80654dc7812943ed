"""What most programs do: take epochs off a socket and write them down, and trust in luck.

``python naive_consumer.py {SUB|PULL} ADDRESS FILE``: the control of the kill campaigns.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import zmq

from diagnostics.contract.atomic import write_atomic


def main() -> None:
    kind, address, path = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    socket = zmq.Context().socket(getattr(zmq, kind))
    if kind == "SUB":
        socket.subscribe(b"")
    socket.connect(address)
    epochs = json.loads(path.read_bytes()) if path.exists() else []
    while True:
        epochs.append(int(socket.recv()))
        write_atomic(path, json.dumps(epochs).encode())


if __name__ == "__main__":
    main()
