"""Ray's node provider against a real server: what Ray asks, the Cloud does, and its refusals reach Ray."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from chaos.cloud.client import CloudClient
from chaos.cloud.driver import NodeLaunch
from chaos.cloud.node_provider import CloudNodeProvider, CloudRefused, CloudUnreachable
from chaos.cloud.server import application
from chaos.harm import LaunchFault, LostReply, Omission, Outage, TerminationFault
from tests.cloud.fake_driver import Sky

LIMIT_S = 10.0


class Service:
    """A Cloud and its server on a thread of their own, as they are a process of their own for Ray."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()
        self.url = self.do(self._start())

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Runs work beside the server."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(LIMIT_S)

    def until(self, condition: Callable[[], bool]) -> None:
        """Waits for a condition on the server's side."""

        async def look() -> None:
            while not condition():
                await asyncio.sleep(0.005)

        self.do(asyncio.wait_for(look(), LIMIT_S))

    async def _start(self) -> str:
        self.sky = Sky(self.directory)
        await self.sky.cloud.start_head()

        async def launch_head() -> NodeLaunch:
            return NodeLaunch(argv=(), environment={})

        app = application(
            self.sky.cloud, token="s3cret", end=asyncio.Event(), head=lambda: None, launch_head=launch_head
        )
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    def close(self) -> None:
        """Ends both."""

        async def end() -> None:
            await self._runner.cleanup()
            await self.sky.cloud.tear_down()

        self.do(end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(LIMIT_S)
        self.loop.close()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    service = Service(tmp_path)
    yield service
    service.close()


def provider_for(service: Service, tmp_path: Path, token: str = "s3cret") -> CloudNodeProvider:
    (tmp_path / "token").write_text(f"{token}\n")
    return CloudNodeProvider({"url": f"{service.url}/", "token_path": str(tmp_path / "token")}, "toy")


@pytest.fixture
def provider(service: Service, tmp_path: Path) -> CloudNodeProvider:
    return provider_for(service, tmp_path)


def running(service: Service) -> int:
    return sum(item.state == "running" for item in service.sky.cloud.instances())


def test_nodes_come_are_found_by_tags_and_go(service: Service, provider: CloudNodeProvider) -> None:
    tags = {"ray-node-kind": "worker", "ray-user-node-type": "gpu", "ray-launch-request": "r1"}
    created = provider.create_node({"node_type": "gpu"}, tags, 2)
    assert list(created) == ["i-00001", "i-00002"]
    assert created["i-00001"]["node_type"] == "gpu"
    service.until(lambda: running(service) == 3)
    assert provider.non_terminated_nodes({}) == ["head", "i-00001", "i-00002"]
    assert provider.non_terminated_nodes({"ray-node-kind": "worker"}) == ["i-00001", "i-00002"]
    assert provider.non_terminated_nodes({"ray-node-kind": "worker", "ray-launch-request": "r2"}) == []
    assert provider.is_running("i-00001")
    assert not provider.is_terminated("i-00001")
    assert provider.node_tags("i-00001") == tags
    assert provider.internal_ip("i-00001") == provider.external_ip("i-00001") == "10.0.0.2"

    provider.terminate_node("i-00001")
    provider.terminate_node("i-00001")
    provider.terminate_node("i-77777")
    service.until(lambda: running(service) == 2)
    assert provider.non_terminated_nodes({}) == ["head", "i-00002"]
    assert provider.is_terminated("i-00001")
    assert not provider.is_running("i-00001")
    assert provider.node_tags("i-00001") == {}
    assert provider.internal_ip("i-00001") is None


def test_a_pending_node_is_neither_running_nor_terminated(service: Service, provider: CloudNodeProvider) -> None:
    service.do(service.sky.cloud.apply("late", LaunchFault(delay_s=30.0), lease_s=60.0))
    [name] = provider.create_node({"node_type": "gpu"}, {}, 1)
    assert not provider.is_running(name)
    assert not provider.is_terminated(name)
    assert provider.internal_ip(name) is None


def test_the_type_may_come_from_rays_tag(service: Service, provider: CloudNodeProvider) -> None:
    [name] = provider.create_node({}, {"ray-user-node-type": "cpu"}, 1)
    assert service.sky.cloud.instances()[-1].instance == name
    assert service.sky.cloud.instances()[-1].node_type == "cpu"


def test_tags_are_kept_by_the_cloud(service: Service, provider: CloudNodeProvider, tmp_path: Path) -> None:
    [name] = provider.create_node({"node_type": "gpu"}, {"a": "1"}, 1)
    provider.set_node_tags(name, {"b": "2"})
    provider.non_terminated_nodes({})
    assert provider.node_tags(name) == {"a": "1", "b": "2"}
    assert provider_for(service, tmp_path).node_tags(name) == {"a": "1", "b": "2"}


def test_what_the_cloud_refuses_is_raised_in_its_words(service: Service, provider: CloudNodeProvider) -> None:
    service.do(service.sky.cloud.apply("no", LaunchFault(error="VcpuLimitExceeded: too many"), lease_s=60.0))
    with pytest.raises(CloudRefused, match=r"503 .*VcpuLimitExceeded: too many"):
        provider.create_node({"node_type": "gpu"}, {}, 1)
    with pytest.raises(CloudRefused, match=r"503 .*'tpu' is none of this cluster's"):
        provider.create_node({"node_type": "tpu"}, {}, 1)
    assert provider.non_terminated_nodes({}) == ["head"]


def test_a_request_filled_in_part_is_raised_and_what_was_launched_is_listed(
    service: Service, provider: CloudNodeProvider
) -> None:
    service.do(service.sky.cloud.apply("no", LaunchFault(error="no room", count=2), lease_s=60.0))
    with pytest.raises(CloudRefused, match=r"503 .*no room \(1 of 3 were launched\)"):
        provider.create_node({"node_type": "gpu"}, {"ray-launch-request": "r1"}, 3)
    assert provider.non_terminated_nodes({"ray-launch-request": "r1"}) == ["i-00001"]
    service.until(lambda: running(service) == 2)


def seen_by_the_runner(service: Service) -> list[str]:
    async def ask() -> list[str]:
        client = CloudClient(service.url, "s3cret")
        try:
            return [node.instance for node in await client.nodes()]
        finally:
            await client.close()

    names: list[str] = service.do(ask())
    return names


def test_a_reply_that_is_lost_is_raised_and_its_instances_are_listed(
    service: Service, provider: CloudNodeProvider
) -> None:
    service.do(service.sky.cloud.apply("e", LostReply(requests=1, error="RequestTimeout"), lease_s=60.0))
    with pytest.raises(CloudRefused, match=r"504 .*RequestTimeout"):
        provider.create_node({"node_type": "gpu"}, {"ray-launch-request": "r1"}, 2)
    assert provider.non_terminated_nodes({"ray-launch-request": "r1"}) == ["i-00001", "i-00002"]


def test_an_api_out_of_reach_answers_ray_nothing_and_the_runner_everything(
    service: Service, provider: CloudNodeProvider
) -> None:
    [name] = provider.create_node({"node_type": "gpu"}, {}, 1)
    service.do(service.sky.cloud.apply("e", Outage(mode="unreachable"), lease_s=60.0))
    calls: list[Callable[[], object]] = [
        lambda: provider.non_terminated_nodes({}),
        lambda: provider.create_node({"node_type": "gpu"}, {}, 1),
        lambda: provider.terminate_node(name),
        lambda: provider.set_node_tags(name, {"a": "1"}),
    ]
    for call in calls:
        with pytest.raises(CloudUnreachable, match="no answer"):
            call()
    assert seen_by_the_runner(service) == ["head", name]
    service.do(service.sky.cloud.undo("e"))
    assert provider.non_terminated_nodes({}) == ["head", name]


def test_an_instance_the_cloud_lost_exists_for_the_runner_only(service: Service, provider: CloudNodeProvider) -> None:
    [name] = provider.create_node({"node_type": "gpu"}, {}, 1)
    service.until(lambda: running(service) == 2)
    service.do(service.sky.cloud.apply("e", Omission(lost=True), lease_s=60.0, node="w1"))
    assert provider.non_terminated_nodes({}) == ["head"]
    assert provider.is_terminated(name)
    calls: list[Callable[[], None]] = [
        lambda: provider.terminate_node(name),
        lambda: provider.set_node_tags(name, {"a": "1"}),
    ]
    for call in calls:
        with pytest.raises(CloudRefused, match=r"404 .*does not exist"):
            call()
    assert seen_by_the_runner(service) == ["head", name]


def test_a_refused_termination_is_raised(service: Service, provider: CloudNodeProvider) -> None:
    [name] = provider.create_node({"node_type": "gpu"}, {}, 1)
    service.do(service.sky.cloud.apply("e", TerminationFault(error="InternalError: x"), lease_s=60.0))
    with pytest.raises(CloudRefused, match=r"503 .*InternalError: x"):
        provider.terminate_node(name)
    assert provider.non_terminated_nodes({}) == ["head", name]


def test_another_clusters_token_is_refused(service: Service, tmp_path: Path) -> None:
    with pytest.raises(CloudRefused, match="401"):
        provider_for(service, tmp_path, "wrong").non_terminated_nodes({})
