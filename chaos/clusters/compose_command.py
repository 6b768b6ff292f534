"""Runs `docker` and `docker compose`, and says in one sentence what to do when they fail."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from chaos.errors import ClusterError

IMAGE_VARIABLE = "RAYCHAOS_IMAGE"


class PortTaken(ClusterError):
    """A port the cluster is to publish is in use."""


async def require_compose() -> None:
    try:
        version = await run("docker", "compose", "version", "--short", limit_s=30.0)
    except ClusterError as error:
        if "PATH" in str(error):
            raise
        raise ClusterError(
            "`docker compose` is missing: install Compose 2 (package docker-compose-plugin or docker-compose-v2); the "
            "old `docker-compose` 1 does not do"
        ) from error
    if version.strip().lstrip("v").startswith("1."):
        raise ClusterError(f"Docker Compose is {version.strip()}: raychaos needs version 2 or later")


async def run(*command: str, environment: Mapping[str, str] | None = None, limit_s: float) -> str:
    """Runs a command; its standard output. A failure becomes a ClusterError that says what to do."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=None if environment is None else dict(environment),
        )
    except FileNotFoundError:
        raise ClusterError(
            f"there is no `{command[0]}` on the PATH: install Docker (Debian: apt-get install docker.io)"
        ) from None
    try:
        output, errors = await asyncio.wait_for(process.communicate(), limit_s)
    except asyncio.TimeoutError:
        raise ClusterError(f"`{' '.join(command[:3])}` did not end within {limit_s:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise remedy(command, errors.decode(errors="replace").strip() or output.decode(errors="replace").strip())
    return output.decode(errors="replace")


def remedy(command: tuple[str, ...], said: str) -> ClusterError:
    """What went wrong and what to do, from what the command said."""
    lower = said.lower()
    last = said.splitlines()[-1] if said else "it said nothing"
    if "permission denied" in lower and "docker" in lower:
        return ClusterError(
            f"this user may not talk to the Docker engine: join the group docker, or run as root ({last})"
        )
    if "cannot connect to the docker daemon" in lower:
        return ClusterError(f"no Docker engine answers: start it, or point DOCKER_HOST at one that runs ({last})")
    if "port is already allocated" in lower or "address already in use" in lower:
        return PortTaken(f"a port the cluster publishes is taken; try again, or free it: {last}")
    if "no such image" in lower or "pull access denied" in lower:
        return ClusterError(f"the image is missing: {last}; unset {IMAGE_VARIABLE} to let raychaos make one")
    return ClusterError(f"`{' '.join(command[:2])}` failed: {said}")
