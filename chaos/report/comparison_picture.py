"""One picture of two runs held against each other: their workers, what their autoscalers decided, where they part."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from chaos.comparison import KINDS, NEAR, Comparison, Side
from chaos.report.comparison import parting_words, verdict_line

_INK, _FAINT, _GRID = "#1f2933", "#6b7785", "#e4e8ec"
_A, _B, _APART, _PART = "#2166ac", "#c2571a", "#f2c9c6", "#b3386f"
_KINDS = {"launch": "^", "termination": "v"}
_PLURALS = {"launch": "launches", "termination": "terminations"}
_TOGETHER = 0.006


def draw_comparison(comparison: Comparison, path: Path) -> None:
    """Writes the picture to `path`, as SVG where its suffix says so, else as PNG of about 1400 × 800 pixels."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    style = {
        "font.size": 9,
        "font.family": "DejaVu Sans",
        "axes.edgecolor": _GRID,
        "axes.labelcolor": _FAINT,
        "xtick.color": _FAINT,
        "ytick.color": _FAINT,
        "text.color": _INK,
        "svg.hashsalt": "raychaos",
        "text.parse_math": False,
    }
    end_s = max(comparison.a.end_s, comparison.b.end_s) or 1.0
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(14, 8), dpi=100, facecolor="white")
        FigureCanvasAgg(figure)
        top, middle, bottom = figure.subplots(
            3, 1, sharex=True, height_ratios=(3.2, 1.5, 2.0), gridspec_kw={"hspace": 0.14}
        )
        figure.subplots_adjust(left=0.1, right=0.97, top=0.83, bottom=0.09)
        _draw_workers(top, comparison, end_s)
        _draw_decisions(middle, comparison, end_s)
        _draw_cumulated(bottom, comparison, end_s)
        for panel in (top, middle, bottom):
            _clean(panel)
            if comparison.parting is not None:
                panel.axvline(comparison.parting.at_s, color=_PART, linewidth=1.3, linestyle=(0, (5, 2)), zorder=3)
        if comparison.parting is not None:
            _label_parting(top, comparison.parting.at_s, end_s)
        bottom.set_xlim(min(0.0, -0.005 * end_s), end_s)
        bottom.set_xlabel("seconds since the load began")
        _draw_title(figure, comparison)
        metadata: dict[str, Any] = {"Date": None} if path.suffix == ".svg" else {"Software": None}
        figure.savefig(path, format="svg" if path.suffix == ".svg" else "png", metadata=metadata)


def _sides(comparison: Comparison) -> tuple[tuple[str, Side, str], ...]:
    return (("a", comparison.a, _A), ("b", comparison.b, _B))


def _clean(panel: Any) -> None:
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)
    panel.grid(axis="x", color=_GRID, linewidth=0.6)
    panel.set_axisbelow(True)
    panel.tick_params(length=0)


def _draw_workers(panel: Any, comparison: Comparison, end_s: float) -> None:
    a, b = comparison.a, comparison.b
    moments = sorted({0.0, end_s, *(c.from_s for side in (a, b) for c in side.workers if 0 <= c.from_s <= end_s)})
    of_a, of_b = ([side.workers_at(t_s) for t_s in moments] for side in (a, b))
    for place, (from_s, until_s) in enumerate(pairwise(moments)):
        if abs(of_a[place] - of_b[place]) > NEAR:
            panel.fill_between([from_s, until_s], of_a[place], of_b[place], color=_APART, linewidth=0)
    panel.fill_between([], [], color=_APART, linewidth=0, label="more than one worker apart")
    panel.step(moments, of_a, where="post", color=_A, linewidth=2.6, label=f"a: {a.cluster}")
    panel.step(moments, of_b, where="post", color=_B, linewidth=1.7, linestyle=(0, (4, 1.5)), label=f"b: {b.cluster}")
    highest = max([*of_a, *of_b, 1])
    panel.set_ylim(0, highest * 1.25)
    panel.yaxis.get_major_locator().set_params(integer=True)
    panel.set_ylabel("workers")
    for _, side, color in _sides(comparison):
        if side.load_s is not None:
            panel.plot([side.load_s], [0], marker="|", markersize=18, color=color, markeredgewidth=2.2, clip_on=False)
    panel.plot([], [], marker="|", markersize=10, linestyle="none", color=_FAINT, markeredgewidth=2, label="load ends")
    panel.legend(loc="upper right", ncols=4, frameon=True, framealpha=0.85, edgecolor="none", fontsize=8)


