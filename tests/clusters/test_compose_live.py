"""A real cluster of containers: its networks are shaped and measured, its Cloud crashes, and nothing stays."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from chaos.cloud.containers import CLUSTER_LABEL, containers_of, engine
from chaos.cluster import PathSample
from chaos.cluster_spec import ClusterSpec, NodeType
from chaos.clusters.compose import ComposeCluster
from chaos.clusters.compose_leftovers import orphans, sweep
from chaos.errors import ClusterError, InjectionError
from chaos.harm import NetworkShape

pytestmark = [pytest.mark.live, pytest.mark.compose, pytest.mark.asyncio(loop_scope="module")]

NAME = "compose-test"
LEASE_S = 30.0
TOLERANCE = 0.15


def traces_of(name: str) -> list[str]:
    """Containers, networks and volumes of a cluster that are on the engine."""
    label = f"{CLUSTER_LABEL}={name}"
    with contextlib.closing(engine()) as client:
        found = [item.name for item in containers_of(client, label)]
        found += [item.name for item in client.networks.list(filters={"label": label})]
        return found + [item.name for item in client.volumes.list(filters={"label": label})]


@pytest.fixture
def client() -> Iterator[Any]:
    """A client of the engine."""
    with contextlib.closing(engine()) as client:
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster() -> AsyncIterator[ComposeCluster]:
    """A cluster with one worker."""
    node_type = NodeType(resources={"CPU": 2.0, "GPU": 1.0}, min_workers=1, max_workers=1)
    cluster = ComposeCluster(NAME, ClusterSpec(kind="compose", node_types={"gpu": node_type}))
    await cluster.start()
    yield cluster
    await cluster.stop()
    assert traces_of(NAME) == []
    assert not cluster.directory.root.exists()


async def _sample(cluster: ComposeCluster, source: str, destination: str) -> PathSample:
    """Twenty packets one way."""
    return await cluster.sample_path(source, destination, packets=20, interval_ms=5.0, patience_ms=400.0)


async def _delay_ms(cluster: ComposeCluster, source: str, destination: str) -> float:
    """The median of twenty packets one way."""
    delay_ms = (await _sample(cluster, source, destination)).delay_ms
    assert delay_ms is not None
    return delay_ms


@pytest.mark.parametrize("rate_mbit", [2.0, 20.0])
async def test_a_rate_holds_both_ways(cluster: ComposeCluster, rate_mbit: float) -> None:
    await cluster.shape_network("w1", NetworkShape(rate_mbit=rate_mbit), effect_id="rate", lease_s=LEASE_S)
    transfer_kib = 64 + int(rate_mbit * 1000 / 8 * 0.4)
    for source, destination in (("w1", "head"), ("head", "w1")):
        path = await cluster.measure_path(source, destination, transfer_kib=transfer_kib)
        assert path.rate_mbit == pytest.approx(rate_mbit, rel=TOLERANCE), (source, destination)
    assert any("tbf" in thing for thing in await cluster.leftovers())
    await cluster.undo("rate")
    path = await cluster.measure_path("w1", "head", transfer_kib=1024)
    assert path.rate_mbit is not None
    assert path.rate_mbit > rate_mbit * 3
    assert await cluster.leftovers() == ()


async def test_a_cut_is_seen_from_both_sides_and_undone(cluster: ComposeCluster) -> None:
    await cluster.shape_network("w1", NetworkShape(cut=True, peers=("head",)), effect_id="cut", lease_s=LEASE_S)
    began_s = time.monotonic()
    assert not (await cluster.measure_path("w1", "head", transfer_kib=1)).reachable
    assert not (await cluster.measure_path("head", "w1", transfer_kib=1)).reachable
    assert time.monotonic() - began_s < 5.0
    await cluster.undo("cut")
    assert (await cluster.measure_path("w1", "head", transfer_kib=1)).reachable


async def test_harm_to_packets_adds_up_and_heals_apart(cluster: ComposeCluster) -> None:
    late, far_away = NetworkShape(delay_ms=40.0, direction="out"), NetworkShape(delay_ms=30.0, peers=("head",))
    await cluster.shape_network("w1", late, effect_id="late", lease_s=LEASE_S)
    await cluster.shape_network("w1", far_away, effect_id="far", lease_s=LEASE_S)
    assert await _delay_ms(cluster, "w1", "head") == pytest.approx(70.0, abs=10.0)
    assert await _delay_ms(cluster, "head", "w1") == pytest.approx(30.0, abs=10.0)
    assert await _delay_ms(cluster, "w1", "cloud") == pytest.approx(40.0, abs=10.0)
    assert set((await cluster.view_network("w1")).means) & {"netem", "nfqueue"}
    assert any("RAYCHAOS-OUT" in thing for thing in await cluster.leftovers())
    await cluster.undo("late")
    assert await _delay_ms(cluster, "w1", "head") == pytest.approx(30.0, abs=10.0)
    await cluster.undo("far")
    assert await _delay_ms(cluster, "w1", "head") < 10.0
    assert await cluster.leftovers() == ()


async def test_a_node_is_cut_off_from_the_cloud_alone(cluster: ComposeCluster) -> None:
    cut = NetworkShape(cut=True, peers=("cloud",), direction="out")
    await cluster.shape_network("w1", cut, effect_id="cloud", lease_s=LEASE_S)
    assert (await _sample(cluster, "w1", "cloud")).arrived == 0
    assert (await _sample(cluster, "cloud", "w1")).lost == 0
    assert (await _sample(cluster, "w1", "head")).lost == 0
    await cluster.undo("cloud")
    assert (await _sample(cluster, "w1", "cloud")).lost == 0


async def test_a_cloud_that_comes_back_restores_what_its_process_did(cluster: ComposeCluster) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to crash the Cloud")
    shape = NetworkShape(delay_ms=80.0, peers=("head",), direction="out")
    await cluster.shape_network("w1", shape, effect_id="restored", lease_s=LEASE_S)
    os.kill(cluster.address()["pid"], signal.SIGKILL)
    deadline_s = time.monotonic() + 20.0
    delay_ms = 0.0
    while time.monotonic() < deadline_s and delay_ms < 40.0:
        await asyncio.sleep(0.3)
        with contextlib.suppress(ClusterError):
            delay_ms = await _delay_ms(cluster, "w1", "head")
    assert delay_ms == pytest.approx(80.0, abs=15.0)
    await cluster.undo("restored")
    assert await cluster.leftovers() == ()


async def test_a_paused_node_is_frozen_and_still_measurable(cluster: ComposeCluster) -> None:
    await cluster.pause_node("w1", effect_id="pause", lease_s=LEASE_S)
    vitals = await cluster.vitals("w1")
    assert vitals is not None
    assert vitals.stopped == vitals.processes > 0
    assert (await cluster.measure_path("w1", "head", transfer_kib=1)).reachable
    await cluster.undo("pause")
    vitals = await cluster.vitals("w1")
    assert vitals is not None
    assert vitals.stopped == 0


async def test_a_queue_of_somebody_else_is_refused(cluster: ComposeCluster, client: Any) -> None:
    worker = next(item for item in await _instances(cluster) if item["node"] == "w1")
    pid = client.api.inspect_container(worker["handle"])["State"]["Pid"]
    enter = ["nsenter", f"--net=/proc/{pid}/ns/net", "tc", "qdisc"]
    if os.geteuid() != 0:
        pytest.skip("needs root to play somebody else")
    await asyncio.to_thread(subprocess.run, [*enter, "add", "dev", "eth0", "root", "handle", "99:", "htb"], check=True)
    try:
        with pytest.raises(InjectionError, match="htb"):
            await cluster.shape_network("w1", NetworkShape(rate_mbit=1.0), effect_id="no", lease_s=LEASE_S)
        await cluster.undo("no")
    finally:
        await asyncio.to_thread(subprocess.run, [*enter, "del", "dev", "eth0", "root"], check=True)


async def test_leases_hold_when_the_cloud_crashes(cluster: ComposeCluster) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to crash the Cloud")
    await cluster.shape_network("w1", NetworkShape(cut=True, peers=("head",)), effect_id="crash", lease_s=4.0)
    os.kill(cluster.address()["pid"], signal.SIGKILL)
    deadline_s = time.monotonic() + 20.0
    while time.monotonic() < deadline_s:
        await asyncio.sleep(0.3)
        try:
            if not await cluster.leftovers():
                break
        except ClusterError:
            continue
    assert await cluster.leftovers() == ()
    assert (await cluster.measure_path("w1", "head", transfer_kib=1)).reachable


async def test_a_program_runs_on_the_head(cluster: ComposeCluster) -> None:
    process = await cluster.execute("platform", (), environment={})
    assert "Linux" in "".join([line async for line in process.lines()])
    assert await process.wait() == 0


async def test_a_program_that_ignores_its_input_is_ended(cluster: ComposeCluster, client: Any) -> None:
    process = await cluster.execute("http.server", ("9000",), environment={})

    def serving() -> bool:
        rows = client.containers.get(f"{NAME}-head-1").top()["Processes"]
        return any("http.server" in " ".join(row) for row in rows)

    deadline_s = time.monotonic() + 20.0
    while not serving():
        assert time.monotonic() < deadline_s, "the program never ran"
        await asyncio.sleep(0.05)
    await process.stop()
    assert not serving()


async def test_the_name_is_taken(cluster: ComposeCluster) -> None:
    with pytest.raises(ClusterError, match="there is a cluster named"):
        await ComposeCluster(NAME, cluster.spec).start()


async def test_a_foreign_project_is_left_alone(cluster: ComposeCluster, client: Any) -> None:
    labels = {"com.docker.compose.project": "compose-foreign"}
    image = client.containers.get(f"{NAME}-cloud-1").image
    foreign = client.containers.create(image, ["true"], labels=labels, network_mode="none")
    try:
        with pytest.raises(ClusterError, match="raychaos did not make"):
            await ComposeCluster("compose-foreign", ClusterSpec(kind="compose")).start()
        assert foreign.id in [item.id for item in client.containers.list(all=True)]
    finally:
        foreign.remove(force=True)


async def test_remains_of_a_vanished_directory_are_orphans_and_swept(
    cluster: ComposeCluster, client: Any, tmp_path: Path
) -> None:
    labels = {
        "raychaos.cluster": "compose-remains",
        "raychaos.mark": "compose-remains#1",
        "raychaos.directory": str(tmp_path / "gone"),
    }
    image = client.containers.get(f"{NAME}-cloud-1").image
    client.networks.create("compose-remains_default", labels=labels)
    client.containers.create(image, ["true"], name="compose-remains-1", labels=labels, network_mode="none")
    assert "compose-remains#1" in orphans()
    assert sorted(await sweep("compose-remains#1")) == [
        "container compose-remains-1",
        "network compose-remains_default",
    ]
    assert "compose-remains#1" not in orphans()


async def _instances(cluster: ComposeCluster) -> list[dict[str, str]]:
    return await cluster._cloud.instances()
