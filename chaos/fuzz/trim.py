"""Leaves out of a failing schedule every injection that the failure does not need, where a run repeats."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from chaos.schedule import Schedule
from chaos.shrink import Shrinker, ShrinkPlan
from chaos.signature import Signature

_PLAN = ShrinkPlan(exact=True, values=False, confirm_runs=0)


def trim(schedule: Schedule, signature: Signature, run: Callable[[Schedule], Signature | None]) -> tuple[Schedule, int]:
    """A schedule that still fails so, of which no single injection can be left out; and how many runs that took.

    `run` makes one run, in a thread of its own, and returns the signature of its failure. The schedule itself is known
    to fail, and is not run again; one without injections is none.
    """

    async def oracle(tried: Schedule) -> Signature | None:
        return signature if tried == schedule else await asyncio.to_thread(run, tried)

    shrinker = Shrinker(
        schedule, oracle, plan=_PLAN, signature=signature, possible=lambda tried: bool(tried.injections)
    )
    shrunk = asyncio.run(shrinker.run())
    return shrunk.schedule, shrunk.runs - 1
