"""Shapes on this machine's kernel, without netem and with it where there is one: what was asked is what is measured.

Between two network namespaces, so that neither a cluster nor an engine is needed.
"""

from __future__ import annotations

import asyncio
import math
import socket
import threading
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from chaos.cloud.namespaces import run_in_network, socket_in
from chaos.cloud.network import NetworkShaper
from chaos.cloud.networks import connections_of
from chaos.cloud.packets import Wanted
from chaos.cloud.path_probe import measure
from chaos.cloud.path_sample import sample
from chaos.cluster import PathSample
from chaos.errors import InjectionError
from chaos.harm import NetworkShape
from chaos.kernel import examine_kernel
from tests.cloud.netns import FAR, NEAR, Pair, pair, why_no_rules, why_not

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())
chooses_packets = pytest.mark.skipif(bool(why_no_rules()), reason=why_no_rules())

ADDRESSES = {"w1": NEAR, "w2": FAR}
DEVIATIONS = 4.0


class Bench:
    """The near node of a pair is shaped; packets go either way."""

    def __init__(self, ends: Pair) -> None:
        self.ends = ends
        self.shaper = NetworkShaper()

    async def shape(self, *shapes: NetworkShape) -> None:
        """The near node obeys exactly these."""
        await self.shaper.shape(self.ends.near, Wanted.of(shapes, ADDRESSES))

    async def out(self, packets: int = 60, *, interval_ms: float = 5.0, port: int = 0) -> PathSample:
        """Packets the near node sends."""
        return await self._sample(self.ends.near, self.ends.far, FAR, packets, interval_ms, port)

    async def into(self, packets: int = 60, *, interval_ms: float = 5.0) -> PathSample:
        """Packets the near node receives."""
        return await self._sample(self.ends.far, self.ends.near, NEAR, packets, interval_ms, 0)

    async def _sample(
        self, source: int, destination: int, address: str, packets: int, interval_ms: float, port: int
    ) -> PathSample:
        return await asyncio.to_thread(
            lambda: sample(
                source, destination, address, packets=packets, interval_ms=interval_ms, patience_ms=500.0, port=port
            )
        )


@pytest_asyncio.fixture
async def bench() -> AsyncIterator[Bench]:
    """A pair at rest, and again at the end."""
    with pair() as ends:
        bench = Bench(ends)
        yield bench
        await bench.shape()
        found = await bench.shaper.look(ends.near)
        assert (found.ours, found.means) == ((), ())
        assert (await bench.out(20)).arrived == 20


def near(measured_ms: float | None, asked_ms: float) -> bool:
    """Within 10 % or 5 ms."""
    return measured_ms is not None and abs(measured_ms - asked_ms) <= max(0.1 * asked_ms, 5.0)


def by_chance(hits: int, of: int, percent: float) -> bool:
    """As many hits as chance explains."""
    share = percent / 100.0
    return abs(hits - of * share) <= DEVIATIONS * math.sqrt(of * share * (1.0 - share))


def broken(end: socket.socket) -> bool:
    """Whether a connection is found to have been ended by somebody else, now that it is used."""
    end.settimeout(2.0)
    try:
        end.send(b"1")
        return end.recv(1) == b""
    except ConnectionError:
        return True


async def test_a_delay_is_what_was_asked_and_the_other_way_is_free(bench: Bench) -> None:
    await bench.shape(NetworkShape(delay_ms=60.0, direction="out"))
    sent, received = await bench.out(), await bench.into()
    assert near(sent.delay_ms, 60.0), sent
    assert near(received.delay_ms, 0.0), received
    assert (sent.lost, sent.overtaken, sent.duplicates) == (0, 0, 0)
    assert set((await bench.shaper.look(bench.ends.near)).means) & {"netem", "nfqueue"}


async def test_what_is_received_can_be_late_too(bench: Bench) -> None:
    await bench.shape(NetworkShape(delay_ms=60.0, direction="in"))
    assert near((await bench.into()).delay_ms, 60.0)
    assert near((await bench.out()).delay_ms, 0.0)


async def test_jitter_spreads_and_keeps_the_order(bench: Bench) -> None:
    await bench.shape(NetworkShape(delay_ms=60.0, jitter_ms=20.0, direction="out"))
    # Further apart than the jitter is wide: order, then, does not make any packet later.
    seen = await bench.out(40, interval_ms=45.0)
    assert near(seen.delay_ms, 60.0) or abs((seen.delay_ms or 0.0) - 60.0) <= 10.0, seen
    assert seen.spread_ms is not None
    assert 20.0 <= seen.spread_ms <= 45.0
    dense = await bench.out(200, interval_ms=1.0)
    assert (dense.lost, dense.overtaken) == (0, 0)


