"""What the monitor's loop sleeps on."""

from __future__ import annotations

import signal
import threading

import pytest

from monitord.wakeup import Wakeup


@pytest.fixture
def wakeup():
    opened = Wakeup()
    yield opened
    opened.close()


def test_a_signal_handler_may_wake_the_loop_at_any_moment(wakeup):
    n_signals = 0

    def handle(number, frame):
        nonlocal n_signals
        n_signals += 1
        wakeup.set()

    before = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 2e-4, 2e-4)
    try:
        while n_signals < 3_000:
            wakeup.sleep(1.0)
            wakeup.clear()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def test_what_was_set_before_the_sleep_ends_it_at_once_and_only_it(wakeup):
    wakeup.set()
    wakeup.set()
    assert wakeup.sleep(60.0)
    wakeup.clear()
    assert not wakeup.sleep(0.0)


def test_another_thread_ends_a_sleep(wakeup):
    timer = threading.Timer(0.05, wakeup.set)
    timer.start()
    assert wakeup.sleep(60.0)
    timer.join()


def test_a_burst_larger_than_the_buffer_blocks_no_one_and_is_cleared_whole(wakeup):
    for _ in range(200_000):
        wakeup.set()
    wakeup.clear()
    assert not wakeup.sleep(0.0)


def test_setting_after_the_end_does_nothing(wakeup):
    wakeup.close()
    wakeup.set()
    wakeup.close()
