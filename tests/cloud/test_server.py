"""The Cloud's HTTP API: who may ask, what is refused and how, and the stream of events; and its client."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer

from chaos.cloud.client import CloudClient
from chaos.cloud.config import TOKEN_HEADER
from chaos.cloud.driver import NodeLaunch
from chaos.cloud.server import application, free_ports, in_use
from chaos.cluster import Node
from chaos.errors import ClusterError, InjectionError
from chaos.events import NodeLaunching, NodeStarted
from chaos.harm import ConfigChange, FrozenNode, LaunchFault, NetworkShape
from tests.cloud.fake_driver import FakeNetworkDriver, Sky

TOKEN = "s3cret"
LIMIT_S = 5.0


class Office:
    """A Cloud behind a server, and the event that its owner ended it."""

    def __init__(self, sky: Sky, server: TestServer, ended: asyncio.Event) -> None:
        self.sky = sky
        self.server = server
        self.ended = ended

    @property
    def url(self) -> str:
        """Where it listens."""
        return str(self.server.make_url("")).rstrip("/")


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    sky = Sky(tmp_path, driver=FakeNetworkDriver())
    ended = asyncio.Event()
    head = await sky.cloud.start_head()

    async def launch_head() -> NodeLaunch:
        return NodeLaunch(argv=("ray", "start", "--head"), environment={})

    app = application(sky.cloud, token=TOKEN, end=ended, head=lambda: head, launch_head=launch_head)
    server = TestServer(app)
    await server.start_server()
    yield Office(sky, server, ended)
    await server.close()
    await sky.cloud.tear_down()


@pytest.fixture
async def api(office: Office) -> AsyncIterator[TestClient]:  # type: ignore[type-arg]
    async with TestClient(office.server, headers={TOKEN_HEADER: f"Bearer {TOKEN}"}) as client:
        yield client


@pytest.fixture
async def client(office: Office) -> AsyncIterator[CloudClient]:
    client = CloudClient(office.url, TOKEN, limit_s=LIMIT_S)
    yield client
    await client.close()


async def until_running(office: Office, count: int) -> None:
    async def look() -> None:
        while sum(item.state == "running" for item in office.sky.cloud.instances()) < count:
            await asyncio.sleep(0)

    await asyncio.wait_for(look(), LIMIT_S)


ROUTES = [
    ("GET", "/head"), ("GET", "/harm"), ("GET", "/instances"),
    ("GET", "/provider/instances"), ("POST", "/provider/instances"),
    ("POST", "/provider/instances/i-00001/terminate"), ("POST", "/provider/instances/i-00001/tags"),
    ("POST", "/nodes/w1/kill"),
    ("GET", "/nodes/w1/processes"), ("POST", "/nodes/w1/processes/kill"), ("POST", "/nodes/w1/restart"),
    ("POST", "/head/restart"), ("GET", "/configuration"), ("GET", "/nodes/w1/rpc_faults"),
    ("GET", "/effects"), ("PUT", "/effects/e"), ("DELETE", "/effects/e"), ("DELETE", "/effects"), ("POST", "/path"),
    ("POST", "/owner"), ("POST", "/renumber"), ("GET", "/events"), ("POST", "/down"), ("GET", "/no-such-thing"),
]  # fmt: skip


@pytest.mark.parametrize("header", [None, "", TOKEN, "Bearer wrong", f"bearer {TOKEN}"])
async def test_without_the_token_nothing_is_answered_but_health(office: Office, header: str | None) -> None:
    headers = {} if header is None else {TOKEN_HEADER: header}
    async with aiohttp.ClientSession(headers=headers) as session:
        for method, path in ROUTES:
            async with session.request(method, office.url + path, json={}) as answer:
                assert (answer.status, await answer.json()) == (401, {"error": "missing or wrong token"}), path
        async with session.get(office.url + "/health") as answer:
            assert (answer.status, (await answer.json())["head"]) == (200, True)
    assert not office.ended.is_set()


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/provider/instances", b""),
        ("POST", "/provider/instances", b"{"),
        ("POST", "/provider/instances", b"[]"),
        ("POST", "/provider/instances", b"\xff\xfe"),
        ("POST", "/provider/instances", b'{"node_type": "gpu"}'),
        ("POST", "/provider/instances", b'{"node_type": "gpu", "count": 0}'),
        ("POST", "/provider/instances", b'{"node_type": "gpu", "count": 1001}'),
        ("POST", "/provider/instances", b'{"node_type": "gpu", "count": 1, "image": "evil"}'),
        ("POST", "/provider/instances/i-00001/tags", b'{"tags": {"a": {}}}'),
        ("POST", "/nodes/head/processes/kill", b'{"processes": {}}'),
        ("POST", "/nodes/head/processes/kill", b'{"processes": {"x": 1}}'),
        ("PUT", "/effects/e", b"{}"),
        ("PUT", "/effects/e", b'{"lease_s": 0, "harm": {"kind": "frozen_node"}, "node": "head"}'),
        ("PUT", "/effects/e", b'{"lease_s": 5, "node": "head"}'),
        ("PUT", "/effects/e", b'{"lease_s": 5, "node": "head", "harm": {"kind": "unheard_of"}}'),
        ("PUT", "/effects/e", b'{"lease_s": 5, "harm": {"kind": "launch_fault", "delay_s": -1}}'),
        ("PUT", "/effects/e", b'{"lease_s": 5, "node": "head", "harm": {"kind": "network_shape", "rate_mbit": 0}}'),
        ("POST", "/path", b'{"source": "head", "destination": "w1", "transfer_kib": 99999999}'),
        ("POST", "/owner", b'{"ttl_s": 0}'),
        ("GET", "/events?after=minus", b""),
        ("GET", "/events?after=-1", b""),
    ],
)
async def test_what_cannot_be_meant_is_answered_400_and_does_nothing(
    office: Office,
    api: TestClient,  # type: ignore[type-arg]
    method: str,
    path: str,
    body: bytes,
) -> None:
    answer = await api.request(method, path, data=body)
    assert answer.status == 400
    assert (await answer.json())["error"]
    assert len(office.sky.cloud.instances()) == 1
    assert office.sky.cloud.effects() == []


async def test_launches_are_refused_with_503(office: Office, api: TestClient) -> None:  # type: ignore[type-arg]
    await office.sky.cloud.apply("e", LaunchFault(error="InsufficientInstanceCapacity"), lease_s=60.0)
    answer = await api.post("/provider/instances", json={"node_type": "gpu", "count": 1})
    assert (answer.status, await answer.json()) == (503, {"error": "InsufficientInstanceCapacity"})
    answer = await api.post("/provider/instances", json={"node_type": "tpu", "count": 1})
    assert answer.status == 503
    assert "'tpu' is none of this cluster's" in (await answer.json())["error"]


async def test_harm_that_cannot_be_is_a_conflict(api: TestClient) -> None:  # type: ignore[type-arg]
    pause = {"lease_s": 5, "node": "head", "harm": {"kind": "frozen_node"}}
    assert (await api.put("/effects/e", json=pause)).status == 200
    for answer in (
        await api.put("/effects/e", json=pause),
        await api.put("/effects/f", json={**pause, "node": "w9"}),
        await api.post("/nodes/w9/kill"),
        await api.post("/path", json={"source": "w9", "destination": "head", "transfer_kib": 1}),
    ):
        assert answer.status == 409
        assert (await answer.json())["error"]
    assert (await api.delete("/effects/e")).status == 200
    assert (await api.delete("/effects/never-was")).status == 200


async def test_events_are_streamed_as_they_happen(office: Office, api: TestClient) -> None:  # type: ignore[type-arg]
    answer = await api.get("/events?after=1")
    assert answer.content_type == "application/x-ndjson"
    reading = asyncio.ensure_future(answer.content.readline())
    await office.sky.cloud.launch("gpu", 1, {"ray-launch-request": "r"})
    line = json.loads(await asyncio.wait_for(reading, LIMIT_S))
    assert line["event"] == {"kind": "node.launching", "node": "w1", "node_type": "gpu", "request": "r"}
    assert json.loads(await asyncio.wait_for(answer.content.readline(), LIMIT_S))["event"]["kind"] == "node.started"
    answer.close()


async def test_the_head_is_told_how_to_start(api: TestClient) -> None:  # type: ignore[type-arg]
    assert (await (await api.get("/head")).json())["argv"] == ["ray", "start", "--head"]


# -- the client -----------------------------------------------------------------------------------------------


async def test_the_client_says_and_hears_everything(office: Office, client: CloudClient) -> None:
    assert await client.healthy()
    await office.sky.cloud.launch("gpu", 2, {})
    await until_running(office, 3)
    assert [(node.node, node.state) for node in await client.nodes()] == [
        ("head", "running"), ("w1", "running"), ("w2", "running"),
    ]  # fmt: skip
    await client.apply(FrozenNode(), node="w1", effect_id="run.i1.w1", lease_s=60.0)
    await client.apply(NetworkShape(rate_mbit=2.0), node="w1", effect_id="run.i2.w1", lease_s=60.0)
    await client.apply(LaunchFault(delay_s=1.0), effect_id="run.i3", lease_s=60.0)
    assert await client.effects() == ("run.i1.w1", "run.i2.w1", "run.i3")
    paused = (await client.nodes())[1]
    assert isinstance(paused, Node)
    assert (paused.state, paused.instance) == ("paused", "i-00001")
    assert (await client.measure_path("w1", "head", transfer_kib=3)).rate_mbit == 3.0
    sampled = await client.sample_path("w1", "cloud", packets=9, interval_ms=1.0, patience_ms=50.0, port=80)
    assert (sampled.arrived, sampled.delay_ms) == (9, 80.0)
    assert (await client.view_network("w1")).means == ("cloud", "head", "w1", "w2")
    for effect in await client.effects():
        await client.undo(effect)
    assert await client.effects() == ()
    await client.kill("w2")
    await client.renew_owner(5.0)
    await client.keep()
    assert office.sky.cloud.kept
    number = await client.renumber()
    assert number == len(office.sky.cloud.journal)
    await client.down()
    assert office.ended.is_set()


async def test_all_harm_is_undone_in_one_call_and_what_stays_is_told(office: Office, client: CloudClient) -> None:
    await office.sky.cloud.launch("gpu", 1, {})
    await until_running(office, 2)
    assert await client.undo_all() == ()
    await client.apply(FrozenNode(), node="w1", effect_id="run.i1.w1", lease_s=60.0)
    await client.apply(LaunchFault(delay_s=1.0), effect_id="run.i2", lease_s=60.0)
    office.sky.driver.failing["obey"] = InjectionError("frozen solid")
    with pytest.raises(InjectionError, match=r"could not be undone: run\.i1\.w1: frozen solid$"):
        await client.undo_all()
    assert await client.effects() == ("run.i1.w1",)
    del office.sky.driver.failing["obey"]
    assert await client.harm_seen() == ("w1: frozen",)
    assert await client.undo_all() == ("run.i1.w1",)
    assert await client.effects() == ()
    assert await client.harm_seen() == ()


async def test_the_client_follows_events(office: Office, client: CloudClient) -> None:
    await office.sky.cloud.launch("gpu", 1, {})

    async def follow() -> list[object]:
        seen: list[object] = []
        async for monotonic_s, event in client.events(1):
            assert monotonic_s > 0.0
            seen.append(event)
            if isinstance(event, NodeStarted):
                break
        return seen

    launching, started = await asyncio.wait_for(follow(), LIMIT_S)
    assert launching == NodeLaunching(node="w1", node_type="gpu", request="")
    assert started == NodeStarted(node="w1", node_type="gpu", instance="i-00001")


async def test_the_client_tells_conflicts_wrong_tokens_and_silence_apart(office: Office, client: CloudClient) -> None:
    with pytest.raises(InjectionError, match="'w9' does not run; running: head"):
        await client.kill("w9")
    stranger = CloudClient(office.url, "wrong")
    with pytest.raises(ClusterError, match="does not know our token"):
        await stranger.nodes()
    assert await stranger.healthy()  # health needs no token
    await stranger.close()
    nobody = CloudClient(f"http://127.0.0.1:{free_ports(1)[0]}", TOKEN)
    assert not await nobody.healthy()
    with pytest.raises(ClusterError, match="did not answer GET /effects"):
        await nobody.effects()
    assert [event async for event in nobody.events(0)] == []
    await nobody.close()


async def test_a_cloud_that_hangs_is_a_cluster_error(office: Office) -> None:
    async def never(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await hanging.wait()
        writer.close()

    hanging = asyncio.Event()
    server = await asyncio.start_server(never, "127.0.0.1", 0)
    client = CloudClient(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", TOKEN, limit_s=0.2)
    with pytest.raises(ClusterError, match="did not answer GET /instances"):
        await client.nodes()
    await client.close()
    hanging.set()
    server.close()
    await server.wait_closed()


def test_free_ports_differ_and_are_free_until_somebody_listens() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    with socket.create_server(("127.0.0.1", ports[0])):
        assert in_use(ports[0])
    assert not in_use(ports[0])


async def test_the_configuration_the_head_and_rpc_faults_are_reached_through_the_client(
    office: Office, client: CloudClient
) -> None:
    (office.sky.directory / "autoscaling.yaml").write_text("")
    await client.apply(ConfigChange(max_workers=2), effect_id="e", lease_s=60.0)
    assert office.sky.cloud.spec.max_workers == 2
    assert not await client.configuration_was_read()
    with pytest.raises(InjectionError, match="none of this cluster's"):
        await client.apply(ConfigChange(node_type="tpu", max_workers=2), effect_id="f", lease_s=60.0)
    await client.restart_head()
    assert [call for call in office.sky.driver.calls if call[0] == "restart_head"] == [("restart_head", "head")]
    assert await client.rpc_faults_of("head") == {}
    with pytest.raises(InjectionError, match="node 'w9' does not run"):
        await client.rpc_faults_of("w9")
