"""Runs `docker` and `docker compose`, and says in one sentence what to do when they fail."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from chaos.cloud.command import run_to_end
from chaos.cloud.marks import in_session, signal_all
from chaos.clusters.cloud_cluster import PortTaken
from chaos.errors import ClusterError
from chaos.finish import to_the_end

IMAGE_VARIABLE = "RAYCHAOS_IMAGE"
_ASK_LIMIT_S = 30.0
_LEAVE_LIMIT_S = 5.0
_KILL_LIMIT_S = 5.0
_POLL_S = 0.02
_LINE_LIMIT = 4 * 1024 * 1024
_TAIL_LINES = 20
_TAIL_WIDTH = 400


async def kernel_release() -> str:
    """The release of the kernel that the engine's containers run on.

    Raises:
        ClusterError: no engine answers.
    """
    return (await run("docker", "info", "--format", "{{.KernelVersion}}", limit_s=_ASK_LIMIT_S)).strip()


async def require_compose() -> None:
    """Returns if there is Compose 2.

    Raises:
        ClusterError: there is none, or an older one.
    """
    try:
        version = await run("docker", "compose", "version", "--short", limit_s=_ASK_LIMIT_S)
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
    """Runs a command to its end; returns its standard output.

    Raises:
        ClusterError: it failed, or took longer than `limit_s`; says what to do.
    """
    try:
        ended = await run_to_end(*command, limit_s=limit_s, environment=environment)
    except FileNotFoundError:
        raise absent(command[0]) from None
    except asyncio.TimeoutError:
        raise ClusterError(f"`{' '.join(command[:3])}` did not end within {limit_s:g} s") from None
    if ended.status:
        raise remedy(command, ended.errors.strip() or ended.output.strip())
    return ended.output


async def stream(
    command: Sequence[str],
    on_line: Callable[[str], None],
    *,
    environment: Mapping[str, str] | None = None,
    limit_s: float,
) -> tuple[int, str]:
    """Runs a long command, hands on its lines as they come, and returns its exit code and last lines.

    `environment` is added to ours. Neither the command nor anything it started outlives a call that is cancelled or
    past its limit: all of its session is asked to end, and what has not ended five seconds later is killed.

    Raises:
        ClusterError: it is absent, takes longer than `limit_s`, or cannot even be killed.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            limit=_LINE_LIMIT,
            # A Ctrl-C at the terminal is for us; we hand it on.
            start_new_session=True,
        )
    except FileNotFoundError:
        raise absent(command[0]) from None
    tail: deque[str] = deque(maxlen=_TAIL_LINES)

    async def follow() -> int:
        assert process.stdout is not None
        async for line in process.stdout:
            said = line.decode(errors="replace").rstrip()
            # pip lists every package in one line; a message has to stay readable.
            tail.append(said if len(said) <= _TAIL_WIDTH else said[:_TAIL_WIDTH] + " …")
            on_line(said)
        return await process.wait()

    try:
        return await asyncio.wait_for(follow(), limit_s), "\n".join(tail)
    except asyncio.TimeoutError:
        await to_the_end(_end(process, command))
        told = "\n".join(tail)
        raise ClusterError(f"`{' '.join(command[:2])}` did not end within {limit_s:.0f} s:\n{told}") from None
    except BaseException:
        await to_the_end(_end(process, command))
        raise


async def _end(process: asyncio.subprocess.Process, command: Sequence[str]) -> None:
    """Ends all of a command's session: the docker client gives its plugins process groups of their own.

    Raises:
        ClusterError: something of it cannot be killed.
    """
    # Read on, for a full pipe would keep it from ending.
    reading = asyncio.create_task(process.communicate())
    signal_all(in_session(process.pid), signal.SIGTERM)
    deadline_s = time.monotonic() + _LEAVE_LIMIT_S
    while (left := in_session(process.pid)) and time.monotonic() < deadline_s + _KILL_LIMIT_S:
        if time.monotonic() > deadline_s:
            signal_all(left, signal.SIGKILL)
        await asyncio.sleep(_POLL_S)
    _, unread = await asyncio.wait({reading}, timeout=_KILL_LIMIT_S)
    if unread:
        reading.cancel()
    if left:
        raise ClusterError(f"`{' '.join(command[:2])}` cannot be killed; end processes {left} by hand")


def absent(program: str) -> ClusterError:
    """What to say where a program is not installed."""
    return ClusterError(f"there is no `{program}` on the PATH: install it (Debian: apt-get install docker.io)")


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
