"""What is installed, in this process's eyes."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import platform

from chaos import __version__


def ray_version() -> str:
    """The version of the Ray that is installed, or that this process was started with."""
    return importlib.metadata.version("ray")


def versions() -> dict[str, str]:
    """Versions of what matters for a result."""
    return dict(_versions())


@functools.cache
def _versions() -> tuple[tuple[str, str], ...]:
    found = {"raychaos": __version__, "python": platform.python_version(), "kernel": platform.release()}
    for package in ("ray", "torch", "hypothesis"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return tuple(found.items())
