from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from diagnostics.contract.errors import UnreadableFileError
from diagnostics.contract.journal import HEADER, JournalWriter, frame, read_journal

PAYLOADS = [b"first", b"second record", bytes(range(256))]


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    path = tmp_path / "events.log"
    writer = JournalWriter(path)
    for payload in PAYLOADS:
        assert writer.append(payload)
    writer.close()
    return path


def test_records_come_back_in_order(journal: Path) -> None:
    scan = read_journal(journal)
    assert scan.payloads == PAYLOADS
    assert scan.fault is None
    assert scan.end == journal.stat().st_size


def test_a_missing_journal_is_an_empty_one(tmp_path: Path) -> None:
    assert read_journal(tmp_path / "events.log").payloads == []


def test_reading_goes_on_from_the_end_of_an_earlier_scan(journal: Path) -> None:
    end = read_journal(journal).end
    writer = JournalWriter(journal)
    writer.append(b"more")
    assert read_journal(journal, end).payloads == [b"more"]


def test_truncated_at_every_byte_every_whole_record_before_is_recovered_and_writing_goes_on(
    journal: Path,
) -> None:
    data = journal.read_bytes()
    ends = [len(HEADER)]
    for payload in PAYLOADS:
        ends.append(ends[-1] + len(frame(payload)))
    for size in range(len(data)):
        journal.write_bytes(data[:size])
        whole = sum(end <= size for end in ends[1:])
        scan = read_journal(journal)
        assert scan.payloads == PAYLOADS[:whole], size
        assert (scan.fault is None) == (size == 0 or size in ends), size
        writer = JournalWriter(journal)
        writer.append(b"after")
        writer.close()
        assert read_journal(journal).payloads == [*PAYLOADS[:whole], b"after"], size
        assert read_journal(journal).fault is None


def test_one_bit_flipped_in_every_byte_is_noticed_and_what_is_before_it_recovered(
    journal: Path,
) -> None:
    data = journal.read_bytes()
    ends = [len(HEADER)]
    for payload in PAYLOADS:
        ends.append(ends[-1] + len(frame(payload)))
    for place in range(len(HEADER), len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 1 << (place % 8)
        journal.write_bytes(damaged)
        before = sum(end <= place for end in ends[1:])
        scan = read_journal(journal)
        assert scan.payloads == PAYLOADS[:before], place
        assert scan.fault is not None
        assert f"at byte {ends[before]}" in scan.fault


def test_a_damaged_tail_is_set_aside_whole(journal: Path, caplog: pytest.LogCaptureFixture) -> None:
    good = journal.read_bytes()
    journal.write_bytes(good + b"\x05garbage")
    JournalWriter(journal).close()
    assert journal.read_bytes() == good
    assert journal.with_name("events.log.damaged-1").read_bytes() == b"\x05garbage"
    assert "moved the rest to events.log.damaged-1" in caplog.text


def test_another_file_is_not_taken_for_a_journal(tmp_path: Path) -> None:
    path = tmp_path / "events.log"
    path.write_bytes(b"something else entirely")
    with pytest.raises(UnreadableFileError, match="not a blobwatch journal"):
        JournalWriter(path)
    assert path.read_bytes() == b"something else entirely"


def test_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    (tmp_path / "events.log").symlink_to(victim)
    with pytest.raises(UnreadableFileError, match="is a symbolic link"):
        JournalWriter(tmp_path / "events.log")
    assert not victim.exists()


def test_a_record_the_disk_refuses_waits_and_is_written_in_order_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "events.log"
    writer = JournalWriter(path)
    assert writer.append(b"one")
    pwrite = os.pwrite

    def full(descriptor: int, data: bytes, offset: int) -> int:
        if len(data) > 4:
            return pwrite(descriptor, data[:4], offset)  # a short write first, then no space
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    assert not writer.append(b"two")
    assert not writer.append(b"three")
    assert read_journal(path).payloads == [b"one"]
    assert read_journal(path).fault is None
    assert writer.n_waiting == 2
    monkeypatch.setattr(os, "pwrite", pwrite)
    assert writer.append(b"four")
    assert read_journal(path).payloads == [b"one", b"two", b"three", b"four"]
    assert caplog.text.count("training goes on") == 1


def test_an_oversized_record_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at most"):
        JournalWriter(tmp_path / "events.log").append(bytes(1 << 21))
