"""`kill_autoscaler`: gone while the head runs on, and there again once healed."""

from __future__ import annotations

import pytest

from chaos.errors import InjectionError
from faults.kill_autoscaler import KillAutoscaler
from tests.doubles import FakeCluster, injected, site_of


async def test_the_monitor_is_gone_and_comes_back() -> None:
    cluster, fault = FakeCluster(), KillAutoscaler()
    site = site_of(cluster, "head")
    assert (await fault.probe(site)).outcome == "unknown"
    site = await injected(fault, site)
    assert cluster.named("end_process") == [("head", "monitor", "run.i1.head", "20")]
    assert (await fault.probe(site)).outcome == "took_effect"
    assert (await fault.probe_healed(site)).detail == "still in force"
    await fault.heal(site)
    healed = await fault.probe_healed(site)
    assert (healed.outcome, healed.detail) == ("no_effect", "the head has a monitor again")


async def test_a_monitor_that_does_not_come_back_is_no_healing() -> None:
    cluster, fault = FakeCluster(), KillAutoscaler()
    site = site_of(cluster, "head")
    site = await injected(fault, site)
    cluster.effects.clear()
    healed = await fault.probe_healed(site)
    assert (healed.outcome, healed.detail) == ("took_effect", "the head has no monitor yet")


async def test_without_restart_it_stays_gone() -> None:
    cluster, fault = FakeCluster(), KillAutoscaler(restart=False)
    site = site_of(cluster, "head")
    site = await injected(fault, site)
    await fault.heal(site)
    healed = await fault.probe_healed(site)
    assert (healed.outcome, healed.detail) == ("no_effect", "left as it is: without an autoscaler")
    assert "monitor" not in [process.role for process in cluster.on_nodes["head"]]


async def test_a_head_that_died_of_it_shows_another_effect_than_asked() -> None:
    cluster, fault = FakeCluster(), KillAutoscaler()
    site = site_of(cluster, "head")
    site = await injected(fault, site)
    del cluster.members["head"]
    assert (await fault.probe(site)).outcome == "no_effect"


async def test_where_there_is_no_monitor_the_injection_fails() -> None:
    cluster = FakeCluster()
    await injected(KillAutoscaler(restart=False), site_of(cluster, "head"))
    with pytest.raises(InjectionError, match="the head has no monitor to end"):
        await injected(KillAutoscaler(), site_of(cluster, "head"))
