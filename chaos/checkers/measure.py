"""Times measured in a history: pauses of progress, rises to a demanded size, joins, the way back to the minimum.

The baseline and the checkers use these same functions, so that a run and its bound are measured alike.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

from chaos.checkers.facts import Facts, in_time
from chaos.demand import at_minimum, live_workers, wanted
from chaos.events import (
    ClusterSampled,
    NodeJoined,
    NodeLaunching,
    NodeStarted,
    WorkloadFinished,
    WorkloadProgressed,
    WorkloadStarted,
)
from chaos.history import Record


@dataclass(frozen=True)
class Span:
    """A stretch of the run between two records."""

    first: Record
    last: Record

    @property
    def from_s(self) -> float:
        """When it began."""
        return self.first.t_s

    @property
    def to_s(self) -> float:
        """When it ended."""
        return self.last.t_s

    @property
    def duration_s(self) -> float:
        """How long it took."""
        return max(0.0, self.to_s - self.from_s)


def pauses(facts: Facts) -> list[Span]:
    """The windows without progress, from the driver's start to its end (or to where the history ends).

    Progress is a higher count of distinct rows than ever before. The first window includes the scale-up from nothing,
    so the longest one of a fault-free run is also the yardstick for recovering from the loss of every node.
    """
    started = facts.history.first(WorkloadStarted)
    if started is None:
        return []
    marks, best = [started[0]], 0
    for record, event in in_time(facts.history.of(WorkloadProgressed)):
        if event.rows_done > best:
            best = event.rows_done
            marks.append(record)
    finished = facts.history.last(WorkloadFinished)
    marks.append(finished[0] if finished else max(facts.history, key=lambda r: r.t_s))
    return [Span(first, last) for first, last in pairwise(marks)]


@dataclass(frozen=True)
class Rise(Span):
    """A time in which demand waited for more workers.

    `size` is how many workers it asked for; `grew` whether workers came (else the demand went away, or asked for more,
    which begins the next rise); `open` whether the load or the history ended first.
    """

    size: int
    present: int
    grew: bool
    open: bool = False


def rises(facts: Facts) -> list[Rise]:
    """The times in which demand that fits a node type waited for nodes the limits allow.

    A rise begins with the first sample that wants more workers, and anew whenever the size asked for reaches a new
    maximum (so at most `worker_limit` times); it ends with the first sample that wants none.
    """
    found: list[Rise] = []
    current: Rise | None = None
    lowest = 0
    last: Record | None = None
    for record, sample in facts.load_samples():
        last = record
        present = len(live_workers(sample))
        least = wanted(sample, facts.cluster_at(record.t_s)).least
        size = present + least
        if current is None:
            if least:
                current, lowest = Rise(record, record, size=size, present=present, grew=False), present
            continue
        lowest = min(lowest, present)
        current = replace(current, last=record, present=present, grew=present > lowest)
        if not least:
            found.append(current)
            current = None
        elif size > current.size:
            found.append(current)
            current, lowest = Rise(record, record, size=size, present=present, grew=False), present
    if current is not None and last is not None:
        found.append(replace(current, last=last, open=True))
    return found


def demand_seen(facts: Facts) -> list[tuple[Record, ClusterSampled]]:
    """The samples in which demand waited while there was load."""
    return [(r, s) for r, s in facts.load_samples() if any(d.count > 0 for d in s.demands)]


@dataclass(frozen=True)
class Launch:
    """One node's way into the cluster."""

    node: str
    node_type: str
    launching: Record
    started: Record | None
    joined: Record | None

    @property
    def join_s(self) -> float | None:
        """From the launch request to the node's first sight by the GCS."""
        return None if self.joined is None else max(0.0, self.joined.t_s - self.launching.t_s)


def launches(facts: Facts) -> list[Launch]:
    """Every launch the autoscaler asked for, by time."""
    started = {e.node: r for r, e in reversed(in_time(facts.history.of(NodeStarted)))}
    joined = {e.node: r for r, e in reversed(in_time(facts.history.of(NodeJoined)))}
    return [
        Launch(e.node, e.node_type, r, started.get(e.node), joined.get(e.node))
        for r, e in in_time(facts.history.of(NodeLaunching))
    ]


def peak_workers(facts: Facts) -> int:
    """The most workers the GCS saw at once, of those the Cloud still had."""
    return max((len(live_workers(sample)) for _, sample in facts.samples()), default=0)


@dataclass(frozen=True)
class Descent:
    """The way back to the minimum after the load: `settled` is the first sample of those that stay there."""

    began: Record
    settled: Record | None
    last: Record

    @property
    def duration_s(self) -> float:
        """From the end of the load until settled, or as long as was watched."""
        return max(0.0, (self.settled or self.last).t_s - self.began.t_s)


def descent(facts: Facts) -> Descent | None:
    """The way back to the minimum; None where nothing was seen after the load."""
    finished = facts.history.last(WorkloadFinished)
    if finished is None:
        return None
    after = facts.samples(from_s=finished[0].t_s)
    if not after:
        return None
    settled: Record | None = None
    for record, sample in reversed(after):
        if not at_minimum(sample, facts.cluster_at(record.t_s)):
            break
        settled = record
    return Descent(finished[0], settled, after[-1][0])


def longest_idle_timeout_s(facts: Facts) -> float:
    """The longest a worker of any type stays idle before the autoscaler ends it."""
    return max(facts.cluster.idle_timeout_of(name) for name in facts.cluster.node_types)