@pytest.mark.parametrize("direction", ["out", "in"])
async def test_a_loss_is_what_was_asked(bench: Bench, direction: str) -> None:
    await bench.shape(NetworkShape(loss_percent=10.0, direction=direction))
    sent, received = await bench.out(1000, interval_ms=1.0), await bench.into(1000, interval_ms=1.0)
    hit, free = (sent, received) if direction == "out" else (received, sent)
    assert by_chance(hit.lost, hit.sent, 10.0), hit
    assert free.lost == 0


async def test_who_has_an_address_is_asked_and_answered_in_spite_of_it(bench: Bench) -> None:
    await bench.shape(NetworkShape(loss_percent=90.0, delay_ms=1.0))
    for _ in range(5):
        await run_in_network(bench.ends.near, "ip neigh flush dev eth0")
        await bench.out(3)
        known = await run_in_network(bench.ends.near, f"ip neigh show {FAR} dev eth0")
        assert not {"INCOMPLETE", "FAILED"} & set(known.split()), known


async def test_a_sample_ends_within_its_limit_however_slow_its_packets(bench: Bench) -> None:
    began_s = time.monotonic()
    ends = bench.ends
    seen = await asyncio.to_thread(
        lambda: sample(ends.near, ends.far, FAR, packets=1000, interval_ms=200.0, patience_ms=100.0, limit_s=1.0)
    )
    assert time.monotonic() - began_s < 3.0
    assert 0 < seen.sent == seen.arrived <= 5


async def test_doctor_finds_netem_where_it_is_used(bench: Bench) -> None:
    kernel = await asyncio.to_thread(examine_kernel)
    await bench.shape(NetworkShape(delay_ms=1.0))
    used = "netem" in (await bench.shaper.look(bench.ends.near)).means
    assert kernel.has("netem", "prio", "ifb", "ingress", "mirred") == used


async def test_duplication_corruption_and_reordering_are_what_was_asked(bench: Bench) -> None:
    await bench.shape(NetworkShape(duplicate_percent=10.0))
    for seen in (await bench.out(1000, interval_ms=1.0), await bench.into(1000, interval_ms=1.0)):
        assert by_chance(seen.duplicates, seen.arrived, 10.0), seen
    await bench.shape(NetworkShape(corrupt_percent=10.0))
    for seen in (await bench.out(1000, interval_ms=1.0), await bench.into(1000, interval_ms=1.0)):
        assert by_chance(seen.damaged + seen.lost, seen.sent, 10.0), seen
        assert seen.damaged > seen.lost
    await bench.shape(NetworkShape(reorder_percent=10.0, reorder_ms=20.0))
    for seen in (await bench.out(1000, interval_ms=1.0), await bench.into(1000, interval_ms=1.0)):
        assert by_chance(seen.overtaken, seen.arrived, 10.0), seen
        assert near(seen.delay_ms, 0.0)


@chooses_packets
async def test_shapes_add_up_and_healing_one_leaves_the_others(bench: Bench) -> None:
    late, far_away = NetworkShape(delay_ms=30.0), NetworkShape(delay_ms=50.0, peers=("w2",), direction="out")
    slow, lossy = NetworkShape(rate_mbit=20.0), NetworkShape(loss_percent=30.0, direction="in")
    await bench.shape(late, far_away, slow, lossy)
    assert near((await bench.out()).delay_ms, 80.0)
    received = await bench.into(500, interval_ms=2.0)
    assert near(received.delay_ms, 30.0)
    assert by_chance(received.lost, received.sent, 30.0)
    await bench.shape(far_away, slow)
    assert near((await bench.out()).delay_ms, 50.0)
    assert (await bench.into(200, interval_ms=2.0)).lost == 0
    await bench.shape(slow)
    rate = await asyncio.to_thread(
        lambda: measure(bench.ends.near, bench.ends.far, FAR, transfer_kib=64 + 1000).rate_mbit
    )
    assert rate == pytest.approx(20.0, rel=0.1)
    assert near((await bench.out()).delay_ms, 0.0)


async def test_delay_loss_and_rate_add_up(bench: Bench) -> None:
    slow = NetworkShape(rate_mbit=20.0)
    await bench.shape(NetworkShape(delay_ms=30.0), NetworkShape(delay_ms=20.0), NetworkShape(loss_percent=20.0), slow)
    for seen in (await bench.out(500, interval_ms=2.0), await bench.into(500, interval_ms=2.0)):
        assert near(seen.delay_ms, 50.0), seen
        assert by_chance(seen.lost, seen.sent, 20.0), seen
    await bench.shape(NetworkShape(delay_ms=20.0, direction="in"), slow)
    assert near((await bench.into()).delay_ms, 20.0)
    assert near((await bench.out()).delay_ms, 0.0)
    await bench.shape(slow)
    rate = await asyncio.to_thread(lambda: measure(bench.ends.near, bench.ends.far, FAR, transfer_kib=1064).rate_mbit)
    assert rate == pytest.approx(20.0, rel=0.1)


