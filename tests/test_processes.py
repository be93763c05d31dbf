"""Signals that come while workers are started."""

from __future__ import annotations

import signal
import threading

import pytest

from memtrace.processes import Terminated, raise_on_signals, signals_deferred


def test_ctrl_c_waits_for_the_end_of_the_block() -> None:
    before, done = signal.getsignal(signal.SIGINT), []
    with pytest.raises(KeyboardInterrupt), signals_deferred():
        signal.raise_signal(signal.SIGINT)
        done.append("the rest of the block")
    assert done and signal.getsignal(signal.SIGINT) == before


def test_so_does_sigterm_where_it_raises() -> None:
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    done = []
    try:
        for number in kept:
            signal.signal(number, signal.SIG_DFL)
        raise_on_signals()
        with pytest.raises(Terminated) as ended, signals_deferred():
            signal.raise_signal(signal.SIGTERM)
            done.append("the rest of the block")
        assert done and ended.value.number == signal.SIGTERM
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def test_a_second_thread_may_start_workers_too() -> None:
    failed: list[BaseException] = []

    def block() -> None:
        try:
            with signals_deferred():
                pass
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=block)
    thread.start()
    thread.join()
    assert failed == []
