"""Clouds with one planted defect each, for the tool to find.

python -m tests.planted_clouds DIRECTORY, with RAYCHAOS_PLANTED=leaky|skimpy
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from chaos.cloud.config import CloudConfig, CloudDirectory
from chaos.cloud.core import Cloud
from chaos.cloud.driver import NodeDriver, NodeLaunch
from chaos.cloud.instances import Instance
from chaos.cloud.server import serve
from chaos.clusters.local import LocalCluster


class LeakyCloud(Cloud):
    """Acknowledges every termination and carries none out."""

    async def terminate(self, instance_id: str) -> None:
        """Does nothing."""


class SkimpyCloud(Cloud):
    """Launches nodes without the GPU that their type promises: a misconfigured node type."""

    def __init__(self, config: CloudConfig, driver: NodeDriver, *, launch_for: Any, **rest: Any) -> None:
        async def skimp(instance: Instance) -> NodeLaunch:
            launch: NodeLaunch = await launch_for(instance)
            argv = tuple("--num-gpus=0" if word.startswith("--num-gpus=") else word for word in launch.argv)
            return launch.model_copy(update={"argv": argv})

        super().__init__(config, driver, launch_for=skimp, **rest)


PLANTED: dict[str, type[Cloud]] = {"leaky": LeakyCloud, "skimpy": SkimpyCloud}


class PlantedLocalCluster(LocalCluster):
    """A local cluster whose Cloud is one of these."""

    cloud_module = "tests.planted_clouds"


if __name__ == "__main__":
    asyncio.run(serve(CloudDirectory(Path(sys.argv[1])), kind=PLANTED[os.environ["RAYCHAOS_PLANTED"]]))
