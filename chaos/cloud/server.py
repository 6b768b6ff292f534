"""The Cloud's HTTP API, and its process.

    python -m chaos.cloud.server DIRECTORY

DIRECTORY holds the cluster's configuration and secrets (see `chaos.cloud.config`). The process ends when told to, when
its owner's lease ends (unless the cluster is kept), or on SIGTERM, and takes every node with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import structlog
from aiohttp import web
from pydantic import Field, ValidationError

from chaos.cloud.answers import ApiError, Unanswered
from chaos.cloud.bootstrap import bootstrap
from chaos.cloud.config import TOKEN_HEADER, CloudConfig, CloudDirectory, write_durably
from chaos.cloud.configuring import ConfigurationFile
from chaos.cloud.core import Cloud
from chaos.cloud.driver import NodeDriver, NodeLaunch, RemovesCluster, Sampling
from chaos.cloud.instances import Instance, StateFile
from chaos.cloud.journal import Journal
from chaos.cloud.node_process import start_ticks
from chaos.cloud.process_driver import ProcessDriver
from chaos.cloud.process_routes import process_routes
from chaos.cloud.ray_start import (
    COMPOSE_DASHBOARD_PORT,
    COMPOSE_GCS_PORT,
    autoscaling_config,
    autoscaling_file,
    head_launch,
    loopback_address,
    worker_launch,
)
from chaos.cluster_spec import ClusterSpec
from chaos.errors import ChaosError
from chaos.harm import Harm
from chaos.value import Value

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
V = TypeVar("V", bound=Value)


class LaunchAsk(Value):
    """Body of POST /provider/instances."""

    node_type: str
    count: int = Field(ge=1, le=1000)
    tags: dict[str, str] = Field(default_factory=dict)


class TagsAsk(Value):
    """Body of POST /provider/instances/{instance}/tags."""

    tags: dict[str, str]


class EffectAsk(Value):
    """Body of PUT /effects/{effect}."""

    lease_s: float = Field(gt=0.0)
    node: str = ""
    harm: Harm


class PathAsk(Value):
    """Body of POST /path."""

    source: str
    destination: str
    transfer_kib: int = Field(ge=1, le=65536)


class DiskAsk(Value):
    """Body of POST /nodes/{node}/disk."""

    transfer_kib: int = Field(ge=1, le=65536)


class SampleAsk(Sampling):
    """Body of POST /path/sample."""

    source: str
    destination: str


class OwnerAsk(Value):
    """Body of POST /owner: a lease in seconds, or none to keep the cluster until it is told to end."""

    ttl_s: float | None = Field(default=None, gt=0.0)


class EventsAsk(Value):
    """Query of GET /events: the number of the first event wanted."""

    after: int = Field(default=0, ge=0)


def application(
    cloud: Cloud,
    *,
    token: str,
    end: asyncio.Event,
    head: Callable[[], Instance | None],
    launch_head: Callable[[], Awaitable[NodeLaunch]],
) -> web.Application:
    """The routes of the API; every one but /health needs the token."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get(TOKEN_HEADER, "")
        if request.path != "/health" and not hmac.compare_digest(given, f"Bearer {token}"):
            return web.json_response({"error": "missing or wrong token"}, status=401)
        try:
            return await handler(request)
        except Unanswered:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        except ApiError as error:
            return web.json_response({"error": str(error)}, status=error.status)
        except ValidationError as error:
            return web.json_response({"error": str(error)}, status=400)
        except ChaosError as error:
            return web.json_response({"error": str(error)}, status=409)

    async def health(_request: web.Request) -> web.Response:
        return web.json_response({"cluster": "raychaos", "head": head() is not None})

    async def describe_head(_request: web.Request) -> web.Response:
        return web.json_response((await launch_head()).model_dump(mode="json"))

    async def harm(_request: web.Request) -> web.Response:
        return web.json_response({"seen": list(await cloud.harm_seen())})

    async def list_instances(_request: web.Request) -> web.Response:
        items = [item.model_dump(mode="json") | {"view": cloud.view(item)} for item in cloud.instances()]
        return web.json_response({"instances": items})

    async def list_for_ray(_request: web.Request) -> web.Response:
        await cloud.answers.admit()
        return web.json_response({"instances": [item.model_dump(mode="json") for item in cloud.answers.listed()]})

    async def launch(request: web.Request) -> web.Response:
        ask = await _body(request, LaunchAsk)
        await cloud.answers.admit()
        launched = await cloud.launch(ask.node_type, ask.count, ask.tags)
        return web.json_response({"instances": [item.model_dump(mode="json") for item in launched]})

    async def terminate(request: web.Request) -> web.Response:
        instance = request.match_info["instance"]
        await cloud.answers.admit()
        cloud.answers.check_termination(instance)
        await cloud.terminate(instance)
        return web.json_response({})

    async def tag(request: web.Request) -> web.Response:
        instance = request.match_info["instance"]
        ask = await _body(request, TagsAsk)
        await cloud.answers.admit()
        cloud.answers.check_exists(instance)
        cloud.tag(instance, ask.tags)
        return web.json_response({})

    async def kill(request: web.Request) -> web.Response:
        await cloud.kill(request.match_info["node"])
        return web.json_response({})

    async def apply(request: web.Request) -> web.Response:
        ask = await _body(request, EffectAsk)
        await cloud.apply(request.match_info["effect"], ask.harm, lease_s=ask.lease_s, node=ask.node)
        return web.json_response({})

    async def undo(request: web.Request) -> web.Response:
        await cloud.undo(request.match_info["effect"])
        return web.json_response({})

    async def undo_all(_request: web.Request) -> web.Response:
        effects = [effect.effect_id for effect in cloud.effects()]
        results = await asyncio.gather(*(cloud.undo(effect) for effect in effects), return_exceptions=True)
        failed = {
            name: str(error) or repr(error) for name, error in zip(effects, results, strict=True) if error is not None
        }
        return web.json_response({"undone": [name for name in effects if name not in failed], "failed": failed})

    async def list_effects(_request: web.Request) -> web.Response:
        return web.json_response({"effects": [effect.model_dump(mode="json") for effect in cloud.effects()]})

    async def rpc_faults(request: web.Request) -> web.Response:
        return web.json_response({"environment": await cloud.rpc_faults_of(request.match_info["node"])})

    async def restart_head(_request: web.Request) -> web.Response:
        await cloud.restart_head()
        return web.json_response({})

    async def configuration(_request: web.Request) -> web.Response:
        return web.json_response({"read": cloud.configuration_was_read()})

    async def path(request: web.Request) -> web.Response:
        ask = await _body(request, PathAsk)
        measured = await cloud.measure_path(ask.source, ask.destination, transfer_kib=ask.transfer_kib)
        return web.json_response(measured.model_dump(mode="json"))

    async def gauges(request: web.Request) -> web.Response:
        read = await cloud.gauges(request.match_info["node"])
        return web.json_response({"gauges": None if read is None else read.model_dump(mode="json")})

    async def disk(request: web.Request) -> web.Response:
        ask = await _body(request, DiskAsk)
        rate = await cloud.measure_disk(request.match_info["node"], transfer_kib=ask.transfer_kib)
        return web.json_response({"mb_per_s": rate})

    async def sample(request: web.Request) -> web.Response:
        ask = await _body(request, SampleAsk)
        how = Sampling(**ask.model_dump(exclude={"source", "destination"}))
        return web.json_response((await cloud.sample_path(ask.source, ask.destination, how)).model_dump(mode="json"))

    async def network(request: web.Request) -> web.Response:
        return web.json_response((await cloud.view_network(request.match_info["node"])).model_dump(mode="json"))

    async def owner(request: web.Request) -> web.Response:
        ask = await _body(request, OwnerAsk)
        if ask.ttl_s is None:
            cloud.keep()
        else:
            cloud.renew_owner(ask.ttl_s)
        return web.json_response({"kept": cloud.kept})

    async def renumber(_request: web.Request) -> web.Response:
        cloud.renumber()
        return web.json_response({"events": len(cloud.journal)})

    async def events(request: web.Request) -> web.StreamResponse:
        number = EventsAsk.model_validate(dict(request.query)).after
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        while True:
            await response.write((await cloud.journal.line(number) + "\n").encode())
            number += 1

    async def down(_request: web.Request) -> web.Response:
        end.set()
        return web.json_response({})

    app = web.Application(middlewares=[guard])
    app.add_routes(
        [
            web.get("/health", health),
            web.get("/head", describe_head),
            web.post("/head/restart", restart_head),
            web.get("/harm", harm),
            web.get("/instances", list_instances),
            # What Ray's node provider calls, and nobody else: harm to the API shows here, and nowhere else.
            web.get("/provider/instances", list_for_ray),
            web.post("/provider/instances", launch),
            web.post("/provider/instances/{instance}/terminate", terminate),
            web.post("/provider/instances/{instance}/tags", tag),
            web.post("/nodes/{node}/kill", kill),
            *process_routes(cloud),
            web.get("/nodes/{node}/gauges", gauges),
            web.post("/nodes/{node}/disk", disk),
            web.get("/effects", list_effects),
            web.put("/effects/{effect}", apply),
            web.delete("/effects/{effect}", undo),
            web.delete("/effects", undo_all),
            web.get("/configuration", configuration),
            web.get("/nodes/{node}/rpc_faults", rpc_faults),
            web.post("/path", path),
            web.post("/path/sample", sample),
            web.get("/nodes/{node}/network", network),
            web.post("/owner", owner),
            web.post("/renumber", renumber),
            web.get("/events", events),
            web.post("/down", down),
        ]
    )
    return app


