"""Two runs held against each other: what their autoscalers decided, on one clock that begins with the load.

A decision is a launch asked of the Cloud, or a node it was first asked to end. The n-th of a kind in one run is held
against the n-th of that kind in the other; the two part where one has none, or has it later than the tolerance allows.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Literal, TypeAlias

from pydantic import Field, JsonValue

from chaos.checkers.facts import Facts, facts_of, in_time
from chaos.checkers.measure import descent, rises
from chaos.demand import all_workers
from chaos.errors import InvalidSpec
from chaos.events import (
    AutoscalerLogged,
    ClusterSampled,
    FaultInjected,
    NodeJoined,
    NodeLaunchFailed,
    NodeLaunching,
    NodeTerminating,
    PhaseBegan,
    RunOpened,
)
from chaos.history import History
from chaos.value import Value

TOLERANCE_S = 5.0
NEAR = 1
_MOST_SAID = 6
_SAID_AROUND_S = 3.0
# What says where and under which name a run was made, and how the twin's model was fitted; not what was asked for.
_NOT_THE_SAME_ANYWAY = ("name", "cluster.kind", "cluster.twin", "bounds", "abort", "deadline_s")

What: TypeAlias = Literal["launch", "termination"]
KINDS: tuple[What, ...] = ("launch", "termination")


class Decision(Value):
    """Something the autoscaler asked of the Cloud, `at_s` seconds after the load began."""

    at_s: float
    what: What
    node: str
    node_type: str = ""


class Counted(Value):
    """So many, from `from_s` seconds after the load began."""

    from_s: float
    count: int


class Injected(Value):
    """A fault that was applied, `at_s` seconds after the load began."""

    at_s: float
    injection: str
    fault: str


class Side(Value):
    """One run's decisions and what came of them. Times are seconds since its load began, or a duration.

    `workers` are those anybody still knows, the GCS or the Cloud, without the head. `up_s` is the longest time demand
    waited for the size it asked for, `down_s` the way from the end of the load to the minimum; None where there was
    none, or it was never reached.
    """

    run_id: str
    cluster: str
    ray: str
    seed: int
    outcome: str
    decisions: tuple[Decision, ...]
    workers: tuple[Counted, ...]
    injected: tuple[Injected, ...]
    launches: int
    launches_failed: int
    joined: int
    terminations: int
    peak: int
    load_s: float | None
    up_s: float | None
    down_s: float | None
    end_s: float

    def workers_at(self, t_s: float) -> int:
        """How many there are at a moment."""
        place = bisect_right(self.workers, t_s, key=lambda counted: counted.from_s)
        return self.workers[place - 1].count if place else 0

    def of(self, what: What) -> list[Decision]:
        """The decisions of one kind, by time."""
        return [decision for decision in self.decisions if decision.what == what]


class Parting(Value):
    """The `number`-th decision of a kind (from 1), which one run took late (`a` or `b`) or never (None).

    `said` is what each autoscaler logged around then.
    """

    at_s: float
    what: What
    number: int
    a: Decision | None
    b: Decision | None
    said_a: tuple[str, ...]
    said_b: tuple[str, ...]


class Comparison(Value):
    """What two runs have in common and where they part.

    `near_share` is the share of the time in which the numbers of workers differ by at most one, from the beginning of
    the load until the later end. Ratios are b's time through a's; None where one has none.
    """

    a: Side
    b: Side
    tolerance_s: float = Field(ge=0.0)
    same_schedule: bool
    warnings: tuple[str, ...]
    same_launches: bool
    same_terminations: bool
    near_share: float
    up_ratio: float | None
    down_ratio: float | None
    parting: Parting | None


def compare(a: History, b: History, *, tolerance_s: float = TOLERANCE_S) -> Comparison:
    """Two histories held against each other, whatever they are of; `warnings` say what makes that doubtful.

    Raises:
        InvalidSpec: one of them does not say what was asked for.
    """
    of_a, of_b = _known(a), _known(b)
    side_a, side_b = side_of(of_a), side_of(of_b)
    opened_a, opened_b = _opened(a), _opened(b)
    return Comparison(
        a=side_a,
        b=side_b,
        tolerance_s=tolerance_s,
        same_schedule=opened_a.schedule_hash == opened_b.schedule_hash,
        warnings=tuple(_warnings(of_a, of_b)),
        same_launches=side_a.launches == side_b.launches,
        same_terminations=side_a.terminations == side_b.terminations,
        near_share=near_share(side_a, side_b),
        up_ratio=_ratio(side_a.up_s, side_b.up_s),
        down_ratio=_ratio(side_a.down_s, side_b.down_s),
        parting=_parting(of_a, of_b, side_a, side_b, tolerance_s),
    )


def side_of(facts: Facts) -> Side:
    """One run, on the clock of its load."""
    history, opened, zero_s = facts.history, _opened(facts.history), _zero_s(facts)
    decisions = _decisions(history, zero_s)
    workers = _workers(facts, zero_s)
    way = descent(facts)
    met = [rise.duration_s for rise in rises(facts) if rise.grew and not rise.open]
    return Side(
        run_id=opened.run_id,
        cluster=opened.cluster,
        ray=opened.versions.get("ray", "unknown"),
        seed=opened.seed,
        outcome=facts.outcome or "not ended",
        decisions=decisions,
        workers=workers,
        injected=tuple(
            Injected(at_s=event.applied_s - zero_s, injection=event.injection, fault=event.fault)
            for _, event in history.of(FaultInjected)
        ),
        launches=sum(decision.what == "launch" for decision in decisions),
        launches_failed=sum(event.count for _, event in history.of(NodeLaunchFailed)),
        joined=sum(event.node != "head" for _, event in history.of(NodeJoined, since_s=zero_s)),
        terminations=sum(decision.what == "termination" for decision in decisions),
        peak=max((counted.count for counted in workers), default=0),
        load_s=None if facts.load_to_s is None else facts.load_to_s - zero_s,
        up_s=max(met, default=None),
        down_s=None if way is None or way.settled is None else way.duration_s,
        end_s=max(0.0, facts.watched_to_s - zero_s),
    )


def near_share(a: Side, b: Side) -> float:
    """The share of the time in which the numbers of workers differ by at most one; 1 where there is no time."""
    end_s = max(a.end_s, b.end_s)
    cuts = sorted({0.0, end_s, *(c.from_s for side in (a, b) for c in side.workers if 0.0 < c.from_s < end_s)})
    near_s = sum(
        until_s - from_s
        for from_s, until_s in pairwise(cuts)
        if abs(a.workers_at(from_s) - b.workers_at(from_s)) <= NEAR
    )
    return near_s / end_s if end_s > 0 else 1.0


def _known(history: History) -> Facts:
    facts = facts_of(history)
    if isinstance(facts, str):
        raise InvalidSpec(f"this run cannot be compared: {facts}")
    return facts


def _opened(history: History) -> RunOpened:
    first = history.first(RunOpened)
    assert first is not None
    return first[1]


def _zero_s(facts: Facts) -> float:
    """When the load began; where it never did, when the run reached that phase, or its own beginning."""
    if facts.load_from_s is not None:
        return facts.load_from_s
    return next((record.t_s for record, event in facts.history.of(PhaseBegan) if event.phase == "workload"), 0.0)


def _decisions(history: History, zero_s: float) -> tuple[Decision, ...]:
    types = {event.node: event.node_type for _, event in history.of(NodeLaunching)}
    asked = [(r.t_s, "launch", e.node) for r, e in in_time(history.of(NodeLaunching))]
    ended: dict[str, float] = {}
    for record, event in in_time(history.of(NodeTerminating)):
        ended.setdefault(event.node, record.t_s)
    found = [*asked, *((t_s, "termination", node) for node, t_s in ended.items())]
    return tuple(
        Decision(at_s=t_s - zero_s, what="launch" if what == "launch" else "termination", node=node,
                 node_type=types.get(node, ""))
        for t_s, what, node in sorted(found, key=lambda one: one[0])
    )  # fmt: skip


def _workers(facts: Facts, zero_s: float) -> tuple[Counted, ...]:
    found: list[Counted] = []
    for record, sample in facts.samples():
        count = len(all_workers(sample))
        if not found or found[-1].count != count:
            found.append(Counted(from_s=record.t_s - zero_s, count=count))
    return tuple(found)


def _ratio(a: float | None, b: float | None) -> float | None:
    return b / a if a and b is not None else None


def _parting(a: Facts, b: Facts, side_a: Side, side_b: Side, tolerance_s: float) -> Parting | None:
    """The first decision that is only in one run, or too far from its counterpart."""
    found = [parted for what in KINDS if (parted := _first_apart(side_a.of(what), side_b.of(what), tolerance_s))]
    if not found:
        return None
    number, one, other = min(found, key=lambda parted: _at_s(*parted[1:]))
    at_s = _at_s(one, other)
    shown = one or other
    assert shown is not None
    return Parting(
        at_s=at_s,
        what=shown.what,
        number=number,
        a=one,
        b=other,
        said_a=_said(a, at_s),
        said_b=_said(b, at_s),
    )


def _first_apart(
    a: list[Decision], b: list[Decision], tolerance_s: float
) -> tuple[int, Decision | None, Decision | None] | None:
    for place in range(max(len(a), len(b))):
        one = a[place] if place < len(a) else None
        other = b[place] if place < len(b) else None
        if one is None or other is None or abs(one.at_s - other.at_s) > tolerance_s:
            return place + 1, one, other
    return None


def _at_s(a: Decision | None, b: Decision | None) -> float:
    return min(decision.at_s for decision in (a, b) if decision is not None)


def _said(facts: Facts, at_s: float) -> tuple[str, ...]:
    """What an autoscaler logged around a moment: the lines nearest to it, in order."""
    zero_s = _zero_s(facts)
    near = [
        (record.t_s - zero_s, event.text)
        for record, event in in_time(facts.history.of(AutoscalerLogged))
        if abs(record.t_s - zero_s - at_s) <= _SAID_AROUND_S
    ]
    nearest = sorted(near, key=lambda said: abs(said[0] - at_s))[:_MOST_SAID]
    lines = [f"{t_s:.1f} s: {text}" for t_s, text in sorted(nearest)]
    samples = [(r.t_s - zero_s, s) for r, s in facts.samples(to_s=zero_s + at_s)]
    return (*([_seen(*samples[-1])] if samples else []), *lines)


def _seen(at_s: float, sample: ClusterSampled) -> str:
    waiting = sum(demand.count for demand in sample.demands)
    busy = sum(view.status == "running" for view in sample.nodes if view.node != "head")
    return (
        f"{at_s:.1f} s: it saw {len(all_workers(sample))} workers, {busy} of them busy, {waiting} requests waiting, "
        f"{sample.autoscaler_pending} launches pending"
    )


# -- whether the two can be held against each other ------------------------------------------------------------


def _warnings(a: Facts, b: Facts) -> Iterator[str]:
    one, other = _opened(a.history), _opened(b.history)
    if one.schedule_hash != other.schedule_hash:
        yield f"they are runs of different schedules ({one.schedule_hash} and {other.schedule_hash})"
    fields = [path for path in _differences(one.spec, other.spec) if not _excused(path)]
    if fields:
        more = f" and {len(fields) - 5} more" if len(fields) > 5 else ""
        yield f"their specifications differ in {', '.join(fields[:5])}{more}"
    for name, facts in (("a", a), ("b", b)):
        if facts.load_from_s is None:
            yield f"the load of {name} never began"
        if facts.cut:
            yield f"{name} is not whole: {facts.cut}"


def _differences(a: JsonValue, b: JsonValue, path: str = "") -> list[str]:
    """Dotted paths of what differs; a field that one version wrote and the other did not know is no difference."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        shared = [key for key in a if key in b]
        under_types = path.endswith("node_types")
        unshared = sorted(set(a) ^ set(b)) if under_types else []
        below = [one for key in shared for one in _differences(a[key], b[key], f"{path}.{key}" if path else key)]
        return [*below, *(f"{path}.{key}" for key in unshared)]
    return [] if a == b else [path]


def _excused(path: str) -> bool:
    return path.startswith("schedule") or any(path == one or path.startswith(f"{one}.") for one in _NOT_THE_SAME_ANYWAY)
