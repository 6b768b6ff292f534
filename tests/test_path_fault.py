"""Who the peers of a victim are, and along which paths a fault is measured."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from chaos.harm import Direction
from chaos.path_fault import Peers, is_peer, means_of
from faults.delay_network import DelayNetwork
from tests.doubles import FakeCluster, node_named, site_of


@pytest.mark.parametrize(
    ("peers", "expected"),
    [
        ("any", {"head", "w1", "w3", "cloud"}),
        ("all", {"head", "w1", "w3"}),
        ("head", {"head"}),
        ("workers", {"w1", "w3"}),
        ("cloud", {"cloud"}),
        (("w3", "w9", "cloud"), {"w3", "cloud"}),
    ],
)
def test_who_is_a_peer_of_w2(peers: Peers, expected: set[str]) -> None:
    assert {node for node in ("head", "w1", "w2", "w3", "cloud") if is_peer(node, "w2", peers)} == expected


@pytest.mark.parametrize("peers", ["worker", ["w0"], ["driver"], []])
def test_a_peer_that_cannot_be_is_refused(peers: object) -> None:
    with pytest.raises(ValidationError):
        DelayNetwork.model_validate({"delay_ms": 5, "peers": peers})


def test_ports_are_a_set_within_what_netfilter_takes() -> None:
    assert DelayNetwork.model_validate({"delay_ms": 5, "ports": [80, 6379, 80]}).ports == (80, 6379)
    for ports in ([0], [65536], list(range(1, 17))):
        with pytest.raises(ValidationError):
            DelayNetwork.model_validate({"delay_ms": 5, "ports": ports})


@pytest.mark.parametrize(
    ("peers", "direction", "expected"),
    [
        ("any", "out", (("w1", "head"),)),
        ("workers", "in", (("w2", "w1"),)),
        (("cloud",), "both", (("w1", "cloud"), ("cloud", "w1"))),
        (("w9",), "both", ()),
    ],
)
async def test_one_path_a_way_is_measured(
    peers: Peers, direction: Direction, expected: tuple[tuple[str, str], ...]
) -> None:
    fault = DelayNetwork(delay_ms=5.0, peers=peers, direction=direction)
    assert await fault.paths(site_of(FakeCluster(), "w1")) == expected


async def test_whom_it_hits_is_decided_at_the_injection() -> None:
    cluster = FakeCluster()
    await DelayNetwork(delay_ms=5.0, peers="workers", ports=(80,)).inject(site_of(cluster, "w1"))
    cluster.members["w4"] = node_named("w4")
    shape = cluster.effects["run.i1.w1"][2]
    assert shape is not None
    assert (shape.peers, shape.ports, shape.direction) == (("w2", "w3"), (80,), "out")


async def test_a_node_that_goes_while_it_is_measured_is_left_out() -> None:
    cluster = FakeCluster()
    site = site_of(cluster, "w1")

    def before(method: str) -> None:
        if method == "sample_path":
            cluster.members.pop("w2", None)

    cluster.before = before
    fault = DelayNetwork(delay_ms=5.0, peers="workers")
    assert await fault.sample_all(site, [("w1", "w2"), ("w1", "w3"), ("w9", "w1")]) != {}
    assert ("w1", "w2") not in await fault.sample_all(site, [("w1", "w2"), ("w1", "w3")])


async def test_the_means_are_told_where_there_are_any() -> None:
    cluster = FakeCluster()
    site = site_of(cluster, "w1")
    assert await means_of(site) == ""
    await DelayNetwork(delay_ms=5.0).inject(site)
    assert await means_of(site) == ", by fake"