async def _body(request: web.Request, kind: type[V]) -> V:
    return kind.model_validate_json(await request.read() or b"{}")


def free_ports(count: int) -> list[int]:
    """TCP ports nobody listens on at this moment, on any address."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def in_use(port: int) -> bool:
    """Whether somebody listens at a TCP port, on any address."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return True
    return False


async def serve(directory: CloudDirectory, *, kind: type[Cloud] = Cloud) -> None:
    """Runs one Cloud until it is told to end, orphaned, or signalled; `kind` may be a Cloud with a planted defect."""
    config = directory.load_config()
    end = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end.set)
    ports = Ports(directory, config)
    head: list[Instance] = []

    listener = socket.create_server((config.listen_host, config.listen_port))
    port = int(listener.getsockname()[1])
    cloud_url = f"http://{'cloud' if config.driver == 'docker' else '127.0.0.1'}:{port}"

    async def launch_for(instance: Instance) -> NodeLaunch:
        if instance.instance == "head":
            if not instance.handle:  # a head that is started again keeps its address
                ports.choose()
            now = config.model_copy(update={"spec": cloud.spec})
            return head_launch(now, directory, cloud_url=cloud_url, address=ports.host, port_of=ports.__getitem__)
        address = loopback_address(config, instance.instance) if config.driver == "process" else ""
        return worker_launch(config, instance, gcs_address=ports.gcs_address, address=address)

    def autoscaling_text(spec: ClusterSpec) -> str:
        now = config.model_copy(update={"spec": spec})
        return autoscaling_config(now, cloud_url=cloud_url, token_path=str(directory.token))

    def announce() -> None:
        address = {
            "port": port,
            "pid": os.getpid(),
            "start_ticks": start_ticks(os.getpid()),
            "gcs": ports.gcs_address,
            "dashboard": ports["dashboard"] if head and config.spec.dashboard else None,
        }
        write_durably(directory.address, json.dumps(address))

    driver = _driver(config, directory)
    cloud = kind(
        config,
        driver,
        state=StateFile(directory.state / "state.json"),
        journal=Journal(directory.events),
        launch_for=launch_for,
        configuration=ConfigurationFile(autoscaling_file(directory), autoscaling_text),
    )
    app = application(
        cloud,
        token=directory.token.read_text().strip(),
        end=end,
        head=lambda: head[0] if head else None,
        launch_head=lambda: launch_for(Instance(instance="head", node="head", node_type="head", state="pending")),
    )
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    await web.SockSite(runner, listener).start()
    announce()
    try:
        await cloud.resume()
        head.append(await cloud.start_head())
        announce()
        while not end.is_set() and not cloud.orphaned():
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(end.wait(), timeout=0.5)
    finally:
        abandoned = cloud.orphaned()
        await cloud.tear_down()
        await runner.cleanup()
        if abandoned and isinstance(driver, RemovesCluster):
            await driver.remove_cluster()


