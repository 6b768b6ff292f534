"""The pool of actor_service against actors that die, lose replies, or are late; Ray itself is played by this file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
import ray
from ray.exceptions import ActorUnavailableError, RayTaskError

from chaos.errors import ChaosError
from chaos.events import ActorRestarted, DemandChanged, RequestAnswered, RequestSent
from workloads import actor_service_driver, driver
from workloads.actor_service import ActorService
from workloads.actor_service_driver import ActorServiceDriver
from workloads.service import Answer, State

ROWS = 2


class Reply:
    """What `remote()` gives: a value or an error, ready after so many looks."""

    def __init__(self, value: Any, *, looks: int = 0) -> None:
        self.value = value
        self.looks = looks


class Method:
    """An actor's method."""

    def __init__(self, call: Callable[..., Reply]) -> None:
        self.remote = call

    def options(self, **_: Any) -> Method:
        """The same method."""
        return self


class Actor:
    """An actor whose attempts end as `fates` say, by request; without a word there, well."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.life, self.served = 1, 0
        self.state = Method(lambda: Reply(State(str(self.life), self.served)))
        self.answer = Method(self._answer)

    def _answer(self, request: int) -> Reply:
        self.stage.executed.append(request)
        fate = self.stage.fates.get(request, []).pop(0) if self.stage.fates.get(request) else "well"
        if fate == "dies":
            self.life, self.served = self.life + 1, 0
            return Reply(ActorUnavailableError("gone", b"0" * 16))
        if fate == "raises":
            return Reply(RayTaskError("answer", "a traceback", ValueError("no such row")))
        self.served += 1
        ids = list(range(request * ROWS, request * ROWS + ROWS))
        said = Answer(State(str(self.life), self.served), pa.table({"row_id": ids}), stored=False)
        return Reply(said, looks=self.stage.late_looks if fate == "late" else 0)


class Stage:
    """All that happens in one test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fates: dict[int, list[str]] = {}
        self.executed: list[int] = []
        self.events: list[Any] = []
        self.alive: list[Actor] = []
        self.most_alive = 0
        self.late_looks = 10**9
        self.options: dict[str, Any] = {}
        for module in (actor_service_driver, driver):
            monkeypatch.setattr(module, "report", self.events.append)
        for name in ("remote", "wait", "get", "kill"):
            monkeypatch.setattr(ray, name, getattr(self, name))

    def remote(self, **options: Any) -> Callable[..., Any]:
        """`ray.remote` with options."""
        self.options = options
        return lambda _: Method(self._make)

    def _make(self, *_: Any, **__: Any) -> Any:
        self.alive.append(Actor(self))
        self.most_alive = max(self.most_alive, len(self.alive))
        return self.alive[-1]

    def wait(self, replies: list[Reply], **_: Any) -> tuple[list[Reply], list[Reply]]:
        """`ray.wait`."""
        assert replies
        for reply in replies:
            reply.looks -= 1
        return [reply for reply in replies if reply.looks < 0], []

    def get(self, reply: Reply) -> Any:
        """`ray.get`."""
        if isinstance(reply.value, Exception):
            raise reply.value
        return reply.value

    def kill(self, actor: Actor) -> None:
        """`ray.kill`."""
        self.alive.remove(actor)

    def run(self, data: Path, **fields: Any) -> None:
        """One driver's run."""
        defaults = {"requests": 6, "batch_rows": ROWS, "clients": 2, "device_ms_per_batch": 0.0, "max_actors": 3}
        ActorServiceDriver(ActorService.model_validate(defaults | fields), data).run()

    def of(self, kind: type[Any]) -> list[Any]:
        """The events of a class."""
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    """Ray as the test has it."""
    return Stage(monkeypatch)


def rows(data: Path) -> list[int]:
    """All row ids of the output."""
    tables = [pyarrow.parquet.read_table(path) for path in sorted((data / "output").glob("*.parquet"))]
    return [row_id for table in tables for row_id in table["row_id"].to_pylist()]


def test_all_requests_are_answered_by_as_many_actors_as_clients(stage: Stage, tmp_path: Path) -> None:
    stage.run(tmp_path, requests=5)
    assert rows(tmp_path) == list(range(10))
    assert Counter(event.outcome for event in stage.of(RequestAnswered)) == {"ok": 5}
    assert [event.rows for event in stage.of(RequestSent)] == ["0-1", "2-3", "4-5", "6-7", "8-9"]
    assert [sum(demand.count for demand in event.bundles) for event in stage.of(DemandChanged)] == [2, 1, 0]
    assert (stage.most_alive, stage.alive) == (2, [])
    assert (stage.options["max_restarts"], stage.options["max_task_retries"]) == (-1, 0)


def test_a_request_whose_actor_died_is_repeated_and_the_lost_state_is_told(stage: Stage, tmp_path: Path) -> None:
    stage.fates = {2: ["dies", "dies"]}
    stage.run(tmp_path, requests=10)
    assert rows(tmp_path) == list(range(20))
    assert [(e.request, e.attempts) for e in stage.of(RequestAnswered) if e.outcome == "retried"] == [("r2", 3)]
    assert stage.executed.count(2) == 3
    assert len(stage.of(ActorRestarted)) == 2
    assert stage.of(ActorRestarted)[0].served > 0


def test_a_late_request_is_asked_elsewhere_and_its_late_answer_ignored(stage: Stage, tmp_path: Path) -> None:
    stage.fates, stage.late_looks = {0: ["late"]}, 3000
    stage.run(tmp_path, requests=400, request_timeout_s=0.02)
    assert rows(tmp_path) == list(range(800))
    [retried] = [event for event in stage.of(RequestAnswered) if event.outcome == "retried"]
    assert (retried.request, retried.attempts) == ("r0", 2)
    assert len(stage.of(RequestAnswered)) == 400


def test_a_request_that_never_succeeds_fails_the_job(stage: Stage, tmp_path: Path) -> None:
    stage.fates = {1: ["dies"] * 9}
    with pytest.raises(ChaosError, match="request r1 failed after 3 attempts"):
        stage.run(tmp_path, max_attempts=3)
    assert [(e.request, e.attempts) for e in stage.of(RequestAnswered) if e.outcome == "failed"] == [("r1", 3)]


def test_the_services_own_error_is_not_repeated(stage: Stage, tmp_path: Path) -> None:
    stage.fates = {1: ["raises"]}
    with pytest.raises(RayTaskError, match="a traceback"):
        stage.run(tmp_path)
    assert stage.executed.count(1) == 1


def test_when_no_actor_replies_the_job_fails_by_itself(stage: Stage, tmp_path: Path) -> None:
    stage.fates = {0: ["late"]}
    with pytest.raises(ChaosError, match=r"no actor replied for 0.05 s; 1 owe a reply"):
        stage.run(tmp_path, requests=1, no_progress_timeout_s=0.05)


def test_a_driver_started_again_sends_only_what_was_not_answered(stage: Stage, tmp_path: Path) -> None:
    stage.fates = {3: ["raises"]}
    with pytest.raises(RayTaskError):
        stage.run(tmp_path)
    answered = {event.request for event in stage.of(RequestAnswered)}
    stage.events.clear()
    stage.run(tmp_path)
    assert rows(tmp_path) == list(range(12))
    assert {event.request for event in stage.of(RequestSent)} == {f"r{n}" for n in range(6)} - answered
