"""The engine's side of the Cloud's HTTP API."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import aiohttp
from pydantic import TypeAdapter

from chaos.cloud.config import TOKEN_HEADER
from chaos.cluster import Gauges, NetworkView, Node, NodeProcess, PathMeasurement, PathSample
from chaos.errors import ClusterError, InjectionError
from chaos.events import Event
from chaos.harm import CloudHarm, NodeHarm

_EVENT: TypeAdapter[Event] = TypeAdapter(Event)
_CONFLICT = 409
_UNAUTHORIZED = 401


class CloudClient:
    """Calls one Cloud. Use as an asynchronous context, or `close` it."""

    def __init__(self, url: str, token: str, *, limit_s: float = 15.0) -> None:
        self._url = url
        self._limit = aiohttp.ClientTimeout(total=limit_s)
        self._session = aiohttp.ClientSession(headers={TOKEN_HEADER: f"Bearer {token}"})

    async def close(self) -> None:
        """Closes its connections."""
        await self._session.close()

    async def healthy(self) -> bool:
        """Whether the Cloud answers and has started its head."""
        try:
            return bool((await self._call("GET", "/health"))["head"])
        except ClusterError:
            return False

    async def instances(self) -> list[dict[str, Any]]:
        """The instances that are not terminated, as the API gives them."""
        return list((await self._call("GET", "/instances"))["instances"])

    async def nodes(self) -> tuple[Node, ...]:
        """The instances that are not terminated, as nodes."""
        return tuple(
            Node(
                node=item["node"],
                node_type=item["node_type"],
                state=item["view"],
                instance=item["instance"],
                launched_s=item["asked_monotonic_s"],
            )
            for item in await self.instances()
        )

    async def kill(self, node: str) -> None:
        """Ends a node at once."""
        await self._call("POST", f"/nodes/{node}/kill")

    async def processes_of(self, node: str) -> tuple[NodeProcess, ...]:
        """A node's processes; none where it does not run."""
        listed = (await self._call("GET", f"/nodes/{node}/processes"))["processes"]
        return tuple(NodeProcess.model_validate(item) for item in listed)

    async def kill_processes(self, node: str, processes: Sequence[NodeProcess]) -> None:
        """SIGKILL to single processes of a node."""
        body = {"processes": {str(process.pid): process.started_ticks for process in processes}}
        await self._call("POST", f"/nodes/{node}/processes/kill", body)

    async def restart(self, node: str) -> None:
        """Ends all of a node, and starts it anew."""
        await self._call("POST", f"/nodes/{node}/restart")

    async def restart_raylet(self, node: str) -> None:
        """Ends a node's raylet, and starts Ray again there."""
        await self._call("POST", f"/nodes/{node}/raylet/restart")

    async def prepare_notice(self) -> None:
        """Makes ready what a drain notice takes."""
        await self._call("POST", "/notices/prepare")

    async def restart_head(self) -> None:
        """Ends the head at once and starts it again."""
        await self._call("POST", "/head/restart")

    async def apply(self, harm: NodeHarm | CloudHarm, *, effect_id: str, lease_s: float, node: str = "") -> None:
        """Puts harm in force, on a node or on the Cloud itself, until undone or the lease ends."""
        body = {"lease_s": lease_s, "node": node, "harm": harm.model_dump(mode="json")}
        await self._call("PUT", f"/effects/{effect_id}", body)

    async def measure_path(self, source: str, destination: str, *, transfer_kib: int) -> PathMeasurement:
        """Measures a path between two nodes."""
        body = {"source": source, "destination": destination, "transfer_kib": transfer_kib}
        return PathMeasurement.model_validate(await self._call("POST", "/path", body))

    async def rpc_faults_of(self, node: str) -> dict[str, str]:
        """The RPC faults a node's raylet was started with: variables of its environment."""
        return dict((await self._call("GET", f"/nodes/{node}/rpc_faults"))["environment"])

    async def configuration_was_read(self) -> bool:
        """Whether the autoscaler's configuration has been read since it was last edited."""
        return bool((await self._call("GET", "/configuration"))["read"])

    async def gauges(self, node: str) -> Gauges | None:
        """What a node uses of its resources; None where it does not run."""
        read = (await self._call("GET", f"/nodes/{node}/gauges"))["gauges"]
        return None if read is None else Gauges.model_validate(read)

    async def measure_disk(self, node: str, *, transfer_kib: int) -> float | None:
        """How fast a node writes to its disk, in megabytes a second; None where it does not run."""
        rate = (await self._call("POST", f"/nodes/{node}/disk", {"transfer_kib": transfer_kib}))["mb_per_s"]
        return None if rate is None else float(rate)

    async def sample_path(
        self, source: str, destination: str, *, packets: int, interval_ms: float, patience_ms: float, port: int
    ) -> PathSample:
        """Counts packets that are sent one way along a path between two nodes."""
        how = {"packets": packets, "interval_ms": interval_ms, "patience_ms": patience_ms, "port": port}
        body = {"source": source, "destination": destination, **how}
        return PathSample.model_validate(await self._call("POST", "/path/sample", body))

    async def view_network(self, node: str) -> NetworkView:
        """What a node's kernel shows of its network."""
        return NetworkView.model_validate(await self._call("GET", f"/nodes/{node}/network"))

    async def undo(self, effect_id: str) -> None:
        """Removes harm."""
        await self._call("DELETE", f"/effects/{effect_id}")

    async def undo_all(self) -> tuple[str, ...]:
        """Removes all harm, in one call; returns the ids of what was in force.

        Raises:
            InjectionError: some could not be removed; the rest was.
        """
        answer = await self._call("DELETE", "/effects")
        if answer["failed"]:
            told = "; ".join(f"{effect}: {why}" for effect, why in answer["failed"].items())
            raise InjectionError(f"effects could not be undone: {told}")
        return tuple(answer["undone"])

    async def effects(self) -> tuple[str, ...]:
        """Ids of the harm in force."""
        return tuple(item["effect_id"] for item in (await self._call("GET", "/effects"))["effects"])

    async def harm_seen(self) -> tuple[str, ...]:
        """What still shows of harm on the nodes themselves."""
        return tuple((await self._call("GET", "/harm"))["seen"])

    async def renew_owner(self, ttl_s: float) -> None:
        """Keeps the cluster alive that much longer."""
        await self._call("POST", "/owner", {"ttl_s": ttl_s})

    async def keep(self) -> None:
        """Lets the cluster outlive its starter."""
        await self._call("POST", "/owner", {})

    async def renumber(self) -> int:
        """Numbers the workers from w1; returns the number of the next event."""
        return int((await self._call("POST", "/renumber"))["events"])

    async def down(self) -> None:
        """Tells the Cloud to end the cluster and itself."""
        await self._call("POST", "/down")

    async def events(self, after: int) -> AsyncIterator[tuple[float, Event]]:
        """Node lifecycle events from number `after` on, each with its monotonic time; ends when the Cloud does."""
        limit = aiohttp.ClientTimeout(total=None, sock_connect=5.0)
        try:
            async with self._session.get(f"{self._url}/events?after={after}", timeout=limit) as response:
                async for line in response.content:
                    data = json.loads(line)
                    yield float(data["monotonic_s"]), _EVENT.validate_python(data["event"])
        except aiohttp.ClientError:
            return

    async def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        try:
            async with self._session.request(method, self._url + path, json=body, timeout=self._limit) as response:
                answer: dict[str, Any] = await response.json(content_type=None) or {}
        except (aiohttp.ClientError, asyncio.TimeoutError, ValueError) as error:
            why = error.__class__.__name__ if isinstance(error, asyncio.TimeoutError) else str(error)
            raise ClusterError(f"the Cloud at {self._url} did not answer {method} {path}: {why}") from error
        if response.status == _CONFLICT:
            raise InjectionError(answer.get("error", "refused"))
        if response.status == _UNAUTHORIZED:
            raise ClusterError(f"the Cloud at {self._url} does not know our token; is it another cluster's?")
        if not response.ok:
            raise ClusterError(f"{method} {path}: {response.status} {answer.get('error', '')}")
        return answer
