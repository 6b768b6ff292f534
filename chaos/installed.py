"""What is installed beside raychaos, in this process's eyes."""

from __future__ import annotations

import importlib.metadata


def ray_version() -> str:
    """The version of the Ray that is installed, or that this process was started with."""
    return importlib.metadata.version("ray")
