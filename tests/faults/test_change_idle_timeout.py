"""`change_idle_timeout`: proven by the autoscaler having read the edit."""

from __future__ import annotations

from faults.change_idle_timeout import ChangeIdleTimeout
from tests.doubles import FakeCluster, injected, site_of

FAULT = ChangeIdleTimeout(idle_timeout_s=2.0, node_type="gpu")


async def test_the_configuration_is_edited_and_read() -> None:
    cluster = FakeCluster()
    site = await injected(FAULT, site_of(cluster))
    assert (cluster.changes["run.i1"].node_type, cluster.changes["run.i1"].idle_timeout_s) == ("gpu", 2.0)
    assert (await FAULT.probe(site)).outcome == "took_effect"


async def test_an_edit_nobody_has_read_is_no_proof() -> None:
    cluster = FakeCluster()
    cluster.harmless = True
    assert (await FAULT.probe(await injected(FAULT, site_of(cluster)))).outcome == "unknown"
