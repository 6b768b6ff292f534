"""`fail_rpcs`: proven by failures in Ray's logs of a node whose raylet carries the fault."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from chaos.cluster import RpcFaultsSeen
from chaos.events import NodeStarted
from faults.fail_rpcs import FailRpcs
from tests.doubles import FakeCluster, injected, site_of

FAULT = FailRpcs(methods=("A.b",), request_failure_percent=10, response_failure_percent=20)


def started(node: str, at_s: float = 11.0) -> tuple[float, NodeStarted]:
    return (at_s, NodeStarted(node=node, node_type="gpu", instance=f"i-{node}"))


async def test_the_cloud_is_told_methods_and_percents() -> None:
    cluster = FakeCluster()
    await injected(FAULT, site_of(cluster))
    told = cluster.rpc_faults["run.i1"]
    assert (told.methods, told.request_failure_percent, told.response_failure_percent) == (("A.b",), 10, 20)
    assert told.max_delay_ms == 0


@pytest.mark.parametrize(
    ("seen", "outcome", "says"),
    [
        (RpcFaultsSeen(failing=("A.b",), failed=3), "took_effect", "1 node(s) carry the fault, 3 calls failed"),
        (RpcFaultsSeen(failing=("A.b",)), "unknown", "0 calls failed"),
        (RpcFaultsSeen(failing=("*",), failed=3), "unknown", "no node has started that carries"),
        (None, "unknown", "no node has started that carries"),
    ],
)
async def test_failures_on_a_node_that_carries_it_are_the_proof(
    seen: RpcFaultsSeen | None, outcome: str, says: str
) -> None:
    cluster = FakeCluster()
    if seen is not None:
        cluster.rpcs_seen = {"w1": seen}
    cluster.rpcs_seen["w2"] = RpcFaultsSeen(failing=("A.b",), failed=9)  # started before the injection
    found = await FAULT.probe(site_of(cluster, events=[started("w2", 9.0), started("w1")]))
    assert (found.outcome, says in found.detail) == (outcome, True)


@pytest.mark.parametrize(
    "own", [{}, {"request_failure_percent": 60, "response_failure_percent": 50}, {"methods": ["a=b"]}]
)
def test_what_ray_would_not_take_is_refused(own: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        FailRpcs.model_validate(own)
