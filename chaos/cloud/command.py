"""Runs a program to its end, within a limit."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Ended:
    """How a program ended: its exit status, and what it wrote to standard output and error."""

    status: int
    output: str
    errors: str


async def run_to_end(*command: str, limit_s: float, environment: Mapping[str, str] | None = None) -> Ended:
    """Runs a program without input; it has ended when this returns or raises.

    Raises:
        FileNotFoundError: there is no such program.
        asyncio.TimeoutError: it did not end within `limit_s`, and was killed.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=None if environment is None else dict(environment),
    )
    try:
        output, errors = await asyncio.wait_for(process.communicate(), limit_s)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Ended(process.returncode, output.decode(errors="replace"), errors.decode(errors="replace"))
