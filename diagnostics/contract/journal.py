"""The journal of a run, ``events.log``: the truth about what training has done.

The file is a header followed by records, each ``length, CRC-32, payload`` (little-endian, 4 bytes
each for the numbers). A record is appended with a single ``write``: that is the commit point. A
process killed at any moment leaves whole records and at most one torn record at the end.
"""

from __future__ import annotations

import logging
import os
import struct
import zlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from diagnostics.contract.atomic import sync_folder, write_atomic
from diagnostics.contract.errors import UnreadableFileError
from diagnostics.contract.regular import open_regular, read_regular
from diagnostics.contract.trouble import Trouble

logger = logging.getLogger(__name__)

HEADER = b"blobwatch journal 1\n"
MAX_RECORD_BYTES = 1 << 20
_PREFIX = struct.Struct("<II")


@dataclass(frozen=True, slots=True)
class Scan:
    """What a read of the journal found.

    Attributes:
        payloads: The payloads of the whole records, in order.
        end: Offset in bytes just past the last whole record: where to read on.
        fault: Why reading stopped before the end of the file, or None. A torn last record, as
            a kill leaves it, is a fault too.
    """

    payloads: list[bytes]
    end: int
    fault: str | None


def read_journal(path: Path, start: int = 0) -> Scan:
    """Read whole records from ``start``, which is 0 or the ``end`` of an earlier scan.

    A missing file is an empty journal.

    Raises:
        UnreadableFileError: The file cannot be read or is not a journal of this version.
    """
    try:
        data = read_regular(path, start)
    except FileNotFoundError:
        return Scan([], start, None)
    except OSError as error:
        raise UnreadableFileError(f"{path}: cannot read the journal: {error.strerror}") from None
    offset = 0
    if start == 0:
        if not data.startswith(HEADER):
            if HEADER.startswith(data):
                return Scan([], 0, "torn header" if data else None)
            raise UnreadableFileError(f"{path}: not a blobwatch journal of version 1")
        offset = len(HEADER)
    payloads: list[bytes] = []
    fault = None
    for end, payload in _records(data, offset):
        if isinstance(payload, str):
            fault = f"{payload} at byte {start + offset}"
            break
        payloads.append(payload)
        offset = end
    return Scan(payloads, start + offset, fault)


def _records(data: bytes, offset: int) -> Iterator[tuple[int, bytes | str]]:
    while offset < len(data):
        body = offset + _PREFIX.size
        if body > len(data):
            yield offset, "torn record"
            return
        length, checksum = _PREFIX.unpack_from(data, offset)
        if not 0 < length <= MAX_RECORD_BYTES:
            yield offset, "damaged record length"
            return
        payload = data[body : body + length]
        if len(payload) < length:
            yield offset, "torn record"
            return
        if zlib.crc32(payload, zlib.crc32(data[offset : offset + 4])) != checksum:
            yield offset, "damaged record (checksum)"
            return
        offset = body + length
        yield offset, payload


def frame(payload: bytes) -> bytes:
    """Return the record that holds ``payload``; the checksum covers the length too."""
    length = struct.pack("<I", len(payload))
    return length + struct.pack("<I", zlib.crc32(payload, zlib.crc32(length))) + payload


class JournalWriter:
    """Appends records; the only writer of the file, under the trainer's lock.

    A record that the disk refuses is kept in memory and written, in order, with the next one, so
    metrics are never dropped; the file never holds half a record followed by another.
    """

    def __init__(self, path: Path) -> None:
        """Open or create the journal at ``path``; a damaged tail is set aside, whole.

        Raises:
            UnreadableFileError: ``path`` is something else than a journal.
            OSError: The disk has no room for its header.
        """
        self.path = path
        scan = read_journal(path)
        self.payloads = scan.payloads
        if scan.fault is not None:
            self._set_tail_aside(scan)
        try:
            self._descriptor = open_regular(path, os.O_WRONLY | os.O_CREAT)
        except OSError as error:
            raise UnreadableFileError(f"{path}: cannot open: {error.strerror}") from None
        self._end = scan.end
        self._refused: deque[bytes] = deque()
        self._suspect = False
        self._trouble = Trouble()
        if scan.end == 0:
            self._write(HEADER)
            sync_folder(path.parent)

    @property
    def n_waiting(self) -> int:
        """Number of records that the disk has refused so far."""
        return len(self._refused)

    def append(self, payload: bytes) -> bool:
        """Append one record; return whether everything is in the file now.

        Does not wait for the disk (a kill loses nothing, a power cut may); see `sync`.
        """
        if len(payload) > MAX_RECORD_BYTES:
            raise ValueError(f"a record has at most {MAX_RECORD_BYTES} bytes, got {len(payload)}")
        self._refused.append(frame(payload))
        return self.flush()

    def flush(self) -> bool:
        """Write the records that were refused before; return whether none is left."""
        try:
            while self._refused:
                self._write(self._refused[0])
                self._refused.popleft()
        except OSError as error:
            if self._trouble.is_news():
                logger.warning(
                    "%s: cannot write (%s); training goes on, the epochs wait in memory",
                    self.path,
                    error.strerror,
                )
            return False
        self._trouble.is_over()
        return True

    def sync(self) -> bool:
        """Wait until the records are on the disk; return whether all of them are.

        After a failed fsync the kernel may have dropped what it could not write and say that all
        is well the next time, so the file is then written anew, from what can be read of it.
        """
        if not self.flush():
            return False
        try:
            if self._suspect:
                write_atomic(self.path, read_regular(self.path))
                os.close(self._descriptor)
                self._descriptor = open_regular(self.path, os.O_WRONLY)
            else:
                os.fsync(self._descriptor)
        except OSError as error:
            if not self._suspect:
                logger.warning("%s: cannot reach the disk (%s)", self.path, error.strerror)
            self._suspect = True
            return False
        self._suspect = False
        return True

    def close(self) -> None:
        """Write what is left and close the file."""
        self.flush()
        os.close(self._descriptor)

    def _write(self, data: bytes) -> None:
        written = 0
        try:
            while written < len(data):
                written += os.pwrite(self._descriptor, data[written:], self._end + written)
        except OSError:
            os.ftruncate(self._descriptor, self._end)
            raise
        self._end += len(data)

    def _set_tail_aside(self, scan: Scan) -> None:
        data = read_regular(self.path)
        number = 1
        while (aside := self.path.with_name(f"{self.path.name}.damaged-{number}")).exists():
            number += 1
        write_atomic(aside, data[scan.end :])
        os.truncate(self.path, scan.end)
        logger.warning(
            "%s: %s; kept the %d records before it, moved the rest to %s",
            self.path,
            scan.fault,
            len(scan.payloads),
            aside.name,
        )
