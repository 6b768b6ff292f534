"""The configuration and secrets of a cluster started by plain `docker compose up`, made by its Cloud at first start.

Environment: `RAYCHAOS_PROJECT` (the Compose project), `RAYCHAOS_MARK` (its label), `RAYCHAOS_CLUSTER_SPEC` (JSON of a
`ClusterSpec`; fields left out have their defaults, and the dashboard is on), `RAYCHAOS_UID` and `RAYCHAOS_GID` (whom
the nodes run as).
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from chaos.cloud.config import CloudConfig, CloudDirectory
from chaos.cluster_spec import ClusterSpec
from chaos.errors import InvalidSpec

COMPOSE_CLOUD_PORT = 8400
CONTAINER_RAY_TEMP = "/tmp/ray"


def compose_config(*, cluster: str, mark: str, spec: ClusterSpec, first_lease_s: float | None = None) -> CloudConfig:
    """What the Cloud of a containers' cluster is told; without a first lease the cluster stays until ended."""
    return CloudConfig(
        cluster=cluster,
        mark=mark,
        driver="docker",
        spec=spec,
        ray_temp=CONTAINER_RAY_TEMP,
        listen_host="0.0.0.0",
        listen_port=COMPOSE_CLOUD_PORT,
        first_lease_s=first_lease_s,
    )


def bootstrap(directory: CloudDirectory, environment: Mapping[str, str] = os.environ) -> None:
    """Fills an empty directory.

    Raises:
        InvalidSpec: RAYCHAOS_CLUSTER_SPEC is no ClusterSpec in JSON.
    """
    given = environment.get("RAYCHAOS_CLUSTER_SPEC") or "{}"
    try:
        spec = ClusterSpec.model_validate({"dashboard": True, **json.loads(given), "kind": "compose"})
    except (ValidationError, ValueError, TypeError) as error:
        raise InvalidSpec(f"RAYCHAOS_CLUSTER_SPEC is no `cluster` part of a spec, in JSON: {error}") from error
    project = environment["RAYCHAOS_PROJECT"]
    directory.create(
        compose_config(cluster=project, mark=environment.get("RAYCHAOS_MARK") or project, spec=spec),
        token=secrets.token_urlsafe(24),
        ray_token=secrets.token_urlsafe(24),
    )
    uid, gid = node_user(environment)
    for path in (directory.root, *directory.root.rglob("*")):
        os.chown(path, uid, gid)


def node_user(environment: Mapping[str, str] = os.environ) -> tuple[int, int]:
    """Whom the nodes run as: user and group."""
    return int(environment.get("RAYCHAOS_UID") or 0), int(environment.get("RAYCHAOS_GID") or 0)


def make_node_directory(directory: CloudDirectory, instance: str) -> Path:
    """A directory for one node's logs, that the node may write to."""
    path = directory.nodes / instance
    path.mkdir(parents=True, exist_ok=True)
    os.chown(path, *node_user())
    return path
