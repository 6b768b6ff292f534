"""A run seen while it goes on: a panel on a terminal, plain lines elsewhere; by default on standard error."""

from __future__ import annotations

import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from chaos.history import Record
from chaos.report.describe import describe, number
from chaos.report.live_state import LiveState
from chaos.report.table import one_line

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live
    from rich.table import Table

_PROGRESS_EVERY_S = 5.0
_REFRESH_PER_S = 5.0
_BAR = 40


class LiveView(ABC):
    """Shows a run: `step` before there is a history, then `show` for each record and `tick` in between."""

    def __init__(self) -> None:
        self.state = LiveState()

    @abstractmethod
    def step(self, text: str) -> None:
        """Says what is being done now, before the run's clock runs; the step before it is over."""

    @abstractmethod
    def show(self, record: Record) -> None:
        """Takes in a record."""

    @abstractmethod
    def tick(self, now_s: float) -> None:
        """Takes in the time of the run's clock; to be called a few times a second."""

    @abstractmethod
    def close(self) -> None:
        """Leaves the terminal as it was; idempotent."""

    def __enter__(self) -> LiveView:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def live_view(stream: TextIO | None = None) -> LiveView:
    """The panel where `stream` (default: standard error) is a terminal that can move its cursor, else plain lines."""
    from rich.console import Console

    shown_on = sys.stderr if stream is None else stream
    console = Console(file=shown_on)
    if console.is_terminal and not console.is_dumb_terminal:
        return TerminalView(console)
    return PlainView(shown_on)


class PlainView(LiveView):
    """One line per event worth telling, prefixed by its time, and a line of progress every five seconds."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._told_s = 0.0
        self._closed = False

    def step(self, text: str) -> None:
        """Writes the step as a line."""
        self._write(f"[ setup ] {text}")

    def show(self, record: Record) -> None:
        """Writes the event, if it is worth a line."""
        self.state = self.state.after(record)
        words = describe(record.event)
        if words:
            self._write(f"[{record.t_s:6.1f}s] {words}")
        self._progress()

    def tick(self, now_s: float) -> None:
        """Writes the line of progress when it is time."""
        self.state = self.state.at(now_s)
        self._progress()

    def close(self) -> None:
        """Nothing to undo: lines stay."""

    def _progress(self) -> None:
        if self.state.now_s - self._told_s >= _PROGRESS_EVERY_S and not self.state.ended:
            self._told_s = self.state.now_s
            self._write(f"[{self.state.now_s:6.1f}s] {self.state.progress_line()}")

    def _write(self, text: str) -> None:
        if self._closed:
            return
        try:
            print(one_line(text), file=self._stream, flush=True)
        except OSError:
            # Whoever read along is gone; the run goes on.
            self._closed = True


class SilentView(LiveView):
    """Shows nothing, for callers that show something of their own."""

    def step(self, text: str) -> None:
        """Nothing."""

    def show(self, record: Record) -> None:
        """Nothing."""

    def tick(self, now_s: float) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class TerminalView(LiveView):
    """A panel that is redrawn a few times a second by its own thread, and gone once closed."""

    def __init__(self, console: Console, *, elapsed_s: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._console = console
        self._elapsed_s = elapsed_s
        self._live: Live | None = None
        self._step: tuple[str, float] | None = None

    def step(self, text: str) -> None:
        """Shows the step with a spinner; the one before stays above, with the time it took."""
        self._end_step()
        self._step = (text, self._elapsed_s())
        self._open()

    def show(self, record: Record) -> None:
        """Takes the record into the panel."""
        self._end_step()
        self.state = self.state.after(record)
        self._open()

    def tick(self, now_s: float) -> None:
        """Moves the panel's time on."""
        self.state = self.state.at(now_s)

    def close(self) -> None:
        """Removes the panel."""
        self._end_step()
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _open(self) -> None:
        from rich.live import Live

        if self._live is None:
            self._live = Live(
                get_renderable=self._drawn,
                console=self._console,
                refresh_per_second=_REFRESH_PER_S,
                transient=True,
                redirect_stdout=False,
            )
            self._live.start()

    def _end_step(self) -> None:
        if self._step is not None:
            text, begun_s = self._step
            self._step = None
            self._console.print(f"✓ {text} ({number(self._elapsed_s() - begun_s)} s)", markup=False, highlight=False)

    def _drawn(self) -> RenderableType:
        from rich.spinner import Spinner
        from rich.text import Text

        step = self._step
        if step is not None:
            return Spinner("dots", Text(f"{step[0]} … {self._elapsed_s() - step[1]:.0f} s"))
        return panel(self.state)


def panel(state: LiveState) -> Table:
    """The run at this moment as a grid of labelled lines."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(ratio=1)
    grid.add_row("run", Text(state.title, "bold"))
    passed_s = state.now_s - state.phase_since_s
    grid.add_row("phase", Text(f"{state.phase or 'preparing'} for {passed_s:.0f} s, {state.now_s:.0f} s in all"))
    grid.add_row("workers", Text.assemble(*_worker_squares(state), "  ", state.workers_words()))
    if state.rows_total:
        bar = Table.grid(padding=(0, 2))
        bar.add_row(ProgressBar(total=state.rows_total, completed=state.rows_done, width=_BAR), _rows_words(state))
        grid.add_row("rows", bar)
    for place, fault in enumerate(state.faults):
        grid.add_row("" if place else "faults", Text(fault.words(state.now_s), "red"))
    for place, (t_s, words) in enumerate(state.events):
        line = Text.assemble((f"{t_s:6.1f}s ", "dim"), words, no_wrap=True, overflow="ellipsis")
        grid.add_row("" if place else "events", line)
    return grid


def _worker_squares(state: LiveState) -> list[tuple[str, str]]:
    missing = max(0, (state.wanted or 0) - state.up - state.launching)
    busy = max(0, state.up - state.idle)
    squares = (("■", "green", busy), ("□", "green", state.up - busy), ("■", "yellow", state.launching))
    return [(mark * min(count, 40), style) for mark, style, count in (*squares, ("·", "dim", missing)) if count]


def _rows_words(state: LiveState) -> str:
    words = f"{state.rows_done}/{state.rows_total}  {100 * state.share_done:.0f} %"
    if state.rows_per_s > 0:
        left_s = (state.rows_total - state.rows_done) / state.rows_per_s
        words += f"  {number(state.rows_per_s)} rows/s  {left_s:.0f} s to go"
    return words
