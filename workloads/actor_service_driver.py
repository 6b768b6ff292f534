"""The Ray Core actors of `actor_service`, and their clients.

Why the output holds every row once although requests are repeated: the client writes the first answer it gets to a file
named after the request, put in place by a rename, and an attempt it has given up cannot answer any more. A driver that
is started again leaves out the requests whose file is there.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chaos.errors import ChaosError
from chaos.events import ActorRestarted, RequestAnswered, RequestSent
from chaos.rows import encode_rows
from workloads.actor_service import ActorService
from workloads.clients import Clients, Request
from workloads.contract import report
from workloads.driver import main
from workloads.inference_driver import InferenceDriver
from workloads.parquet import write_whole
from workloads.service import Answer, Service, State

_POLL_S = 0.5


@dataclass
class _Actor:
    """One actor of the pool as its clients see it.

    `reply` is what it owes: its state, where there is no request; else the answer to `request`. `given_up` when its
    client no longer waits: then the actor is left alone until it has replied.
    """

    name: str
    handle: Any
    reply: Any = None
    request: Request | None = None
    asked_s: float = 0.0
    given_up: bool = False
    known: State | None = None

    def hear(self, state: State) -> None:
        """Takes in what the actor says of itself, and reports that it lost its state."""
        if self.known is not None and self.known.life != state.life:
            report(ActorRestarted(actor=self.name, served=self.known.served))
        self.known = state


class ActorServiceDriver(InferenceDriver[ActorService]):
    """Runs an actor_service workload on the Ray cluster that the environment names."""

    def __init__(self, workload: ActorService, data: Path) -> None:
        super().__init__(workload, data)
        unanswered = [number for number in range(workload.requests) if not self._file(number).exists()]
        self._clients = Clients(unanswered, clients=workload.clients)
        self._actors: list[_Actor] = []
        self._made = self._demand = 0
        self._moved_s = time.monotonic()

    def run(self) -> None:
        """Serves all clients."""
        import ray

        self.output.mkdir(parents=True, exist_ok=True)
        self.report_started()
        while self._clients.unanswered:
            for request in self._clients.send():
                report(RequestSent(request=request.id, rows=encode_rows(self._rows(request))))
            self._resize()
            self._ask()
            self._await()
            self._give_up_late()
        self.report_demand({}, 0)
        for actor in self._actors:
            ray.kill(actor.handle)

    def _resize(self) -> None:
        """Makes or ends actors; an actor with a request is never ended."""
        import ray

        options = {"num_cpus": 1, "num_gpus": self.workload.num_gpus, "max_restarts": -1, "max_task_retries": 0}
        service = ray.remote(**options)(Service)
        wanted = self.workload.actors_wanted(self._clients.unanswered)
        while len(self._actors) < wanted:
            self._made += 1
            handle = service.remote(
                self.predictor,
                self.predictor_arguments(),
                batch_rows=self.workload.batch_rows,
                delivery=self.workload.delivery,
            )
            actor = _Actor(f"a{self._made}", handle)
            self._greet(actor)
            self._actors.append(actor)
        for actor in [actor for actor in self._actors if actor.request is None][: len(self._actors) - wanted]:
            ray.kill(actor.handle)
            self._actors.remove(actor)
        if wanted != self._demand:
            self._demand = wanted
            self.report_demand(self.workload.bundles()[0], wanted)

    def _ask(self) -> None:
        """Gives waiting requests to actors that owe nothing."""
        for actor in self._actors:
            request = self._clients.attempt() if actor.reply is None else None
            if request is None:
                continue
            actor.request, actor.asked_s = request, time.monotonic()
            actor.reply = actor.handle.answer.remote(request.number)

    def _await(self) -> None:
        """Takes in the replies that come within a moment."""
        import ray

        owed = {actor.reply: actor for actor in self._actors if actor.reply is not None}
        done, _ = ray.wait(list(owed), timeout=_POLL_S)
        for reply in done:
            self._take(owed[reply])
        if done:
            self._moved_s = time.monotonic()
        elif time.monotonic() - self._moved_s > self.workload.no_progress_timeout_s:
            raise ChaosError(f"no actor replied for {self.workload.no_progress_timeout_s:g} s; {len(owed)} owe a reply")

    def _take(self, actor: _Actor) -> None:
        import ray
        from ray.exceptions import RayError, RayTaskError

        request, given_up = actor.request, actor.given_up
        reply, actor.reply, actor.request, actor.given_up = actor.reply, None, None, False
        try:
            said: State | Answer = ray.get(reply)
        except RayTaskError:  # the service's own error: no other actor would do better
            raise
        except RayError as error:  # the actor, its node or the reply is lost
            if request is None:
                raise ChaosError(f"actor {actor.name} cannot be made: {error}") from error
            if not given_up:
                self._repeat(request, actor, str(error))
            self._greet(actor)
            return
        if isinstance(said, State):
            actor.hear(said)
            return
        actor.hear(said.state)
        if request is not None and not given_up:
            write_whole(said.table, self._file(request.number))
            self._clients.answered(request)
            self._report_answer(request, "ok" if request.attempts == 1 else "retried", actor, stored=said.stored)

    def _give_up_late(self) -> None:
        """Repeats the requests whose actors take too long, elsewhere."""
        for actor in self._actors:
            late = time.monotonic() - actor.asked_s > self.workload.request_timeout_s
            if actor.request is not None and not actor.given_up and late:
                actor.given_up = True
                self._repeat(actor.request, actor, f"no answer within {self.workload.request_timeout_s:g} s")

    def _repeat(self, request: Request, actor: _Actor, why: str) -> None:
        """Lets the request wait for another attempt.

        Raises:
            ChaosError: it has had its attempts.
        """
        if request.attempts >= self.workload.max_attempts:
            self._report_answer(request, "failed", actor)
            raise ChaosError(f"request {request.id} failed after {request.attempts} attempts: {why}")
        self._clients.repeat(request)

    def _greet(self, actor: _Actor) -> None:
        """Asks the actor for its state; unlike a request, that waits until Ray has restarted it."""
        actor.reply = actor.handle.state.options(max_task_retries=-1).remote()

    def _report_answer(self, request: Request, outcome: Any, actor: _Actor, *, stored: bool = False) -> None:
        report(
            RequestAnswered(
                request=request.id, outcome=outcome, attempts=request.attempts, actor=actor.name, stored=stored
            )
        )

    def _rows(self, request: Request) -> range:
        first = request.number * self.workload.batch_rows
        return range(first, first + self.workload.batch_rows)

    def _file(self, number: int) -> Path:
        return self.output / f"request-{number:06d}.parquet"


if __name__ == "__main__":
    # What workers run must be found there by module and name, so not in `__main__`.
    from workloads.actor_service_driver import ActorServiceDriver as Importable

    sys.exit(main(Importable, ActorService))
