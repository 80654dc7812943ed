"""TCP, by explicit choice: encrypted, with keys on both sides and an allow-list."""

from __future__ import annotations

import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq
from zmq.utils import z85

from diagnostics.contract.endpoint import Endpoint, make_endpoint
from diagnostics.contract.errors import BlobwatchError
from diagnostics.keys import make_keys
from tests.chaos import Trainers, fire_config
from tests.conftest import epochs_of, run, strict_json
from tests.test_wire import Bench, fetch, receive


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def endpoint(tmp_path: Path) -> Endpoint:
    make_keys(tmp_path / "keys")
    made = make_endpoint(f"tcp://127.0.0.1:{free_port()}", tmp_path / "keys")
    assert made is not None
    return made


@pytest.fixture
def bench(tmp_path: Path, endpoint: Endpoint) -> Iterator[Bench]:
    made = Bench(tmp_path, endpoint=endpoint)
    made.post(1)
    yield made


def client(
    bench: Bench, endpoint: Endpoint, server: bytes, public: bytes, secret: bytes
) -> zmq.Socket[bytes]:
    made = bench.context.socket(zmq.DEALER)
    made.setsockopt(zmq.LINGER, 0)
    made.setsockopt(zmq.CURVE_SERVERKEY, server)
    made.setsockopt(zmq.CURVE_PUBLICKEY, public)
    made.setsockopt(zmq.CURVE_SECRETKEY, secret)
    made.connect(endpoint.address)
    return made


def good(bench: Bench, endpoint: Endpoint) -> zmq.Socket[bytes]:
    keys = (endpoint.trainer_public, endpoint.consumer_public, endpoint.consumer_secret)
    return client(bench, endpoint, *keys)


def test_a_client_with_the_right_keys_is_served(bench: Bench, endpoint: Endpoint) -> None:
    mine = good(bench, endpoint)
    mine.send(fetch(0))
    assert receive(mine)[0].index == 0
    bench.close(mine, 1)


def test_a_wrong_key_is_refused_even_with_the_token_and_the_right_one_served(
    bench: Bench, endpoint: Endpoint
) -> None:
    stranger = client(bench, endpoint, endpoint.trainer_public, *zmq.curve_keypair())
    stranger.send(fetch(0))
    assert not stranger.poll(1000)
    mine = good(bench, endpoint)
    mine.send(fetch(0))
    assert receive(mine)[0].index == 0
    assert bench.courier.n_rejected == 0, "the stranger's message came through to the trainer"
    stranger.close()
    bench.close(mine, 1)


def test_a_missing_key_is_refused_and_nothing_of_a_plain_message_is_read(
    bench: Bench, endpoint: Endpoint
) -> None:
    plain = bench.context.socket(zmq.DEALER)
    plain.setsockopt(zmq.LINGER, 0)
    plain.connect(endpoint.address)
    plain.send(fetch(0))
    assert not plain.poll(1000)
    assert bench.courier.n_rejected == 0
    plain.close()
    bench.close(good(bench, endpoint), 1)


def test_a_client_that_expects_another_trainer_does_not_talk_to_this_one(
    bench: Bench, endpoint: Endpoint
) -> None:
    other, _ = zmq.curve_keypair()
    mistaken = client(bench, endpoint, other, endpoint.consumer_public, endpoint.consumer_secret)
    mistaken.send(fetch(0))
    assert not mistaken.poll(1000)
    mistaken.close()
    bench.close(good(bench, endpoint), 1)


def test_keys_are_made_for_this_user_alone_and_never_over_others(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    status, out, err = run("diagnostics", "keygen", keys, cwd=tmp_path)
    assert (status, err) == (0, "")
    assert "allowed" in out
    assert stat.S_IMODE(keys.stat().st_mode) == 0o700
    for path in keys.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert len(z85.decode(path.read_bytes().strip())) == 32
    assert (keys / "allowed").read_bytes() == (keys / "consumer.public").read_bytes()
    before = {path.name: path.read_bytes() for path in keys.iterdir()}
    with pytest.raises(BlobwatchError, match="exists; remove it"):
        make_keys(keys)
    assert before == {path.name: path.read_bytes() for path in keys.iterdir()}


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("tcp://*:5555", "host of one interface"),
        ("tcp://0.0.0.0:5555", "every interface"),
        ("tcp://[::]:5555", "every interface"),
        ("tcp://0:5555", "every interface"),
        ("tcp://127.0.0.1:*", "must be tcp://HOST:PORT"),
        ("tcp://127.0.0.1:99999", "must be tcp://HOST:PORT"),
        ("ipc:///tmp/x", "must be tcp://HOST:PORT"),
        ("tcp://a;tcp://b:1", "must be tcp://HOST:PORT"),
    ],
)
def test_no_address_of_all_interfaces_is_accepted(tmp_path: Path, address: str, says: str) -> None:
    with pytest.raises(BlobwatchError, match=r"interface|HOST:PORT") as caught:
        make_endpoint(address, tmp_path)
    assert says in str(caught.value)


def make_a_link_of_the_list(keys: Path) -> None:
    (keys / "allowed").rename(keys / "elsewhere")
    (keys / "allowed").symlink_to(keys / "elsewhere")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda keys: (keys / "trainer.secret").unlink(), "cannot read"),
        (lambda keys: (keys / "trainer.secret").chmod(0o644), "open to others"),
        (lambda keys: (keys / "trainer.secret").write_bytes(b"short"), "no key of 40 characters"),
        (lambda keys: (keys / "allowed").write_bytes(b"# nobody\n"), "lists no public key"),
        (lambda keys: (keys / "allowed").chmod(0o666), "open to others"),
        (make_a_link_of_the_list, "symbolic link"),
    ],
)
def test_keys_that_cannot_be_trusted_are_named_before_training(
    tmp_path: Path, endpoint: Endpoint, spoil: object, says: str
) -> None:
    spoil(endpoint.keys)  # type: ignore[operator]
    config = fire_config(tmp_path / "config.json", epochs=1)
    command = ["trainer", config, "--output-dir", tmp_path / "run", "--listen", endpoint.address]
    status, out, err = run(*command, "--keys", endpoint.keys, cwd=tmp_path)
    assert status == 2
    assert says in err
    assert str(endpoint.keys) in err
    assert "Traceback" not in out + err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_run_over_tcp_is_complete_and_leaves_no_socket_behind(
    tmp_path: Path, endpoint: Endpoint
) -> None:
    trainers = Trainers()
    try:
        log, folder = tmp_path / "log", tmp_path / "run"
        config = fire_config(tmp_path / "config.json", epochs=20)
        options = ("--listen", endpoint.address, "--keys", endpoint.keys)
        command = (config, "--output-dir", folder, "--quiet", *options)
        assert trainers.wait(trainers.start(*command, log=log)) == 0, log.read_text()
    finally:
        trainers.close()
    results = strict_json(folder / "results.json")
    assert epochs_of(results) == list(range(1, 21))
    assert all("norm" in entry["diagnostics"] for entry in results["training_history"])
    assert not (folder / ".blobwatch" / "events.sock").exists()
