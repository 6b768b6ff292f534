"""The Cloud's end of a packet queue process: started in a node's network, told what to do, ended."""

from __future__ import annotations

import asyncio
import sys

from chaos.cloud.namespaces import network_of
from chaos.cloud.packet_queue import Orders
from chaos.errors import InjectionError

_LIMIT_S = 5.0
_MODULE = "chaos.cloud.packet_queue"


class QueueProcess:
    """The packet queue process of one node's network; it ends with this process at the latest."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._process: asyncio.subprocess.Process | None = None
        self._orders: Orders | None = None

    async def obey(self, orders: Orders) -> None:
        """Returns once packets are treated so; starts the process where it does not run.

        Raises:
            InjectionError: it did not start, or did not answer in time.
        """
        if self._process is not None and self._process.returncode is None and orders == self._orders:
            return
        try:
            await asyncio.wait_for(self._tell(orders), _LIMIT_S)
        except (asyncio.TimeoutError, OSError, EOFError) as error:
            await self.end()
            raise InjectionError(f"the packet queue process of a node's network did not answer: {error!r}") from error
        self._orders = orders

    async def end(self) -> None:
        """Lets every packet go and ends the process; harmless when it has ended."""
        process, self._process, self._orders = self._process, None, None
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), _LIMIT_S)
        except asyncio.TimeoutError:
            process.kill()
            await process.wait()

    def let_go(self) -> None:
        """Tells the process to end, and does not wait."""
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()

    async def _tell(self, orders: Orders) -> None:
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                "nsenter",
                f"--net={network_of(self._pid)}",
                sys.executable,
                "-m",
                _MODULE,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(orders.line())
        await self._process.stdin.drain()
        if not await self._process.stdout.readline():
            raise EOFError("it ended; the Cloud's log says why")
