"""The containers, networks and volumes of a cluster as the Docker engine knows them, found by label and removed.

Shared by the Cloud, which ends its own cluster when its owner is gone, and by the engine's side, which cleans up.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import docker
from docker.errors import APIError, DockerException, NotFound
from requests.exceptions import RequestException

from chaos.errors import ClusterError

CLUSTER_LABEL = "raychaos.cluster"
MARK_LABEL = "raychaos.mark"
DIRECTORY_LABEL = "raychaos.directory"
INSTANCE_LABEL = "raychaos.instance"
PROJECT_LABEL = "com.docker.compose.project"
SERVICE_LABEL = "com.docker.compose.service"
NUMBER_LABEL = "com.docker.compose.container-number"
ONE_OFF_LABEL = "com.docker.compose.oneoff"
HASH_LABEL = "com.docker.compose.config-hash"

_CONFLICT = 409
_ENGINE_LIMIT_S = 60
_REMOVALS_AT_ONCE = 8


def engine() -> Any:
    """A client of this machine's Docker engine (`DOCKER_HOST`, else the usual socket); whoever asks for it closes it.

    Raises:
        ClusterError: no engine answers, or it does not let us in.
    """
    host = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    client = None
    try:
        _knock(host)
        client = docker.from_env(timeout=_ENGINE_LIMIT_S)
        client.ping()
    except PermissionError as error:
        raise ClusterError(
            f"this user may not use the Docker engine at {host}: join the group docker, or run as root"
        ) from error
    except (DockerException, OSError) as error:
        if client is not None:
            client.close()
        raise ClusterError(
            f"no Docker engine answers at {host} ({error}): start it, or point DOCKER_HOST at one that runs"
        ) from error
    return client


@contextlib.contextmanager
def engine_errors() -> Iterator[None]:
    """Turns what the client library raises into a ClusterError that says what to do; NotFound alone passes as it is."""
    try:
        yield
    except NotFound:
        raise
    except APIError as error:
        raise ClusterError(f"the Docker engine refused: {explain(error)}") from error
    except RequestException as error:
        raise ClusterError(
            f"the Docker engine does not answer ({error}): look whether it runs and is not overloaded, or point "
            "DOCKER_HOST at one that runs"
        ) from error
    except DockerException as error:
        raise ClusterError(f"the Docker engine could not do it: {error}") from error


def _knock(host: str) -> None:
    """Raises what connecting to a local engine's socket raises; the client library wraps that, and leaks a socket."""
    if host.startswith("unix://"):
        with socket.socket(socket.AF_UNIX) as knock:
            knock.connect(host.removeprefix("unix://"))


def explain(error: APIError) -> str:
    """What the engine said, in one line."""
    return str(error.explanation or error).strip().replace("\n", " ")


@dataclass(frozen=True)
class Container:
    """A container as the engine lists it."""

    id: str
    name: str
    state: str
    labels: Mapping[str, str]

    @property
    def service(self) -> str:
        """The Compose service it belongs to."""
        return self.labels.get(SERVICE_LABEL, "")


def containers_of(client: Any, *labels: str) -> list[Container]:
    """All containers, running or not, that carry every one of the labels (`name` or `name=value`)."""
    # One question to the engine; the client's richer form asks again for each, and fails for one that just went.
    return [
        Container(
            id=item["Id"],
            name=(item.get("Names") or [item["Id"][:12]])[0].lstrip("/"),
            state=item.get("State", ""),
            labels=item.get("Labels") or {},
        )
        for item in client.api.containers(all=True, filters={"label": list(labels)})
    ]


def remove_containers(client: Any, containers: Iterable[Container]) -> None:
    """SIGKILL and removal, several at once; one that is gone is as good as removed.

    Raises:
        ClusterError: the engine would not remove one.
    """

    def remove(container: Container) -> None:
        _tolerantly(partial(client.api.remove_container, container.id, force=True, v=True))

    with ThreadPoolExecutor(_REMOVALS_AT_ONCE) as pool:
        list(pool.map(remove, containers))


def remove_cluster(client: Any, *labels: str, spare: str = "") -> list[str]:
    """Removes every container, then network, then volume with these labels; returns what was there, by name.

    Containers go before their network, so that nothing talks to an address that no longer has a route. The container
    with the id `spare` is only taken off the networks.

    Raises:
        ClusterError: the engine would not remove something.
    """
    removed: list[str] = []
    containers = [item for item in containers_of(client, *labels) if item.id != spare]
    # The Cloud first, or it would see its nodes go and record, or replace, them.
    for group in (
        [item for item in containers if item.service == "cloud"],
        [item for item in containers if item.service != "cloud"],
    ):
        removed += [f"container {item.name}" for item in group]
        remove_containers(client, group)
    for network in client.networks.list(filters={"label": list(labels)}):
        if spare:
            _tolerantly(partial(network.disconnect, spare, force=True))
        removed.append(f"network {network.name}")
        _tolerantly(network.remove)
    for volume in client.volumes.list(filters={"label": list(labels)}):
        if not spare:
            removed.append(f"volume {volume.name}")
            _tolerantly(partial(volume.remove, force=True))
    return removed


def _tolerantly(removal: Callable[[], object]) -> None:
    """Carries out a removal; one already done, or in progress, is done."""
    try:
        removal()
    except NotFound:
        return
    except APIError as error:
        said = explain(error)
        if error.status_code == _CONFLICT and "already in progress" in said:
            return
        if "is not connected" in said:
            return
        raise ClusterError(f"the Docker engine refused: {said}") from error
