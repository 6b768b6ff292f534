"""Clusters, demand over time and workloads: what schedules are tried on."""

from __future__ import annotations

import typing
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

from chaos.cluster_spec import ClusterSpec, HealthCheck, NodeType
from chaos.drawn import Drawn
from chaos.errors import InvalidSpec
from chaos.strategies.dice import Dice, pick
from chaos.strategies.fields import Surroundings, options_of
from chaos.workload import Stage, Workload, too_large, too_small

ClusterKind: TypeAlias = Literal["local", "compose", "sim"]

_WORKERS = (2, 3, 4, 6, 8)
_TASKS = (1, 2, 3, 4, 6, 8)
_ROUNDS = (4, 8, 16, 24)
_PAUSES_S = (2.0, 6.0, 10.0, 20.0)
_STAGES = 4
_BRIEF_STAGES = 2
_BRIEF = 3  # of the numbers a short job is drawn from, so many of the least
_MOST_TYPES = 3
_GO_ON = 3
_TRIES = 1000
_GROWING_TRIES = 20


def draw_cluster(dice: Dice, *, kind: ClusterKind, max_workers: int = 8, node_types: int = _MOST_TYPES) -> ClusterSpec:
    """A cluster whose first node type holds one task or actor of every workload, and which can grow and shrink."""
    limits = [count for count in _WORKERS if count <= max_workers] or [max_workers]
    limit = pick(dice, limits)
    found = {"gpu": _node_type(dice, {"CPU": 2.0, "GPU": 1.0}, limit, spare=limit - 1)}
    for name, resources in (("big", {"CPU": 4.0, "GPU": 2.0}), ("cpu", {"CPU": 2.0}))[: node_types - 1]:
        if dice.below(_GO_ON) == _GO_ON - 1:
            spare = limit - 1 - sum(each.min_workers for each in found.values())
            found[name] = _node_type(dice, resources, limit, spare=spare)
    usual = HealthCheck()
    return ClusterSpec(
        kind=kind,
        node_types=found,
        max_workers=limit,
        idle_timeout_s=pick(dice, (6.0, 3.0, 12.0)),
        upscaling_speed=pick(dice, (10.0, 1.0, 0.0)),
        health_check=pick(dice, (usual, usual.model_copy(update={"failure_threshold": 2}))),
    )


def _node_type(dice: Dice, resources: dict[str, float], limit: int, *, spare: int) -> NodeType:
    """One with a minimum below its maximum, and not above what is to spare."""
    most = pick(dice, tuple(dict.fromkeys((limit, max(1, limit // 2), 1))))
    highest = min(most - 1, spare)
    least = pick(dice, (0, 0, 0, min(1, highest), min(2, highest)))
    return NodeType(resources=resources, min_workers=least, max_workers=most)


def draw_profile(
    dice: Dice, *, max_stages: int = _STAGES, pauses: bool = True, brief: bool = False
) -> tuple[Stage, ...]:
    """Stages of demand: so many tasks at a time, then more, or fewer, or none for some seconds."""
    stages = [_busy(dice, brief=brief)]
    while len(stages) < max_stages and dice.below(_GO_ON):
        if pauses and stages[-1].tasks and len(stages) + 1 < max_stages and dice.below(_GO_ON) == _GO_ON - 1:
            stages.append(Stage(tasks=0, pause_s=pick(dice, _PAUSES_S)))
        stages.append(_busy(dice, brief=brief))
    return tuple(stages)


def _busy(dice: Dice, *, brief: bool) -> Stage:
    tasks = pick(dice, _TASKS[:_BRIEF] if brief else _TASKS)
    return Stage(tasks=tasks, batches=tasks * pick(dice, _ROUNDS[:_BRIEF] if brief else _ROUNDS))


def draw_workload(
    dice: Dice, kinds: Sequence[type[Workload]], *, cluster: ClusterSpec, brief: bool = False
) -> Workload:
    """A workload of one of the kinds that the cluster can hold.

    Of its fields those are drawn that say how (`Drawn`), and a demand profile. Of each kind one is small enough. A
    `brief` one takes a real cluster less than a minute: of each field it has one of the two mildest values. One for
    which the cluster has to grow is preferred, and there nearly always is one.

    Raises:
        InvalidSpec: none that was drawn fits, of any kind, and why.
    """
    why, small = "", None
    for tried in range(_TRIES):
        drawn = _drawn_workload(dice, kinds, brief=brief)
        if why := too_large(drawn, cluster):
            continue
        if not too_small(drawn, cluster):
            return drawn
        small = small or drawn
        if tried >= _GROWING_TRIES:
            break
    if small is not None:
        return small
    raise InvalidSpec(f"no workload of {', '.join(kind.name for kind in kinds)} fits the cluster: {why}")


def _drawn_workload(dice: Dice, kinds: Sequence[type[Workload]], *, brief: bool) -> Workload:
    kind = pick(dice, kinds)
    options = options_of(kind, Surroundings(node_types=(), horizon_s=0.0), only=_drawn(kind))
    drawn: dict[str, Any] = {name: pick(dice, values[:2] if brief else values) for name, values in options.items()}
    for name, field in kind.model_fields.items():
        if Stage in typing.get_args(field.annotation):
            drawn[name] = draw_profile(dice, max_stages=_BRIEF_STAGES if brief else _STAGES, brief=brief)
    return kind.model_validate(kind.agreed(drawn))


def _drawn(kind: type[Workload]) -> frozenset[str]:
    fields = kind.model_fields.items()
    return frozenset(name for name, field in fields if any(isinstance(item, Drawn) for item in field.metadata))
