"""Signals that come at a bad moment, heard after it."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Collection, Iterator
from types import FrameType


@contextlib.contextmanager
def heard_after(signals: Collection[signal.Signals]) -> Iterator[None]:
    """What comes meanwhile is heard when it is over, once each; processes started in it have the signals blocked.

    Blocking alone does not do: a signal that another thread takes is handled in the main thread all the same.
    """
    held: set[int] = set()

    def hold(number: int, _: FrameType | None) -> None:
        held.add(number)

    in_main = threading.current_thread() is threading.main_thread()
    before = {one: signal.getsignal(one) for one in signals} if in_main else {}
    blocked_before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with contextlib.ExitStack() as after:  # the last first, and each though one before it raises
        after.callback(_hear, held)
        for one, handler in before.items():
            after.callback(signal.signal, one, signal.SIG_DFL if handler is None else handler)
        after.callback(signal.pthread_sigmask, signal.SIG_SETMASK, blocked_before)
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        for one in before:
            signal.signal(one, hold)
        yield


def _hear(held: Collection[int]) -> None:
    """Each is heard, though the handler of one before it raises."""
    with contextlib.ExitStack() as after:
        for number in sorted(held, reverse=True):
            after.callback(signal.raise_signal, number)
