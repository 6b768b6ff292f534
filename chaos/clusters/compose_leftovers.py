"""What raychaos left on the Docker engine: found by label and removed, also when nothing else is known of it."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from pathlib import Path

from docker.errors import APIError, ImageNotFound

from chaos.cloud.containers import (
    CLUSTER_LABEL,
    DIRECTORY_LABEL,
    MARK_LABEL,
    containers_of,
    engine,
    explain,
    remove_cluster,
)
from chaos.errors import ClusterError

PLAIN_IMAGE = "raychaos:latest"


async def sweep(mark: str) -> list[str]:
    """Removes every container, network and volume that carries a cluster's mark; returns what there was."""
    return await _removing(f"{MARK_LABEL}={mark}")


async def sweep_named(name: str) -> list[str]:
    """Removes what raychaos left of a cluster by this name, whatever its mark, also without its directory."""
    return await _removing(f"{CLUSTER_LABEL}={name}")


def find_leftovers() -> list[str]:
    """Containers, networks and volumes raychaos made that are on this machine now, each in words.

    Raises:
        ClusterError: no engine answers.
    """
    labelled = {"label": MARK_LABEL}
    with contextlib.closing(engine()) as client:
        found = [
            f"container {item.name} ({item.state}) of cluster {item.labels.get(CLUSTER_LABEL, '?')}"
            for item in containers_of(client, MARK_LABEL)
        ]
        found += [f"network {item.name}" for item in client.networks.list(filters=labelled)]
        found += [f"volume {item.name}" for item in client.volumes.list(filters=labelled)]
    return found


def orphans() -> tuple[str, ...]:
    """Marks of clusters that still have containers or networks though their directory is gone; none without an engine.

    A cluster that plain `docker compose up` started has no directory of ours, and is nobody's orphan.
    """
    try:
        with contextlib.closing(engine()) as client:
            labels = [item.labels for item in containers_of(client, MARK_LABEL)]
            labels += [item.attrs["Labels"] for item in client.networks.list(filters={"label": MARK_LABEL})]
    except ClusterError:
        return ()
    gone = {
        item[MARK_LABEL]
        for item in labels
        if item.get(DIRECTORY_LABEL) and not (Path(item[DIRECTORY_LABEL]) / "cluster.json").exists()
    }
    return tuple(sorted(gone))


def remove_directory(root: Path) -> None:
    """Removes a cluster's directory, with a container's help where containers wrote as another user."""
    shutil.rmtree(root, ignore_errors=True)
    if not root.exists():
        return
    with contextlib.closing(engine()) as client, contextlib.suppress(ImageNotFound):
        client.containers.run(
            PLAIN_IMAGE,
            ["find", "/doomed", "-mindepth", "1", "-delete"],
            remove=True,
            network_mode="none",
            user="0:0",
            volumes={str(root.resolve()): {"bind": "/doomed", "mode": "rw"}},
            labels={MARK_LABEL: "directory"},
        )
    shutil.rmtree(root, ignore_errors=True)


async def _removing(label: str) -> list[str]:
    def remove() -> list[str]:
        with contextlib.closing(engine()) as client:
            return remove_cluster(client, label)

    try:
        return await asyncio.to_thread(remove)
    except APIError as error:
        raise ClusterError(f"the Docker engine refused: {explain(error)}") from error
