"""Clusters, demand and workloads from the strategies."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import find, given, settings

import workloads
from chaos import strategies
from chaos.cluster_spec import ClusterSpec, NodeType
from chaos.errors import InvalidSpec
from chaos.events import Resources
from chaos.spec import RunSpec, refuse_impossible
from chaos.strategies.dice import SeededDice
from chaos.strategies.world import draw_cluster, draw_workload
from chaos.workload import Stage, Workload, too_small
from workloads import ActorService, GangBursts, TaskBursts

WORKLOADS = tuple(workloads.ALL.values())
REQUEST = Stage(tasks=0, pause_s=1, request=3)
QUICK = settings(max_examples=500, database=None, deadline=None)


@pytest.mark.parametrize("kind", ["local", "compose", "sim"])
def test_every_workload_fits_every_cluster(kind: Any) -> None:
    met = set()
    for number in range(300):
        dice = SeededDice(random.Random(number))
        cluster = draw_cluster(dice, kind=kind)
        workload = draw_workload(dice, WORKLOADS, cluster=cluster)
        refuse_impossible(RunSpec(cluster=cluster, workload=workload), name="drawn")
        assert cluster.worker_limit > cluster.min_workers, "it could not scale"
        met.add((type(workload), len(cluster.node_types)))
    assert len(met) == 12


@given(cluster=strategies.cluster_specs(kind="sim", max_workers=4, node_types=2))
def test_a_cluster_keeps_to_its_limits(cluster: ClusterSpec) -> None:
    assert cluster.worker_limit <= 4
    assert len(cluster.node_types) <= 2
    assert ClusterSpec.model_validate(cluster.model_dump()) == cluster


@given(stages=strategies.demand_profiles(max_stages=3))
def test_a_profile_is_a_workload(stages: tuple[Stage, ...]) -> None:
    assert len(stages) <= 3
    assert TaskBursts(stages=stages).rows_total > 0


def test_they_shrink_to_what_is_small() -> None:
    assert find(strategies.demand_profiles(), lambda _: True, settings=QUICK) == (Stage(tasks=1, batches=4),)
    smallest = find(strategies.cluster_specs(kind="sim"), lambda _: True, settings=QUICK)
    assert (list(smallest.node_types), smallest.max_workers, smallest.min_workers) == (["gpu"], 2, 0)


def test_impossible_wishes_are_refused() -> None:
    with pytest.raises(InvalidSpec, match="max_workers 0"):
        strategies.cluster_specs(max_workers=0)
    with pytest.raises(InvalidSpec, match="max_stages is 0"):
        strategies.demand_profiles(max_stages=0)


def drawn_worlds(*, brief: bool, kinds: Sequence[type[Workload]]) -> Iterator[tuple[Workload, ClusterSpec]]:
    """What is drawn from 300 seeds."""
    for seed in range(300):
        dice = SeededDice(random.Random(seed))
        cluster = draw_cluster(dice, kind="sim")
        yield draw_workload(dice, kinds, cluster=cluster, brief=brief), cluster


def test_what_is_drawn_makes_the_cluster_grow() -> None:
    drawn = list(drawn_worlds(brief=False, kinds=WORKLOADS))
    assert not [workload for workload, cluster in drawn if too_small(workload, cluster)]


def test_where_nothing_makes_the_cluster_grow_something_is_drawn_all_the_same() -> None:
    """A short job has at most three tasks at a time."""
    drawn = list(drawn_worlds(brief=True, kinds=[TaskBursts]))
    small = [cluster for workload, cluster in drawn if too_small(workload, cluster)]
    assert small
    assert all(cluster.room_kept_for({"CPU": 1.0, "GPU": 1.0}, apart=False) >= 3 for cluster in small)


@pytest.mark.parametrize(
    ("workload", "kept", "small"),
    [
        pytest.param(TaskBursts(stages=(Stage(tasks=2, batches=4),)), 2, True, id="as many tasks"),
        pytest.param(TaskBursts(stages=(Stage(tasks=3, batches=4),)), 2, False, id="more tasks"),
        pytest.param(TaskBursts(stages=(Stage(tasks=1, batches=4), REQUEST)), 2, False, id="a request"),
        pytest.param(GangBursts(gang_size=2, strategy="STRICT_SPREAD"), 1, False, id="a node each"),
        pytest.param(GangBursts(gang_size=2, strategy="STRICT_SPREAD"), 2, True, id="a node each is there"),
        pytest.param(GangBursts(gangs=2, gang_size=1, strategy="PACK"), 1, False, id="two groups"),
        pytest.param(ActorService(clients=1, max_actors=4), 1, True, id="no more actors than clients"),
    ],
)  # fmt: skip
def test_a_workload_is_too_small_where_what_is_always_there_holds_it(
    workload: Workload, kept: int, small: bool
) -> None:
    gpu = NodeType(resources={"CPU": 2.0, "GPU": 1.0}, min_workers=kept, max_workers=8)
    assert too_small(workload, ClusterSpec(kind="sim", node_types={"gpu": gpu}, max_workers=8)) is small


def test_a_workload_that_fits_no_cluster_like_this_is_refused_and_not_drawn_for_ever() -> None:
    class Crowd(GangBursts):
        def bundles(self) -> tuple[Resources, ...]:
            return ({"GPU": 1000.0},)

    dice = SeededDice(random.Random(1))
    with pytest.raises(InvalidSpec, match="no workload of gang_bursts fits the cluster"):
        draw_workload(dice, [Crowd], cluster=draw_cluster(dice, kind="sim"))
