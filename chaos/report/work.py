"""What the computing cost: rows computed, computed again and given up, by node; and how progress went."""

from __future__ import annotations

import itertools
import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from chaos.events import BatchCompleted, BatchInvoked, WorkloadFinished, WorkloadProgressed, WorkloadStarted
from chaos.history import History
from chaos.report.scaling import lanes, ordinal

_RANGE = re.compile(r"(\d+)(?:-(\d+))?")


@dataclass(frozen=True)
class NodeWork:
    """What one node computed; `busy_s` is the time its completed batches took, added up."""

    node: str
    begun: int
    completed: int
    rows: int
    busy_s: float


@dataclass(frozen=True)
class WorkAccount:
    """Batches and rows of a run; `wasted_s` is the time spent on batches given up or repeated as a whole."""

    begun: int
    completed: int
    rows_computed: int
    rows_distinct: int
    rows_given_up: int
    busy_s: float
    wasted_s: float
    nodes: tuple[NodeWork, ...]

    @property
    def given_up(self) -> int:
        """Batches begun and never completed."""
        return self.begun - self.completed

    @property
    def rows_repeated(self) -> int:
        """Computations of rows that had been computed before."""
        return self.rows_computed - self.rows_distinct


def row_ranges(rows: str) -> tuple[tuple[int, int], ...]:
    """The inclusive ranges of a list such as `0-31,64-95`; parts that are none are left out."""
    matches = (_RANGE.fullmatch(part.strip()) for part in rows.split(","))
    found = [(int(match[1]), int(match[2] or match[1])) for match in matches if match]
    return tuple((first, last) for first, last in found if first <= last)


def row_count(rows: str) -> int:
    """How many rows a range list names."""
    return sum(last - first + 1 for first, last in row_ranges(rows))


def account(history: History) -> WorkAccount:
    """Counts what was computed; attempts are paired by their operation id."""
    invoked = [event for _, event in history.of(BatchInvoked)]
    completed = sorted((event for _, event in history.of(BatchCompleted)), key=lambda batch: batch.ended_s)
    done = {batch.op for batch in completed}
    given_up = [batch for batch in invoked if batch.op not in done]
    ends_s = {lane.node: lane.ended_s for lane in lanes(history) if lane.ended_s is not None}
    finished = history.first(WorkloadFinished)
    latest_s = finished[0].t_s if finished else max((record.t_s for record in history), default=0.0)
    wasted_s = sum(max(0.0, min(latest_s, ends_s.get(b.node, latest_s)) - b.started_s) for b in given_up)
    seen: set[str] = set()
    for batch in completed:
        if batch.rows in seen:
            wasted_s += max(0.0, batch.ended_s - batch.started_s)
        seen.add(batch.rows)
    return WorkAccount(
        begun=len(completed) + len(given_up),
        completed=len(completed),
        rows_computed=sum(row_count(batch.rows) for batch in completed),
        rows_distinct=_distinct(range_ for batch in completed for range_ in row_ranges(batch.rows)),
        rows_given_up=sum(row_count(batch.rows) for batch in given_up),
        busy_s=sum(max(0.0, batch.ended_s - batch.started_s) for batch in completed),
        wasted_s=wasted_s,
        nodes=_by_node(completed, given_up),
    )


def _by_node(completed: Sequence[BatchCompleted], given_up: Sequence[BatchInvoked]) -> tuple[NodeWork, ...]:
    done: dict[str, list[BatchCompleted]] = defaultdict(list)
    left: dict[str, int] = defaultdict(int)
    for batch in completed:
        done[batch.node].append(batch)
    for attempt in given_up:
        left[attempt.node] += 1
    return tuple(
        NodeWork(
            node=node,
            begun=len(done[node]) + left[node],
            completed=len(done[node]),
            rows=sum(row_count(batch.rows) for batch in done[node]),
            busy_s=sum(max(0.0, batch.ended_s - batch.started_s) for batch in done[node]),
        )
        for node in sorted({*done, *left}, key=ordinal)
    )


def _distinct(ranges: Iterable[tuple[int, int]]) -> int:
    total, reached = 0, -1
    for first, last in sorted(ranges):
        total += max(0, last - max(first, reached + 1) + 1)
        reached = max(reached, last)
    return total


@dataclass(frozen=True)
class Progress:
    """Rows done over time, as recorded; `begin_s` to `end_s` is the workload's own time."""

    times_s: tuple[float, ...]
    done: tuple[int, ...]
    rows_total: int
    begin_s: float
    end_s: float

    def done_at(self, t_s: float) -> float:
        """Rows done at a moment, linear between the records."""
        place = bisect_right(self.times_s, t_s)
        if place == 0:
            return 0.0
        if place == len(self.times_s):
            return float(self.done[-1])
        before_s, after_s = self.times_s[place - 1], self.times_s[place]
        share = (t_s - before_s) / (after_s - before_s) if after_s > before_s else 1.0
        return self.done[place - 1] + share * (self.done[place] - self.done[place - 1])

    def rate(self, begin_s: float, end_s: float) -> float:
        """Mean rows per second over a window."""
        return max(0.0, self.done_at(end_s) - self.done_at(begin_s)) / (end_s - begin_s) if end_s > begin_s else 0.0

    @property
    def mean_rows_per_s(self) -> float:
        """Rows per second over the whole workload."""
        return self.rate(self.begin_s, self.end_s)

    def peak_rows_per_s(self, *, window_s: float = 5.0) -> float:
        """The best rate over any window of that length that ends at a record."""
        return max((self.rate(max(self.begin_s, t - window_s), t) for t in self.times_s[1:]), default=0.0)

    @property
    def longest_pause_s(self) -> float:
        """The longest time without a new row while the workload ran."""
        marks = [self.begin_s]
        highest = 0
        for t_s, rows in zip(self.times_s, self.done, strict=True):
            if rows > highest:
                highest = rows
                marks.append(t_s)
        marks.append(max(self.end_s, marks[-1]))
        return max((b - a for a, b in itertools.pairwise(marks)), default=0.0)


def progress(history: History) -> Progress:
    """How the rows came in; a line from 0 at the workload's start through every record of progress."""
    started, finished = history.first(WorkloadStarted), history.first(WorkloadFinished)
    seen = sorted((record.t_s, event.rows_done) for record, event in history.of(WorkloadProgressed))
    last_s = max((record.t_s for record in history), default=0.0)
    begin_s = started[0].t_s if started else (seen[0][0] if seen else last_s)
    points = [(begin_s, 0), *((t_s, rows) for t_s, rows in seen if t_s > begin_s)]
    latest = history.last(WorkloadProgressed)
    total = latest[1].rows_total if latest else (started[1].rows_total if started else 0)
    return Progress(
        times_s=tuple(t_s for t_s, _ in points),
        done=tuple(rows for _, rows in points),
        rows_total=total,
        begin_s=begin_s,
        end_s=max(begin_s, finished[0].t_s if finished else last_s),
    )
