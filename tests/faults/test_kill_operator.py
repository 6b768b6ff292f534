"""`kill_operator`: proven by there being no operator that acts."""

from __future__ import annotations

from chaos.harm import EndedOperator
from faults.kill_operator import KillOperator
from tests.doubles import FakeCluster, site_of


async def test_there_is_none_while_it_lasts_and_one_again_afterwards() -> None:
    cluster, fault = FakeCluster(), KillOperator()
    site = site_of(cluster)
    assert (await fault.probe(site)).outcome == "unknown"
    await fault.inject(site)
    assert cluster.effects["run.i1"][3] == EndedOperator()
    assert (await fault.probe(site)).outcome == "took_effect"
    assert (await fault.probe_healed(site)).outcome == "took_effect"
    await fault.heal(site)
    assert (await fault.probe_healed(site)).detail == "an operator acts again"


async def test_of_two_that_overlap_the_first_is_healed_though_there_is_no_operator_yet() -> None:
    cluster, fault = FakeCluster(), KillOperator()
    site = site_of(cluster)
    await fault.inject(site)
    await cluster.fault_kuberay(EndedOperator(), effect_id="run.i2", lease_s=10.0)
    await fault.heal(site)
    assert (await fault.probe_healed(site)).outcome == "no_effect"