@chooses_packets
async def test_only_the_ports_that_were_asked_for_are_hit(bench: Bench) -> None:
    await bench.shape(NetworkShape(delay_ms=40.0, ports=(6379, 7000), direction="out"))
    assert near((await bench.out(port=7000)).delay_ms, 40.0)
    assert near((await bench.out(port=7001)).delay_ms, 0.0)
    await bench.shape(NetworkShape(cut=True, ports=(6379,), peers=("w2",)))
    assert (await bench.out(10, port=6379)).arrived == 0
    assert (await bench.out(10, port=6380)).arrived == 10


@chooses_packets
async def test_a_cut_of_one_way_leaves_the_other(bench: Bench) -> None:
    await bench.shape(NetworkShape(cut=True, peers=("w2",), direction="in"))
    assert (await bench.into(10)).arrived == 0
    assert (await bench.out(10)).arrived == 10


async def test_a_delay_does_not_throttle_what_fills_the_line(bench: Bench) -> None:
    await bench.shape(NetworkShape(delay_ms=50.0, direction="out"))
    assert await asyncio.to_thread(_bulk_mbit, bench.ends) > 60.0


def _bulk_mbit(ends: Pair) -> float:
    """Megabits a second of a connection that the kernel lets grow as it will, in its third second."""
    with socket_in(ends.far, socket.SOCK_STREAM) as listener, socket_in(ends.near, socket.SOCK_STREAM) as client:
        listener.bind((FAR, 0))
        listener.listen(1)
        client.connect(listener.getsockname())
        connection, _ = listener.accept()
        began_s = time.monotonic()
        received = [0, 0, 0, 0]

        def send() -> None:
            while time.monotonic() < began_s + 3.5:
                client.send(bytes(2**18))

        sender = threading.Thread(target=send)
        sender.start()
        with connection:
            while (now_s := time.monotonic() - began_s) < 3.0:
                received[int(now_s)] += len(connection.recv(2**20))
            while sender.is_alive():
                connection.recv(2**20)
        return received[2] * 8 / 1e6


@chooses_packets
async def test_connections_are_seen_and_end_on_both_sides(bench: Bench) -> None:
    with (
        socket_in(bench.ends.far, socket.SOCK_STREAM) as listener,
        socket_in(bench.ends.near, socket.SOCK_STREAM) as client,
    ):
        listener.bind((FAR, 0))
        listener.listen(1)
        client.connect(listener.getsockname())
        connection, _ = listener.accept()
        with connection:
            seen = connections_of(bench.ends.near, ADDRESSES)
            assert [(item.peer, item.peer_port) for item in seen] == [("w2", listener.getsockname()[1])]
            await bench.shape(NetworkShape(reset=True, peers=("w2",)))
            assert broken(client)
            assert connections_of(bench.ends.near, ADDRESSES) == ()
            assert broken(connection)


@chooses_packets
async def test_without_its_process_nothing_is_late_and_nothing_is_lost(bench: Bench) -> None:
    await bench.shape(NetworkShape(delay_ms=60.0, peers=("w2",), direction="out"))
    bench.shaper.ended(bench.ends.near)
    for _ in range(200):
        if not (await bench.shaper.look(bench.ends.near)).handed_over:
            break
    seen = await bench.out()
    assert (seen.arrived, near(seen.delay_ms, 0.0)) == (60, True)


@chooses_packets
async def test_queues_and_rules_of_somebody_else_are_left(bench: Bench) -> None:
    await run_in_network(
        bench.ends.near, "tc qdisc add dev eth0 root handle 99: htb; iptables -A OUTPUT -d 192.0.2.1 -j DROP"
    )
    cut = NetworkShape(cut=True, peers=("w2",))
    await bench.shape(cut)
    with pytest.raises(InjectionError, match="htb"):
        await bench.shape(NetworkShape(rate_mbit=1.0), cut)
    assert (await bench.out(5)).arrived == 0, "what was in force stays in force"
    await bench.shape()
    left = await run_in_network(bench.ends.near, "tc qdisc show dev eth0; iptables -S OUTPUT")
    assert "htb 99:" in left
    assert "-A OUTPUT -d 192.0.2.1/32 -j DROP" in left
