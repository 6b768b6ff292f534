"""Signals heard after a bad moment."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import pytest

from chaos.deferral import heard_after

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_LIMIT_S = 10.0


def test_ctrl_c_is_heard_when_it_is_over() -> None:
    done = []

    def work() -> None:
        with heard_after(_SIGNALS):
            os.kill(os.getpid(), signal.SIGINT)
            done.append("all")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["all"]
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []).isdisjoint(_SIGNALS)


def test_nor_is_it_heard_before_when_another_thread_takes_it() -> None:
    taken = threading.Event()
    done = []

    def take() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        taken.set()

    def work() -> None:
        with heard_after(_SIGNALS):
            thread = threading.Thread(target=take)
            thread.start()
            assert taken.wait(_LIMIT_S)
            thread.join()
            done.append("all")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["all"]


def test_each_is_heard_though_the_handler_of_one_raises() -> None:
    heard = []

    def work() -> None:
        with heard_after(_SIGNALS):
            for number in _SIGNALS:
                os.kill(os.getpid(), number)

    before = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    try:
        with pytest.raises(KeyboardInterrupt):
            work()
        assert heard == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("step", ["pthread_sigmask", "signal"])
def test_one_that_is_heard_as_it_begins_leaves_all_as_before(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread takes SIGTERM once the first signals are blocked, or the handler of the first is another."""

    class LeaveNow(Exception):
        pass

    def leave(*_: object) -> None:
        raise LeaveNow

    def take() -> None:
        unblock(signal.SIG_UNBLOCK, _SIGNALS)
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

    def done(how: int, what: Any) -> Any:
        found = do(how, what)
        if what and not taken:
            taken.append(thread := threading.Thread(target=take))
            thread.start()
            thread.join()
        return found

    unblock, do = signal.pthread_sigmask, getattr(signal, step)
    taken: list[threading.Thread] = []
    before = signal.signal(signal.SIGTERM, leave)
    handlers = [signal.getsignal(one) for one in _SIGNALS]
    monkeypatch.setattr(signal, step, done)
    try:
        with pytest.raises(LeaveNow), heard_after(_SIGNALS):
            pytest.fail("it began")
        assert [signal.getsignal(one) for one in _SIGNALS] == handlers
        assert signal.pthread_sigmask(signal.SIG_BLOCK, []).isdisjoint(_SIGNALS)
    finally:
        monkeypatch.undo()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        for one, handler in zip(_SIGNALS, [handlers[0], before], strict=True):
            signal.signal(one, handler)


def test_without_a_signal_all_is_as_before() -> None:
    before = [signal.getsignal(one) for one in _SIGNALS]
    with heard_after(_SIGNALS):
        pass
    assert [signal.getsignal(one) for one in _SIGNALS] == before


def test_a_thread_beside_the_main_one_only_blocks() -> None:
    seen = []

    def work() -> None:
        with heard_after(_SIGNALS):
            seen.append(set(_SIGNALS) <= signal.pthread_sigmask(signal.SIG_BLOCK, []))
        seen.append(set(_SIGNALS) <= signal.pthread_sigmask(signal.SIG_BLOCK, []))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [True, False]
