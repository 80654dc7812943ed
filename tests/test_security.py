"""On a machine with other users (docs/security.md)."""

from __future__ import annotations

import ast
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from diagnostics.contract.errors import BlobwatchError
from diagnostics.contract.folder import RunFolder
from tests import faults
from tests.chaos import Campaign, Trainers, fire_config
from tests.conftest import ROOT, wait_for

PACKAGES = ("trainer", "diagnostics", "monitord", "profiler", "benchmarks")
PICKLERS = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib", "yaml"}


def dangers(source: str) -> list[str]:
    """Return what a source file does that data from outside could turn into code."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] in PICKLERS]
            found += [a.name for a in node.names if a.name == "multiprocessing"]
        elif isinstance(node, ast.ImportFrom):
            found += [str(node.module)] if str(node.module).split(".")[0] in PICKLERS else []
            found += [str(node.module)] if node.module == "multiprocessing" else []
        elif isinstance(node, ast.Call):
            found += _dangers_of_call(node)
    return found


def _dangers_of_call(call: ast.Call) -> list[str]:
    name = ast.unparse(call.func)
    options = {word.arg: ast.unparse(word.value) for word in call.keywords}
    last = name.rpartition(".")[2]
    if last in ("recv_pyobj", "send_pyobj") or name in ("eval", "exec", "os.system", "os.popen"):
        return [name]
    if name == "torch.load" and options.get("weights_only") != "True":
        return ["torch.load without weights_only=True"]
    if options.get("shell", "False") != "False" or options.get("allow_pickle", "False") != "False":
        return [f"{name} with shell or allow_pickle"]
    return []


def test_nothing_of_ours_unpickles_evaluates_or_uses_a_shell() -> None:
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    assert len(files) > 100
    assert {str(f): d for f in files if (d := dangers(f.read_text(encoding="utf-8")))} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from dill import loads",
        "from multiprocessing import Queue",
        "socket.recv_pyobj()",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "subprocess.run(line, shell=True)",
        "os.system(line)",
        "eval(text)",
    ],
)
def test_control_each_way_to_run_what_came_from_outside_is_found(source: str) -> None:
    assert len(dangers(source)) == 1


@pytest.fixture
def live() -> Iterator[Campaign]:
    """A run of this user's in a folder that everybody may enter."""
    if os.geteuid() != 0:
        pytest.skip("acting as another user takes root")
    trainers = Trainers()
    with faults.open_folder() as root:
        campaign = Campaign(trainers, root / "run", fire_config(root / "config.json"), seed=1)
        wait_for(campaign.files.results.exists, 300)
        yield campaign
        trainers.close()
        wait_for(lambda: not _is_open(campaign.files), 300)


def _is_open(files: RunFolder) -> bool:
    from diagnostics.contract.locks import is_held

    return is_held(files.consumer_lock)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_another_user_can_neither_read_nor_write_nor_connect_to_a_run(live: Campaign) -> None:
    files = live.files
    sock = files.private / "events.sock"
    wait_for(sock.exists, 300)
    acts: dict[str, Callable[[], object]] = {
        "list the private folder": lambda: os.listdir(files.private),
        "read the token": files.token.read_bytes,
        "take the lock": lambda: os.open(files.trainer_lock, os.O_RDWR),
        "read a snapshot": lambda: os.listdir(files.snapshots),
        "connect": lambda: socket.socket(socket.AF_UNIX).connect(str(sock)),
        "take the socket's place": lambda: socket.socket(socket.AF_UNIX).bind(str(sock) + "2"),
        "write results": lambda: files.results.open("ab"),
        "write the journal": lambda: files.journal.open("ab"),
        "replace results": lambda: os.replace(files.results, files.root / "x"),
        "remove the checkpoint": files.checkpoint.unlink,
        "plant a link": lambda: (files.root / "model.pth").symlink_to("/etc/passwd"),
        "make a file": lambda: (files.root / "mine").write_bytes(b""),
    }
    for what, act in acts.items():
        said = faults.as_nobody(act)
        assert said.startswith("PermissionError"), (what, said)
    # Control: the same process may do what is meant for everybody.
    assert faults.as_nobody(lambda: files.results.stat().st_size > 0) == "True"
    live.finish()


def test_a_private_folder_that_another_user_made_first_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if os.geteuid() != 0:
        pytest.skip("acting as another user takes root")
    with faults.open_folder() as root:
        shared = root / "shared"
        shared.mkdir()
        shared.chmod(0o1777)
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(shared))
        planted = shared / f"blobwatch-{os.getuid()}"
        assert faults.as_nobody(lambda: planted.mkdir(mode=0o777)) == "None"
        deep = root / ("d" * 100) / "run"
        deep.mkdir(parents=True)
        with pytest.raises(BlobwatchError, match="belongs to another user"):
            RunFolder(deep).socket_address()


def test_the_token_and_the_private_folder_are_for_this_user_alone(tmp_path: Path) -> None:
    from trainer.config import load_config
    from trainer.opening import open_new

    before = os.umask(0)
    try:
        opened = open_new(
            load_config(fire_config(tmp_path / "c.json"), {"output_dir": str(tmp_path / "run")})
        )
    finally:
        os.umask(before)
    files = opened.run.folder
    assert files.private.stat().st_mode & 0o777 == 0o700
    assert files.token.stat().st_mode & 0o777 == 0o600
    assert files.trainer_lock.stat().st_mode & 0o777 == 0o600
    assert files.snapshots.stat().st_mode & 0o777 == 0o700
    opened.emitter._journal.close()
    os.close(opened.emitter._courier._wake_read)
    os.close(opened.emitter._courier._wake_write)
    opened.close()
