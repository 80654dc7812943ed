"""The worker process: loads the diagnostics of a run and computes them, epoch by epoch.

It speaks msgpack over two pipes with the consumer (`Host`), which kills it when a diagnostic hangs.
``python -m diagnostics.consumer.worker FOLDER READ_FD WRITE_FD LIFE_FD [LEFT_OUT ...]``.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from diagnostics import registry
from diagnostics.consumer.messages import Began, Done, Ready, Task
from diagnostics.contract import strictjson
from diagnostics.contract.events import decode_event
from diagnostics.contract.folder import RunFolder
from diagnostics.contract.protocol import Diagnostic, Epoch
from diagnostics.contract.snapshot import Snapshot

logger = logging.getLogger(__name__)

MAX_FIELDS_BYTES = 1 << 18


def main() -> None:
    """Serve tasks until the consumer closes the pipe."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s: %(message)s"
    )
    folder = RunFolder(Path(sys.argv[1]))
    threading.Thread(target=end_with_consumer, args=(int(sys.argv[4]),), daemon=True).start()
    tasks = Connection(int(sys.argv[2]), writable=False)
    answers = Connection(int(sys.argv[3]), readable=False)
    with contextlib.suppress(BrokenPipeError):  # the consumer has what it needs and is gone
        serve(folder, tasks, answers)


def serve(folder: RunFolder, tasks: Connection, answers: Connection) -> None:
    """Load the diagnostics and compute what is asked for."""
    config = strictjson.decode(folder.config.read_bytes(), folder.config)
    left_out = frozenset(sys.argv[5:])
    loaded = registry.load_configured(
        config, left_out, before=lambda name: send(answers, Began(name))
    )
    send(answers, loaded_message(loaded))
    decoder = msgspec.msgpack.Decoder(Task)
    while True:
        try:
            task = decoder.decode(tasks.recv_bytes())
            frames = [tasks.recv_bytes() for _ in range(task.n_frames)]
        except EOFError:
            return
        epoch = Epoch(
            event=decode_event(task.record),  # type: ignore[arg-type]
            snapshot=Snapshot(task.header, frames),
            folder=folder.root,
            config=config,
            previous=task.previous,
            fields=MappingProxyType(task.fields),
            last=task.last,
        )
        for name in task.names:
            send(answers, Began(name))
            done = compute(loaded.diagnostics[name], name, epoch)
            send(answers, done)
            # As the host does it: the first to give a field keeps it.
            for key, value in (done.fields or {}).items():
                task.fields.setdefault(key, value)


def end_with_consumer(life: int) -> None:
    """Wait until the consumer is gone, however it went, and end this process: no orphan hangs."""
    os.read(life, 1)
    os._exit(0)


def loaded_message(loaded: registry.Loaded) -> Ready:
    """Return the greeting of a worker with these diagnostics."""
    needs = {part for diagnostic in loaded.diagnostics.values() for part in diagnostic.needs}
    return Ready(tuple(loaded.diagnostics), tuple(sorted(needs)), loaded.limits, loaded.errors)


def compute(diagnostic: Diagnostic, name: str, epoch: Epoch) -> Done:
    """Run one diagnostic; whatever goes wrong becomes a reason."""
    started = time.perf_counter()
    try:
        missing = [part for part in diagnostic.needs if part not in epoch.snapshot]
        if missing:
            reason = epoch.snapshot.header.dropped or f"the snapshot has no {', '.join(missing)}"
            return Done(name, None, reason)
        return Done(name, check_fields(diagnostic.compute(epoch)), None)
    except Exception as error:
        took = time.perf_counter() - started
        logger.exception("diagnostic %s failed after %.3f s", name, took)
        return Done(name, None, f"{type(error).__name__}: {error}"[:300])


def check_fields(fields: Any) -> dict[str, Any]:
    """Return the fields as plain data, non-finite numbers included.

    Raises:
        TypeError: They are no flat mapping of names to numbers, texts, lists or None.
        ValueError: They are larger than an epoch's entry may be.
    """
    if not isinstance(fields, Mapping):
        raise TypeError(f"compute must return a mapping, got {type(fields).__name__}")
    if wrong := [key for key in fields if not isinstance(key, str)]:
        raise TypeError(f"field names must be texts, got {wrong[0]!r}")
    plain = {key: strictjson.builtins(value) for key, value in fields.items()}
    if nested := [key for key, value in plain.items() if isinstance(value, dict)]:
        raise TypeError(f"field {nested[0]} is a mapping")
    size = len(msgspec.msgpack.encode(plain))
    if size > MAX_FIELDS_BYTES:
        raise ValueError(f"{size} bytes of fields; an epoch takes at most {MAX_FIELDS_BYTES}")
    return plain


def send(connection: Connection, message: Ready | Began | Done) -> None:
    """Send one message to the consumer."""
    connection.send_bytes(msgspec.msgpack.encode(message))


if __name__ == "__main__":
    main()
