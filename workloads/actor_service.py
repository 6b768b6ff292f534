"""A service of stateful GPU actors: requests and answers, with the clients' retries in the open."""

from __future__ import annotations

import asyncio
import math
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from chaos.drawn import Drawn
from chaos.events import ActorRestarted, Demand, DemandChanged, RequestAnswered, RequestSent, Resources
from chaos.rows import encode_rows
from chaos.workload import ModelSite, ResumableWorkload
from workloads.clients import Clients, Request
from workloads.inference import InferenceWorkload


class ActorService(InferenceWorkload, ResumableWorkload):
    """`clients` at a time send a request, a batch of rows, to a pool of Ray Core actors, until `requests` are answered.

    The pool holds as many actors as there are requests in flight, between `min_actors` and `max_actors`; each actor
    serves one request at a time. Ray restarts an actor that died (`max_restarts` without limit), empty of its state; it
    does not repeat its calls (`max_task_retries` 0), for then nobody could tell how often a request was executed. The
    client repeats them: when the actor died, its reply was lost, or it took longer than `request_timeout_s`; and fails
    the job after `max_attempts`. `delivery` says what a repeat does. `at_least_once` computes again, and each time is
    an operation in the history. `idempotent` looks the request's id up in a store on disk, and answers with what
    is kept there if an attempt got so far. In both the first answer a client gets is the one that is written out.
    """

    name: ClassVar[str] = "actor_service"
    summary: ClassVar[str] = "Ray Core: requests to a pool of stateful GPU actors"
    driver_module: ClassVar[str] = "workloads.actor_service_driver"

    requests: Annotated[int, Drawn(among=(32, 64, 128))] = Field(default=64, ge=1)
    clients: Annotated[int, Drawn(among=(2, 1, 4, 8))] = Field(default=4, ge=1)
    min_actors: int = Field(default=1, ge=1)
    max_actors: Annotated[int, Drawn(among=(2, 1, 4, 6))] = Field(default=4, ge=1)
    delivery: Literal["at_least_once", "idempotent"] = "idempotent"
    request_timeout_s: float = Field(default=30.0, gt=0.0)
    max_attempts: int = Field(default=8, ge=1)

    @model_validator(mode="after")
    def _ordered(self) -> ActorService:
        if self.min_actors > self.max_actors:
            raise ValueError(f"min_actors {self.min_actors} is above max_actors {self.max_actors}")
        if self.request_timeout_s * 1000 <= self.device_ms_per_batch:
            raise ValueError(
                f"request_timeout_s {self.request_timeout_s:g} must be above device_ms_per_batch, "
                f"{self.device_ms_per_batch:g} ms, or no request is answered in time"
            )
        return self

    @property
    def rows_total(self) -> int:
        """How many rows the output must hold."""
        return self.requests * self.batch_rows

    def actors_wanted(self, unanswered: int) -> int:
        """The pool's size while so many requests are unanswered."""
        return max(self.min_actors, min(self.max_actors, self.clients, unanswered))

    def bundles(self) -> tuple[Resources, ...]:
        """One actor; it holds a CPU while it lives."""
        return ({"CPU": 1.0, "GPU": self.num_gpus},)

    def nodes_wanted(self, bundle_fits_per_node: int) -> int:
        """The nodes that hold the pool at its largest."""
        return math.ceil(self.actors_wanted(self.requests) / max(1, bundle_fits_per_node))

    async def play(self, site: ModelSite) -> None:
        """A pool of actors that each serve one request at a time; one whose node dies is restarted, empty."""
        done = site.computed()
        unanswered = [number for number in range(self.requests) if not done.issuperset(self._rows_of(number))]
        clients = Clients(unanswered, clients=self.clients)
        names = [f"a{number}" for number in range(1, self.actors_wanted(clients.unanswered) + 1)]
        living = set(names)

        def tell() -> None:
            demand = Demand(shape=self.bundles()[0], count=len(living))
            site.report(DemandChanged(bundles=(demand,) if living else ()))

        async def actor(name: str) -> None:
            await self._play_actor(site, name, clients)
            living.remove(name)
            tell()

        tell()
        await asyncio.gather(*(actor(name) for name in names))

    async def _play_actor(self, site: ModelSite, name: str, clients: Clients) -> None:
        served: int | None = None
        lost = True
        while lost:
            lost = False
            place = await site.hold(self.bundles()[0])
            if served is not None:
                site.report(ActorRestarted(actor=name, served=served))
            served = 0
            try:
                while (request := self._next_request(site, clients)) is not None:
                    if not await place.compute(self._rows_of(request.number), self.device_ms_per_batch / 1000.0):
                        clients.repeat(request)
                        lost = True
                        break
                    served += 1
                    clients.answered(request)
                    outcome: Literal["ok", "retried"] = "ok" if request.attempts == 1 else "retried"
                    told = {"outcome": outcome, "attempts": request.attempts, "actor": name}
                    site.report(RequestAnswered(request=request.id, **told))
            finally:
                place.let_go()

    def _next_request(self, site: ModelSite, clients: Clients) -> Request | None:
        for sent in clients.send():
            rows = self._rows_of(sent.number)
            site.report(RequestSent(request=sent.id, rows=encode_rows(rows)))
        return clients.attempt()

    def _rows_of(self, number: int) -> range:
        return range(number * self.batch_rows, (number + 1) * self.batch_rows)
