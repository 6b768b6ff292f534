"""Ray's monitor in the twin: an update of the autoscaler, again and again; it can hang, crash, and be started anew."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
from ray.autoscaler.v2.instance_manager.node_provider import CloudInstance, ICloudInstanceProvider
from ray.core.generated.autoscaler_pb2 import AutoscalingState

from chaos.clock import pause
from chaos.errors import ClusterError
from chaos.sim.autoscaler import Autoscaler, logged_to
from chaos.sim.fast import FastAutoscaler
from chaos.sim.node import Motion
from chaos.sim.ray import RayModel
from chaos.sim.state import counts
from chaos.sim.views import Views

T = TypeVar("T")


class Source(Protocol):
    """What one incarnation of the monitor reads its configuration from, and launches from."""

    @property
    def ray(self) -> ICloudInstanceProvider:
        """What the autoscaler calls."""
        ...

    @property
    def head_type(self) -> str:
        """What the head's node type is called."""
        ...

    async def config(self) -> AutoscalingConfig:
        """The configuration as it is now; the same object, as long as it says the same."""
        ...

    async def listed(self) -> Mapping[str, CloudInstance]:
        """What there is, as the provider tells."""
        ...

    async def carried_out(self, update: Callable[[], T]) -> T:
        """What an update returns, once all it waits for has come."""
        ...

    def close(self) -> None:
        """Gives up what is under way."""
        ...


class Monitor:
    """The monitor of one cluster. One that is started again knows only what the cloud and the GCS tell it."""

    def __init__(
        self,
        model: RayModel,
        views: Views,
        source: Callable[[Motion], Source],
        *,
        name: str,
        seed: int,
        interval_s: float,
        log: Callable[[str], None],
        settled: Callable[[], bool] | None = None,
    ) -> None:
        self.said = counts(AutoscalingState())
        self._settled = settled
        self._model = model
        self._views = views
        self._new_source = source
        self._interval_s = interval_s
        self._name = name
        self._seed = seed
        self._log = log
        self._number = 0
        self._motion: Motion | None = None
        self._source: Source | None = None
        self._autoscaler: Autoscaler | None = None
        self._running: asyncio.Task[None] | None = None

    @property
    def alive(self) -> bool:
        """Whether there is one."""
        return self._motion is not None

    @property
    def number(self) -> int:
        """How many there have been."""
        return self._number

    @property
    def frozen(self) -> bool:
        """Whether it hangs."""
        return self._motion is not None and self._motion.frozen

    def start(self) -> None:
        """Another one runs from now on."""
        assert self._motion is None
        self._number += 1
        motion = Motion()
        source = self._new_source(motion)
        name = f"{self._seed}/monitor" if self._number == 1 else f"{self._seed}/monitor/{self._number}"
        autoscaler = self._new(source.ray, name)
        self._motion, self._source, self._autoscaler = motion, source, autoscaler
        self._running = asyncio.create_task(self._run(motion, source, autoscaler))

    async def end(self) -> None:
        """It is gone, with all it knew; what it asked the cloud for, the cloud does."""
        if self._motion is None:
            return
        assert self._source is not None
        assert self._running is not None
        assert self._autoscaler is not None
        self._motion.end()
        self._source.close()
        self._autoscaler.close()
        self._running.cancel()
        await asyncio.wait({self._running})
        self._motion = self._source = self._autoscaler = self._running = None

    def freeze(self) -> None:
        """It hangs."""
        if self._motion is not None and not self._motion.frozen:
            self._motion.freeze()

    def thaw(self) -> None:
        """It goes on."""
        if self._motion is not None and self._motion.frozen:
            self._motion.thaw()

    async def _run(self, motion: Motion, source: Source, autoscaler: Autoscaler) -> None:
        said = self.said
        while await self._until_next(motion, autoscaler, changed=said != self.said):
            said = self.said
            try:
                self.said = counts(await self._update(motion, source, autoscaler))
            except ClusterError as error:
                self._log(f"ERROR {error}")
            except Exception as error:  # noqa: BLE001 -- the monitor of a real cluster logs whatever it is, and goes on
                self._log(f"ERROR autoscaler.py -- {type(error).__name__}: {error}")

    async def _update(self, motion: Motion, source: Source, autoscaler: Autoscaler) -> AutoscalingState:
        """In the order of Ray's `Autoscaler.update_autoscaling_state`: what is read first is the older."""
        stop_errors = autoscaler.pop_stop_errors()
        await self._model.gcs.moving()
        shown = self._views.shown(head_type=source.head_type, without=autoscaler.forgotten)
        with logged_to(self._log):
            config = await source.config()
            listed = await source.listed()
        await motion.moving()
        return await source.carried_out(
            lambda: autoscaler.update(
                shown,
                listed,
                config=config,
                errors=source.ray.poll_errors(),
                stop_errors=stop_errors,
                log=self._log,
            )
        )

    def _new(self, provider: ICloudInstanceProvider, name: str) -> Autoscaler:
        if self._settled is None:
            return Autoscaler(provider, self._views.drain, name=name)
        return FastAutoscaler(
            provider,
            self._views.drain,
            name=name,
            interval_s=self._interval_s,
            settled=self._settled,
            remembered=lambda: {node.ray_node_id for node in self._model.dead()},
        )

    async def _until_next(self, motion: Motion, autoscaler: Autoscaler, *, changed: bool) -> bool:
        """Returns when the next update is due; false when the monitor has ended instead."""
        if self._settled is None:
            return await motion.move(self._interval_s)
        quiet_s = autoscaler.quiet_for_s
        await pause(self._interval_s, within_s=quiet_s, changed=changed or quiet_s == 0.0)
        return await motion.moving()