def _draw_decisions(panel: Any, comparison: Comparison, end_s: float) -> None:
    """Two lanes: each run's launches, terminations and faults where they happened."""
    for place, (_, side, color) in enumerate(_sides(comparison)):
        panel.axhline(place, color=_GRID, linewidth=0.8)
        for what in KINDS:
            offset = 0.2 if what == "termination" else -0.2
            for at_s, count in _clusters([decision.at_s for decision in side.of(what)], end_s * _TOGETHER):
                panel.scatter([at_s], [place + offset], marker=_KINDS[what], s=46, color=color, linewidth=0)
                if count > 1:
                    words = {"color": color, "va": "center", "fontsize": 8}
                    panel.annotate(f"×{count}", (at_s, place + offset), (6, 0), textcoords="offset points", **words)
        for injected in side.injected:
            panel.scatter([injected.at_s], [place], marker="x", s=34, color=_INK, linewidth=1.5, zorder=3)
    panel.set_ylim(1.5, -0.9)
    panel.set_yticks((0, 1), [f"{name}: {side.cluster}" for name, side, _ in _sides(comparison)])
    for label, marker, color in (("launch", "^", _FAINT), ("termination", "v", _FAINT), ("fault", "x", _INK)):
        panel.scatter([], [], marker=marker, s=34, color=color, label=label)
    panel.legend(loc="upper right", ncols=3, frameon=True, framealpha=0.85, edgecolor="none", fontsize=8)


def _clusters(times_s: Sequence[float], within_s: float) -> list[tuple[float, int]]:
    """What lies too close together to be told apart, as its first time and how many it is."""
    found: list[tuple[float, int]] = []
    for at_s in times_s:
        if found and at_s - found[-1][0] <= within_s:
            found[-1] = (found[-1][0], found[-1][1] + 1)
        else:
            found.append((at_s, 1))
    return found


def _draw_cumulated(panel: Any, comparison: Comparison, end_s: float) -> None:
    """Launches and terminations so far: where the lines of one kind part, a decision is missing or late."""
    for name, side, color in _sides(comparison):
        style = "-" if name == "a" else (0, (4, 1.5))
        for what, width in zip(KINDS, (1.9, 1.1), strict=True):
            times_s = [0.0, *(max(0.0, decision.at_s) for decision in side.of(what)), end_s]
            counts = [*range(len(times_s) - 1), len(times_s) - 2]
            panel.step(
                times_s,
                counts,
                where="post",
                color=color,
                linewidth=width,
                linestyle=style,
                label=f"{name}: {_PLURALS[what]}",
            )
    panel.set_ylim(0, 1.35 * max(1, *(len(side.of(what)) for _, side, _ in _sides(comparison) for what in KINDS)))
    panel.yaxis.get_major_locator().set_params(integer=True)
    panel.set_ylabel("so far")
    panel.legend(loc="upper left", ncols=4, frameon=True, framealpha=0.85, edgecolor="none", fontsize=8)


def _label_parting(panel: Any, at_s: float, end_s: float) -> None:
    panel.annotate(
        "they part",
        (at_s, 1.0),
        (4 if at_s < 0.9 * end_s else -4, 4),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        ha="left" if at_s < 0.9 * end_s else "right",
        color=_PART,
        fontsize=8.5,
        weight="bold",
    )


def _draw_title(figure: Any, comparison: Comparison) -> None:
    lines: list[tuple[str, float, str]] = [(verdict_line(comparison), 13, _INK)]
    for name, side, color in _sides(comparison):
        lines.append((f"{name}  {side.run_id} on {side.cluster}, Ray {side.ray}: {_numbers(side)}", 9, color))
    if comparison.parting is not None:
        lines.append((f"they part at {comparison.parting.at_s:.1f} s: {parting_words(comparison.parting)}", 9, _PART))
    if comparison.warnings:
        lines.append((f"warning: {'; '.join(comparison.warnings)}", 9, _PART))
    _write(figure, lines)


def _write(figure: Any, lines: Sequence[tuple[str, float, str]]) -> None:
    y = 0.968
    for text, size, color in lines:
        figure.text(0.1, y, textwrap.shorten(text, 170, placeholder=" …"), fontsize=size, color=color, va="center")
        y -= 0.03 if size > 10 else 0.024


def _numbers(side: Side) -> str:
    times = [
        f"{word} in {value:.1f} s" for word, value in (("up", side.up_s), ("down", side.down_s)) if value is not None
    ]
    return ", ".join([f"{side.launches} launches", f"{side.terminations} terminations", *times])
