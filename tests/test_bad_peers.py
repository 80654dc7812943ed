"""Bad peers: thousands of them cost a count in the log, and the run's own consumer is served."""

from __future__ import annotations

import os
import random
import socket as sockets
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil
import pytest
import zmq

import trainer.emission.backlog as backlog_module
from diagnostics.consumer.link import Link
from diagnostics.contract import wire
from diagnostics.contract.events import encode_event
from diagnostics.contract.folder import RunFolder
from diagnostics.contract.journal import read_journal
from diagnostics.contract.snapshot import ArrayLayout, Snapshot, SnapshotHeader
from tests.conftest import wait_for
from tests.test_wire import TOKEN, Bench, fetch, receive
from tests.test_worker import event

MIB = 1 << 20


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    yield Bench(tmp_path)


def bad_messages(dice: random.Random) -> Iterator[list[bytes]]:
    """Yield messages of every kind that is no request of the run's consumer."""
    good = fetch(0)
    pack = msgspec.msgpack.encode
    while True:
        yield from (
            [dice.randbytes(dice.randrange(1, 300))],
            [good[: dice.randrange(len(good))]],
            [good, good],
            [good, b""],
            [b""],
            [bytes(wire.MAX_REQUEST_BYTES)],
            [fetch(0, token=dice.randbytes(8).hex())],
            [fetch(0, token="")],
            [fetch(0, token="ü" * 16)],
            [fetch(dice.randrange(10, 1 << 62))],
            [pack({"token": TOKEN, "cursor": -dice.randrange(1, 1 << 62), "credit": 1})],
            [pack({"token": TOKEN, "cursor": 0, "credit": dice.choice([0, -1, 257, 1 << 62])})],
            [pack({"token": TOKEN, "cursor": 0.5, "credit": 1})],
            [pack({"token": TOKEN, "cursor": 0, "credit": 1, "protocol": dice.randrange(2, 99)})],
            [pack({"token": TOKEN, "cursor": 0, "credit": 1, "needs": ["gold"]})],
            [pack({"token": TOKEN, "cursor": 1 << 63, "credit": 1})],
            [b"\x81" * 4000],
            [b"\xdd\xff\xff\xff\xff"],
        )


