"""Asks a command of the user's whether a run may go on: the one process the engine starts on this machine for it."""

from __future__ import annotations

import asyncio

from chaos.abort import Answer
from chaos.cloud.command import run_to_end

# What shells say of a program that cannot be run.
_NOT_RUN = 127


async def ask(command: tuple[str, ...], limit_s: float) -> Answer:
    """How the command ended, with the last line it wrote; it has ended when this returns, killed where it must be."""
    try:
        ended = await run_to_end(*command, limit_s=limit_s)
    except asyncio.TimeoutError:
        return Answer(status=None)
    except OSError as error:
        return Answer(status=_NOT_RUN, said=str(error))
    lines = (ended.errors.strip() or ended.output.strip()).splitlines()
    return Answer(status=ended.status, said=lines[-1] if lines else "")
