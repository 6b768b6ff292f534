"""The Kubernetes API as Ray's provider calls it: one RayCluster and its pods, in virtual time.

A call that is refused ends as `requests` has it: with the status of the answer, a connection that ended, or no answer
within Ray's patience. Pods are the Cloud's instances, named alike.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, TypeVar

import requests
from ray.autoscaler._private.kuberay.node_provider import (
    KUBERAY_REQUEST_TIMEOUT_S,
    IKubernetesHttpApiClient,
    url_from_resource,
)

from chaos.cloud.answers import ApiError, Unanswered
from chaos.cloud.launch_faults import LaunchFaults
from chaos.errors import ClusterError
from chaos.events import NodeLaunchFailed
from chaos.harm import LaunchFault, PatchConflict
from chaos.sim.kuberay.patches import PatchFailed, patched
from chaos.sim.kuberay.pods import Pods
from chaos.sim.kuberay.resource import NAMESPACE
from chaos.sim.kuberay.words import meant
from chaos.sim.node import Motion
from chaos.sim.provider import CloudApi
from chaos.sim.turns import waited_for

_HOST = "https://kubernetes.default:443"

T = TypeVar("T")


class KubernetesApi:
    """What the API server does with the calls of Ray's provider; it outlives whoever called it."""

    def __init__(self, pods: Pods, api: CloudApi, *, was_read: Callable[[], None]) -> None:
        self._pods = pods
        self._api = api
        self._was_read = was_read
        self._faults = LaunchFaults(pods.cloud.ledger)

    async def get(self, path: str) -> dict[str, Any]:
        """The RayCluster, or the list of its pods.

        Raises:
            requests.RequestException: as Ray's own client.
        """
        return await self._called(path, self._pod_list if path.startswith("pods?") else self._ray_cluster)

    async def patch(self, path: str, operations: list[dict[str, Any]]) -> dict[str, Any]:
        """The RayCluster once all operations, or none, were applied.

        Raises:
            requests.RequestException: as Ray's own client.
        """
        return await self._called(path, lambda: self._patch(operations))

    async def _called(self, path: str, request: Callable[[], Awaitable[T]]) -> T:
        try:
            return await self._api.call(request, limit_s=KUBERAY_REQUEST_TIMEOUT_S)
        except ApiError as error:
            raise refused(path, error) from error
        except Unanswered as error:
            raise requests.ConnectionError(f"{_url(path)}: {error}") from error
        except ClusterError as error:
            raise requests.ReadTimeout(f"{_url(path)}: {error}") from error

    async def _ray_cluster(self) -> dict[str, Any]:
        self._was_read()
        return copy.deepcopy(self._pods.resource)

    async def _pod_list(self) -> dict[str, Any]:
        return {
            "kind": "PodList",
            "metadata": {"resourceVersion": self._pods.resource["metadata"]["resourceVersion"]},
            "items": self._pods.listed(),
        }

    async def _patch(self, operations: list[dict[str, Any]]) -> dict[str, Any]:
        self._check_conflict()
        try:
            wanted = patched(self._pods.resource, operations)
        except PatchFailed as error:
            raise ApiError(str(error), status=HTTPStatus.UNPROCESSABLE_ENTITY) from error
        more = self._more(wanted)
        self._check_launch(more)
        self._pods.cloud.answers.check_terminable(*self._ending(wanted))
        self._pods.replace(wanted)
        for group in more:
            for effect_id, told in self._faults.lost(group):
                self._pods.cloud.deviations.note(effect_id, "reply_lost", f"replicas of {group}")
                raise ApiError(told, status=HTTPStatus.GATEWAY_TIMEOUT)
        return copy.deepcopy(self._pods.resource)

    def _check_conflict(self) -> None:
        ledger = self._pods.cloud.ledger
        for effect in ledger.effects():
            harm = effect.harm
            if isinstance(harm, PatchConflict) and (harm.patches is None or effect.hits < harm.patches):
                ledger.put_effect(effect.model_copy(update={"hits": effect.hits + 1}))
                self._pods.cloud.deviations.note(effect.effect_id, "conflict")
                name = self._pods.resource["metadata"]["name"]
                raise ApiError(
                    f'Operation cannot be fulfilled on rayclusters.ray.io "{name}": the object has been modified; '
                    "please apply your changes to the latest version and try again",
                    status=HTTPStatus.CONFLICT,
                )

    def _more(self, wanted: dict[str, Any]) -> dict[str, int]:
        """How many pods more a patch asks for, of each group it asks for more of."""
        before = {group["groupName"]: group["replicas"] for group in self._pods.resource["spec"]["workerGroupSpecs"]}
        return {
            group["groupName"]: (group["replicas"] - before[group["groupName"]]) * group["numOfHosts"]
            for group in wanted["spec"]["workerGroupSpecs"]
            if group["replicas"] > before[group["groupName"]]
        }

    def _check_launch(self, more: dict[str, int]) -> None:
        """An edit that is refused for one pod is refused as a whole: all that it asked for has failed."""
        for group, count in more.items():
            for effect, fault in self._faults.of(LaunchFault, group):
                if fault.error is None or (how := meant(fault.error)).status is None:
                    continue
                if self._faults.hit(effect, fault.count, count):
                    for node_type, asked in more.items():
                        failed = NodeLaunchFailed(node_type=node_type, count=asked, reason=fault.error, request="")
                        self._pods.cloud.journal.append(failed)
                    raise ApiError(how.words, status=how.status)

    def _ending(self, wanted: dict[str, Any]) -> list[str]:
        """The pods that a patch asks to delete, and that nobody has asked to before."""
        before = set(self._pods.to_delete(self._pods.resource))
        return [name for name in self._pods.to_delete(wanted) if name not in before]


