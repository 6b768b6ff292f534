"""A soak seen while it goes on: one line that is written over on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Protocol, TextIO

_DAY_S = 86400.0
_EVERY_S = {True: 0.2, False: 10.0}
_CLEAR = "\r\x1b[K"


class Seen(Protocol):
    """What is shown of a soak."""

    for_s: float
    virtual_s: float
    windows: int
    failed: int
    nodes: int

    @property
    def times(self) -> float:
        """How much faster than real it goes."""
        ...

    @property
    def memory_mib(self) -> float:
        """What the process holds."""
        ...


def line_of(seen: Seen) -> str:
    """A soak at one moment, in one line."""
    share = min(1.0, seen.virtual_s / seen.for_s)
    return (
        f"day {seen.virtual_s / _DAY_S:.2f} of {seen.for_s / _DAY_S:.2f} ({share:.0%})  {seen.times:,.0f} x  "
        f"{seen.memory_mib:.0f} MiB  {seen.nodes} workers  {seen.windows} windows, {seen.failed} failed"
    )


class SoakLine:
    """Shows a soak on a stream, by default standard error."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._moves = self._stream.isatty()
        self._shown_s = -_DAY_S
        self._shown = False

    def show(self, seen: Seen) -> None:
        """Writes the line, if it is time."""
        if time.monotonic() - self._shown_s < _EVERY_S[self._moves]:
            return
        self._shown_s = time.monotonic()
        self._shown = self._moves
        self._write(f"{_CLEAR}{line_of(seen)}" if self._moves else f"{line_of(seen)}\n")

    def tell(self, text: str) -> None:
        """Writes a line that stays."""
        self._write(f"{_CLEAR if self._shown else ''}{text}\n")
        self._shown = False

    def close(self) -> None:
        """Leaves the terminal as it was."""
        if self._shown:
            self._write(_CLEAR)
        self._shown = False

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:  # whoever read along is gone; the soak goes on
            self._moves = False
