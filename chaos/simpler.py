"""Simpler schedules than a given one, all valid: without some injections, or with one value simpler."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from chaos.fault import Fault
from chaos.schedule import Anchor, Injection, Schedule
from chaos.target import Target

_SHORTEST_S = 1.0
_DIGITS = 2
_CLOSE = 0.25  # to the least value: then there is no half way
# How much later than before an event may come until time stands in for it.
_PATIENCE = 1.5
_PATIENCE_S = 2.0


def with_times(schedule: Schedule, times_s: Mapping[str, float]) -> Schedule:
    """The schedule whose injections that wait for an event come by time where it does not come.

    That is somewhat after the time it came at before (`times_s`, seconds after the workload started, by id), for a
    machine may be slower; what has no such time, or says it itself, stays.
    """
    return Schedule(
        injections=tuple(
            injection.model_copy(update={"or_at_s": round(times_s[injection.id] * _PATIENCE + _PATIENCE_S, 1)})
            if injection.on and injection.or_at_s is None and injection.id in times_s
            else injection
            for injection in schedule.injections
        )
    )


def without(schedule: Schedule, removed: Collection[str], times_s: Mapping[str, float]) -> Schedule:
    """The schedule without these injections.

    One that waits for a removed injection comes at the time it came at before (`times_s`, seconds after the workload
    started, by id); where that is not known, it goes too.
    """
    gone = set(removed)
    left = [injection for injection in schedule.injections if injection.id not in gone]
    while True:
        orphans = {i.id for i in left if i.on and set(i.on.waits_for) & gone and i.id not in times_s}
        if not orphans:
            break
        gone |= orphans
        left = [injection for injection in left if injection.id not in orphans]
    timed = tuple(
        injection.model_copy(
            update={"on": None, "after_s": 0.0, "or_at_s": None, "at_s": round(times_s[injection.id], 3)}
        )
        if injection.on and set(injection.on.waits_for) & gone
        else injection
        for injection in left
    )
    return Schedule(injections=timed)


def simplified(schedule: Schedule) -> Iterator[tuple[str, Schedule]]:
    """The schedule with one value simpler, each with what was changed; the boldest change of each value first.

    Earlier and shorter is simpler, and so are less harm, fewer events to wait for, and the oldest node for any other.
    """
    for place, injection in enumerate(schedule.injections):
        for what, simpler in _simpler(injection):
            injections = (*schedule.injections[:place], simpler, *schedule.injections[place + 1 :])
            try:
                yield f"{injection.id}.{what}", Schedule(injections=injections)
            except ValidationError:
                continue


def _simpler(injection: Injection) -> Iterator[tuple[str, Injection]]:
    for what, fields in (
        *_simpler_trigger(injection),
        *_simpler_duration(injection),
        *_simpler_target(injection.target),
        *_simpler_fault(injection.fault),
    ):
        try:
            yield what, Injection.model_validate({**_fields(injection), **fields})
        except ValidationError:
            continue


def _fields(injection: Injection) -> dict[str, object]:
    return {name: getattr(injection, name) for name in Injection.model_fields}


def _simpler_trigger(injection: Injection) -> Iterator[tuple[str, dict[str, Any]]]:
    if injection.at_s:
        yield from (("at_s", {"at_s": value}) for value in _smaller(injection.at_s, least=0.0))
    if injection.after_s:
        yield from (("after_s", {"after_s": value}) for value in _smaller(injection.after_s, least=0.0))
    if (anchor := injection.on) is None:
        return
    if injection.or_at_s is not None:
        yield "or_at_s", {"or_at_s": None}
    if anchor.nth > 1:
        yield from (("on.nth", {"on": _anchor(anchor, nth=int(value))}) for value in _smaller(anchor.nth, least=1))
    if anchor.node_type is not None:
        yield "on.node_type", {"on": _anchor(anchor, node_type=None)}


def _anchor(anchor: Anchor, **fields: object) -> Anchor:
    return Anchor.model_validate({**anchor.model_dump(), **fields})


def _simpler_duration(injection: Injection) -> Iterator[tuple[str, dict[str, Any]]]:
    if injection.duration_s is not None and injection.duration_s > _SHORTEST_S:
        values = _smaller(injection.duration_s, least=_SHORTEST_S)
        yield from (("duration_s", {"duration_s": value}) for value in values)


def _simpler_target(target: Target | None) -> Iterator[tuple[str, dict[str, Any]]]:
    if target is None or target.select == "head":
        return
    for simpler in (
        Target(select="oldest"),
        target.model_copy(update={"node_type": None}),
        target.model_copy(update={"count": None, "share": None}),
    ):
        if simpler != target:
            yield "target", {"target": simpler}


def _simpler_fault(fault: Fault) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, field in type(fault).model_fields.items():
        value = getattr(fault, name)
        if value == field.default or value is None:
            continue
        for simpler in _milder(value, field):
            try:
                yield name, {"fault": type(fault).model_validate({**fault.model_dump(), name: simpler})}
            except ValidationError:
                continue


def _milder(value: object, field: FieldInfo) -> Iterator[object]:
    """Values that are milder, or that nobody chose: the default, unless it is known to be harsher."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        if not field.is_required():
            yield field.default
        return
    # Of some fields more is milder (a rate, a capacity): a smaller value would be no simplification.
    more = any(getattr(note, "milder", "less") == "more" for note in field.metadata)
    # None stands for no limit, or for another field's: how harsh that is, is not known.
    if isinstance(field.default, (int, float)) and (field.default > value if more else field.default < value):
        yield field.default
    if not more:
        yield from _smaller(value, least=_least(field))


def _least(field: FieldInfo) -> float:
    bounds = [bound for note in field.metadata if (bound := getattr(note, "ge", None)) is not None]
    return max(0.0, bounds[0]) if bounds else 1.0


def _smaller(value: float, *, least: float) -> list[float]:
    """Smaller values down to the least, the smallest first: it, half way to it, and the same in two digits."""
    found = [least]
    half = (least + value) / 2.0
    if value - least > _CLOSE:
        found.append(math.floor(half) if isinstance(value, int) else _rounded(half))
    if not isinstance(value, int):
        found.append(_rounded(value))
    return [type(value)(one) for one in dict.fromkeys(found) if least <= one < value]


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
