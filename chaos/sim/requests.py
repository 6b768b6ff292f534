"""What the autoscaler is asked for without work that waits: `request_resources`, and Ray Data's requests.

The GCS keeps one list of bundles, and whoever asks replaces it. Ray Data asks through an actor of its own that outlives
its jobs (`AutoscalingCoordinator`). It adds up what its requesters want, forgets what has expired, and asks anew
whenever that changes, and every 20 s in any case. It is bound to the node of the driver that first asked
(`get_or_create_autoscaling_coordinator` in Ray's default_autoscaling_coordinator.py) and ends with it. What it knew is
lost then; what it has requested stays with the GCS, and nobody is left for whom it expires.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

from chaos.clock import monotonic_s
from chaos.events import Resources
from chaos.sim.node import RayNode

TICK_S = 20.0
"""How often Ray Data's actor looks for what has expired (its `TICK_INTERVAL_S`)."""


@dataclass(frozen=True)
class _Wish:
    """What one requester wants, and until when."""

    bundles: tuple[Resources, ...]
    until_s: float


@dataclass
class Coordinator:
    """Ray Data's actor; `request` is Ray's `request_resources`. It begins to tick when it is first asked."""

    request: Callable[[Sequence[Resources]], None]
    _wishes: dict[Hashable, _Wish] = field(default_factory=dict)
    _home: RayNode | None = None
    _ticking: asyncio.Task[None] | None = None

    def ask(self, requester: Hashable, bundles: Sequence[Resources], *, expire_after_s: float, home: RayNode) -> None:
        """A requester wants these, in place of what it wanted before, and for so long; where nobody is, one is made."""
        if not self._is_there:
            self.close()
            self._home, self._wishes = home, {}
            self._ticking = asyncio.create_task(self._tick(home))
        before = self._wishes.get(requester)
        wish = self._wishes[requester] = _Wish(tuple(bundles), monotonic_s() + expire_after_s)
        if before is None or before.bundles != wish.bundles:
            self._send()

    def withdraw(self, requester: Hashable) -> None:
        """It wants nothing any more."""
        if self._is_there and self._wishes.pop(requester, None) is not None:
            self._send()

    def close(self) -> None:
        """It is gone."""
        if self._ticking is not None:
            self._ticking.cancel()

    @property
    def _is_there(self) -> bool:
        return self._home is not None and self._home.alive and self._home.believed

    async def _tick(self, home: RayNode) -> None:
        while await home.move(TICK_S):
            self._send()

    def _send(self) -> None:
        self._wishes = {name: wish for name, wish in self._wishes.items() if wish.until_s > monotonic_s()}
        self.request([bundle for wish in self._wishes.values() for bundle in wish.bundles])
