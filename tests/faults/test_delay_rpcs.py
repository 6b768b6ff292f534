"""`delay_rpcs`: proven by Ray saying that it delays, on a node whose raylet carries the fault."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from chaos.cluster import RpcFaultsSeen
from faults.delay_rpcs import DelayRpcs
from tests.doubles import FakeCluster, injected, site_of
from tests.faults.test_fail_rpcs import started


async def test_the_cloud_is_told_methods_and_delays() -> None:
    cluster = FakeCluster()
    await injected(DelayRpcs(methods=("A.b", "C"), min_delay_ms=2, max_delay_ms=5), site_of(cluster))
    told = cluster.rpc_faults["run.i1"]
    assert (told.methods, told.min_delay_ms, told.max_delay_ms) == (("A.b", "C"), 2, 5)
    assert told.request_failure_percent == told.response_failure_percent == 0


@pytest.mark.parametrize(
    ("methods", "seen", "outcome"),
    [
        (("A.b",), RpcFaultsSeen(delaying=("A.b",), announced=True, delayed=1), "took_effect"),
        (("A.b",), RpcFaultsSeen(delaying=("A.b",), announced=True), "unknown"),
        (("*",), RpcFaultsSeen(delaying=("*",), announced=True), "took_effect"),
        (("*",), RpcFaultsSeen(delaying=("*",)), "unknown"),
        (("*",), RpcFaultsSeen(announced=True), "unknown"),
    ],
)
async def test_what_ray_says_there_is_the_proof(methods: tuple[str, ...], seen: RpcFaultsSeen, outcome: str) -> None:
    cluster = FakeCluster()
    cluster.rpcs_seen = {"w1": seen}
    fault = DelayRpcs(methods=methods, max_delay_ms=5)
    assert (await fault.probe(site_of(cluster, events=[started("w1")]))).outcome == outcome


def test_a_least_delay_above_the_most_is_refused() -> None:
    with pytest.raises(ValidationError, match="min_delay_ms 6 is above max_delay_ms 5"):
        DelayRpcs(min_delay_ms=6, max_delay_ms=5)
