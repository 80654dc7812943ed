"""Starts writers of one file, each a fork: ``python atomic_writers.py PATH {atomic|naive}``.

Every line on standard input starts a writer, whose process number is answered; it writes whole
documents to PATH, one after the other, until it is killed.
"""

from __future__ import annotations

import os
import sys
import zlib
from pathlib import Path

from diagnostics.contract.atomic import write_atomic


def document(seed: int) -> bytes:
    """Return a document that shows whether it is whole: checksum, length, body."""
    body = bytes([seed % 251]) * (20_000 + 997 * (seed % 50))
    return b"%d %d\n%s" % (zlib.crc32(body), len(body), body)


def is_whole(data: bytes) -> bool:
    """Return whether ``data`` is one of the documents, from its first byte to its last."""
    head, _, body = data.partition(b"\n")
    return head == b"%d %d" % (zlib.crc32(body), len(body))


def write(path: Path, seed: int, how: str) -> None:
    """Replace ``path`` by a document, the right way or as most programs do."""
    if how == "atomic":
        write_atomic(path, document(seed), sync=seed % 8 == 0)
    else:
        with open(path, "wb") as file:
            file.write(document(seed))


def main() -> None:
    path, how = Path(sys.argv[1]), sys.argv[2]
    for _ in sys.stdin:
        pid = os.fork()
        if pid == 0:
            seed = os.getpid()
            while True:
                write(path, seed, how)
                seed += 1
        print(pid, flush=True)  # noqa: T201
        os.waitpid(pid, 0)
        print("dead", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
