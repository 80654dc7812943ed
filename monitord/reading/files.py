"""Read the files of a run, whatever is in them: one file in, plain numbers or a reason out.

``results.json`` is decoded only where it changed: every entry of its history has a checksum, and
entries whose checksum is known are not decoded again. The journal is read from where the last
reading ended.
"""

from __future__ import annotations

import json
import os
import stat
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from diagnostics.contract.errors import UnreadableFileError
from diagnostics.contract.events import AnyEvent, decode_event
from diagnostics.contract.journal import HEADER, read_journal
from monitord.reading.columns import Block
from monitord.reading.layouts import Layouts
from monitord.reading.tabulation import tabulate

MAX_RESULTS_BYTES = 1 << 30
MAX_CONFIG_BYTES = 4 << 20


class Document(msgspec.Struct):
    """What the monitor needs of ``results.json``; every key may be missing or of any type."""

    schema_version: Any = None
    run_id: Any = None
    experiment_name: Any = None
    status: Any = None
    status_reason: Any = None
    device: Any = None
    epochs: Any = None
    started_at: Any = None
    ended_at: Any = None
    training_duration_seconds: Any = None
    process: Any = None
    environment: Any = None
    segments: Any = None
    config: Any = None
    stage2: Any = None
    training_history: list[msgspec.Raw] | None = None


class Unreadable(Exception):  # noqa: N818 - it is what the table calls it
    """A file that tells nothing; the message is the reason, without the file's name."""


@dataclass(frozen=True, slots=True)
class ResultsReading:
    """What ``results.json`` holds.

    Attributes:
        document: Everything but the history.
        checksums: CRC-32 of each entry of the history; empty if it cannot be told apart.
        n_known: Number of leading entries that are the same as at the last reading.
        block: The entries after those.
    """

    document: Document
    checksums: list[int]
    n_known: int
    block: Block


@dataclass(frozen=True, slots=True)
class JournalReading:
    """New events of the journal.

    Attributes:
        events: In order.
        end: Where to read on, in bytes.
        n_bad: Records that are no event of this version.
        fault: Why reading stopped before the end of the file, or None.
    """

    events: list[AnyEvent] = field(default_factory=list)
    end: int = 0
    n_bad: int = 0
    fault: str | None = None


_documents = msgspec.json.Decoder(Document)
_entries = msgspec.json.Decoder(list[Any])
_entry = msgspec.json.Decoder(Any)
_layouts = Layouts()


def read_bytes(path: str | Path, limit: int) -> bytes:
    """Return the contents of a regular file of at most ``limit`` bytes.

    Raises:
        Unreadable: It is something else, too large, or cannot be opened.
        FileNotFoundError: There is none.
    """
    # O_NONBLOCK: a pipe of that name must not stop the monitor
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Unreadable(error.strerror or str(error)) from None
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise Unreadable("is a folder")
        if not stat.S_ISREG(status.st_mode):
            raise Unreadable("is not a regular file")
        if status.st_size > limit:
            raise Unreadable(f"has {status.st_size} bytes, more than the {limit} that are read")
        chunks = []
        while chunk := os.read(descriptor, max(status.st_size + 1, 65536)):
            chunks.append(chunk)
        return b"".join(chunks)
    except OSError as error:
        raise Unreadable(error.strerror or str(error)) from None
    finally:
        os.close(descriptor)


def parse_results(data: bytes, known: Sequence[int] = ()) -> ResultsReading:
    """Decode a results file.

    Args:
        data: The file's bytes.
        known: Checksums of the history's entries at the last reading.

    Raises:
        Unreadable: It is empty, cut off, no JSON, no UTF-8, nested too deeply, or no object.
    """
    if not data.strip():
        raise Unreadable("empty")
    try:
        document = _documents.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _parse_tolerantly(data)
    raw = document.training_history or []
    document.training_history = None
    checksums = [zlib.crc32(entry) for entry in raw]
    n_known = _n_equal(checksums, known)
    try:
        block = _decode_entries(raw[n_known:], n_known)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _parse_tolerantly(data)
    return ResultsReading(document, checksums, n_known, block)


def _decode_entries(raw: Sequence[msgspec.Raw], n_before: int) -> Block:
    data = b"[" + b",".join(raw) + b"]"
    if raw:
        layout = _layouts.find(_entry.decode(raw[0]))
        block = layout.decode(data) if layout is not None else None
        if block is not None:
            return block
    return tabulate(_entries.decode(data), n_before)


def _n_equal(checksums: Sequence[int], known: Sequence[int]) -> int:
    n_both = min(len(checksums), len(known))
    if list(checksums[:n_both]) == list(known[:n_both]):
        return n_both
    return next(i for i in range(n_both) if checksums[i] != known[i])


def _parse_tolerantly(data: bytes) -> ResultsReading:
    """Accept what Python writes and strict JSON does not have: NaN, Infinity, huge integers."""
    try:
        found = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise Unreadable(f"not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno}"
        cut = error.pos >= len(error.doc.rstrip()) - 1
        raise Unreadable(f"{'cut off' if cut else 'not JSON'} at {place}") from None
    except (RecursionError, ValueError) as error:
        deep = isinstance(error, RecursionError)
        raise Unreadable("nested too deeply" if deep else str(error)[:80]) from None
    if not isinstance(found, dict):
        raise Unreadable(f"holds a {type(found).__name__}, not an object with training_history")
    history = found.get("training_history")
    if history is not None and not isinstance(history, list):
        raise Unreadable(f"training_history is a {type(history).__name__}, not a list")
    fields = {name: found.get(name) for name in Document.__struct_fields__}
    fields["training_history"] = None
    return ResultsReading(Document(**fields), [], 0, tabulate(history or []))


def read_events(path: Path, start: int) -> JournalReading:
    """Read the events of a journal from ``start`` (bytes; 0 at first).

    Raises:
        Unreadable: It is no journal, or cannot be read.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise Unreadable("events.log is not a regular file")
        scan = read_journal(path, start)
    except FileNotFoundError:
        return JournalReading()
    except OSError as error:
        raise Unreadable(f"events.log: {error.strerror}") from None
    except UnreadableFileError as error:
        raise Unreadable(str(error).removeprefix(f"{path}: ")) from None
    events, n_bad = [], 0
    for payload in scan.payloads:
        try:
            events.append(decode_event(payload))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            n_bad += 1
    return JournalReading(events, scan.end, n_bad, scan.fault)


def is_journal(path: str | Path) -> bool:
    """Return whether a file named ``events.log`` is ours, not another program's."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.read(descriptor, len(HEADER)) == HEADER
    except OSError:
        return False
    finally:
        os.close(descriptor)


def read_config(path: Path) -> dict[str, Any]:
    """Return the configuration; empty if there is none or it cannot be read."""
    try:
        found = json.loads(read_bytes(path, MAX_CONFIG_BYTES))
    except (OSError, Unreadable, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
