"""What the sampler tells of placement groups, from what a GCS of Ray 2.60 was seen to show of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from ray.core.generated.autoscaler_pb2 import (
    AffinityConstraint,
    AntiAffinityConstraint,
    ClusterResourceState,
    GangResourceRequest,
    GetClusterStatusReply,
    NodeState,
    PlacementConstraint,
    ResourceRequest,
)

from chaos.clusters.gcs_sampler import read
from chaos.clusters.observer import _counted

ONE = {"CPU": 1.0, "GPU": 1.0}
LABEL = {"label_name": "_PG_90be93026566bbe3f70f67b1413a01000000", "label_value": ""}
APART = [PlacementConstraint(anti_affinity=AntiAffinityConstraint(**LABEL))]
ON_ONE = [PlacementConstraint(affinity=AffinityConstraint(**LABEL))]


def told(*bundles: dict[str, float], bound: list[Any] | None = None) -> list[dict[str, Any]]:
    requests = [ResourceRequest(resources_bundle=bundle, placement_constraints=bound or []) for bundle in bundles]
    state = ClusterResourceState(pending_gang_resource_requests=[GangResourceRequest(requests=requests)])
    reply = GetClusterStatusReply(cluster_resource_state=state).SerializeToString()
    demands: list[dict[str, Any]] = read(SimpleNamespace(get_cluster_status=lambda **_: reply))["demands"]
    return demands


def test_bundles_of_a_group_are_told_by_shape() -> None:
    group = {"source": "placement_group", "apart": False}
    assert told(ONE, {"CPU": 3.0}, ONE) == [
        {"shape": ONE, "count": 2, **group},
        {"shape": {"CPU": 3.0}, "count": 1, **group},
    ]


def test_those_that_need_a_node_each_are_told_so() -> None:
    assert told(ONE, ONE, bound=APART) == [{"shape": ONE, "count": 2, "source": "placement_group", "apart": True}]


def test_a_lost_one_is_told_with_the_nodes_of_the_others() -> None:
    gang = GangResourceRequest(requests=[ResourceRequest(resources_bundle=ONE, placement_constraints=APART)])
    nodes = [
        NodeState(instance_id="i-1", dynamic_labels={LABEL["label_name"]: ""}),
        NodeState(instance_id="i-2", dynamic_labels={"_PG_another": ""}),
        NodeState(instance_id="i-3"),
    ]
    state = ClusterResourceState(pending_gang_resource_requests=[gang], node_states=nodes)
    reply = GetClusterStatusReply(cluster_resource_state=state).SerializeToString()
    (demand,) = read(SimpleNamespace(get_cluster_status=lambda **_: reply))["demands"]
    assert demand == {"shape": ONE, "count": 1, "source": "placement_group", "apart": True, "not_on": ["i-1"]}


def test_those_that_are_to_be_on_one_node_are_one() -> None:
    whole = {"CPU": 4.0, "GPU": 1.0}
    assert told(ONE, {"CPU": 3.0}, bound=ON_ONE) == [
        {"shape": whole, "count": 1, "source": "placement_group", "apart": False}
    ]


def test_what_a_group_holds_of_a_node_is_none_of_its_resources() -> None:
    held = "c5b84ac2a0bd6b869dcaa36f6af501000000"
    shown = {
        "CPU": 2.0,
        f"CPU_group_0_{held}": 1.0,
        f"CPU_group_{held}": 2.0,
        f"bundle_group_{held}": 2000.0,
        "my_group_1": 3.0,
    }
    assert _counted(shown) == {"CPU": 2.0, "my_group_1": 3.0}
