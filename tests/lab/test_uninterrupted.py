from __future__ import annotations

import os
import signal
import threading

import pytest

from meshlab.uninterrupted import uninterrupted


def test_an_interrupt_waits_until_the_block_is_done() -> None:
    before, done = signal.getsignal(signal.SIGINT), []
    with pytest.raises(KeyboardInterrupt), uninterrupted():
        os.kill(os.getpid(), signal.SIGINT)
        done.append("all of it")
    assert done == ["all of it"] and signal.getsignal(signal.SIGINT) is before


def test_without_an_interrupt_and_with_an_error_all_is_as_before() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ImportError), uninterrupted():
        raise ImportError
    with uninterrupted(), uninterrupted():
        pass
    assert signal.getsignal(signal.SIGINT) is before


def test_another_thread_is_left_alone() -> None:
    seen = []

    def work() -> None:
        with uninterrupted():
            seen.append(signal.getsignal(signal.SIGINT))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
