"""Starts trainers quickly: PyTorch is imported once, and every trainer is a fork of that process.

Reads lines of JSON ``{"argv": [...], "log": PATH}``, where wanted with ``pause_s`` (rest in each
epoch), ``file_size`` (limit in bytes), ``quiet_limit_s`` (how long the end waits for diagnostics),
``end`` (how training fails), ``terminal`` (path of its terminal) and ``parent`` (put a process in
between). Answers each with the new process's number, then with ``PID STATUS`` when it has ended.
Each trainer is a real process with its own files, sockets and signals; only the seconds of the
import are saved.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import sys
import time
from typing import Any


def main() -> None:
    import torch  # noqa: F401

    import trainer.command
    import trainer.emission.courier
    import trainer.opening
    import trainer.summary

    children: set[int] = set()
    buffer = b""
    print("ready", flush=True)  # noqa: T201
    while True:
        ready, _, _ = select.select([0], [], [], 0.01)
        if ready:
            data = os.read(0, 65536)
            if not data:
                return
            buffer += data
            while b"\n" in buffer:
                line, buffer = buffer.split(b"\n", 1)
                order = json.loads(line)
                pid = os.fork()
                if pid == 0:
                    if order.get("terminal"):
                        _take_terminal(order["terminal"])
                    if order.get("parent") and os.fork():
                        signal.pause()  # a parent, until it is killed
                    _run(order, trainer.command.main, trainer.emission.courier)
                children.add(pid)
                print(pid, flush=True)  # noqa: T201
        for pid in list(children):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                children.discard(pid)
                print(pid, os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201


def _run(order: dict[str, Any], command: Any, courier: Any) -> None:
    signal.set_wakeup_fd(-1)
    log = os.open(str(order["log"]), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.stdout = os.fdopen(1, "w", buffering=1)
    sys.stderr = os.fdopen(2, "w", buffering=1)
    status = 1
    if (n_bytes := order.get("file_size")) is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, resource.RLIM_INFINITY))
    courier.QUIET_LIMIT_S = float(order.get("quiet_limit_s", courier.QUIET_LIMIT_S))
    _change_epochs(order.get("pause_s", 0.0), order.get("end"))
    try:
        status = command(order["argv"])
    except SystemExit as error:
        status = int(error.code or 0)
    finally:
        sys.stdout.flush()
        os._exit(status)


def _take_terminal(path: str) -> None:
    """Begin a session whose terminal is ``path``: when it is closed, SIGHUP comes."""
    os.setsid()
    os.close(os.open(path, os.O_RDWR))


def _change_epochs(pause_s: float, end: str | None) -> None:
    """Let every epoch take a little longer at no cost, and the third one fail as ``end`` says."""
    import trainer.loop

    finish = trainer.loop.finish_epoch

    def slower(run: Any, *rest: Any) -> Any:
        if end is not None and run.position.epoch == 3:
            raise SystemExit(7) if end == "sys.exit" else RuntimeError("a bug")
        time.sleep(pause_s)
        return finish(run, *rest)

    trainer.loop.finish_epoch = slower


if __name__ == "__main__":
    main()