class Client(IKubernetesHttpApiClient):  # type: ignore[misc]
    """Ray's client, in place of the one that calls a real API: the code that calls it waits, and time goes on.

    A process that hangs makes no call and hears no answer, until it moves again.
    """

    def __init__(self, api: KubernetesApi, motion: Motion) -> None:
        self._api = api
        self._motion = motion

    def get(self, path: str) -> dict[str, Any]:
        """A resource.

        Raises:
            requests.RequestException: as Ray's own client.
        """
        return self._asked(lambda: self._api.get(path))

    def patch(self, path: str, payload: Any, content_type: str = "application/json-patch+json") -> dict[str, Any]:
        """The patched resource.

        Raises:
            requests.RequestException: as Ray's own client; of the ways to patch there is JSON Patch alone.
        """
        if content_type != "application/json-patch+json":
            raise refused(path, ApiError(content_type, status=HTTPStatus.UNSUPPORTED_MEDIA_TYPE))
        return self._asked(lambda: self._api.patch(path, payload))

    def delete(self, path: str) -> dict[str, Any]:
        """Nothing: the role KubeRay gives the autoscaler has no such verb.

        Raises:
            requests.HTTPError: always.
        """
        raise refused(path, ApiError("forbidden: cannot delete resource", status=HTTPStatus.FORBIDDEN))

    def _asked(self, call: Callable[[], Awaitable[T]]) -> T:
        async def moving() -> T:
            await self._motion.moving()
            try:
                return await call()
            finally:
                await self._motion.moving()

        return waited_for(moving)


def refused(path: str, error: ApiError) -> requests.HTTPError:
    """What `requests` raises for such an answer of the API."""
    response = requests.Response()
    response.status_code = error.status.value
    response.reason = error.status.phrase
    response.url = _url(path)
    response._content = json.dumps({"kind": "Status", "message": str(error), "code": error.status.value}).encode()
    try:
        response.raise_for_status()
    except requests.HTTPError as raised:
        return raised
    raise AssertionError(f"{error.status} is no refusal")


def _url(path: str) -> str:
    return str(url_from_resource(NAMESPACE, path, kubernetes_host=_HOST))
