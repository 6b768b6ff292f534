"""The real thing: nodes are containers of a Docker Compose project, with addresses and network stacks of their own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shlex
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from docker.errors import ImageNotFound, NotFound

import chaos
from chaos.cloud.bootstrap import COMPOSE_CLOUD_PORT, compose_config
from chaos.cloud.config import CONTAINER_ROOT, CloudConfig
from chaos.cloud.containers import (
    INSTANCE_LABEL,
    MARK_LABEL,
    PROJECT_LABEL,
    containers_of,
    engine,
    engine_errors,
    explain,
)
from chaos.cloud.ray_start import (
    COMPOSE_DASHBOARD_PORT,
    COMPOSE_GCS_PORT,
    INSTANCE_VARIABLE,
    MARK_VARIABLE,
    PROGRAM_VARIABLE,
)
from chaos.cloud.server import free_ports
from chaos.cloud.stacks import ALL_LIMIT_S
from chaos.cluster import NetworkView, PathMeasurement, PathSample, Process, Vitals
from chaos.cluster_spec import ClusterSpec
from chaos.clusters import image
from chaos.clusters.cgroups import vitals_of
from chaos.clusters.cloud_cluster import OWNER_LEASE_S, CloudCluster, Step
from chaos.clusters.compose_command import IMAGE_VARIABLE, require_compose, run
from chaos.clusters.compose_leftovers import PLAIN_IMAGE, remove_directory, sweep
from chaos.clusters.local import LocalProcess
from chaos.errors import ClusterError
from chaos.harm import ClockSkew, CpuThrottle, DiskFill, DiskThrottle, NetworkShape
from chaos.installed import ray_version

_LINE_LIMIT = 4 * 1024 * 1024
_COMMAND_LIMIT_S = 120.0
_DUMP_LIMIT_S = ALL_LIMIT_S + 10.0
_POLL_S = 0.1
_STOP_LIMIT_S = 5.0
_SHARED_MEMORY_SLACK_MB = 128
_LAST_LINES = 12

T = TypeVar("T")


class ComposeCluster(CloudCluster):
    """A cluster of containers. The Cloud and the head are Compose services; workers are containers the Cloud makes."""

    kind = "compose"

    def __init__(self, name: str, spec: ClusterSpec, *, on_step: Step = lambda _: None) -> None:
        super().__init__(name, spec, on_step=on_step)
        self._config: CloudConfig | None = None
        self._docker: Any = None
        self.image = ""

    # -- capabilities only containers have ------------------------------------------------------------------

    async def shape_network(self, node: str, shape: NetworkShape, *, effect_id: str, lease_s: float) -> None:
        """Makes a node's network slow, faulty, or cut off from others."""
        await self._cloud.apply(shape, node=node, effect_id=effect_id, lease_s=lease_s)

    async def measure_path(self, source: str, destination: str, *, transfer_kib: int) -> PathMeasurement:
        """Measured by the Cloud, with sockets inside both nodes' networks."""
        return await self._cloud.measure_path(source, destination, transfer_kib=transfer_kib)

    async def throttle_cpu(self, node: str, throttle: CpuThrottle, *, effect_id: str, lease_s: float) -> None:
        """Limits the CPU time of a node's container."""
        await self._cloud.apply(throttle, node=node, effect_id=effect_id, lease_s=lease_s)

    async def fill_disk(self, node: str, fill: DiskFill, *, effect_id: str, lease_s: float) -> None:
        """Fills the disk of limited size that a node spills objects to."""
        await self._cloud.apply(fill, node=node, effect_id=effect_id, lease_s=lease_s)

    async def throttle_disk(self, node: str, throttle: DiskThrottle, *, effect_id: str, lease_s: float) -> None:
        """Limits how fast a node's container uses its disk."""
        await self._cloud.apply(throttle, node=node, effect_id=effect_id, lease_s=lease_s)

    async def skew_clock(self, node: str, skew: ClockSkew, *, effect_id: str, lease_s: float) -> None:
        """Moves the time of day on a node that has a clock of its own."""
        await self._cloud.apply(skew, node=node, effect_id=effect_id, lease_s=lease_s)

    async def measure_disk(self, node: str, *, transfer_kib: int) -> float | None:
        """Measured by a program in the node's container."""
        return await self._cloud.measure_disk(node, transfer_kib=transfer_kib)

    async def sample_path(
        self, source: str, destination: str, *, packets: int, interval_ms: float, patience_ms: float, port: int = 0
    ) -> PathSample:
        """Counted by the Cloud, with sockets inside both nodes' networks."""
        return await self._cloud.sample_path(
            source, destination, packets=packets, interval_ms=interval_ms, patience_ms=patience_ms, port=port
        )

    async def view_network(self, node: str) -> NetworkView:
        """As the Cloud sees it in the node's kernel."""
        return await self._cloud.view_network(node)

    # -- programs and looking -------------------------------------------------------------------------------

    async def execute(self, module: str, arguments: tuple[str, ...], *, environment: Mapping[str, str]) -> Process:
        """Starts a program in a node's container; it ends when its standard input does, so also when we die."""
        host = await self._driver_instance()
        head = await self._blocking(lambda: self._service("head"))
        address = next(iter(head["NetworkSettings"]["Networks"].values()))["IPAddress"]
        ticket = secrets.token_hex(8)
        given = {
            MARK_VARIABLE: self._known_config().mark,
            INSTANCE_VARIABLE: host["instance"],
            "RAYCHAOS_RAY_ADDRESS": f"{address}:{COMPOSE_GCS_PORT}",
            "RAYCHAOS_NODE_IP": host["address"],
            PROGRAM_VARIABLE: ticket,
            **environment,
        }
        process = await asyncio.create_subprocess_exec(
            "docker",
            "exec",
            "--interactive",
            # By name alone: the values travel in the client's environment, out of the sight of `ps`.
            *(part for name in given for part in ("--env", name)),
            host["handle"],
            "python",
            "-m",
            module,
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, **given},
            cwd="/",
            limit=_LINE_LIMIT,
            start_new_session=True,
        )
        return ContainerProcess(process, container=host["handle"], ticket=ticket)

    async def vitals(self, node: str) -> Vitals | None:
        """Read from the container's control groups where this machine shows them, else asked of the engine."""
        found = next((item for item in await self._cloud.instances() if item["node"] == node), None)
        if found is None or not found["handle"]:
            return None
        return await self._blocking(lambda: vitals_of(self._engine(), found["handle"]))

    async def dump_stacks(self, into: Path) -> int:
        """py-spy's view of every Python process of the cluster, taken from the Cloud's container."""
        cloud = await self._blocking(lambda: self._service("cloud"))
        name = f"stacks-{secrets.token_hex(4)}"
        inside = f"{CONTAINER_ROOT}/cloud/{name}"
        await run(
            "docker", "exec", cloud["Id"], "python", "-m", "chaos.cloud.stacks", CONTAINER_ROOT, inside,
            limit_s=_DUMP_LIMIT_S,
        )  # fmt: skip
        return await asyncio.to_thread(_move_files, self.directory.state / name, into)

    async def collect_logs(self, into: Path) -> None:
        """Ray's and the Cloud's logs, and what the containers there are now have written."""
        await super().collect_logs(into)
        await self._blocking(lambda: self._copy_container_logs(into))

    def gcs_address(self) -> str:
        """The GCS as published on this machine's loopback."""
        return f"127.0.0.1:{self._published('head', COMPOSE_GCS_PORT)}"

    def dashboard(self) -> str | None:
        """The dashboard's URL on this machine; None where it is off."""
        return f"http://127.0.0.1:{self._published('head', COMPOSE_DASHBOARD_PORT)}" if self.spec.dashboard else None

    def how_to_connect(self) -> str:
        """Dashboard, and what to type."""
        compose = f"docker compose -p {self.name}"
        return (
            f"cluster {self.name!r} is up\n"
            f"  dashboard:  {self.dashboard() or 'off'}\n"
            f"  from Python: {compose} exec head python, then ray.init(address='auto')\n"
            f"  status:     {compose} exec head ray status\n"
            f"  containers: {compose} ps\n"
            f"  end it:     raychaos down {self.name}"
        )

    async def release(self) -> None:
        """Lets go of the cluster without ending it."""
        await super().release()
        self._close_engine()

    # -- life -----------------------------------------------------------------------------------------------

    async def _launch_cloud(self) -> None:
        await self._blocking(self._require_free_name)
        await require_compose()
        tag = self.image = await self._image()
        mark = f"{self.name}#{secrets.token_hex(6)}"
        self._config = compose_config(cluster=self.name, mark=mark, spec=self.spec, first_lease_s=OWNER_LEASE_S)
        self.directory.create(self._config, token=secrets.token_urlsafe(24), ray_token=secrets.token_urlsafe(24))
        self._on_step(f"starting the containers of cluster {self.name!r}")
        await run(
            "docker", "compose", "--project-name", self.name, "--file", str(compose_file()),
            "up", "--detach", "--no-build",
            environment=self._compose_environment(tag, mark),
            limit_s=_COMMAND_LIMIT_S,
        )  # fmt: skip

    async def _image(self) -> str:
        """The image of this version, made when it is missing; or the one RAYCHAOS_IMAGE names, checked."""
        ours = ray_version()
        if self.spec.ray_version not in (None, ours):
            raise ClusterError(
                f"cluster.ray_version is {self.spec.ray_version}, but this machine has Ray {ours}, which talks to the "
                f"cluster and must be the same: pip install ray=={self.spec.ray_version}, or leave the field out"
            )
        given = os.environ.get(IMAGE_VARIABLE)
        if given:
            await self._blocking(lambda: self._require_image(given, ours))
            return given
        tag = await asyncio.to_thread(image.image_tag, ours, base_image=self.spec.base_image)
        if not await self._blocking(lambda: self._has_image(tag)):
            self._on_step(f"making the image {tag}; the first time takes minutes")
            await image.build(
                ray_version=ours,
                base_image=self.spec.base_image,
                on_line=self._on_step,
                use_wheelhouse=await image.wheelhouse_wanted(),
            )
        # For those who run the Compose file by itself.
        await self._blocking(lambda: self._engine().images.get(tag).tag(*PLAIN_IMAGE.split(":")))
        return tag

    def _compose_environment(self, tag: str, mark: str) -> dict[str, str]:
        return {
            **os.environ,
            IMAGE_VARIABLE: tag,
            "RAYCHAOS_MARK": mark,
            "RAYCHAOS_STATE": str(self.directory.root.resolve()),
            "RAYCHAOS_UID": str(os.getuid()),
            "RAYCHAOS_GID": str(os.getgid()),
            "RAYCHAOS_HEAD_SHM": f"{self.spec.object_store_mb + _SHARED_MEMORY_SLACK_MB}m",
            "RAYCHAOS_HEALTH_INTERVAL": "1h",
            # Chosen here and not by the engine, which would choose anew when it restarts a Cloud that crashed.
            "RAYCHAOS_CLOUD_PORT": str(free_ports(1)[0]),
            # Any free ports: several clusters stand side by side. A head that is started again keeps one we choose.
            "RAYCHAOS_GCS_PORT": "" if self.spec.gcs_storage == "memory" else str(free_ports(1)[0]),
            "RAYCHAOS_DASHBOARD_PORT": "",
            "COMPOSE_PROFILES": "redis" if self.spec.gcs_storage == "redis" else "",
        }

    async def _end_cloud(self, *, limit_s: float) -> None:
        if self._config is None and not self.directory.config.exists():
            return
        # A Cloud that never got as far as an address was not told to end, and is not waited for.
        deadline_s = time.monotonic() + (limit_s if self.address() else 0.0)
        while time.monotonic() < deadline_s and await self._blocking(self._cloud_alive):
            await asyncio.sleep(_POLL_S)
        self._close_engine()
        await sweep(self._known_config().mark)
        await asyncio.to_thread(remove_directory, self.directory.root)

    def _cloud_alive(self) -> bool:
        found = self._find("cloud")
        return found is not None and bool(found["State"]["Running"] or found["State"]["Restarting"])

    def _cloud_url(self, address: Mapping[str, Any]) -> str:  # noqa: ARG002 -- that is the address inside
        return f"http://127.0.0.1:{self._published('cloud', COMPOSE_CLOUD_PORT)}"

    def _sampler_environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, (_source_root(), os.environ.get("PYTHONPATH")))),
            "PYTHONUNBUFFERED": "1",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.directory.ray_token),
        }

    def _root_on_nodes(self) -> str:
        return CONTAINER_ROOT

    def _ray_logs(self) -> dict[str, list[Path]]:
        logs: dict[str, list[Path]] = {}
        for path in self.directory.nodes.glob("*/ray-start.log"):
            logs.setdefault(path.parent.name, []).append(path)
        for directory in self.directory.nodes.glob("*/ray/session_2*/logs"):
            logs.setdefault(directory.parents[2].name, []).extend(sorted(directory.iterdir()))
        return logs

    def _last_words(self) -> str:
        with contextlib.suppress(ClusterError, NotFound), engine_errors():
            words = []
            for service in ("cloud", "head", *(["redis"] if self.spec.gcs_storage == "redis" else [])):
                text = self._engine().api.logs(self._service(service)["Id"], tail=_LAST_LINES)
                words += [f"  {service}: {line}" for line in text.decode(errors="replace").splitlines()]
            return "\n".join(words) or super()._last_words()
        return super()._last_words()

    # -- the engine -----------------------------------------------------------------------------------------

    async def _blocking(self, work: Callable[[], T]) -> T:
        """Runs blocking work in a thread; what goes wrong with the engine becomes a ClusterError."""
        try:
            with engine_errors():
                return await asyncio.to_thread(work)
        except NotFound as error:
            raise ClusterError(f"the Docker engine does not know it: {explain(error)}") from error

    def _engine(self) -> Any:
        if self._docker is None:
            self._docker = engine()
        return self._docker

    def _close_engine(self) -> None:
        if self._docker is not None:
            self._docker.close()
            self._docker = None

    def _service(self, service: str) -> dict[str, Any]:
        found = self._find(service)
        if found is None:
            raise ClusterError(f"cluster {self.name!r} has no container of service {service!r}")
        return found

    def _find(self, service: str) -> dict[str, Any] | None:
        """One service's container, as the engine describes it now.

        Raises:
            ClusterError: the engine does not answer, so that nothing is known.
        """
        client = self._engine()
        label = f"{MARK_LABEL}={self._known_config().mark}"
        with engine_errors():
            for container in containers_of(client, label):
                if container.service == service:
                    with contextlib.suppress(NotFound):
                        found: dict[str, Any] = client.api.inspect_container(container.id)
                        return found
        return None

    def _published(self, service: str, port: int) -> int:
        bindings = self._service(service)["NetworkSettings"]["Ports"].get(f"{port}/tcp")
        if not bindings:
            raise ClusterError(f"service {service!r} of cluster {self.name!r} publishes no port {port}; it has ended?")
        return int(bindings[0]["HostPort"])

    def _copy_container_logs(self, into: Path) -> None:
        into.mkdir(parents=True, exist_ok=True)
        for container in containers_of(self._engine(), f"{MARK_LABEL}={self._known_config().mark}"):
            service = container.service
            name = container.labels.get(INSTANCE_LABEL, service)
            target = into / "cloud.log" if service == "cloud" else into / name / "ray-start.log"
            target.parent.mkdir(exist_ok=True)
            with contextlib.suppress(NotFound):
                target.write_bytes(self._engine().api.logs(container.id))

    def _require_free_name(self) -> None:
        present = containers_of(self._engine(), f"{PROJECT_LABEL}={self.name}")
        if not present:
            return
        if any(MARK_LABEL in container.labels for container in present):
            raise ClusterError(
                f"containers of an earlier cluster {self.name!r} are left: `raychaos heal` removes them, or use "
                "another --name"
            )
        raise ClusterError(
            f"there is a Compose project {self.name!r} that raychaos did not make; use another --name for the cluster"
        )

    def _has_image(self, tag: str) -> bool:
        try:
            self._engine().images.get(tag)
        except ImageNotFound:
            return False
        return True

    def _require_image(self, tag: str, ray_version: str) -> None:
        try:
            found = self._engine().images.get(tag)
        except ImageNotFound as error:
            raise ClusterError(
                f"{IMAGE_VARIABLE} names {tag}, which is not on this machine; unset it to let raychaos make one"
            ) from error
        version = found.labels.get("raychaos.ray_version")
        if version != ray_version:
            raise ClusterError(
                f"image {tag} has Ray {version or 'of an unknown version'}, but this machine has {ray_version}, which "
                f"must be the same; unset {IMAGE_VARIABLE} to let raychaos make one"
            )

    def _known_config(self) -> CloudConfig:
        if self._config is None:
            self._config = self.directory.load_config()
        return self._config


