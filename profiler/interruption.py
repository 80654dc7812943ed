"""Ctrl+C and its kin: when they count, and that no process is left by them."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def interruptible() -> Iterator[list[int]]:
    """Turn SIGTERM and SIGHUP into what Ctrl+C does; yield the numbers of those that came."""
    caught: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        caught.append(number)
        raise KeyboardInterrupt

    numbers = (signal.SIGTERM, signal.SIGHUP)
    previous = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield caught
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def deferred() -> Iterator[list[int]]:
    """Hold such signals back until the end; yield the numbers of those that came.

    A process being started would be lost if an exception came before anybody holds it.
    """
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught  # Python handles signals in the main thread alone.
        return
    previous = {number: signal.getsignal(number) for number in STOPPING}
    handled = {number: old for number, old in previous.items() if callable(old)}
    for number in handled:
        signal.signal(number, lambda came, _: caught.append(came))
    try:
        yield caught
    finally:
        for number, handler in handled.items():
            signal.signal(number, handler)
        if caught:
            signal.raise_signal(caught[0])
