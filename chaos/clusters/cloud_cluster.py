"""What all clusters that stand on a Cloud share: leases, watching, jobs, kills, pauses and launch faults."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import sys
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from chaos.cloud.client import CloudClient
from chaos.cloud.config import CloudConfig, CloudDirectory
from chaos.cloud.instances import StateFile
from chaos.cluster import Node, Process, Vitals
from chaos.cluster_spec import ClusterSpec
from chaos.clusters.cloud_harms import HarmsThroughCloud
from chaos.clusters.observer import Observer
from chaos.errors import ChaosError, ClusterError
from chaos.finish import to_the_end
from chaos.history import Recorder
from chaos.home import cluster_root

OWNER_LEASE_S = 20.0
RENEW_S = 2.0
_POLL_S = 0.1
_WITHDRAWN_WITHIN_S = 30.0
_STOP_LIMIT_S = 30.0
_DISK_FLOOR_MB = 1024
_START_ATTEMPTS = 3

Step = Callable[[str], None]


class PortTaken(ClusterError):
    """A port the cluster had chosen was taken by somebody else before the cluster could listen there."""


class CloudCluster(HarmsThroughCloud):
    """A cluster whose nodes a Cloud launches; `local` and `compose` say how the Cloud and its head are run."""

    kind: str

    def __init__(self, name: str, spec: ClusterSpec, *, on_step: Step = lambda _: None) -> None:
        self.name = name
        self.spec = spec
        self.directory = CloudDirectory(cluster_root(name))
        self._on_step = on_step
        self._client: CloudClient | None = None
        self._access: tuple[str, str] | None = None
        self._observer: Observer | None = None
        self._renewal: asyncio.Task[None] | None = None

    # -- life -----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Starts the Cloud, the head and the minimum of workers; on failure leaves nothing running."""
        if self.directory.config.exists():
            raise ClusterError(
                f"there is a cluster named {self.name!r} already; use another --name, or `raychaos down {self.name}`"
            )
        self._require_room()
        for attempts_left in reversed(range(_START_ATTEMPTS)):
            try:
                await self._start_once()
            except PortTaken:
                if not attempts_left:
                    raise
                self._on_step("another program took a port the cluster had chosen; starting anew, with others")
            else:
                return

    async def _start_once(self) -> None:
        try:
            await self._launch_cloud()
            await self._connect()
            self._renewal = asyncio.create_task(self._renew())
            self._on_step("waiting for the head to answer")
            await self._until_healthy()
        except BaseException:
            await to_the_end(self.stop())
            raise

    async def attach(self) -> None:
        """Connects to this cluster, which runs already and stays when we are done with it."""
        await self._connect()
        assert self._client is not None
        if not await self._client.healthy():
            await self.release()
            raise ClusterError(f"cluster {self.name!r} does not answer; end it with `raychaos down {self.name}`")
        await self._until_healthy()

    async def keep(self) -> None:
        """Lets the cluster outlive this process, until `down`."""
        await self._cloud.keep()

    async def release(self) -> None:
        """Lets go of the cluster without ending it."""
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.gather(self._renewal, return_exceptions=True)
            self._renewal = None
        observer, self._observer = self._observer, None
        client, self._client = self._client, None
        try:
            if observer is not None:
                await observer.close()
        finally:
            if client is not None:
                await client.close()

    async def stop(self) -> None:
        """Ends the cluster and removes its directory; idempotent, and also for one found dead."""
        if self._client is None and self.answers():
            await self._connect()
        if self._client is not None:
            with contextlib.suppress(ClusterError):
                await self._client.down()
        try:
            await self.release()
        finally:
            await self._end_cloud(limit_s=_STOP_LIMIT_S)
            shutil.rmtree(self.directory.root, ignore_errors=True)

    async def begin_run(self, recorder: Recorder) -> None:
        """Records into a history from now on, with workers numbered from w1; withdraws what stands requested.

        What a killed driver asked for through Ray Data may stand again: the actor that outlives it asks anew within
        20 s, as long as that has not expired (`request_expiry_s`).

        Raises:
            ClusterError: that could not be withdrawn.
        """
        assert self._observer is not None
        await self._withdraw_requests(self._observer.sample)
        deadline_s = time.monotonic() + _STOP_LIMIT_S
        while any(node.state == "stopping" for node in await self.nodes()) and time.monotonic() < deadline_s:
            await asyncio.sleep(_POLL_S)
        await self._observer.attach(recorder, monitor_log=self._monitor_log)

    async def end_run(self) -> None:
        """Stops recording, and undoes every effect still in force.

        Raises:
            InjectionError: some could not be undone; the others were.
        """
        try:
            await self._cloud.undo_all()
        finally:
            if self._observer is not None:
                await self._observer.detach()

    async def abandon(self, *, limit_s: float) -> str:
        """Undoes all harm in one call, for an owner who leaves without waiting for the rest; says what becomes of it.

        Uses nothing that is under way, and takes no longer than `limit_s`.
        """
        if self._access is None and not self.directory.config.exists():
            return f"cluster {self.name!r} was not started; nothing of it runs"
        kept = self.kept()
        try:
            if self._access is not None:
                client = CloudClient(*self._access, limit_s=limit_s)
                try:
                    await client.undo_all()
                finally:
                    await client.close()
        except ChaosError as error:
            if kept:
                return f"harm on cluster {self.name!r} ends with its leases, or now by `raychaos heal`: {error}"
        if kept:
            return f"harm on cluster {self.name!r} is undone, the cluster stays"
        return f"cluster {self.name!r} ends by itself within half a minute"

    def answers(self) -> bool:
        """Whether this cluster's Cloud runs."""
        return bool(self.address()) and self._cloud_alive()

    def standing(self) -> Literal["silent", "dead", "unknown"]:
        """What a cluster that cannot be attached to is: its Cloud runs all the same, or not, or who knows."""
        try:
            return "silent" if self._cloud_alive() else "dead"
        except ClusterError:
            return "unknown"

    def kept(self) -> bool:
        """Whether the cluster is to outlive the command that started it."""
        return StateFile(self.directory.state / "state.json").load().kept

    def dashboard(self) -> str | None:
        """The dashboard's URL on this machine; None where it is off."""
        port = self.address().get("dashboard")
        return f"http://127.0.0.1:{port}" if port else None

    # -- looking --------------------------------------------------------------------------------------------

    async def nodes(self) -> tuple[Node, ...]:
        """The Cloud's instances, head first."""
        return await self._cloud.nodes()

    async def active_effects(self) -> tuple[str, ...]:
        """Ids of the effects in force."""
        return await self._cloud.effects()

    async def leftovers(self) -> tuple[str, ...]:
        """Effects in force, and whatever harm the cluster itself still shows."""
        effects = tuple(f"effect in force: {effect}" for effect in await self._cloud.effects())
        return effects + await self._cloud.harm_seen()

    def data_directory(self, run_id: str) -> tuple[Path, str]:
        """The directory all nodes share for one run."""
        here = self.directory.data / run_id
        here.mkdir(parents=True, exist_ok=True)
        return here, f"{self._root_on_nodes()}/data/{run_id}"

    async def collect_logs(self, into: Path) -> None:
        """Copies the Cloud's log, each node's start log, and Ray's logs."""
        await asyncio.to_thread(self._copy_logs, into)

    def _copy_logs(self, into: Path) -> None:
        into.mkdir(parents=True, exist_ok=True)
        for name in ("cloud.log",):
            if (self.directory.root / name).exists():
                shutil.copy2(self.directory.root / name, into / name)
        for path in (self.directory.events, self.directory.state / "autoscaling.yaml"):
            if path.exists():
                shutil.copy2(path, into / path.name)
        for node, logs in self._ray_logs().items():
            target = into / node
            target.mkdir(parents=True, exist_ok=True)
            for path in logs:
                if path.is_file() and not path.is_symlink():
                    with contextlib.suppress(FileNotFoundError):
                        shutil.copy2(path, target / path.name)

    # -- what the kinds differ in ---------------------------------------------------------------------------

    @abstractmethod
    def how_to_connect(self) -> str:
        """What to type to use this cluster, for people."""

    @abstractmethod
    async def execute(self, module: str, arguments: tuple[str, ...], *, environment: Mapping[str, str]) -> Process:
        """Starts a program on the head."""

    @abstractmethod
    async def vitals(self, node: str) -> Vitals | None:
        """A node's signs of life."""

    @abstractmethod
    async def dump_stacks(self, into: Path) -> int:
        """Stack dumps of the cluster's Python processes."""

    @abstractmethod
    async def _launch_cloud(self) -> None: ...

    @abstractmethod
    async def _end_cloud(self, *, limit_s: float) -> None: ...

    @abstractmethod
    def _cloud_alive(self) -> bool: ...

    @abstractmethod
    def _cloud_url(self, address: Mapping[str, Any]) -> str: ...

    @abstractmethod
    def gcs_address(self) -> str:
        """The GCS as this machine reaches it."""

    @abstractmethod
    def _sampler_environment(self) -> dict[str, str]: ...

    @abstractmethod
    def _root_on_nodes(self) -> str: ...

    # -- inside ---------------------------------------------------------------------------------------------

    @property
    def _cloud(self) -> CloudClient:
        """The Cloud's client.

        Raises:
            ClusterError: the cluster is not started.
        """
        if self._client is None:
            raise ClusterError(f"cluster {self.name!r} is not started")
        return self._client

    async def hosts_programs(self) -> bool:
        """Whether the head runs, or a node of the type that the driver is to run on."""
        kind = self.spec.driver_on
        listed = await self._cloud.instances()
        return any(item["node_type"] == kind and item["state"] == "running" for item in listed)

    async def _driver_instance(self) -> dict[str, Any]:
        """The instance on which programs run, as the API gives it: the head, or the oldest node of the type for it.

        Raises:
            ClusterError: no node of that type runs.
        """
        kind = self.spec.driver_on
        for item in await self._cloud.instances():
            if item["node_type"] == kind and item["state"] == "running":
                return item
        raise ClusterError(f"no node of type {kind!r} runs, on which the driver is to run (cluster.driver_on)")

    def address(self) -> dict[str, Any]:
        """Where the Cloud and the head listen, as the Cloud announced it; empty before it did."""
        try:
            found: dict[str, Any] = json.loads(self.directory.address.read_text())
        except (OSError, ValueError):
            return {}
        return found

    def _require_room(self) -> None:
        """Refuses to start where disk or, for processes, shared memory would not do.

        Raises:
            ClusterError: says what is there and what is needed.
        """
        parent = next(path for path in self.directory.root.parents if path.exists())
        disk_mb = shutil.disk_usage(parent).free // 2**20
        if disk_mb < _DISK_FLOOR_MB:
            raise ClusterError(
                f"{parent}: {disk_mb} MB free, a cluster needs {_DISK_FLOOR_MB}; free some, or set RAYCHAOS_HOME"
            )
        shared_mb = self._shared_memory_mb()
        needed_mb = self.spec.object_store_mb * (1 + self.spec.worker_limit)
        if shared_mb is not None and shared_mb < needed_mb:
            raise ClusterError(
                f"/dev/shm: {shared_mb} MB free, {1 + self.spec.worker_limit} nodes with cluster.object_store_mb = "
                f"{self.spec.object_store_mb} need {needed_mb}; enlarge it, or lower object_store_mb or max_workers"
            )

    def _shared_memory_mb(self) -> int | None:
        """Free shared memory all nodes draw on; None where each has its own."""
        return None

    def _port_taken(self) -> bool:
        """Whether a head that died as it started did so for want of a port."""
        return False

    def _monitor_log(self) -> Path | None:
        return next((path for path in self._ray_logs().get("head", ()) if path.name == "monitor.log"), None)

    async def _connect(self) -> None:
        deadline_s = time.monotonic() + self.spec.start_limit_s
        while not self.address():
            if not self._cloud_alive():
                raise ClusterError(f"the Cloud of cluster {self.name!r} ended as it started:\n{self._last_words()}")
            if time.monotonic() > deadline_s:
                raise ClusterError(f"the Cloud of cluster {self.name!r} is not up after {self.spec.start_limit_s:g} s")
            await asyncio.sleep(_POLL_S)
        self._access = (self._cloud_url(self.address()), self.directory.token.read_text().strip())
        self._client = CloudClient(*self._access)

    async def _until_healthy(self) -> None:
        assert self._client is not None
        deadline_s = time.monotonic() + self.spec.start_limit_s
        while not await self._client.healthy():
            self._still(deadline_s, "the head was not started")
            await asyncio.sleep(_POLL_S)
        self._observer = Observer(self._client, gcs_address=self.gcs_address(), environment=self._sampler_environment())
        self._observer.open()
        wanted = self.spec.min_workers
        while not (self._observer.head_alive() and self._observer.workers_alive() >= wanted):
            self._still(deadline_s, f"the head is not up with {wanted} workers")
            if not any(node.node == "head" for node in await self._client.nodes()):
                kind = PortTaken if self._port_taken() else ClusterError
                raise kind(f"the head of cluster {self.name!r} died as it started:\n{self._last_words()}")
            await asyncio.sleep(_POLL_S)

    def _still(self, deadline_s: float, what: str) -> None:
        if not self._cloud_alive():
            raise ClusterError(f"the Cloud of cluster {self.name!r} ended:\n{self._last_words()}")
        if time.monotonic() > deadline_s:
            raise ClusterError(
                f"{what} after cluster.start_limit_s = {self.spec.start_limit_s:g} s:\n{self._last_words()}"
            )

    def _last_words(self) -> str:
        texts = []
        for path in (self.directory.root / "cloud.log", self.directory.nodes / "head" / "ray-start.log"):
            if path.exists():
                texts += path.read_text(errors="replace").splitlines()[-12:]
        return "\n".join(f"  {line}" for line in texts) or "  (no log)"

    async def _withdraw_requests(self, sample: Mapping[str, Any]) -> None:
        """A driver that is killed withdraws nothing, and the cluster would never come to rest.

        Left out only where the last sample shows that nothing stands: not where the GCS did not answer, nor for v1,
        of which no sample shows it.
        """
        standing = any(demand["source"] == "request_resources" for demand in sample.get("demands", ()))
        if sample["reachable"] and not standing and self.spec.autoscaler == "v2":
            return
        withdrawing = await asyncio.create_subprocess_exec(
            *withdrawal_command(self.gcs_address(), self.spec.autoscaler),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=self._sampler_environment(),
            start_new_session=True,
        )
        try:
            said, _ = await asyncio.wait_for(withdrawing.communicate(), _WITHDRAWN_WITHIN_S)
            words = said.decode(errors="replace").strip() or f"status {withdrawing.returncode}"
            why = words if withdrawing.returncode else ""
        except asyncio.TimeoutError:
            why = f"no answer in {_WITHDRAWN_WITHIN_S:g} s"
        finally:
            with contextlib.suppress(ProcessLookupError):
                withdrawing.kill()
            await withdrawing.wait()
        if why:
            raise ClusterError(
                f"what drivers of before still asked for by request_resources on cluster {self.name!r} could not be "
                f"withdrawn: {why}"
            )

    async def _renew(self) -> None:
        while True:
            with contextlib.suppress(ClusterError):
                await self._cloud.renew_owner(OWNER_LEASE_S)
            await asyncio.sleep(RENEW_S)


def withdrawal_command(gcs_address: str, autoscaler: str) -> tuple[str, ...]:
    """The process that withdraws what stands requested of the autoscaler."""
    return (sys.executable, "-m", "chaos.clusters.withdrawal", gcs_address, autoscaler)


def config_of(directory: CloudDirectory) -> CloudConfig:
    """The configuration of an existing cluster.

    Raises:
        ClusterError: it cannot be read by this version.
    """
    try:
        return directory.load_config()
    except (OSError, ValueError) as error:
        raise ClusterError(
            f"{directory.config}: not a cluster of this version ({error}); `raychaos heal` removes what is left of it"
        ) from error
