"""The contract every fault keeps on every cluster that can do it: it bites, it is seen to, it heals, nothing stays."""

from __future__ import annotations

import pytest

import faults
from chaos.commands import CLUSTERS
from chaos.events import CleanlinessChecked, FaultHealed, FaultInjected, FaultProbed
from tests.live.lab import Lab

WORKLOAD = """
workload: {name: task_bursts, stages: [{tasks: 2, batches: 16}]}
cluster:
  max_workers: 2
  node_types: {gpu: {resources: {CPU: 2, GPU: 1}, max_workers: 2}}
schedule:
"""
# One injection of each fault; a new fault adds its own.
LATER = "on: {progress_percent: 10}"
INJECTIONS = {
    "kill_node": f"{{fault: kill_node, target: oldest, {LATER}}}",
    "pause_node": f"{{fault: pause_node, target: newest, {LATER}, duration_s: 2}}",
    "delay_launch": "{fault: delay_launch, delay_s: 3, at_s: 0, duration_s: 6}",
    "fail_launch": "{fault: fail_launch, reason: quota_exceeded, count: 2, at_s: 0, duration_s: 6}",
    "throttle_network": f"{{fault: throttle_network, rate_mbit: 4, target: random, {LATER}, duration_s: 3}}",
    "partition_network": f"{{fault: partition_network, peers: head, target: random, {LATER}, duration_s: 2}}",
    "delay_network": f"{{fault: delay_network, delay_ms: 40, jitter_ms: 5, target: random, {LATER}, duration_s: 3}}",
    "lose_packets": f"{{fault: lose_packets, percent: 5, target: random, {LATER}, duration_s: 3}}",
    "duplicate_packets": f"{{fault: duplicate_packets, percent: 5, target: random, {LATER}, duration_s: 3}}",
    "corrupt_packets": f"{{fault: corrupt_packets, percent: 5, target: random, {LATER}, duration_s: 3}}",
    "reorder_packets": f"{{fault: reorder_packets, percent: 5, target: random, {LATER}, duration_s: 3}}",
    "flap_network": f"{{fault: flap_network, down_s: 0.4, up_s: 0.6, target: random, {LATER}, duration_s: 4}}",
    "reset_connections": f"{{fault: reset_connections, target: random, {LATER}, duration_s: 1}}",
}
CASES = [
    pytest.param(kind, name, marks=[pytest.mark.compose] if kind == "compose" else [], id=f"{kind}-{name}")
    for kind, cluster in CLUSTERS.items()
    for name, fault in faults.ALL.items()
    if all(issubclass(cluster, need) for need in fault.needs)
]


def test_every_fault_has_a_case() -> None:
    assert set(INJECTIONS) == set(faults.ALL)


@pytest.mark.parametrize(("kind", "name"), CASES)
async def test_contract(lab: Lab, kind: str, name: str) -> None:
    spec = lab.spec(f"{WORKLOAD}  - {INJECTIONS[name]}\n", kind)
    results = await lab.run(spec)
    history = results.history
    assert len(history.of(FaultInjected)) == 1, results.report
    assert [event.outcome for _, event in history.of(FaultProbed)] == ["took_effect"], results.report
    healed = history.of(FaultHealed)
    assert len(healed) == int(faults.ALL[name].lasts)
    assert all(event.proven for _, event in healed), results.report
    assert [event.leftovers for _, event in history.of(CleanlinessChecked)] == [()]
    assert results.judgement == "pass", results.report