class ContainerProcess(LocalProcess):
    """A program in a container, behind a `docker exec` that carries its input and output."""

    def __init__(self, process: asyncio.subprocess.Process, *, container: str, ticket: str) -> None:
        super().__init__(process)
        self._container = container
        self._ticket = ticket

    async def stop(self) -> None:
        """Closes its input; what does not end then is killed in the container, as ending the client would not."""
        client = self._process
        if client.returncode is not None:
            return
        if client.stdin is not None:
            client.stdin.close()
        try:
            await asyncio.wait_for(client.wait(), timeout=_STOP_LIMIT_S)
        except asyncio.TimeoutError:
            with contextlib.suppress(ClusterError):  # the container may be gone; then so is the program
                await run("docker", "exec", self._container, "sh", "-c", _kill_script(self._ticket), limit_s=10.0)
            await super().stop()


def _kill_script(ticket: str) -> str:
    """Kills every process that carries the ticket in its environment."""
    wanted = shlex.quote(f"{PROGRAM_VARIABLE}={ticket}")
    return (
        "for entry in /proc/[0-9]*; do "
        f"if grep -qzxF {wanted} $entry/environ 2>/dev/null; then kill -KILL ${{entry#/proc/}}; fi; "
        "done; true"
    )


def _move_files(source: Path, into: Path) -> int:
    """Copies a directory's files, and empties it; returns how many."""
    into.mkdir(parents=True, exist_ok=True)
    files = sorted(path for path in source.iterdir() if path.is_file())
    for path in files:
        shutil.copyfile(path, into / path.name)
        path.unlink()
    return len(files)


def compose_file() -> Path:
    """The Compose file, in a checkout or an installed wheel."""
    return image.compose_directory() / "compose.yaml"


def _source_root() -> str:
    return str(Path(chaos.__file__).parent.parent)
