"""What the programs share: events, results, journal, wire, atomic files, locks.

Standard library, NumPy, msgspec only, so that every package may import it (docs/architecture.md).
"""

import os

if os.name != "posix":
    raise ImportError(
        "blobwatch needs Linux or macOS: it relies on Unix sockets and file locks. On Windows, run"
        " it inside WSL."
    )
