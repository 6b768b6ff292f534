"""Node lifecycle events as the Cloud sees them, kept in a file and served to whoever follows."""

from __future__ import annotations

import asyncio
from pathlib import Path

from chaos.clock import monotonic_s
from chaos.cloud.config import dump_json
from chaos.events import Event


class Journal:
    """The lifecycle events, appended to a file and served to whoever follows; numbered from 0."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines = path.read_text().splitlines() if path.exists() else []
        self._grown = asyncio.Event()

    def __len__(self) -> int:
        return len(self._lines)

    def append(self, event: Event) -> None:
        """Records an event as happening now."""
        line = dump_json({"monotonic_s": monotonic_s(), "event": event.model_dump(mode="json")})
        with self._path.open("a") as file:
            file.write(line + "\n")
        self._lines.append(line)
        grown, self._grown = self._grown, asyncio.Event()
        grown.set()

    async def line(self, number: int) -> str:
        """The line with this number, as soon as it is there."""
        while len(self._lines) <= number:
            await self._grown.wait()
        return self._lines[number]
