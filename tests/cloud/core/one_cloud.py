"""What tests do with one Cloud."""

from __future__ import annotations

import asyncio

from chaos.cloud.core import Cloud
from tests.cloud.fake_driver import Sky
from tests.doubles import settle

TAGS = {"ray-launch-request": "req-1", "ray-node-status": "uninitialized"}


async def launched(sky: Sky, count: int = 1, node_type: str = "gpu") -> list[str]:
    """Ids of new instances that run."""
    asked = await sky.cloud.launch(node_type, count, TAGS)
    await settle()
    return [item.instance for item in asked]


def nodes(cloud: Cloud) -> dict[str, str]:
    return {item.node: cloud.view(item) for item in cloud.instances()}


async def abandoned(sky: Sky) -> Cloud:
    """The Cloud after a crash of the one before: its tasks are gone, its state is on disk."""
    before = sky.cloud
    for task in list(before._tasks):
        task.cancel()
    await asyncio.gather(*before._tasks, return_exceptions=True)
    cloud = sky.reborn()
    await cloud.resume()
    return cloud
