"""`kill_driver`: the program beside the head, and nothing of Ray's."""

from __future__ import annotations

import pytest

from chaos.errors import NothingToHit
from faults.kill_driver import KillDriver
from tests.doubles import FakeCluster, injected, site_of


async def test_it_kills_the_program_beside_the_head() -> None:
    cluster, fault = FakeCluster(), KillDriver()
    site = await injected(fault, site_of(cluster, "driver"))
    assert cluster.named("kill_processes") == [("head", "109")]
    seen = await fault.probe(site)
    assert (seen.outcome, seen.detail) == ("took_effect", "python -m job: gone; 9 other processes on the node")


async def test_without_a_driver_the_injection_fails() -> None:
    cluster = FakeCluster()
    cluster.on_nodes["head"] = []
    with pytest.raises(NothingToHit, match="no such process on driver"):
        await injected(KillDriver(), site_of(cluster, "driver"))
