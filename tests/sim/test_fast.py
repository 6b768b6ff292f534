"""Fast mode: the same decisions as exact mode, at the same moments, for less work."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from ray.autoscaler.v2.instance_manager.instance_manager import InstanceManager
from ray.autoscaler.v2.instance_manager.reconciler import Reconciler
from ray.autoscaler.v2.scheduler import ResourceRequestSource, SchedulingNode, SchedulingNodeStatus
from ray.core.generated.autoscaler_pb2 import NodeStatus, ResourceRequest
from ray.core.generated.instance_manager_pb2 import (
    GetInstanceManagerStateReply,
    GetInstanceManagerStateRequest,
    Instance,
)

from chaos.events import NodeJoined, NodeTerminated
from chaos.sim import releases
from chaos.sim.fast import _dataclass_once, _deep_copy, _Manager, _Rows
from tests.sim.decisions import decisions, recorded
from tests.sim.schedules import random_text

# `python -m tests.bench --cluster sim --only same_decisions` compares 1,000.
SEEDS = (0, 2, 3, 4, 5, 6)
CALM = """
cluster: {{kind: sim, twin: {{mode: {mode}}}, update_interval_s: 1, idle_timeout_s: 20, max_workers: 2, node_types: {{
  gpu: {{resources: {{CPU: 2, GPU: 1}}, max_workers: 2}}}}}}
workload: {{name: task_bursts, device_ms_per_batch: 60000, stages: [
  {{tasks: 2, batches: 10}}, {{tasks: 0, pause_s: 100}}, {{tasks: 1, batches: 2}}]}}
deadline_s: 1000
"""
ENDED_OPERATOR = """
cluster: {{kind: sim, twin: {{mode: {mode}, provider: kuberay}}, update_interval_s: 1, max_workers: 2, node_types: {{
  gpu: {{resources: {{CPU: 2, GPU: 1}}, max_workers: 2}}}}}}
workload: {{name: task_bursts, stages: [{{tasks: 2, batches: 40}}]}}
schedule:
  - {{fault: kill_operator, at_s: 0, duration_s: 12}}
"""
# Nodes come and go; at last the autoscaler does, and its successor is shown all the dead that the GCS remembers.
COMING_AND_GOING = """
cluster: {{kind: sim, twin: {{mode: {mode}}}, update_interval_s: 1, idle_timeout_s: 2, max_workers: 2, node_types: {{
  gpu: {{resources: {{CPU: 2, GPU: 1}}, max_workers: 2}}}}}}
workload: {{name: task_bursts, stages: [{stages}]}}
deadline_s: 1000
schedule:
  - {{fault: restart_raylet, on: {{event: node.joined, nth: 3}}, after_s: 0.5, target: newest}}
  - {{fault: kill_autoscaler, on: {{event: node.terminated, nth: 14}}, after_s: 75, duration_s: 4}}
