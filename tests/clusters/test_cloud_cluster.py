"""What clusters on a Cloud share: leaving one at once, and starting anew when a port was taken."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NoReturn

import pytest
from aiohttp.test_utils import TestServer

from chaos.cloud.client import CloudClient
from chaos.cloud.driver import NodeLaunch
from chaos.cloud.server import application, free_ports
from chaos.cluster_spec import ClusterSpec, NodeType
from chaos.clusters.cloud_cluster import PortTaken
from chaos.clusters.local import LocalCluster
from chaos.errors import ClusterError
from chaos.finish import Departure
from chaos.harm import FrozenNode, LaunchFault
from tests.cloud.fake_driver import Sky

TOKEN = "s3cret"


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalCluster:
    """A cluster that was never started, with the directory of one."""
    monkeypatch.setenv("RAYCHAOS_HOME", str(tmp_path))
    cluster = LocalCluster("mine", ClusterSpec())
    cluster.directory.state.mkdir(parents=True)
    return cluster


@pytest.fixture
async def sky(cluster: LocalCluster) -> AsyncIterator[Sky]:
    """The cluster's Cloud, with a head and two effects in force, behind a server the cluster is connected to."""
    sky = Sky(cluster.directory.state)
    head = await sky.cloud.start_head()

    async def launch_head() -> NodeLaunch:
        return NodeLaunch(argv=("ray",), environment={})

    app = application(sky.cloud, token=TOKEN, end=asyncio.Event(), head=lambda: head, launch_head=launch_head)
    server = TestServer(app)
    await server.start_server()
    cluster._access = (str(server.make_url("")).rstrip("/"), TOKEN)
    await sky.cloud.apply("pause", FrozenNode(), lease_s=600.0, node="head")
    await sky.cloud.apply("launch", LaunchFault(delay_s=1.0), lease_s=600.0)
    yield sky
    await server.close()
    await sky.cloud.tear_down()


async def test_leaving_a_kept_cluster_at_once_undoes_all_harm(cluster: LocalCluster, sky: Sky) -> None:
    sky.cloud.keep()
    assert await cluster.abandon(limit_s=5.0) == "harm on cluster 'mine' is undone, the cluster stays"
    assert sky.cloud.effects() == []
    assert not sky.driver.frozen


async def test_a_cluster_that_is_not_kept_ends_by_itself(cluster: LocalCluster, sky: Sky) -> None:
    assert await cluster.abandon(limit_s=5.0) == "cluster 'mine' ends by itself within half a minute"
    assert sky.cloud.effects() == []


async def test_leaving_a_cluster_that_was_not_started_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYCHAOS_HOME", str(tmp_path))
    cluster = LocalCluster("early", ClusterSpec())
    assert await cluster.abandon(limit_s=5.0) == "cluster 'early' was not started; nothing of it runs"
    cluster.directory.root.mkdir(parents=True)
    cluster.directory.config.touch()  # from here on a Cloud may run, on its first lease
    assert await cluster.abandon(limit_s=5.0) == "cluster 'early' ends by itself within half a minute"


async def test_a_cloud_that_hangs_holds_nobody_up(cluster: LocalCluster, sky: Sky) -> None:
    sky.cloud.keep()
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        cluster._access = (f"http://127.0.0.1:{deaf.getsockname()[1]}", TOKEN)
        began_s = time.monotonic()
        said = await cluster.abandon(limit_s=0.3)
    assert time.monotonic() - began_s < 2.0
    assert said.startswith("harm on cluster 'mine' ends with its leases, or now by `raychaos heal`: the Cloud at")
    assert len(sky.cloud.effects()) == 2


async def test_a_departure_that_fails_or_takes_too_long_says_what_is_left_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("chaos.finish.LEAVE_LIMIT_S", 0.1)
    departure = Departure()
    assert await departure.leave() == "what was started ends by itself within half a minute"

    async def fails() -> NoReturn:
        raise ClusterError("no answer")

    async def hangs() -> NoReturn:
        await asyncio.Event().wait()
        raise AssertionError

    for act, why in ((fails, "no answer"), (hangs, "TimeoutError()")):
        departure.prepare(act)
        assert await departure.leave() == f"harm in force ends with its leases, or now by `raychaos heal` ({why})"


# -- ports ----------------------------------------------------------------------------------------------------


class Unlucky(LocalCluster):
    """A cluster whose first starts fail, for want of a port or for good."""

    def __init__(self, name: str, failures: list[ClusterError]) -> None:
        super().__init__(name, ClusterSpec())
        self.failures = failures
        self.starts = 0

    async def _launch_cloud(self) -> None:
        self.starts += 1
        if self.failures:
            raise self.failures.pop(0)

    async def _connect(self) -> None:
        """There is nothing to connect to."""

    async def _until_healthy(self) -> None:
        """It is."""


@pytest.mark.parametrize(
    ("failures", "starts", "error"),
    [
        ([], 1, None),
        ([PortTaken("6379")], 2, None),
        ([PortTaken("6379"), PortTaken("6380")], 3, None),
        ([PortTaken("6379"), PortTaken("6380"), PortTaken("6381")], 3, "6381"),
        ([ClusterError("no room")], 1, "no room"),
        ([PortTaken("6379"), ClusterError("no room")], 2, "no room"),
    ],
)
async def test_a_cluster_that_lost_a_port_is_started_anew_a_few_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failures: list[ClusterError], starts: int, error: str | None
) -> None:
    monkeypatch.setenv("RAYCHAOS_HOME", str(tmp_path))
    cluster = Unlucky("unlucky", list(failures))
    if error is None:
        await cluster.start()
        await cluster.release()
    else:
        with pytest.raises(ClusterError, match=error):
            await cluster.start()
    assert cluster.starts == starts


def test_a_head_that_died_for_want_of_a_port_is_told_from_one_that_died_of_something_else(
    cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = cluster.directory.nodes / "head" / "ray-start.log"
    log.parent.mkdir(parents=True)
    log.write_text("Failed to start GCS\n")
    monkeypatch.setattr(cluster, "_ray_logs", lambda: {"head": [log]})
    (port,) = free_ports(1)
    cluster.directory.ports.write_text(json.dumps({"gcs": port}))
    assert not cluster._port_taken()
    with socket.create_server(("127.0.0.1", port)):
        assert cluster._port_taken()
    # Whoever took it may have let go of it.
    log.write_text("Failed to bind to 127.0.0.1:8265 because it's already occupied.\n")
    assert cluster._port_taken()


async def test_programs_run_on_the_head_or_on_the_oldest_node_of_the_type_meant_for_them(
    cluster: LocalCluster, sky: Sky
) -> None:
    assert cluster._access is not None
    cluster._client = CloudClient(*cluster._access)
    try:
        assert (await cluster._driver_instance())["instance"] == "head"
        cluster.spec = ClusterSpec(
            node_types={"cpu": NodeType(resources={"CPU": 1.0}, min_workers=1, max_workers=1)},
            driver_on="cpu",
            max_workers=1,
        )
        with pytest.raises(ClusterError, match=r"no node of type 'cpu' runs.*cluster\.driver_on"):
            await cluster._driver_instance()
        await sky.cloud.launch("gpu", 1, {})
        first, _ = await sky.cloud.launch("cpu", 2, {})
        while any(item.state == "pending" for item in sky.cloud.instances()):
            await asyncio.sleep(0)
        found = await cluster._driver_instance()
        assert (found["instance"], found["node_type"]) == (first.instance, "cpu")
        assert found["address"]
    finally:
        await cluster._client.close()
