"""Tells nodes that they will end: as a spot market does through Ray's drain notice, or as `kill` and engines do."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence

from chaos.cloud.config import CloudDirectory
from chaos.cloud.instances import Instance
from chaos.cloud.marks import command_of, signal_all
from chaos.cloud.node_processes import starts_ray
from chaos.cloud.stopping import Look
from chaos.errors import InjectionError
from chaos.harm import EndingNode, NodeHarm
from chaos.value import Value

_LIMIT_S = 12.0
_WRITER = (sys.executable, "-m", "chaos.cloud.drain_notice")


class Notices:
    """Tells each node once that it is to end; that it then does is the Cloud's affair.

    A Cloud that was started again may tell it a second time. Ray takes no notice back, so there is nothing to undo.
    """

    kinds: tuple[type[Value], ...] = (EndingNode,)

    def __init__(self, directory: CloudDirectory, look: Look) -> None:
        self._directory = directory
        self._look = look
        self._told: set[tuple[str, str]] = set()
        self._writer: asyncio.subprocess.Process | None = None

    def started(self, handle: str) -> None:
        """A node that has just been started has been told nothing."""
        self._told = {told for told in self._told if told[0] != handle}

    async def obey(self, instance: Instance, harms: Sequence[NodeHarm], *, addresses: Mapping[str, str]) -> None:  # noqa: ARG002 -- a notice has no peers
        """Tells the node, unless it was."""
        for harm in harms:
            if not isinstance(harm, EndingNode) or (instance.handle, harm.told_by) in self._told:
                continue
            self._told.add((instance.handle, harm.told_by))
            if harm.told_by == "sigterm":
                await self._terminate(instance)
            else:
                await self._announce(instance, harm.notice_s)

    async def _terminate(self, instance: Instance) -> None:
        starting = [process.pid for process in await self._look(instance) if starts_ray(command_of(process.pid))]
        if not starting:
            raise InjectionError(f"node {instance.node} had ended by itself")
        signal_all(starting, signal.SIGTERM)

    async def prepare(self) -> None:
        """Starts the process that will send the next notice; it waits with Ray's client loaded."""
        if self._writer is None or self._writer.returncode is not None:
            self._writer = await self._start_writer()

    async def close(self) -> None:
        """Ends what waits to send a notice."""
        writer, self._writer = self._writer, None
        if writer is not None and writer.returncode is None:
            writer.kill()
            await writer.communicate()

    async def _announce(self, instance: Instance, notice_s: float) -> None:
        again = self._writer is not None
        await self.prepare()
        writer, self._writer = self._writer, None
        assert writer is not None
        try:
            told = await asyncio.wait_for(_sent(writer, f"{instance.instance} {notice_s}\n"), _LIMIT_S)
        except asyncio.TimeoutError:
            raise InjectionError(f"the GCS did not take a drain notice for {instance.node} in {_LIMIT_S:g} s") from None
        finally:
            if writer.returncode is None:
                writer.kill()
                await writer.communicate()
        if told:
            raise InjectionError(f"the drain notice for {instance.node} failed: {told}")
        if again:
            await self.prepare()

    async def _start_writer(self) -> asyncio.subprocess.Process:
        environment = dict(os.environ)
        if self._directory.ray_token.exists():
            environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self._directory.ray_token)}
        # Ray's client lives in a process of its own: it ends the one it lives in when the GCS stays away. It ends when
        # its input does, so with the Cloud.
        return await asyncio.create_subprocess_exec(
            *_WRITER,
            json.loads(self._directory.address.read_text())["gcs"],
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
        )


async def _sent(writer: asyncio.subprocess.Process, line: str) -> str:
    """Lets a waiting process send a notice; why it was not taken, or nothing, once it has said that it was."""
    assert writer.stdin is not None
    assert writer.stdout is not None
    with contextlib.suppress(ConnectionError):  # it has ended, and says why
        writer.stdin.write(line.encode())
        await writer.stdin.drain()
    if await writer.stdout.readline():
        return ""
    _, errors = await writer.communicate()
    return errors.decode(errors="replace").strip()[-300:] or f"its sender ended with status {writer.returncode}"
