"""Messages on the socket: the run's consumer is served, everything else is counted and ignored."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
import zmq

from diagnostics.contract import wire
from diagnostics.contract.endpoint import Endpoint
from diagnostics.contract.events import EpochEnded, Timing, decode_event, encode_event
from diagnostics.contract.folder import RunFolder
from diagnostics.contract.journal import JournalWriter
from diagnostics.contract.snapshot import ArrayLayout, Snapshot, SnapshotHeader
from tests.conftest import wait_for
from trainer.emission.courier import Courier
from trainer.emission.spool import Spool, WeightsCopy

TOKEN = "secret"


class NoSupervisor:
    """Starts nothing: these tests are the consumer."""

    has_given_up = False
    folder = Path()

    def check(self, acknowledged: int) -> None: ...

    def leave(self) -> None: ...


class Bench:
    """A courier with its journal, in this process, and a socket to talk to it."""

    def __init__(
        self, root: Path, memory_bytes: int = 1 << 20, endpoint: Endpoint | None = None
    ) -> None:
        folder = RunFolder(root)
        folder.make_private()
        self.journal = JournalWriter(folder.journal)
        self.spool = Spool(folder.snapshots, 10, 1 << 20)
        self.address = endpoint.address if endpoint else folder.socket_address()
        self.courier = Courier(
            self.journal,
            self.spool,
            self.address,
            TOKEN,
            NoSupervisor(),  # type: ignore[arg-type]
            memory_bytes=memory_bytes,
            endpoint=endpoint,
        )
        self.context = zmq.Context()
        self.courier.start()

    def dealer(self) -> zmq.Socket[bytes]:
        socket = self.context.socket(zmq.DEALER)
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(self.address)
        return socket

    def post(self, epoch: int, seed: int | None = None) -> None:
        timing = Timing(
            train_seconds=1,
            test_seconds=1,
            emit_seconds=0,
            samples_per_second=1,
            peak_memory_bytes=1,
        )
        event = EpochEnded(at="", epoch=epoch, train={}, test={}, timing=timing)
        copy = None
        if seed is not None:
            generator = torch.Generator().manual_seed(seed)
            encoder = torch.randn(4, 6, generator=generator)
            decoder = torch.randn(6, 4, generator=generator)
            copy = WeightsCopy(encoder, decoder, None, seed, epoch, None)
        payload = encode_event(event)
        self.journal.append(payload)
        self.courier.post(payload, copy)

    def close(self, socket: zmq.Socket[bytes], cursor: int) -> None:
        finisher = threading.Thread(target=self.courier.finish)
        finisher.start()
        while finisher.is_alive():
            socket.send(fetch(cursor))
            finisher.join(0.05)
        self.context.destroy(linger=0)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.context.destroy(linger=0)  # what a failed test leaves open is not another's failure


def fetch(cursor: int, credit: int = 10, token: str = TOKEN, **more: object) -> bytes:
    return wire.encode(wire.Fetch(token=token, cursor=cursor, credit=credit, **more))  # type: ignore[arg-type]


def receive(socket: zmq.Socket[bytes], timeout_ms: int = 5000) -> tuple[wire.Deliver, list[bytes]]:
    assert socket.poll(timeout_ms), "no answer"
    first, *frames = socket.recv_multipart()
    return wire.decode_deliver(first), frames


def test_records_come_in_order_from_the_cursor_as_far_as_the_credit_goes(bench: Bench) -> None:
    socket = bench.dealer()
    for epoch in range(1, 6):
        bench.post(epoch)
    socket.send(fetch(1, credit=2))
    assert [receive(socket)[0].index for _ in range(2)] == [1, 2]
    assert not socket.poll(300)
    socket.send(fetch(3, credit=9))
    assert [receive(socket)[0].index for _ in range(2)] == [3, 4]
    bench.post(6)
    deliver, _ = receive(socket)
    event = decode_event(deliver.record)
    assert isinstance(event, EpochEnded)
    assert event.epoch == 6
    bench.close(socket, 6)


def test_a_new_consumer_is_served_from_its_own_cursor(bench: Bench) -> None:
    for epoch in range(1, 4):
        bench.post(epoch)
    old, new = bench.dealer(), bench.dealer()
    old.send(fetch(0))
    assert [receive(old)[0].index for _ in range(3)] == [0, 1, 2]
    new.send(fetch(1))
    assert [receive(new)[0].index for _ in range(2)] == [1, 2]
    bench.close(new, 3)


def test_a_snapshot_travels_in_the_parts_that_are_needed(bench: Bench) -> None:
    socket = bench.dealer()
    socket.send(fetch(0, needs=("weights",)))
    socket.send(fetch(0, needs=("weights",)))
    time.sleep(0.3)  # what is needed is known before the weights are taken
    bench.post(1, seed=7)
    deliver, frames = receive(socket)
    assert deliver.snapshot is not None
    snapshot = Snapshot(deliver.snapshot, frames)
    generator = torch.Generator().manual_seed(7)
    assert np.array_equal(snapshot.encoder, torch.randn(4, 6, generator=generator).numpy())
    assert [layout.name for layout in deliver.snapshot.arrays] == ["encoder", "decoder"]
    bench.close(socket, 1)
    assert not list((bench.journal.path.parent / ".blobwatch" / "snapshots").iterdir())


def test_before_anybody_says_what_is_needed_every_part_is_kept(bench: Bench) -> None:
    bench.post(1, seed=3)
    socket = bench.dealer()
    socket.send(fetch(0))
    deliver, frames = receive(socket)
    assert deliver.snapshot is not None
    snapshot = Snapshot(deliver.snapshot, frames)
    assert all(part in snapshot for part in ("pairs", "density", "weights"))
    assert snapshot.pairs.shape == (10, 2)
    assert snapshot.density.n_pairs == 24
    bench.close(socket, 1)


def test_what_is_no_request_of_the_runs_consumer_is_counted_and_the_real_one_served(
    bench: Bench,
) -> None:
    dice = random.Random(5)
    bad = bench.dealer()
    good = fetch(0)
    for number in range(300):
        frames = [
            [os.urandom(dice.randrange(200))],
            [good[: dice.randrange(len(good))]],
            [good, good],
            [b""],
            [fetch(0, token="wrong")],
            [fetch(10**9)],
            [msgspec.msgpack.encode({"token": TOKEN, "cursor": -1, "credit": 1})],
            [msgspec.msgpack.encode({"token": TOKEN, "cursor": 0, "credit": 10**6})],
            [msgspec.msgpack.encode({"token": TOKEN, "cursor": 0, "credit": 1, "protocol": 9})],
        ][number % 9]
        bad.send_multipart(frames)
    bench.post(1)
    socket = bench.dealer()
    socket.send(good)
    assert receive(socket)[0].index == 0
    # A truncation or random bytes may be cut by chance.
    wait_for(lambda: bench.courier.n_rejected >= 295, 30)
    assert not bad.poll(100)
    bench.close(socket, 1)


def test_an_oversized_message_costs_its_sender_the_connection(bench: Bench) -> None:
    bad = bench.dealer()
    bad.send(bytes(10 << 20))
    bench.post(1)
    socket = bench.dealer()
    socket.send(fetch(0))
    assert receive(socket)[0].index == 0
    bench.close(socket, 1)


def test_a_consumer_that_knows_the_newest_record_from_the_journal_is_not_rejected(
    bench: Bench,
) -> None:
    socket = bench.dealer()
    for epoch in range(1, 501):
        bench.post(epoch)
        socket.send(fetch(epoch))
    wait_for(lambda: bench.courier._backlog.acknowledged == 500, 30)
    bench.close(socket, 500)
    assert bench.courier.n_rejected == 0


def test_memory_for_waiting_copies_is_bounded(tmp_path: Path) -> None:
    bench = Bench(tmp_path, memory_bytes=100)
    assert bench.courier.has_room(10**9)  # one copy may always wait
    bench.courier._waiting_bytes = 60
    assert bench.courier.has_room(40)
    assert not bench.courier.has_room(41)
    bench.courier._waiting_bytes = 0
    bench.close(bench.dealer(), 0)


@pytest.mark.parametrize(
    "header",
    [
        SnapshotHeader(arrays=(ArrayLayout("pairs", "<f4", (2, 2)),)),
        SnapshotHeader(),
    ],
)
def test_frames_that_do_not_fit_their_header_are_refused(header: SnapshotHeader) -> None:
    decoded = msgspec.msgpack.decode(msgspec.msgpack.encode(header), type=SnapshotHeader)
    with pytest.raises(ValueError, match=r"frames announced|cannot reshape"):
        Snapshot(decoded, [b"123456789012"])


def test_frames_hold_numbers_only() -> None:
    header = SnapshotHeader(arrays=(ArrayLayout("pairs", "|O", (1,)),))
    with pytest.raises(ValueError, match="numbers only"):
        Snapshot(header, [b"12345678"])
