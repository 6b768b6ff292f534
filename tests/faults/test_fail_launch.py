"""`fail_launch`: proven by Ray's autoscaler having noticed a refusal of ours."""

from __future__ import annotations

from typing import Literal

import pytest

from chaos.events import AutoscalerLogged, ClusterSampled, Event, NodeLaunchFailed
from chaos.harm import LaunchFault
from faults.fail_launch import FailLaunch
from tests.doubles import FakeCluster, site_of

QUOTA = "VcpuLimitExceeded: you have requested more vCPU capacity than your current limit"


def refused(count: int = 2, *, node_type: str = "gpu", reason: str = QUOTA) -> NodeLaunchFailed:
    return NodeLaunchFailed(node_type=node_type, count=count, reason=reason, request="r")


def logged(about: Literal["launch_failed", "error", "instance"], text: str = "x") -> AutoscalerLogged:
    return AutoscalerLogged(about=about, text=text)


FAULT = FailLaunch(reason="quota_exceeded", node_type="gpu")


async def test_the_cloud_is_told_the_words_clouds_use() -> None:
    cluster = FakeCluster()
    await FailLaunch(reason="quota_exceeded", count=3).inject(site_of(cluster))
    fault = cluster.effects["run.i1"][3]
    assert isinstance(fault, LaunchFault)
    assert (fault.error, fault.count, fault.node_type) == (QUOTA, 3, None)


@pytest.mark.parametrize(
    "notice",
    [
        pytest.param(logged("launch_failed"), id="logged"),
        pytest.param(logged("instance", "Update instance 1 REQUESTED->ALLOCATION_FAILED"), id="instance state"),
        pytest.param(ClusterSampled(reachable=True, autoscaler_failed=1), id="reported to the GCS"),
    ],
)
async def test_a_refusal_the_autoscaler_noticed_is_the_proof(notice: Event) -> None:
    seen = await FAULT.probe(site_of(FakeCluster(), events=[(11.0, refused()), (12.0, refused(1)), (12.5, notice)]))
    assert (seen.outcome, seen.measured) == ("took_effect", 3.0)


@pytest.mark.parametrize(
    ("events", "says"),
    [
        pytest.param([], "no launch was asked for", id="no launch"),
        pytest.param([(11.0, logged("launch_failed"))], "no launch was asked for", id="a failure of others"),
        pytest.param([(11.0, refused())], "2 refused, but the autoscaler has not said so", id="not noticed"),
        pytest.param([(9.0, refused()), (11.0, logged("launch_failed"))], "no launch", id="before the injection"),
        pytest.param(
            [(11.0, refused(node_type="cpu")), (11.1, logged("launch_failed"))], "no launch", id="another node type"
        ),
        pytest.param(
            [(11.0, refused(reason="no space left")), (11.1, logged("launch_failed"))], "no launch", id="another reason"
        ),
    ],
)
async def test_anything_less_is_unknown(events: list[tuple[float, Event]], says: str) -> None:
    seen = await FAULT.probe(site_of(FakeCluster(), events=events))
    assert seen.outcome == "unknown"
    assert says in seen.detail


async def test_it_is_healed_when_its_effect_is_no_longer_in_force() -> None:
    cluster = FakeCluster()
    site = site_of(cluster)
    await FAULT.inject(site)
    assert (await FAULT.probe_healed(site)).outcome == "took_effect"
    await FAULT.heal(site)
    assert (await FAULT.probe_healed(site)).outcome == "no_effect"
    assert not cluster.effects
