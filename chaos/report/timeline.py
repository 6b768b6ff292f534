"""A run's timeline in characters: what was wanted, what was there, what was computed, what was broken."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from chaos.history import History
from chaos.report.describe import number, on
from chaos.report.injections import injection_stories
from chaos.report.scaling import Steps, phases, worker_counts
from chaos.report.table import digits, one_line, sparkline
from chaos.report.work import progress

_COLUMNS = 78
_LABEL = 20


def timeline_lines(history: History) -> list[str]:
    """Phases, workers, rows per second and faults, one character per slice of time; empty for an empty history."""
    end_s = max((record.t_s for record in history), default=0.0)
    if end_s <= 0:
        return []
    edges = [end_s * column / _COLUMNS for column in range(_COLUMNS + 1)]
    bins = list(itertools.pairwise(edges))
    counts, rows = worker_counts(history), progress(history)

    def drawn(quantity_: Steps) -> str:
        return digits([quantity_.at(mid) for mid in ((a + b) / 2 for a, b in bins)])

    reach_s = end_s / _COLUMNS
    rates = [rows.rate(a - reach_s, b + reach_s) for a, b in bins]
    entries = [
        ("phase", _phase_bar(history, end_s)),
        ("wanted", drawn(counts.wanted)),
        ("launching", drawn(counts.launching)),
        ("up", drawn(counts.up)),
        ("idle", drawn(counts.idle)),
        ("rows/s", sparkline(rates) + f" ≤ {number(max(rates))}"),
    ]
    for story in injection_stories(history):
        window = story.window(end_s)
        if window is not None:
            label = one_line(f"{story.injection} {story.fault}{on(story.victims)}")
            entries.append((_short(label, _LABEL), _bar(window, bins, lasting=story.lasting)))
    entries.append(("seconds", _axis(end_s)))
    width = max(len(name) for name, _ in entries)
    return [f"{name.ljust(width)}  {drawing}" for name, drawing in entries]


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _phase_bar(history: History, end_s: float) -> str:
    cells = [" "] * _COLUMNS
    for phase, begin_s, until_s in phases(history):
        first, last = _column(begin_s, end_s), max(_column(begin_s, end_s) + 1, _column(until_s, end_s))
        label = f"│{phase}"[: max(1, last - first)]
        cells[first : first + len(label)] = list(label)
    return "".join(cells[:_COLUMNS])


def _column(t_s: float, end_s: float) -> int:
    return max(0, min(_COLUMNS - 1, int(t_s / end_s * _COLUMNS)))


def _bar(window: tuple[float, float], bins: Sequence[tuple[float, float]], *, lasting: bool) -> str:
    begin_s, until_s = window
    hit = [a <= until_s and begin_s < b for a, b in bins]
    if not any(hit):
        hit[-1] = True
    return "".join(("█" if lasting else "×") if touched else "·" for touched in hit)


def _axis(end_s: float) -> str:
    cells = [" "] * (_COLUMNS + 6)
    marks = 8
    for mark in range(marks + 1):
        label = number(round(end_s * mark / marks))
        place = min(_COLUMNS * mark // marks, _COLUMNS - 1)
        cells[place : place + len(label)] = list(label)
    return "".join(cells).rstrip()
