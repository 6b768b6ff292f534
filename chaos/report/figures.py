"""The numbers of a run: how it scaled, and what its computing cost."""

from __future__ import annotations

import itertools
import statistics
from collections import Counter
from collections.abc import Sequence

from chaos.events import BaselineKnown, NodeLaunchFailed
from chaos.history import History
from chaos.report.describe import listed, number
from chaos.report.scaling import Lane, WorkerCounts, lanes, worker_counts
from chaos.report.table import pairs, table
from chaos.report.work import account, progress

_MOST_ROWS = 40


def scaling_lines(history: History) -> list[str]:
    """Launches, joins and ends with their causes, each node's life, and every change of the counts."""
    counts, nodes = worker_counts(history), lanes(history)
    workers = [lane for lane in nodes if lane.node != "head"]
    joins = [
        lane.joined_s - lane.launched_s for lane in workers if lane.launched_s is not None and lane.joined_s is not None
    ]
    failed = Counter[str]()
    for _, event in history.of(NodeLaunchFailed):
        failed[event.reason] += event.count
    causes = Counter(lane.cause for lane in workers if lane.cause)
    limits = "" if counts.most is None else f"; allowed {counts.least} to {counts.most}"
    short, over = _mismatch(counts, max((record.t_s for record in history), default=0.0))
    lines = pairs(
        [
            ("peak", f"{counts.wanted.peak} workers wanted, {counts.up.peak} up at once{limits}"),
            ("launches", f"{sum(lane.launched_s is not None for lane in workers)} asked for, {_tally(failed)}"),
            ("joins", f"{len(joins)}" + (f", {_spread(joins)} after the request" if joins else "")),
            ("ends", listed([f"{count} {cause}" for cause, count in causes.most_common()]) or "none"),
            ("mismatch", f"{number(short)} node-seconds wanted but not up, {number(over)} up but not wanted"),
        ]
    )
    if nodes:
        rows = [_life(lane) for lane in nodes]
        header = ("node", "type", "asked s", "joined s", "took s", "ended s", "cause")
        lines += ["", *_cut(table(header, rows[:_MOST_ROWS], right=(2, 3, 4, 5)), len(rows))]
    changes = _changes(counts)
    if changes:
        shown = table(("at s", "wanted", "launching", "up"), changes[:_MOST_ROWS], right=(0, 1, 2, 3))
        lines += ["", *_cut(shown, len(changes))]
    return lines


def work_lines(history: History) -> list[str]:
    """Throughput, and what was computed more than once or for nothing, in all and per node."""
    done, rows, baseline = account(history), progress(history), history.last(BaselineKnown)
    mean = rows.mean_rows_per_s
    compared = ""
    if baseline and baseline[1].rows_per_s > 0:
        compared = f", {number(100 * mean / baseline[1].rows_per_s)} % of the baseline's"
    reached = round(rows.done_at(rows.end_s))
    computed = f"{done.rows_computed} computed, {done.rows_distinct} distinct, {done.rows_repeated} again"
    lines = pairs(
        [
            ("progress", f"{reached} of {rows.rows_total} rows in {number(rows.end_s - rows.begin_s)} s"),
            ("throughput", f"{number(mean)} rows/s mean{compared}; best 5 s: {number(rows.peak_rows_per_s())} rows/s"),
            ("longest pause", f"{number(rows.longest_pause_s)} s without a new row, the start included"),
            ("batches", f"{done.begun} begun, {done.completed} completed, {done.given_up} never completed"),
            ("rows", f"{computed}, {done.rows_given_up} in batches never completed"),
            ("time", f"{number(done.busy_s)} s in completed batches, {number(done.wasted_s)} s wasted"),
        ]
    )
    if done.nodes:
        shown = [
            (
                node.node,
                str(node.begun),
                str(node.completed),
                str(node.begun - node.completed),
                str(node.rows),
                number(node.busy_s),
                number(node.rows / node.busy_s) if node.busy_s > 0 else "–",
            )
            for node in done.nodes
        ]
        header = ("node", "begun", "completed", "lost", "rows", "busy s", "rows/s busy")
        lines += ["", *_cut(table(header, shown[:_MOST_ROWS], right=range(1, 7)), len(shown))]
    return lines


def _tally(counted: Counter[str]) -> str:
    reasons = listed([f"{count} × {reason}" for reason, count in counted.most_common()])
    return f"{counted.total()} failed" + (f" ({reasons})" if reasons else "")


def _spread(durations_s: Sequence[float]) -> str:
    least, most = number(min(durations_s)), number(max(durations_s))
    return f"{least} s" if least == most else f"{least} to {most} s (median {number(statistics.median(durations_s))} s)"


def _life(lane: Lane) -> tuple[str, ...]:
    took_s = lane.joined_s - lane.launched_s if lane.launched_s is not None and lane.joined_s is not None else None
    times = (lane.launched_s, lane.joined_s, took_s, lane.ended_s)
    return (lane.node, lane.node_type, *("–" if t is None else f"{t:.1f}" for t in times), lane.cause)


def _moments(counts: WorkerCounts) -> list[float]:
    return sorted({*counts.wanted.times_s, *counts.launching.times_s, *counts.up.times_s})


def _changes(counts: WorkerCounts) -> list[tuple[str, ...]]:
    series = (counts.wanted, counts.launching, counts.up)
    return [(f"{t_s:.1f}", *(str(steps.at(t_s)) for steps in series)) for t_s in _moments(counts)]


def _mismatch(counts: WorkerCounts, end_s: float) -> tuple[float, float]:
    """Node-seconds wanted but not up, and up but not wanted."""
    short = over = 0.0
    cuts = [*_moments(counts), end_s]
    for begin_s, until_s in itertools.pairwise(cuts):
        difference = counts.wanted.at(begin_s) - counts.up.at(begin_s)
        short += max(0, difference) * (until_s - begin_s)
        over += max(0, -difference) * (until_s - begin_s)
    return short, over


def _cut(lines: list[str], rows: int) -> list[str]:
    return [*lines, f"… and {rows - _MOST_ROWS} more"] if rows > _MOST_ROWS else lines
