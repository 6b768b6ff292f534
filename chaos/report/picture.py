"""One picture of a run: workers, rows per second and every node's life, with the faults across all of it."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chaos.checker import Verdict, merge
from chaos.events import BaselineKnown, BatchCompleted, BatchInvoked, RunOpened, WorkloadStarted
from chaos.history import History
from chaos.report.describe import WORDS, listed, number, on
from chaos.report.injections import InjectionStory, injection_stories
from chaos.report.scaling import Lane, Steps, lanes, phases, worker_counts
from chaos.report.work import account, progress

_INK, _FAINT, _GRID = "#1f2933", "#6b7785", "#e4e8ec"
_VERDICT = {"pass": "#1a7f4b", "fail": "#c0322b", "inconclusive": "#b07400"}
_STATE = {"pending": "#f3d8a0", "booting": "#e9b44c", "up": "#8fc1a9", "draining": "#b9c4cf", "lost": "#d8584f"}
_STATE_WORDS = {
    "pending": "asked for",
    "booting": "booting",
    "up": "up",
    "draining": "draining",
    "lost": "dead, still listed",
}
_FAULT = ("#7b4fa6", "#c2571a", "#2166ac", "#b3386f", "#5b7d1e", "#8c6d31")
_WANTED, _UP, _LAUNCHING, _IDLE = "#1f2933", "#8fc1a9", "#e9b44c", "#d5e8de"
_RATE, _DONE = "#3a78b5", "#1f2933"
_MOST_LANES = 60
_MOST_BATCHES = 6000


def get_ready() -> None:
    """Imports what `draw_timeline` does, some half a second, so that it need not."""
    for module in ("matplotlib.backends.backend_agg", "matplotlib.figure", "matplotlib.patches"):
        importlib.import_module(module)


def draw_timeline(history: History, verdicts: Sequence[Verdict], path: Path) -> None:
    """Writes the picture to `path`, as SVG where its suffix says so, else as PNG of about 1400 × 900 pixels."""
    # Imported here: matplotlib costs memory and time the runner does not have to spare while a load is on.
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
    with matplotlib.rc_context(style):
        nodes = lanes(history)[:_MOST_LANES]
        figure = Figure(figsize=(14, 9), dpi=100, facecolor="white")
        FigureCanvasAgg(figure)
        heights = (2.6, 2.2, max(1.6, min(4.6, 0.34 * len(nodes) + 0.4)))
        top, middle, bottom = figure.subplots(3, 1, sharex=True, height_ratios=heights, gridspec_kw={"hspace": 0.1})
        figure.subplots_adjust(left=0.06, right=0.94, top=0.825, bottom=0.09)
        end_s = max((record.t_s for record in history), default=0.0) or 1.0
        stories = [story for story in injection_stories(history) if story.applied_s is not None]
        _draw_workers(top, history, end_s)
        _draw_rows(middle, history, end_s)
        _draw_lanes(bottom, history, nodes, end_s)
        for panel in (top, middle, bottom):
            _clean(panel)
            _draw_faults(panel, stories, end_s)
        _draw_phases(top, history, end_s)
        _label_faults(top, stories, end_s)
        _mark_victims(bottom, stories, {lane.node: place for place, lane in enumerate(nodes)}, end_s)
        bottom.set_xlim(0.0, end_s)
        bottom.set_xlabel("seconds since the run began")
        _draw_title(figure, history, verdicts)
        metadata: dict[str, Any] = {"Date": None} if path.suffix == ".svg" else {"Software": None}
        figure.savefig(path, format="svg" if path.suffix == ".svg" else "png", metadata=metadata)


def _clean(panel: Any) -> None:
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)
    panel.grid(axis="x", color=_GRID, linewidth=0.6)
    panel.set_axisbelow(True)
    panel.tick_params(length=0)


def _stairs(steps: Steps, end_s: float) -> tuple[list[float], list[int]]:
    """Corner points for a `post` step line from 0 to the end."""
    times = [0.0, *steps.times_s, end_s]
    values = [0, *steps.values, steps.values[-1] if steps.values else 0]
    return times, values


def _draw_workers(panel: Any, history: History, end_s: float) -> None:
    counts = worker_counts(history)
    moments = sorted({0.0, *counts.up.times_s, *counts.launching.times_s, *counts.idle.times_s, end_s})
    up = [counts.up.at(t_s) for t_s in moments]
    idle = [min(counts.idle.at(t_s), now_up) for t_s, now_up in zip(moments, up, strict=True)]
    busy = [now_up - now_idle for now_up, now_idle in zip(up, idle, strict=True)]
    both = [counts.launching.at(t_s) + now_up for t_s, now_up in zip(moments, up, strict=True)]
    panel.fill_between(moments, up, both, step="post", color=_LAUNCHING, alpha=0.75, linewidth=0, label="launching")
    panel.fill_between(moments, 0, busy, step="post", color=_UP, linewidth=0, label="up, busy")
    panel.fill_between(
        moments, busy, up, step="post", facecolor=_IDLE, edgecolor=_UP, hatch="////", linewidth=0, label="up, idle"
    )
    times, values = _stairs(counts.wanted, end_s)
    panel.step(times, values, where="post", color=_WANTED, linewidth=1.8, label="wanted")
    highest = max([counts.wanted.peak, *both, 1])
    for limit, word in ((counts.most, "max"), (counts.least, "min")):
        if limit is not None and limit <= 2 * highest + 2:
            panel.axhline(limit, color=_FAINT, linewidth=0.8, linestyle=(0, (4, 3)))
            panel.text(
                1.004, limit, f"{word} {limit}", transform=panel.get_yaxis_transform(), color=_FAINT, va="center"
            )
            highest = max(highest, limit)
    panel.set_ylim(0, highest * 1.22 + 0.1)
    panel.yaxis.get_major_locator().set_params(integer=True)
    panel.set_ylabel("workers")
    _legend(panel, columns=4)


def _draw_rows(panel: Any, history: History, end_s: float) -> None:
    rows = progress(history)
    reach_s = max(1.0, end_s / 36)
    moments = [end_s * place / 400 for place in range(401)]
    rates = [
        rows.rate(max(rows.begin_s, t_s - reach_s), min(rows.end_s, t_s + reach_s))
        if rows.begin_s <= t_s <= rows.end_s
        else 0.0
        for t_s in moments
    ]
    panel.fill_between(moments, rates, color=_RATE, alpha=0.25, linewidth=0)
    panel.plot(moments, rates, color=_RATE, linewidth=1.3, label="rows/s")
    baseline = history.last(BaselineKnown)
    if baseline is not None:
        panel.axhline(
            baseline[1].rows_per_s, color=_RATE, linewidth=0.9, linestyle=(0, (4, 3)), label="rows/s, baseline mean"
        )
    highest = max([*rates, baseline[1].rows_per_s if baseline else 0.0, 1.0])
    panel.set_ylim(0, highest * 1.25)
    panel.set_ylabel("rows/s")
    done = panel.twinx()
    done.plot(
        [*rows.times_s, max(rows.end_s, rows.times_s[-1])],
        [*rows.done, rows.done[-1]],
        color=_DONE,
        linewidth=1.4,
        label="rows done",
    )
    done.set_ylim(0, max(rows.rows_total, *rows.done, 1) * 1.25)
    done.set_ylabel("rows done")
    done.tick_params(length=0)
    for side in ("top", "left", "right"):
        done.spines[side].set_visible(False)
    if rows.rows_total:
        done.axhline(rows.rows_total, color=_FAINT, linewidth=0.8, linestyle=(0, (1, 2)))
    handles = [*panel.get_legend_handles_labels()[0], *done.get_legend_handles_labels()[0]]
    _legend(done, columns=3, handles=handles)


def _draw_lanes(panel: Any, history: History, nodes: Sequence[Lane], end_s: float) -> None:
    from matplotlib.patches import Patch

    places = {lane.node: place for place, lane in enumerate(nodes)}
    for lane in nodes:
        for span in lane.spans:
            bar = (span.begin_s, span.end_s - span.begin_s)
            panel.broken_barh([bar], (places[lane.node] - 0.36, 0.72), facecolors=_STATE[span.state], linewidth=0)
        if lane.ended_s is not None and lane.cause not in ("autoscaler", "down"):
            panel.text(
                lane.spans[-1].end_s + end_s * 0.004 if lane.spans else lane.ended_s,
                places[lane.node],
                lane.cause,
                color=_STATE["lost"],
                va="center",
                fontsize=8,
            )
    _draw_batches(panel, history, places)
    panel.set_ylim(max(len(nodes), 1) - 0.5, -0.5)
    panel.set_yticks(range(len(nodes)), [lane.node for lane in nodes])
    panel.set_ylabel("nodes")
    seen = {span.state for lane in nodes for span in lane.spans}
    patches = [Patch(color=color, label=_STATE_WORDS[state]) for state, color in _STATE.items() if state in seen]
    if patches:
        panel.legend(
            handles=patches,
            loc="upper right",
            bbox_to_anchor=(1.0, -0.06),
            ncols=len(patches),
            frameon=False,
            fontsize=8,
            handlelength=1.2,
            columnspacing=1.2,
        )


def _draw_batches(panel: Any, history: History, places: dict[str, int]) -> None:
    """Each completed batch a line inside its node's lane; each that was begun for nothing a red tick at its start."""
    completed = [event for _, event in history.of(BatchCompleted) if event.node in places]
    done = {batch.op for batch in completed}
    lost = [event for _, event in history.of(BatchInvoked) if event.op not in done and event.node in places]
    thinned = completed[:: max(1, len(completed) // _MOST_BATCHES)]
    if thinned:
        panel.vlines(
            [batch.ended_s for batch in thinned],
            [places[batch.node] - 0.2 for batch in thinned],
            [places[batch.node] + 0.2 for batch in thinned],
            color="white",
            linewidth=0.9,
            alpha=0.9,
        )
    if lost:
        panel.scatter(
            [batch.started_s for batch in lost[:_MOST_BATCHES]],
            [places[batch.node] for batch in lost[:_MOST_BATCHES]],
            marker="x",
            s=26,
            color=_STATE["lost"],
            linewidth=1.6,
            zorder=3,
        )


def _draw_phases(panel: Any, history: History, end_s: float) -> None:
    for phase, begin_s, until_s in phases(history):
        panel.axvline(begin_s, color=_FAINT, linewidth=0.8, alpha=0.6)
        if until_s - begin_s >= end_s * 0.012 * max(3, len(phase) * 0.6):
            panel.annotate(
                phase,
                ((begin_s + until_s) / 2, 1.0),
                (0, 4),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                ha="center",
                color=_FAINT,
                fontsize=8,
            )


def _color(place: int) -> str:
    return _FAULT[place % len(_FAULT)]


def _draw_faults(panel: Any, stories: Sequence[InjectionStory], end_s: float) -> None:
    for place, story in enumerate(stories):
        window = story.window(end_s)
        if window is None:
            continue
        if story.lasting:
            panel.axvspan(*window, color=_color(place), alpha=0.1, linewidth=0, zorder=2.2)
        panel.axvline(window[0], color=_color(place), linewidth=1.1, alpha=0.85, zorder=2.5)


def _mark_victims(panel: Any, stories: Sequence[InjectionStory], places: dict[str, int], end_s: float) -> None:
    """A bar under the victim's lane for as long as a fault lasts; a wedge on it for one that happens at once."""
    for number_, story in enumerate(stories):
        window = story.window(end_s)
        if window is None:
            continue
        for place in (places[victim] for victim in story.victims if victim in places):
            if story.lasting:
                bar = (window[0], window[1] - window[0])
                panel.broken_barh([bar], (place + 0.26, 0.12), facecolors=_color(number_), linewidth=0, zorder=3)
            else:
                panel.scatter([window[0]], [place - 0.36], marker="v", s=46, color=_color(number_), zorder=3.5)


def _label_faults(panel: Any, stories: Sequence[InjectionStory], end_s: float) -> None:
    """Labels above the top panel, each on the lowest line where it does not touch another."""
    reached: list[float] = []
    for place, story in enumerate(stories):
        begin_s = (story.window(end_s) or (0.0, 0.0))[0]
        label = f"{story.injection} {story.fault}{on(story.victims[:3])}" + ("…" if len(story.victims) > 3 else "")
        width_s = end_s * 0.0062 * len(label)
        begin_s = max(0.0, min(begin_s, end_s - width_s))
        line = next((line for line, until_s in enumerate(reached) if until_s <= begin_s), len(reached))
        if line >= 4:
            line = min(range(len(reached)), key=reached.__getitem__)
        if line == len(reached):
            reached.append(0.0)
        reached[line] = begin_s + width_s
        panel.annotate(
            label,
            (begin_s, 1.0),
            (0, 17 + 13 * line),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            color=_color(place),
            fontsize=8.5,
            weight="bold",
        )


def _draw_title(figure: Any, history: History, verdicts: Sequence[Verdict]) -> None:
    verdict = merge(check.verdict for check in verdicts)
    opened, started = history.first(RunOpened), history.first(WorkloadStarted)
    what = f"{started[1].workload if started else 'no workload'} on {opened[1].cluster if opened else 'no cluster'}"
    badge = figure.text(
        0.0655,
        0.962,
        WORDS[verdict],
        fontsize=13,
        weight="bold",
        color="white",
        va="center",
        bbox={"boxstyle": "round,pad=0.35", "facecolor": _VERDICT[verdict], "edgecolor": "none"},
    )
    bad = [check.name for check in verdicts if check.verdict != "pass"]
    found = f"{len(verdicts)} checks passed" if verdicts and not bad else listed(bad, most=4) or "no checks"
    right = badge.get_window_extent().x1 / figure.bbox.width
    figure.text(right + 0.016, 0.962, f"{what}   ·   {found}", fontsize=13, va="center")
    rows, lost = progress(history), account(history).given_up
    facts = [f"run {opened[1].run_id}", f"seed {opened[1].seed}"] if opened else []
    facts += [
        f"{round(rows.done_at(rows.end_s))} of {rows.rows_total} rows in {number(rows.end_s - rows.begin_s)} s",
        f"{number(rows.mean_rows_per_s)} rows/s",
        f"{lost} batch{'' if lost == 1 else 'es'} begun and never completed",
    ]
    figure.text(0.06, 0.928, "   ·   ".join(facts), fontsize=8.5, color=_FAINT, va="center")


def _legend(panel: Any, *, columns: int, handles: Sequence[Any] | None = None) -> None:
    given = {"handles": handles} if handles is not None else {}
    panel.legend(
        loc="upper right",
        ncols=columns,
        frameon=True,
        framealpha=0.85,
        edgecolor="none",
        fontsize=8,
        handlelength=1.4,
        columnspacing=1.2,
        borderpad=0.3,
        **given,
    )
