"""Which run is the nth of a campaign: a pure function of the wish and the number, so that any worker can make it.

Where the search is guided, it is a function of what the earlier runs of its world came to as well.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from chaos.cluster_spec import ClusterSpec, Provider
from chaos.errors import InvalidSpec
from chaos.fuzz.guidance import Guide
from chaos.schedule import Schedule
from chaos.spec import Catalogue, RunSpec
from chaos.strategies import plan
from chaos.strategies.dice import SeededDice
from chaos.strategies.schedule import Plan, draw_schedule
from chaos.strategies.world import ClusterKind, draw_cluster, draw_workload
from chaos.value import Value

TWIN = "sim"
HORIZON_S = 60.0
_TWIN_WORLD_RUNS = 16
_GUIDED_WORLD_RUNS = 64
_LIVE_WORLD_RUNS = 8
_TWIN_DEADLINE_S = 3600.0
LIVE_DEADLINE_S = 300.0


class Wish(Value):
    """What a campaign is to try: everything that decides what its nth run is.

    Runs are on `cluster`; what fails there is tried again on `confirm_on`, where that is given. `brief` draws what
    takes real clusters a minute or so. On the twin, worlds have the providers in turn, and runs are in `mode`. A
    `guided` search is of the twin alone, for there a run repeats; its worlds last longer, because it learns within one.
    """

    cluster: ClusterKind = "sim"
    confirm_on: Literal["local", "compose"] | None = None
    search: Literal["random", "guided"] = "random"
    brief: bool = False
    providers: tuple[Provider, ...] = Field(default=("cloud",), min_length=1)
    mode: Literal["fast", "exact"] = "fast"
    seed: int = 0
    faults: tuple[str, ...]
    workloads: tuple[str, ...]
    max_injections: int = 6
    horizon_s: float = HORIZON_S
    max_workers: int = 8

    @property
    def kinds(self) -> tuple[ClusterKind, ...]:
        """The kinds of cluster it takes, that of its runs first."""
        return (self.cluster,) if self.confirm_on is None else (self.cluster, self.confirm_on)

    @property
    def world_runs(self) -> int:
        """So many runs share a cluster, a workload and a baseline."""
        if self.cluster != TWIN:
            return _LIVE_WORLD_RUNS
        return _GUIDED_WORLD_RUNS if self.search == "guided" else _TWIN_WORLD_RUNS

    def world_of(self, number: int) -> range:
        """The numbers of the runs that share a world with this one."""
        first = number // self.world_runs * self.world_runs
        return range(first, first + self.world_runs)


@dataclass(frozen=True)
class World:
    """A cluster and a workload, on which the schedules of some runs are tried; its specification has no faults."""

    wish: Wish
    number: int
    spec: RunSpec
    plan: Plan

    @property
    def runs(self) -> range:
        """The numbers of its runs."""
        return self.wish.world_of(self.number * self.wish.world_runs)

    def trial(self, number: int) -> RunSpec:
        """The specification of one of its runs."""
        dice = SeededDice(random.Random(f"{self.wish.seed}/run/{number}"))
        return self.spec.model_copy(update={"schedule": draw_schedule(dice, self.plan), "seed": number})

    def guide(self) -> Guide:
        """Who says which schedules its runs have, one after the other, where the search is guided."""
        return Guide(self.plan, random.Random(f"{self.wish.seed}/guide/{self.number}"))

    def guided(self, schedule: Schedule) -> RunSpec:
        """The specification of one of its runs with that schedule; the model's chances are the same in all of them."""
        return self.spec.model_copy(update={"schedule": schedule})


def world(wish: Wish, number: int, catalogue: Catalogue) -> World:
    """The nth world of a campaign."""
    dice = SeededDice(random.Random(f"{wish.seed}/world/{number}"))
    cluster = draw_cluster(dice, kind=wish.cluster, max_workers=wish.max_workers)
    if cluster.kind == TWIN:
        cluster = _from(wish.providers[number % len(wish.providers)], cluster, mode=wish.mode)
    kinds = [catalogue.workloads[name] for name in wish.workloads]
    workload = draw_workload(dice, kinds, cluster=cluster, brief=wish.brief)
    deadline_s = _TWIN_DEADLINE_S if wish.cluster == TWIN else LIVE_DEADLINE_S
    spec = RunSpec(name="fuzz", seed=number, cluster=cluster, workload=workload, deadline_s=deadline_s)
    drawn_from = plan(
        cluster=cluster,
        faults={name: catalogue.faults[name] for name in wish.faults},
        min_injections=1,
        max_injections=wish.max_injections,
        horizon_s=wish.horizon_s,
    )
    return World(wish, number, spec, drawn_from)


def _from(provider: Provider, cluster: ClusterSpec, **changes: str) -> ClusterSpec:
    """A twin whose nodes come from there."""
    return cluster.model_copy(update={"twin": cluster.twin.model_copy(update={"provider": provider, **changes})})


def able(
    names: tuple[str, ...], wish_cluster: ClusterKind, catalogue: Catalogue, *, provider: Provider = "cloud"
) -> Mapping[str, str]:
    """Of the faults named, those no drawn cluster of this kind and provider can have, and why."""
    dice = SeededDice(random.Random("able"))
    cluster = _from(provider, draw_cluster(dice, kind=wish_cluster))
    faults = {name: catalogue.faults[name] for name in names}
    if not faults:
        raise InvalidSpec("no fault is left to try: give other --faults, or fewer --not-faults")
    return plan(cluster=cluster, faults=faults, max_injections=0).unable
