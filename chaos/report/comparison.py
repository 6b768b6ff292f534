"""Two runs held against each other, in characters: figures side by side, both timelines, and where they part."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from chaos.comparison import Comparison, Decision, Parting, Side, What
from chaos.report.describe import number
from chaos.report.table import digits, one_line, pairs, table

_COLUMNS = 78
_MARKS = 8
_WIDTH = 110
_NONE = "–"
_LONG_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}|[0-9a-f]{40,}")


def render_comparison(comparison: Comparison) -> str:
    """The whole comparison as text for a terminal."""
    a, b = comparison.a, comparison.b
    blocks = [
        pairs([("a", _who(a)), ("b", _who(b))]),
        [f"warning: {warning}" for warning in comparison.warnings],
        _figures(comparison),
        _timeline(comparison),
        parting_lines(comparison),
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def verdict_line(comparison: Comparison) -> str:
    """In one line how far the two agree."""
    same = [word for word, holds in (("launches", comparison.same_launches),
                                     ("terminations", comparison.same_terminations)) if holds]  # fmt: skip
    numbers = f"as many {' and '.join(same)}" if same else "neither as many launches nor as many terminations"
    return f"{numbers}; within one worker of each other {number(100 * comparison.near_share)} % of the time"


def _who(side: Side) -> str:
    return f"{side.run_id}   {side.cluster}, Ray {side.ray}, seed {side.seed}, job {side.outcome}"


def _figures(comparison: Comparison) -> list[str]:
    a, b = comparison.a, comparison.b

    def count(name: str, of_a: int, of_b: int) -> tuple[str, ...]:
        return (name, str(of_a), str(of_b), "equal" if of_a == of_b else f"{of_b - of_a:+d}")

    def seconds(name: str, of_a: float | None, of_b: float | None) -> tuple[str, ...]:
        ratio = f"× {of_b / of_a:.2f}" if of_a and of_b is not None else _NONE
        return (name, *(_NONE if value is None else f"{value:.1f} s" for value in (of_a, of_b)), ratio)

    rows = [
        count("launches", a.launches, b.launches),
        count("launches that failed", a.launches_failed, b.launches_failed),
        count("joined", a.joined, b.joined),
        count("terminations", a.terminations, b.terminations),
        count("most workers at once", a.peak, b.peak),
        seconds("time to converge up", a.up_s, b.up_s),
        seconds("time to converge down", a.down_s, b.down_s),
        seconds("load", a.load_s, b.load_s),
    ]
    return [*table(("", "a", "b", "b to a"), rows, right=(1, 2, 3)), "", verdict_line(comparison)]


# -- the timeline ---------------------------------------------------------------------------------------------


def _timeline(comparison: Comparison) -> list[str]:
    a, b = comparison.a, comparison.b
    end_s = max(a.end_s, b.end_s)
    if end_s <= 0:
        return []
    edges = [end_s * column / _COLUMNS for column in range(_COLUMNS + 1)]
    entries: list[tuple[str, str]] = []
    for name, side in (("a", a), ("b", b)):
        counts = [side.workers_at((from_s + to_s) / 2) for from_s, to_s in pairwise(edges)]
        entries += [
            (f"{name} faults", _marks([injected.at_s for injected in side.injected], end_s, "×")),
            (f"{name} launches", _per_column(side.of("launch"), end_s)),
            (f"{name} workers", digits(counts)),
            (f"{name} terminations", _per_column(side.of("termination"), end_s)),
            (f"{name} load ends", _marks([] if side.load_s is None else [side.load_s], end_s, "│")),
        ]
    entries.append(("differ by", _difference(a, b, edges)))
    if comparison.parting is not None:
        entries.append(("they part", _marks([comparison.parting.at_s], end_s, "▲")))
    entries.append(("seconds", _axis(end_s)))
    width = max(len(name) for name, _ in entries)
    return [f"{name.ljust(width)}  {drawing}".rstrip() for name, drawing in entries]


def _column(at_s: float, end_s: float) -> int:
    return max(0, min(_COLUMNS - 1, int(at_s / end_s * _COLUMNS)))


def _marks(times_s: Sequence[float], end_s: float, mark: str) -> str:
    cells = [" "] * _COLUMNS
    for at_s in times_s:
        cells[_column(at_s, end_s)] = mark
    return "".join(cells).rstrip()


def _per_column(decisions: Sequence[Decision], end_s: float) -> str:
    """How many decisions fall into each column; none is a blank, more than nine a plus."""
    counted = [0] * _COLUMNS
    for decision in decisions:
        counted[_column(decision.at_s, end_s)] += 1
    return "".join(" " if not count else str(count) if count < 10 else "+" for count in counted).rstrip()


def _difference(a: Side, b: Side, edges: Sequence[float]) -> str:
    """By how many workers they differ: nothing where equal, `·` for one, else the number."""
    apart = [abs(a.workers_at((x + y) / 2) - b.workers_at((x + y) / 2)) for x, y in pairwise(edges)]
    return "".join(" " if not n else "·" if n == 1 else str(n) if n < 10 else "+" for n in apart).rstrip()


def _axis(end_s: float) -> str:
    cells = [" "] * (_COLUMNS + 6)
    for mark in range(_MARKS + 1):
        label = number(round(end_s * mark / _MARKS))
        place = min(_COLUMNS * mark // _MARKS, _COLUMNS - 1)
        cells[place : place + len(label)] = list(label)
    return "".join(cells).rstrip()


# -- where they part ------------------------------------------------------------------------------------------


def parting_lines(comparison: Comparison) -> list[str]:
    """The first decision they do not share, and what each autoscaler said then."""
    parting = comparison.parting
    if parting is None:
        return [f"every decision of one is in the other, at most {number(comparison.tolerance_s)} s apart"]
    lines = [f"they part at {parting.at_s:.1f} s: {parting_words(parting)}"]
    for name, side, said in (("a", comparison.a, parting.said_a), ("b", comparison.b, parting.said_b)):
        lines.append(f"  {name} ({side.cluster}) then:")
        lines += [f"    {_cut(_LONG_ID.sub(_shortened, one_line(line)))}" for line in said] or ["    nothing"]
    return lines


def parting_words(parting: Parting) -> str:
    """What they do not share, in words."""
    which = f"{_ordinal(parting.number)} {parting.what}"
    if parting.a is not None and parting.b is not None:
        in_a, in_b = (f"{_of(one)} at {one.at_s:.1f} s" for one in (parting.a, parting.b))
        return f"the {which} is {in_a} in a, {in_b} in b"
    there, name, other = (parting.a, "a", "b") if parting.a is not None else (parting.b, "b", "a")
    assert there is not None
    return f"the {which}, of {_of(there)}, is only in {name}; {other} has {_fewer(parting.what, parting.number)}"


def _of(decision: Decision) -> str:
    return f"{decision.node} ({decision.node_type})" if decision.node_type else decision.node


def _fewer(what: What, number_: int) -> str:
    fewer = number_ - 1
    return f"no {what}" if not fewer else f"only {fewer}"


def _ordinal(count: int) -> str:
    ending = "th" if 10 <= count % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(count % 10, "th")
    return f"{count}{ending}"


def _shortened(identifier: re.Match[str]) -> str:
    return f"{identifier[0][:8]}…"


def _cut(text: str) -> str:
    return text if len(text) <= _WIDTH else text[: _WIDTH - 1] + "…"
