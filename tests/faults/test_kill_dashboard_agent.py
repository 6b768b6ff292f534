"""`kill_dashboard_agent`: the agent and no other process."""

from __future__ import annotations

from faults.kill_dashboard_agent import KillDashboardAgent
from tests.doubles import FakeCluster, injected, site_of


async def test_it_kills_the_agent_alone() -> None:
    cluster = FakeCluster()
    site = await injected(KillDashboardAgent(), site_of(cluster, "w1"))
    assert [title for _, _, title in site.before] == ["ray::DashboardAgent"]
    assert (await KillDashboardAgent().probe(site)).detail == "the GCS has not seen w1 die"
