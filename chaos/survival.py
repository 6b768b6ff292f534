"""Survival: whether the system is expected to outlive a schedule, before it runs. Checkers act on it."""

from __future__ import annotations

from chaos.cluster import SignalsProcesses
from chaos.events import SurvivalExpected
from chaos.fault import Fault, Mainstay
from chaos.schedule import Injection, Schedule
from chaos.spec import RunSpec
from chaos.workload import ResumableWorkload


def expected(spec: RunSpec, schedule: Schedule | None = None) -> SurvivalExpected:
    """Whether a run of this specification (with another schedule, where one is given) is expected to survive.

    It is, unless a fault that is fatal to a mainstay hits it and nothing brings that mainstay back. Whether such an
    injection really strikes is not foreseen: what is expected of a run holds only once it did.
    """
    injections = (spec.schedule if schedule is None else schedule).injections
    spares = spec.workload.driver_restarts if isinstance(spec.workload, ResumableWorkload) else 0
    lost: list[tuple[Injection, str]] = []
    for injection in injections:
        ended = fatal(injection.fault, injection.target.select if injection.target else None)
        if ended == {"driver"} and spares:
            spares -= 1
        elif ended:
            lost.append((injection, _what(spec, ended)))
    if not lost:
        reason = "no fault ends what the job cannot do without" if injections else "there are no faults"
        return SurvivalExpected(survives=True, reason=reason)
    first, why = lost[0]
    return SurvivalExpected(
        survives=False,
        fatal=tuple(injection.id for injection, _ in lost),
        reason=f"{first.id} ({first.fault.name}) ends {why}",
    )


def fatal(fault: Fault, selected: str | None) -> frozenset[Mainstay]:
    """The mainstays that a fault ends where its target selects that; None for a fault without a target."""
    return fault.hits(selected).intersection(fault.fatal_to)


def beyond_model(fault: Fault, selected: str | None) -> str:
    """Why the twin's model has nothing of a fault on that target: of its head there is no end but a new beginning."""
    hit = fault.hits(selected)
    ends_head = "head" in hit.intersection(fault.fatal_to)
    if not hit or fault.restarts_head or (SignalsProcesses in fault.needs and not ends_head):
        return ""
    return f"the model's {' and '.join(sorted(hit))} cannot be hit"


def in_words(expectation: SurvivalExpected) -> str:
    """The expectation in one line."""
    what = "the job survives" if expectation.survives else "the job does NOT survive; it is to fail, clearly and soon"
    return f"{what} ({expectation.reason})"


def _what(spec: RunSpec, ended: frozenset[Mainstay]) -> str:
    """What an injection ends for good, and why nothing brings it back."""
    if "head" in ended:
        held = "the GCS, the autoscaler and the job's driver"
        return f"the head, and with it {held}; a {spec.cluster.kind} cluster does not start its head again"
    return "the job's driver; nothing starts it again"