class Ports:
    """Where the head's servers listen; remembered on disk, for a Cloud that is started again."""

    def __init__(self, directory: CloudDirectory, config: CloudConfig) -> None:
        self._file = directory.ports
        self._in_containers = config.driver == "docker"
        self.host = "" if self._in_containers else f"{config.subnet}.1"
        self._ports: dict[str, int] = json.loads(self._file.read_text()) if self._file.exists() else {}
        if self._in_containers:
            self.choose()

    def choose(self) -> None:
        """Picks ports for a head about to start: free ones here, Ray's own in containers."""
        if self._in_containers:
            self._ports = {"gcs": COMPOSE_GCS_PORT, "dashboard": COMPOSE_DASHBOARD_PORT}
        else:
            names = ("gcs", "dashboard", "client", "autoscaler_metrics", "dashboard_metrics")
            self._ports = dict(zip(names, free_ports(len(names)), strict=True))
        write_durably(self._file, json.dumps(self._ports))

    def __getitem__(self, name: str) -> int:
        return self._ports[name]

    @property
    def gcs_address(self) -> str:
        """The GCS as the nodes reach it."""
        return f"{self.host or 'head'}:{self._ports.get('gcs', COMPOSE_GCS_PORT)}"


def _driver(config: CloudConfig, directory: CloudDirectory) -> NodeDriver:
    if config.driver == "process":
        return ProcessDriver(config, directory)
    from chaos.cloud.docker_driver import DockerDriver

    return DockerDriver(config, directory)


def main() -> None:
    """Entry point of the Cloud's process."""
    structlog.configure(
        processors=[
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ]
    )
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    directory = CloudDirectory(Path(sys.argv[1]))
    try:
        if "RAYCHAOS_PROJECT" in os.environ and not directory.config.exists():
            bootstrap(directory)
        asyncio.run(serve(directory))
    except ChaosError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
