"""Abort conditions: when a run stops at once, heals everything, and is inconclusive."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from pydantic import Field

from chaos.events import HostSampled, RunAborted
from chaos.history import Recorder
from chaos.value import Value

_UNIT = "MiB"


@dataclass(frozen=True)
class Answer:
    """How a probe command ended: its exit status, None where it did not end in time, and what it said last."""

    status: int | None
    said: str = ""


Ask: TypeAlias = Callable[[tuple[str, ...], float], Awaitable[Answer]]
"""Runs a command to its end, for so many seconds at most."""


class Abort(Value):
    """Conditions under which a run is stopped: floors on this machine's memory and disk, and a command's word.

    `command` is run every `every_s` seconds on this machine, without a shell. It aborts the run by ending with another
    status than 0, or by not ending within `command_limit_s`.
    """

    memory_free_mb: float | None = Field(default=None, gt=0.0)
    disk_free_mb: float | None = Field(default=None, gt=0.0)
    command: tuple[str, ...] = ()
    every_s: float = Field(default=5.0, ge=0.1)
    command_limit_s: float = Field(default=5.0, gt=0.0)

    def by_host(self, sample: HostSampled) -> RunAborted | None:
        """The condition this sample of the machine meets, if any."""
        if self.memory_free_mb is not None and sample.memory_free_mb < self.memory_free_mb:
            return RunAborted(
                condition="memory_free_mb",
                measured=sample.memory_free_mb,
                limit=self.memory_free_mb,
                unit=_UNIT,
            )
        if self.disk_free_mb is not None and sample.disk_free_mb < self.disk_free_mb:
            return RunAborted(
                condition="disk_free_mb",
                measured=sample.disk_free_mb,
                limit=self.disk_free_mb,
                unit=_UNIT,
            )
        return None

    def by_answer(self, answer: Answer) -> RunAborted | None:
        """The condition this answer of the command meets, if any."""
        name = self.command[0]
        said = f": {answer.said}" if answer.said else ""
        if answer.status is None:
            limit_s = self.command_limit_s
            told = f"{name} did not end within {limit_s:g} s{said}"
            return RunAborted(condition="command", measured=limit_s, limit=limit_s, unit="s", detail=told)
        if answer.status != 0:
            told = f"{name} ended with status {answer.status}{said}"
            return RunAborted(condition="command", measured=answer.status, limit=0, unit="status", detail=told)
        return None

    async def met(self, recorder: Recorder, ask: Ask) -> RunAborted:
        """Returns when a condition is met; never, where there is none."""
        watches = [asyncio.create_task(self._watch_host(recorder))]
        if self.command:
            watches.append(asyncio.create_task(self._watch_command(recorder, ask)))
        try:
            done, _ = await asyncio.wait(watches, return_when=asyncio.FIRST_COMPLETED)
            return next(watch.result() for watch in watches if watch in done)
        finally:
            for watch in watches:
                watch.cancel()
            await asyncio.gather(*watches, return_exceptions=True)

    async def _watch_host(self, recorder: Recorder) -> RunAborted:
        place = 0
        while True:
            event = (await recorder.follow(start=place)).event
            place += 1
            if isinstance(event, HostSampled) and (aborted := self.by_host(event)) is not None:
                return aborted

    async def _watch_command(self, recorder: Recorder, ask: Ask) -> RunAborted:
        while True:
            if (aborted := self.by_answer(await ask(self.command, self.command_limit_s))) is not None:
                return aborted
            await recorder.clock.sleep(self.every_s)


def in_words(aborted: RunAborted) -> str:
    """The condition that was met, in one line."""
    told = aborted.detail or f"{aborted.measured:g} {aborted.unit}, limit {aborted.limit:g}"
    return f"{aborted.condition}: {told}"
