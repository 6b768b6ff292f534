"""What a history says to whoever looks for a failure: when something happened, what faults did, what nearly failed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from chaos.checker import Verdict
from chaos.checkers.facts import facts_of
from chaos.checkers.instance_log import rows
from chaos.checkers.timeouts_kept import stays
from chaos.events import (
    AutoscalerLogged,
    DemandChanged,
    FaultHealed,
    FaultInjected,
    FaultProbed,
    WorkloadFinished,
    WorkloadStarted,
)
from chaos.history import History

# These judge the run and the machine, not the system: to come near to failing them is nothing to look for.
_NOT_OF_THE_SYSTEM = ("faults_took_effect", "host_not_starved", "nothing_left_behind")
_STATES_HAVE_THEIR_OWN = "timeouts_kept"
_CHANGE = re.compile(r"(?:Update instance \w+->|New instance )(\w+) \(")
_EVER_S = float("inf")


@dataclass(frozen=True)
class Moment:
    """Something happened under load, `at_s` after the load began: demand rose or fell, or an instance got a state."""

    at_s: float
    what: str


@dataclass(frozen=True)
class Force:
    """An injection that was made, from when to when after the load began, and whether a probe saw its effect."""

    injection: str
    fault: str
    from_s: float
    to_s: float
    felt: bool


@dataclass(frozen=True)
class Nearness:
    """How much of a bound was used up, 1 being all of it, and between which times after the load began."""

    share: float
    from_s: float
    to_s: float


@dataclass(frozen=True)
class Lesson:
    """What a history says; `near` is None of a run in which something failed, or that had no load."""

    moments: Sequence[Moment]
    forces: Sequence[Force]
    near: Mapping[str, Nearness] | None

    @staticmethod
    def of(history: History, verdicts: Sequence[Verdict]) -> Lesson:
        """Reads a history with its verdicts."""
        load = history.first(WorkloadStarted)
        if load is None:
            return Lesson((), (), None)
        from_s = load[0].t_s
        failed = any(each.verdict == "fail" and each.name not in _NOT_OF_THE_SYSTEM for each in verdicts)
        near = None if failed else dict(_near(history, verdicts, from_s))
        return Lesson(tuple(_moments(history, from_s)), tuple(_forces(history, from_s)), near)

    @property
    def meetings(self) -> frozenset[tuple[str, str]]:
        """Which kinds of fault were in force while what happened."""
        return frozenset(
            (force.fault, moment.what)
            for force in self.forces
            for moment in self.moments
            if force.from_s <= moment.at_s <= force.to_s
        )


def _moments(history: History, from_s: float) -> Iterator[Moment]:
    end = history.first(WorkloadFinished)
    to_s = _EVER_S if end is None else end[0].t_s
    seen = set()
    for record in history:
        if not from_s <= record.t_s < to_s:
            continue
        event, what = record.event, None
        if isinstance(event, DemandChanged):
            what = "demand" if event.bundles else "no demand"
        elif isinstance(event, AutoscalerLogged) and (change := _CHANGE.search(event.text)):
            what = change[1]
        if what is not None and (moment := Moment(record.t_s - from_s, what)) not in seen:
            seen.add(moment)
            yield moment


def _forces(history: History, from_s: float) -> Iterator[Force]:
    healed = {event.injection: event.healed_s for _, event in history.of(FaultHealed)}
    felt = {event.injection for _, event in history.of(FaultProbed) if event.outcome == "took_effect"}
    for _, event in history.of(FaultInjected):
        to_s = max(event.applied_s, healed.get(event.injection, event.applied_s))
        yield Force(event.injection, event.fault, event.applied_s - from_s, to_s - from_s, felt=event.injection in felt)


def _near(history: History, verdicts: Sequence[Verdict], from_s: float) -> Iterator[tuple[str, Nearness]]:
    """Of each property that measures something, and of each state of an instance that has a timeout."""
    for verdict in verdicts:
        if (
            verdict.measured is None
            or not verdict.bound
            or verdict.name in (*_NOT_OF_THE_SYSTEM, _STATES_HAVE_THEIR_OWN)
        ):
            continue
        times = [history[seq].t_s - from_s for seq in verdict.evidence] or [0.0, _EVER_S]
        yield verdict.name, Nearness(verdict.measured / verdict.bound, min(times), max(times))
    facts = facts_of(history)
    if isinstance(facts, str):
        return
    longest: dict[str, Nearness] = {}
    for _, lasted_s, bound_s, step in stays(facts, rows(facts)):
        began_s = step.t_s - from_s
        here = Nearness(lasted_s / bound_s, began_s, began_s + lasted_s)
        if step.after not in longest or here.share > longest[step.after].share:
            longest[step.after] = here
    yield from longest.items()
