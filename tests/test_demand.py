"""The packing that says how many nodes a demand wants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.cluster_spec import ClusterSpec, NodeType
from chaos.demand import Wanted, at_minimum, needless, wanted, workers_for, workers_wanted
from chaos.events import ClusterSampled, Demand, NodeView
from tests.checkers.histories import CLUSTER, GPU, HEAD, NODE

MIXED = ClusterSpec(
    node_types={
        "cpu": NodeType(resources={"CPU": 4.0}, min_workers=1, max_workers=3),
        "gpu": NodeType(resources=NODE, max_workers=2),
    },
    max_workers=4,
)


def view(node: str, *, free: dict[str, float] | None = None, idle_s: float = 0.0, node_type: str = "gpu") -> NodeView:
    return NodeView(
        node=node,
        node_type=node_type,
        status="idle" if idle_s else "running",
        idle_s=idle_s,
        total=NODE if node_type == "gpu" else {"CPU": 4.0},
        available=free or {},
    )


def sample(*demands: Demand, nodes: Sequence[NodeView] = (), gone: Sequence[str] = ()) -> ClusterSampled:
    return ClusterSampled(
        reachable=True,
        nodes=(HEAD, *nodes),
        demands=demands,
        cloud={node.node: "running" for node in (HEAD, *nodes) if node.node not in gone},
    )


def of(
    count: int, shape: dict[str, float] = GPU, source: Literal["task", "placement_group", "request_resources"] = "task"
) -> Demand:
    return Demand(shape=shape, count=count, source=source)


@pytest.mark.parametrize(
    ("demands", "nodes", "least", "capped"),
    [
        ([], [], 0, 0),
        ([of(2)], [], 2, 0),
        ([of(9)], [], 4, 5),
        ([of(4, {"CPU": 1.0})], [], 2, 0),
        ([of(4, {"CPU": 1.0})], [view("w1", free={"CPU": 2.0})], 1, 0),
        ([of(2)], [view("w1"), view("w2", free=NODE)], 1, 0),
        ([of(2, GPU, "request_resources")], [view("w1"), view("w2")], 0, 0),
        ([of(3, GPU, "request_resources")], [view("w1"), view("w2")], 1, 0),
        ([of(3, GPU, "request_resources"), of(1)], [view("w1"), view("w2")], 1, 0),
        ([of(1, {"CPU": 1.0}, "request_resources")], [], 0, 0),
    ],
)
def test_what_is_wanted(demands: list[Demand], nodes: list[NodeView], least: int, capped: int) -> None:
    found = wanted(sample(*demands, nodes=nodes), CLUSTER)
    assert (found.least, found.capped, found.unfit) == (least, capped, ())


def test_a_node_without_an_instance_is_replaced() -> None:
    assert wanted(sample(of(1), nodes=[view("w1", free=NODE)], gone=["w1"]), CLUSTER).least == 1


def test_a_demand_no_type_holds_is_unfit() -> None:
    assert wanted(sample(of(3, {"GPU": 2.0})), CLUSTER) == Wanted(0, 0, (of(3, {"GPU": 2.0}),), 0)


def test_the_minimum_is_wanted_and_each_shape_gets_the_type_that_suits_it() -> None:
    assert wanted(sample(), MIXED).least == 1
    assert wanted(sample(of(4, {"CPU": 1.0}), of(2)), MIXED).least == 3
    assert wanted(sample(of(8, {"CPU": 1.0}, "placement_group")), MIXED).most == 4


@pytest.mark.parametrize(
    ("demands", "workers"),
    [
        ([], 1),
        ([of(3, {"CPU": 1.0})], 1),
        ([of(2)], 3),
        ([of(3, {"GPU": 0.5}), of(1, {"CPU": 4.0})], 3),
        ([of(100)], 3),
        ([of(100), of(100, {"CPU": 4.0})], 4),
        ([of(5, {"TPU": 1.0})], 1),
    ],
)
def test_workers_for_demands_on_an_empty_cluster(demands: list[Demand], workers: int) -> None:
    assert workers_for(demands, MIXED) == workers


APART = Demand(shape=GPU, count=2, source="placement_group", apart=True)
# Of a group of two, of which the other is on w1.
LOST = Demand(shape={"CPU": 1.0}, count=1, source="placement_group", apart=True, not_on=("w1",))


@pytest.mark.parametrize(
    ("demands", "nodes", "least", "capped"),
    [
        ([of(4, GPU, "placement_group")], [], 4, 0),
        ([of(5, GPU, "placement_group")], [], 0, 5),
        ([of(5, GPU, "placement_group"), of(1)], [], 1, 5),
        ([of(3, GPU, "placement_group"), of(3, GPU, "placement_group")], [], 3, 3),
        ([of(5, GPU, "placement_group"), of(1)], [view("w1", free=NODE)], 0, 4),
        ([APART.model_copy(update={"shape": {"CPU": 1.0}})], [], 2, 0),
        ([APART.model_copy(update={"shape": {"CPU": 1.0}})], [view("w1", free=NODE)], 1, 0),
        ([APART.model_copy(update={"shape": {"CPU": 1.0}, "count": 3})], [view("w1", free=NODE)], 2, 0),
        ([APART.model_copy(update={"count": 5})], [], 0, 5),
        ([LOST], [view("w1", free={"CPU": 1.0})], 1, 0),
        ([LOST], [view("w1", free={"CPU": 1.0}), view("w2", free=NODE)], 0, 0),
        ([LOST], [view("w1", free=NODE), view("w2"), view("w3"), view("w4")], 0, 1),
    ],
)
def test_a_placement_group_is_wanted_as_a_whole_or_not_at_all(
    demands: list[Demand], nodes: list[NodeView], least: int, capped: int
) -> None:
    found = wanted(sample(*demands, nodes=nodes), CLUSTER)
    assert (found.least, found.capped, found.unfit) == (least, capped, ())


def test_workers_wanted_are_those_at_work_and_those_that_waiting_demand_needs() -> None:
    busy, spare = view("w1"), view("w2", free=NODE, idle_s=3.0)
    assert workers_wanted(sample(nodes=[busy, spare]), CLUSTER) == 1
    assert workers_wanted(sample(of(1), nodes=[busy, spare]), CLUSTER) == 2
    assert workers_wanted(sample(of(1), nodes=[busy], gone=["w1"]), CLUSTER) == 1
    assert workers_wanted(sample(of(1, {"CPU": 1.0}), nodes=[view("w1", free={"CPU": 1.0})]), CLUSTER) == 1
    assert workers_wanted(sample(of(100), nodes=[busy, spare]), CLUSTER) == 4
    assert workers_wanted(sample(), MIXED) == 1, "the minimum is wanted"


def test_at_minimum_asks_the_gcs_and_the_cloud() -> None:
    base = view("w1", node_type="cpu")
    assert at_minimum(sample(nodes=[base]), MIXED)
    assert not at_minimum(sample(), MIXED)
    assert not at_minimum(sample(nodes=[view("w1")]), MIXED), "another type is not the minimum"
    leak = sample(nodes=[base]).model_copy(update={"cloud": {"w1": "running", "w2": "stopping"}})
    assert not at_minimum(leak, MIXED)
    assert not at_minimum(ClusterSampled(reachable=False), MIXED)


def test_needless_workers() -> None:
    idle = [view(f"w{n}", free=NODE, idle_s=30.0) for n in (1, 2, 3)]
    assert needless(sample(nodes=idle), CLUSTER, idle_longer_by_s=5.0) == ("w1", "w2", "w3")
    assert needless(sample(nodes=idle), CLUSTER, idle_longer_by_s=30.0) == ()
    assert len(needless(sample(of(2, GPU, "request_resources"), nodes=idle), CLUSTER, idle_longer_by_s=5.0)) == 1


def test_a_higher_limit_names_the_first_of_those_that_a_lower_one_names() -> None:
    kind = CLUSTER.node_types["gpu"].model_copy(update={"min_workers": 1})
    keeps_one = CLUSTER.model_copy(update={"node_types": {**CLUSTER.node_types, "gpu": kind}})
    idle = [view("w1", free=NODE, idle_s=2.0), view("w2", free=NODE, idle_s=200.0)]
    for limit_s in (5.0, float("-inf")):
        assert needless(sample(nodes=idle), keeps_one, idle_longer_by_s=limit_s) == ("w2",)


def test_a_task_that_waits_keeps_an_idle_worker_with_room_for_it_as_rays_newer_autoscaler_does() -> None:
    idle = [view(f"w{n}", free=NODE, idle_s=30.0) for n in (1, 2)]
    waiting = sample(of(1, GPU, "task"), nodes=idle)
    assert len(needless(waiting, CLUSTER, idle_longer_by_s=5.0)) == 1
    older = CLUSTER.model_copy(update={"autoscaler": "v1"})
    assert len(needless(waiting, older, idle_longer_by_s=5.0)) == 2
    full = [view(f"w{n}", free={"CPU": 1.0}, idle_s=30.0) for n in (1, 2)]
    assert len(needless(sample(of(1, GPU, "task"), nodes=full), CLUSTER, idle_longer_by_s=5.0)) == 2


def test_a_lost_bundle_keeps_no_idle_worker_that_holds_another_of_its_group() -> None:
    idle = [view("w1", free=NODE, idle_s=30.0), view("w2", free=NODE, idle_s=20.0)]
    assert needless(sample(LOST, nodes=idle), CLUSTER, idle_longer_by_s=5.0) == ("w1",)


SHAPES = st.dictionaries(st.sampled_from(["CPU", "GPU", "TPU"]), st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0]), max_size=2)
DEMANDS = st.lists(
    st.builds(
        Demand,
        shape=SHAPES,
        count=st.integers(0, 5000),
        source=st.sampled_from(["task", "placement_group", "request_resources"]),
    ),
    max_size=4,
)


@given(demands=DEMANDS, present=st.integers(0, 4))
def test_wanted_stays_within_the_limits(demands: list[Demand], present: int) -> None:
    nodes = [view(f"w{n}", free=NODE) for n in range(present)]
    found = wanted(sample(*demands, nodes=nodes), CLUSTER)
    assert 0 <= found.least <= CLUSTER.worker_limit - present
    assert 0 <= found.most <= CLUSTER.worker_limit - present
    assert found.least <= found.most
    assert found.capped >= 0


@given(demands=DEMANDS)
def test_what_was_wanted_is_not_wanted_again_once_it_is_there(demands: list[Demand]) -> None:
    least = wanted(sample(*demands), CLUSTER).least
    nodes = [view(f"w{n}", free=NODE) for n in range(least)]
    found = wanted(sample(*demands, nodes=nodes), CLUSTER)
    assert found.least == 0
