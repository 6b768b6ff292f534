"""Plain-text tables and sparklines for a terminal or a CI log: aligned columns that never grow past the width."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Sequence

WIDTH = 110
_GAP = "  "
_NARROWEST = 6
_BLOCKS = " ▁▂▃▄▅▆▇█"


def table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Collection[int] = (), width: int = WIDTH
) -> list[str]:
    """The lines of a table no wider than `width`; the widest columns give way and wrap. `right` aligns numbers."""
    cells = [[one_line(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    room = width - len(_GAP) * (len(header) - 1)
    while sum(widths) > room and max(widths) > _NARROWEST:
        widths[widths.index(max(widths))] -= 1
    lines: list[str] = []
    for place, row in enumerate(cells):
        wrapped = [textwrap.wrap(cell, columns) or [""] for cell, columns in zip(row, widths, strict=True)]
        for depth in range(max(len(cell) for cell in wrapped)):
            parts = [
                (cell[depth] if depth < len(cell) else "").rjust(columns)
                if number in right
                else (cell[depth] if depth < len(cell) else "").ljust(columns)
                for number, (cell, columns) in enumerate(zip(wrapped, widths, strict=True))
            ]
            lines.append(_GAP.join(parts).rstrip())
        if place == 0:
            lines.append(_GAP.join("─" * columns for columns in widths))
    return lines


def pairs(items: Sequence[tuple[str, str]], *, indent: str = "", width: int = WIDTH) -> list[str]:
    """Lines of `name  value`, values aligned and wrapped."""
    longest = max((len(name) for name, _ in items), default=0)
    lines: list[str] = []
    for name, value in items:
        start = f"{indent}{name.ljust(longest)}{_GAP}"
        lines += textwrap.wrap(
            one_line(value), max(width, len(start) + 20), initial_indent=start, subsequent_indent=" " * len(start)
        ) or [start.rstrip()]
    return lines


def sparkline(values: Sequence[float], *, top: float | None = None) -> str:
    """One block per value, as high as its share of `top` (by default of the largest value)."""
    highest = max(values, default=0.0) if top is None else top
    if highest <= 0:
        return _BLOCKS[0] * len(values)
    last = len(_BLOCKS) - 1
    return "".join(
        _BLOCKS[0] if value <= 0 else _BLOCKS[max(1, min(last, round(value / highest * last)))] for value in values
    )


def digits(values: Sequence[float]) -> str:
    """One digit per value (`·` for none); blocks where a value has more than one digit."""
    if any(round(value) > 9 for value in values):
        return sparkline(values)
    return "".join("·" if round(value) <= 0 else str(round(value)) for value in values)


def one_line(text: str) -> str:
    """The text without line breaks and characters a terminal would act on."""
    return "".join(c if c.isprintable() else " " for c in text)
