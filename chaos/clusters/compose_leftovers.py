"""What raychaos left on the Docker engine: found by label and removed, also when nothing else is known of it."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from pathlib import Path

from docker.errors import ImageNotFound

from chaos.cloud.containers import DIRECTORY_LABEL, MARK_LABEL, containers_of, engine, engine_errors, remove_cluster
from chaos.errors import ClusterError

PLAIN_IMAGE = "raychaos:latest"


async def sweep(mark: str) -> list[str]:
    """Removes every container, network and volume that carries a cluster's mark; returns what there was.

    Raises:
        ClusterError: no engine answers, or it would not remove something.
    """

    def remove() -> list[str]:
        with contextlib.closing(engine()) as client, engine_errors():
            return remove_cluster(client, f"{MARK_LABEL}={mark}")

    return await asyncio.to_thread(remove)


def orphans() -> tuple[str, ...]:
    """Marks of clusters that still have containers or networks though their directory is gone; none without an engine.

    A cluster that plain `docker compose up` started has no directory of ours, and is nobody's orphan.
    """
    try:
        with contextlib.closing(engine()) as client, engine_errors():
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
    with contextlib.closing(engine()) as client, contextlib.suppress(ImageNotFound), engine_errors():
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