def test_5000_bad_messages_are_counted_and_the_runs_consumer_is_served_in_bounded_memory(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    mine, bad = bench.dealer(), bench.dealer()
    for epoch in range(1, 4):
        bench.post(epoch)
    memory = psutil.Process().memory_info().rss
    messages = bad_messages(random.Random(7))
    for number in range(5000):
        bad.send_multipart(next(messages))
        if number % 1000 == 0:
            mine.send(fetch(0))
            assert receive(mine)[0].index == 0
            while mine.poll(50):
                mine.recv_multipart()
            mine.close()
            mine = bench.dealer()
    wait_for(lambda: bench.courier.n_rejected >= 5000)
    assert bench.courier.n_rejected == 5000
    assert not bad.poll(100), "a bad message was answered"
    assert psutil.Process().memory_info().rss - memory < 50 * MIB
    assert caplog.text.count("messages rejected") < 20
    mine.send(fetch(3))
    bench.close(mine, 3)


def flood(bench: Bench, address: str) -> None:
    """Offer 20 messages of 32 MiB, each over a connection of its own."""
    block = bytes(32 * MIB)
    for _ in range(20):
        bad = bench.context.socket(zmq.DEALER)
        bad.connect(address)
        bad.send(block, copy=False)
        bad.close(linger=30_000)


def grown_beyond(limit: int, before: int, timeout_s: float = 3.0) -> bool:
    """Return whether this process takes ``limit`` bytes more than ``before`` within the time."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if psutil.Process().memory_info().rss - before > limit:
            return True
        time.sleep(0.02)
    return False


def test_oversized_messages_are_never_read_into_memory(bench: Bench) -> None:
    memory = psutil.Process().memory_info().rss
    flood(bench, bench.address)
    assert not grown_beyond(150 * MIB, memory, timeout_s=1.0)
    bench.post(1)
    mine = bench.dealer()
    mine.send(fetch(0))
    assert receive(mine)[0].index == 0
    bench.close(mine, 1)


def test_control_a_socket_without_a_limit_takes_oversized_messages_into_memory(
    bench: Bench, tmp_path: Path
) -> None:
    memory = psutil.Process().memory_info().rss
    with bench.context.socket(zmq.ROUTER) as naive:
        naive.bind(f"ipc://{tmp_path}/naive")
        flood(bench, f"ipc://{tmp_path}/naive")
        assert grown_beyond(150 * MIB, memory, timeout_s=30)
    bench.close(bench.dealer(), 0)


def test_raw_connections_that_speak_no_zeromq_or_nothing_at_all_harm_nobody(bench: Bench) -> None:
    dice = random.Random(3)
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(48)
    path = bench.address.removeprefix("ipc://")
    wait_for(lambda: os.path.exists(path))
    held = []
    for number in range(300):
        raw = sockets.socket(sockets.AF_UNIX)
        raw.settimeout(5)
        try:
            raw.connect(path)
            said = [b"", dice.randbytes(500), b"GET / HTTP/1.1\r\n\r\n", greeting[:20]]
            said.append(greeting + b"\x04\xff" + b"\xff" * 8)
            raw.sendall(said[number % 5])
        except OSError:
            raw.close()
            continue
        held.append(raw)  # some stay silent for as long as the run lasts
    bench.post(1)
    mine = bench.dealer()
    mine.send(fetch(0))
    assert receive(mine, 20_000)[0].index == 0
    bench.close(mine, 1)
    for raw in held:
        raw.close()


def test_an_impostor_without_the_token_gets_nothing_and_takes_nothing(bench: Bench) -> None:
    mine, impostor = bench.dealer(), bench.dealer()
    for epoch in range(1, 6):
        bench.post(epoch)
    mine.send(fetch(0, credit=2))
    assert [receive(mine)[0].index for _ in range(2)] == [0, 1]
    for cursor in (0, 3, 5):
        impostor.send(fetch(cursor, token="guess"))
    wait_for(lambda: bench.courier.n_rejected == 3)
    mine.send(fetch(2, credit=3))
    assert [receive(mine)[0].index for _ in range(3)] == [2, 3, 4]
    assert not impostor.poll(100)
    bench.close(mine, 5)


def test_credit_is_never_exceeded_however_often_it_is_asked_for(bench: Bench) -> None:
    for epoch in range(1, 301):
        bench.post(epoch)
    mine = bench.dealer()
    for _ in range(50):
        mine.send(fetch(0, credit=5))
    assert [receive(mine)[0].index for _ in range(5)] == list(range(5))
    assert not mine.poll(300)
    bench.close(mine, 300)


def test_a_consumer_that_lost_its_results_is_served_from_the_start_reading_the_journal_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = []

    def counted(path: Path) -> object:
        reads.append(path)
        return read_journal(path)

    monkeypatch.setattr(backlog_module, "read_journal", counted)
    for epoch in range(1, 301):
        bench.post(epoch)
    old, new = bench.dealer(), bench.dealer()
    old.send(fetch(300, credit=1))
    wait_for(lambda: bench.courier.is_idle)
    new.send(fetch(0, credit=1))
    wait_for(lambda: reads)
    seen = []
    while len(seen) < 300:
        new.send(fetch(len(seen), credit=50))
        while len(seen) < 300 and new.poll(200):
            index = receive(new)[0].index
            if index == len(seen):
                seen.append(index)
    assert len(reads) <= 2
    bench.close(new, 300)


def test_answers_that_make_no_sense_are_ignored_by_the_consumer(tmp_path: Path) -> None:
    """A trainer gone mad, or a stranger in its place: 2,000 answers, and one that is good."""
    folder = RunFolder(tmp_path)
    folder.make_private()
    folder.token.write_text(TOKEN)
    dice, context = random.Random(1), zmq.Context()
    router = context.socket(zmq.ROUTER)
    router.setsockopt(zmq.SNDHWM, 0)
    router.setsockopt(zmq.LINGER, 0)
    router.bind(folder.socket_address())
    good = wire.encode(wire.Deliver(index=0, record=encode_event(event())))
    with Link(folder) as link:
        wait_for(lambda: link.ask(0, None) or router.poll(50))
        peer = router.recv_multipart()[0]
        pack = msgspec.msgpack.encode
        for _ in range(400):
            router.send_multipart([peer, dice.randbytes(dice.randrange(1, 200))])
            router.send_multipart([peer, good[: dice.randrange(1, len(good))]])
            router.send_multipart([peer, pack({"protocol": 7, "index": 0, "record": b""})])
            router.send_multipart([peer, wire.encode(wire.Deliver(index=0, record=b"nonsense"))])
            router.send_multipart([peer, pack({"index": -1, "record": encode_event(event())})])
        router.send_multipart([peer, good])
        deliveries = [link.receive(5) for _ in range(2001)]
        assert [d for d in deliveries if d is not None] == [deliveries[-1]]
        assert link.n_rejected == 1600
    context.destroy(linger=0)


@pytest.mark.parametrize(
    ("layout", "frame"),
    [
        (ArrayLayout("pairs", "<f4", (-1, 2)), bytes(16)),
        (ArrayLayout("pairs", "<f4", (1 << 40, 2)), bytes(16)),
        (ArrayLayout("pairs", "<f4", (1 << 62, 1 << 62)), bytes(16)),
        (ArrayLayout("pairs", "nonsense", (2, 2)), bytes(16)),
        (ArrayLayout("pairs", "<f4,<f4", (2,)), bytes(16)),
        (ArrayLayout("pairs", "O", (2,)), bytes(16)),
    ],
)
def test_a_snapshot_that_lies_about_its_frames_is_an_error_and_no_memory(
    layout: ArrayLayout, frame: bytes
) -> None:
    header = SnapshotHeader(arrays=(layout,))
    with pytest.raises(ValueError, match=r"numbers only|negative|reshape|too large|overflow"):
        Snapshot(header, [frame])