"""


@pytest.mark.parametrize("seed", SEEDS)
def test_fast_mode_decides_as_exact_mode_does(seed: int, tmp_path: Path) -> None:
    exact, fast = (recorded(random_text(seed, mode=mode), tmp_path) for mode in ("exact", "fast"))
    assert decisions(exact)
    assert decisions(fast) == decisions(exact)


@pytest.mark.parametrize("seed", [4, 7])
def test_fast_mode_decides_as_exact_mode_does_on_kuberay_too(seed: int, tmp_path: Path) -> None:
    texts = [random_text(seed, mode=mode, minutes=1.0, provider="kuberay") for mode in ("exact", "fast")]
    exact, fast = (recorded(text, tmp_path) for text in texts)
    assert decisions(exact)
    assert decisions(fast) == decisions(exact)


def test_an_operator_that_is_back_acts_at_once_in_fast_mode_too(tmp_path: Path) -> None:
    joined_s = []
    for mode in ("exact", "fast"):
        history = recorded(ENDED_OPERATOR.format(mode=mode), tmp_path)
        joined_s.append([round(record.t_s, 3) for record, _ in history.of(NodeJoined)])
    assert joined_s[0] == joined_s[1]
    assert len(joined_s[0]) == 3
    assert joined_s[0][-1] < 30.0


def test_where_nothing_happens_no_update_is_made_and_idle_nodes_end_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = 0
    theirs = Reconciler.reconcile

    def counted(**given: object) -> object:
        nonlocal made
        made += 1
        return theirs(**given)

    monkeypatch.setattr(Reconciler, "reconcile", staticmethod(counted))
    ended_s, updates = {}, {}
    for mode in ("exact", "fast"):
        made = 0
        history = recorded(CALM.format(mode=mode), tmp_path)
        ended_s[mode] = [round(record.t_s, 3) for record, _ in history.of(NodeTerminated)]
        updates[mode] = made
    assert len(ended_s["exact"]) == 3
    assert ended_s["fast"] == ended_s["exact"]
    assert updates["fast"] < updates["exact"] / 5


@pytest.mark.parametrize(("paces", "most_shown"), [(False, 3), (True, 13)])
def test_what_ended_a_while_ago_is_forgotten_until_another_autoscaler_asks(
    paces: bool, most_shown: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(releases, "paces_by_ended", lambda: paces)
    shown: list[int] = []
    theirs = Reconciler.reconcile

    def counted(**given: Any) -> object:
        nodes = given["ray_cluster_resource_state"].node_states
        shown.append(sum(node.status == NodeStatus.DEAD for node in nodes))
        return theirs(**given)

    monkeypatch.setattr(Reconciler, "reconcile", staticmethod(counted))
    stages = ", ".join(["{tasks: 2, batches: 2}, {tasks: 0, pause_s: 80}"] * 8)
    made, most = {}, {}
    for mode in ("exact", "fast"):
        shown.clear()
        made[mode] = decisions(recorded(COMING_AND_GOING.format(mode=mode, stages=stages), tmp_path))
        first = shown.index(15)  # in exact mode the last two ends; in fast mode the successor's first update
        most[mode] = max(shown[:first])
    assert made["fast"] == made["exact"]
    assert most == {"exact": 13, "fast": most_shown}


def test_fast_mode_too_gives_the_same_bytes(tmp_path: Path) -> None:
    text = random_text(3, mode="fast")
    first, second = (recorded(text, tmp_path) for _ in range(2))
    assert [record.to_line() for record in first] == [record.to_line() for record in second]


def test_rows_are_answered_as_rays_own_manager_does_after_each_change() -> None:
    rows = _Rows("c")
    ours, theirs = _Manager(rows, []), InstanceManager(rows, [])
    asked = GetInstanceManagerStateRequest()

    def same() -> GetInstanceManagerStateReply:
        one, other = ours.get_instance_manager_state(asked), theirs.get_instance_manager_state(asked)
        assert one.SerializeToString(deterministic=True) == other.SerializeToString(deterministic=True)
        return one

    assert not same().state.instances
    for name in ("a", "b"):
        rows.upsert_instance(Instance(instance_id=name, status=Instance.QUEUED))
        same()
    before = same()
    assert same() is before
    rows.upsert_instance(Instance(instance_id="a", status=Instance.REQUESTED))
    assert [row.status for row in same().state.instances] == [Instance.REQUESTED, Instance.QUEUED]
    rows.batch_delete_instances(["a"])
    assert [row.instance_id for row in same().state.instances] == ["b"]


def test_a_copy_is_as_deep_as_pythons_own() -> None:
    shared = {"CPU": 2.0}
    nodes = [
        SchedulingNode(name, shared, dict(shared), {"zone": "a"}, SchedulingNodeStatus.SCHEDULABLE)
        for name in ("gpu", "cpu")
    ]
    source = ResourceRequestSource.PENDING_DEMAND
    nodes[0].sched_requests[source].append(ResourceRequest(resources_bundle=shared))
    copied = _deep_copy(nodes)
    assert copied == copy.deepcopy(nodes)
    assert copied[0].total_resources is copied[1].total_resources
    copied[0].sched_requests[source][0].resources_bundle["CPU"] = 1.0
    copied[0].available_resources_for_sched[source]["CPU"] = 0.0
    copied[0].total_resources["CPU"] = 0.0
    assert nodes[0].sched_requests[source][0].resources_bundle["CPU"] == 2.0
    assert nodes[0].available_resources_for_sched[source] == nodes[1].total_resources == {"CPU": 2.0}


def test_a_class_that_is_defined_again_is_the_first_one_unless_it_knows_its_call() -> None:
    def plain() -> type:
        class Result:
            number: int

        return _dataclass_once(Result)

    def knowing(number: int) -> type:
        class Known:
            def tell(self) -> int:
                return number

        return _dataclass_once(Known)

    assert plain() is plain()
    assert plain()(3).number == 3
    assert [knowing(number)().tell() for number in (1, 2)] == [1, 2]
