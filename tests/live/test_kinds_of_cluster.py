"""What a cluster may look like: several node types, a minimum, the older autoscaler, several clusters at a time."""

from __future__ import annotations

import asyncio

import pytest

from chaos.cluster_spec import ClusterSpec
from chaos.clusters.cloud_cluster import CloudCluster
from chaos.commands import CLUSTERS
from chaos.events import NodeJoined
from tests.live.lab import Lab
from tests.live.rulers import BURST, ruler

BOTH = pytest.mark.parametrize("kind", ["local", pytest.param("compose", marks=pytest.mark.compose)])


async def test_several_node_types_each_serve_their_demand(lab: Lab) -> None:
    spec = lab.spec(
        """
        cluster:
          node_types:
            cpu: {resources: {CPU: 2}, min_workers: 1, max_workers: 1}
            gpu: {resources: {CPU: 2, GPU: 1}, max_workers: 2}
          max_workers: 3
        workload: {name: task_bursts, stages: [{tasks: 2, batches: 6}]}
        """,
        "local",
    )
    results = await lab.run(spec, baseline_of=ruler(lab, "local", BURST))
    assert results.judgement == "pass", results.report
    joined = [event.node_type for _, event in results.history.of(NodeJoined) if event.node != "head"]
    assert sorted(joined) == ["cpu", "gpu", "gpu"]


@BOTH
async def test_the_older_autoscaler_scales_too(lab: Lab, kind: str) -> None:
    spec = lab.spec(
        """
        cluster:
          autoscaler: v1
          max_workers: 2
          node_types: {gpu: {resources: {CPU: 2, GPU: 1}, max_workers: 2}}
        workload: {name: task_bursts, stages: [{tasks: 2, batches: 6}]}
        schedule:
          - {fault: kill_node, target: oldest, on: {progress_percent: 10}}
        """,
        kind,
    )
    results = await lab.run(spec, baseline_of=ruler(lab, kind, BURST))
    assert results.judgement == "pass", results.report


@BOTH
async def test_two_clusters_live_side_by_side(kind: str) -> None:
    spec = ClusterSpec.model_validate(
        {"kind": kind, "max_workers": 1, "node_types": {"one": {"resources": {"CPU": 1}, "min_workers": 1}}}
    )
    pair: list[CloudCluster] = [CLUSTERS[kind](f"pair-{number}", spec) for number in (1, 2)]
    try:
        await asyncio.gather(*(cluster.start() for cluster in pair))
        for cluster in pair:
            assert [node.node for node in await cluster.nodes()] == ["head", "w1"]
        await pair[0].stop()
        assert [node.state for node in await pair[1].nodes()] == ["running", "running"]
    finally:
        await asyncio.gather(*(cluster.stop() for cluster in pair))
