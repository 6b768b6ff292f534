"""Clusters that find the planted code: its workloads on every node and, where wanted, its Cloud in place of ours.

On `local` the repository's root is on every PYTHONPATH. Containers hold only what their image does, so on `compose` an
image is made on top of the real one, as whoever wants code of their own in a cluster would make one.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import tarfile
from pathlib import Path
from typing import ClassVar

from docker.errors import ImageNotFound

from chaos.cloud.containers import engine
from chaos.clusters.compose import ComposeCluster
from chaos.clusters.local import LocalCluster

REPOSITORY = "raychaos-planted"
FILES = ("__init__.py", "planted_clouds.py", "planted_workloads.py")
LAYER = "FROM {base}\nCOPY tests /opt/raychaos/tests\n"
# Where the Compose file starts the Cloud, ours is started; everything else in the image starts as it is told.
_STAND_IN = '[ "$3" = chaos.cloud.server ] && set -- python -m tests.planted_clouds "$4"; exec "$@"'
LEAKY_LAYER = f"{LAYER}ENTRYPOINT {json.dumps(['sh', '-c', _STAND_IN, '-'])}\n"


class LeakyLocalCluster(LocalCluster):
    """Processes, whose Cloud leaks every node."""

    cloud_module = "tests.planted_clouds"


class PlantedComposeCluster(ComposeCluster):
    """Containers that find the planted workloads."""

    tag: ClassVar[str] = f"{REPOSITORY}:workloads"
    dockerfile: ClassVar[str] = LAYER

    async def _image(self) -> str:
        base = await super()._image()
        await asyncio.to_thread(_build, self.tag, self.dockerfile.replace("{base}", base))
        return self.tag


class LeakyComposeCluster(PlantedComposeCluster):
    """Containers, whose Cloud leaks every node."""

    tag = f"{REPOSITORY}:leaky"
    dockerfile = LEAKY_LAYER


def remove_images() -> None:
    """Removes the images made here; no container may run from one any more."""
    with contextlib.closing(engine()) as client:
        for kind in (PlantedComposeCluster, LeakyComposeCluster):
            with contextlib.suppress(ImageNotFound):
                client.images.remove(kind.tag)


def _build(tag: str, dockerfile: str) -> None:
    here = Path(__file__).parent
    files = {"Dockerfile": dockerfile.encode()} | {f"tests/{name}": (here / name).read_bytes() for name in FILES}
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    context.seek(0)
    with contextlib.closing(engine()) as client:
        client.images.build(fileobj=context, custom_context=True, tag=tag, rm=True, forcerm=True)
