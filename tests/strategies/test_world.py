"""Clusters, demand and workloads from the strategies."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import find, given, settings

import workloads
from chaos import strategies
from chaos.cluster_spec import ClusterSpec
from chaos.errors import InvalidSpec
from chaos.events import Resources
from chaos.spec import RunSpec, refuse_impossible
from chaos.strategies.dice import SeededDice
from chaos.strategies.world import draw_cluster, draw_workload
from chaos.workload import Stage
from workloads import GangBursts, TaskBursts

QUICK = settings(max_examples=500, database=None, deadline=None)


@pytest.mark.parametrize("kind", ["local", "compose", "sim"])
def test_every_workload_fits_every_cluster(kind: Any) -> None:
    kinds = list(workloads.ALL.values())
    met = set()
    for number in range(300):
        dice = SeededDice(random.Random(number))
        cluster = draw_cluster(dice, kind=kind)
        workload = draw_workload(dice, kinds, cluster=cluster)
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


def test_a_workload_that_fits_no_cluster_like_this_is_refused_and_not_drawn_for_ever() -> None:
    class Crowd(GangBursts):
        def bundles(self) -> tuple[Resources, ...]:
            return ({"GPU": 1000.0},)

    dice = SeededDice(random.Random(1))
    with pytest.raises(InvalidSpec, match="no workload of gang_bursts fits the cluster"):
        draw_workload(dice, [Crowd], cluster=draw_cluster(dice, kind="sim"))
