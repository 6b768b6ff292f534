"""Parameters drawn from a value's own fields: types, bounds and defaults, and `Drawn` where these do not say enough."""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import annotated_types
from pydantic.fields import FieldInfo

from chaos.drawn import Drawn
from chaos.errors import InvalidSpec
from chaos.strategies.dice import scale, whole_scale
from chaos.value import Value

_OPEN_WHOLE = 3  # how far above its least a whole number is drawn that has no upper bound
_OPEN_TIMES = 10.0  # the same for other numbers, as a multiple of the default, or else of the least
_TENTH_S = 0.1
_HAIR = 1e-3  # how near an exclusive bound a number may come, as a share of the other
_SHARE_OF_MOST = 1e-3


@dataclass(frozen=True)
class Surroundings:
    """What the fields are drawn for: the node types there are, and how many seconds a run lasts."""

    node_types: tuple[str, ...]
    horizon_s: float


Options: TypeAlias = Sequence[Any]
Fields: TypeAlias = Mapping[str, Options]


def options_of(kind: type[Value], setting: Surroundings, *, only: Collection[str] | None = None) -> Fields:
    """For each field of a value, or of `only` those, what it may be, the simplest and mildest first.

    Raises:
        InvalidSpec: a field of which nothing is known: it needs a default, or `Drawn`.
    """
    return {
        name: _field(kind, name, field, setting)
        for name, field in kind.model_fields.items()
        if only is None or name in only
    }


def _field(kind: type[Value], name: str, field: FieldInfo, setting: Surroundings) -> Options:
    annotation, metadata = field.annotation, list(field.metadata)
    optional = False
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        parts = [part for part in typing.get_args(annotation) if part is not type(None)]
        optional = len(parts) < len(typing.get_args(annotation))
        annotation = parts[0]
    if typing.get_origin(annotation) is typing.Annotated:
        annotation, *inner = typing.get_args(annotation)
        metadata += inner
    default = None if field.is_required() else field.get_default(call_default_factory=True)
    found = _options(name, annotation, _Limits.of(metadata), default, setting)
    if found is None:
        if field.is_required():
            raise InvalidSpec(
                f"{kind.__name__}.{name}: nothing is known of what it may be; give the field a default, or "
                "Annotated[…, Drawn(among=(…))]"
            )
        found = ()
    if optional:
        return (None, *found)
    return found or (default,)


@dataclass(frozen=True)
class _Limits:
    drawn: Drawn
    least: float | None
    most: float | None
    above_least: bool
    below_most: bool

    @classmethod
    def of(cls, metadata: Sequence[object]) -> _Limits:
        drawn, least, most, above_least, below_most = Drawn(), None, None, False, False
        for item in metadata:
            if isinstance(item, Drawn):
                drawn = item
            elif isinstance(item, (annotated_types.Gt, annotated_types.Ge)):
                least = float(typing.cast(float, item.gt if isinstance(item, annotated_types.Gt) else item.ge))
                above_least |= isinstance(item, annotated_types.Gt)
            elif isinstance(item, (annotated_types.Lt, annotated_types.Le)):
                most = float(typing.cast(float, item.lt if isinstance(item, annotated_types.Lt) else item.le))
                below_most |= isinstance(item, annotated_types.Lt)
        return cls(
            drawn,
            least if drawn.least is None else drawn.least,
            most if drawn.most is None else drawn.most,
            above_least and drawn.least is None,
            below_most and drawn.most is None,
        )


def _options(name: str, annotation: Any, limits: _Limits, default: Any, setting: Surroundings) -> Options | None:
    """What a field may be; None where nothing is known of it but its default."""
    if limits.drawn.among:
        return limits.drawn.among
    if name == "node_type" and annotation is str:
        return setting.node_types
    if annotation is bool:
        return (default, not default) if isinstance(default, bool) else (False, True)
    if typing.get_origin(annotation) is Literal:
        allowed = typing.get_args(annotation)
        return tuple(dict.fromkeys((default, *allowed))) if default in allowed else allowed
    if annotation is int or annotation is float:
        numbers = _whole(limits, default) if annotation is int else _numbers(name, limits, default, setting)
        return numbers[::-1] if limits.drawn.milder == "more" else numbers
    return None


def _whole(limits: _Limits, default: Any) -> tuple[int, ...]:
    least = _least_whole(limits)
    if limits.most is None:
        return whole_scale(least, max(least, default if isinstance(default, int) else 0) + _OPEN_WHOLE)
    most = math.ceil(limits.most) - 1 if limits.below_most else math.floor(limits.most)
    return whole_scale(least, max(least, most))


def _least_whole(limits: _Limits) -> int:
    least = limits.least or 0.0
    return math.floor(least) + 1 if limits.above_least else math.ceil(least)


def _numbers(name: str, limits: _Limits, default: Any, setting: Surroundings) -> tuple[float, ...]:
    usual = default if isinstance(default, float) and default > 0 else max(1.0, limits.least or 0.0)
    most = usual * _OPEN_TIMES if limits.most is None else limits.most
    least = limits.least or 0.0
    is_time = name.endswith("_s")
    if is_time and least < setting.horizon_s:
        most = min(most, setting.horizon_s)
    span = most - least
    if limits.above_least:
        least = most * _SHARE_OF_MOST if least == 0 else least + span * _HAIR
    if limits.below_most:
        most -= span * _HAIR
    if is_time:
        least, most = max(least, min(_TENTH_S, most)), min(most, setting.horizon_s)
    return scale(least, max(least, most))
