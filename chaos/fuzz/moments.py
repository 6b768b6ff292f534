"""What a history says to whoever places faults: when something happened, and how many faults were felt."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from chaos.events import AutoscalerLogged, DemandChanged, FaultProbed, WorkloadFinished, WorkloadStarted
from chaos.history import History

_CHANGE = re.compile(r"(?:Update instance \w+->|New instance )(\w+) \(")
_EVER_S = float("inf")


@dataclass(frozen=True)
class Moment:
    """Something happened under load, `at_s` after the load began: demand rose or fell, or an instance got a state."""

    at_s: float
    what: str


def moments_of(history: History) -> Sequence[Moment]:
    """All of a run, in order; none where it had no load."""
    return tuple(dict.fromkeys(_moments(history)))


def _moments(history: History) -> Iterator[Moment]:
    begin, end = history.first(WorkloadStarted), history.first(WorkloadFinished)
    if begin is None:
        return
    from_s, to_s = begin[0].t_s, _EVER_S if end is None else end[0].t_s
    for record in history:
        if not from_s <= record.t_s < to_s:
            continue
        event = record.event
        if isinstance(event, DemandChanged):
            yield Moment(record.t_s - from_s, "demand" if event.bundles else "no demand")
        elif isinstance(event, AutoscalerLogged) and (change := _CHANGE.search(event.text)):
            yield Moment(record.t_s - from_s, change[1])


def faults_felt(history: History) -> int:
    """Of how many injections a probe saw the effect."""
    return len({event.injection for _, event in history.of(FaultProbed) if event.outcome == "took_effect"})
