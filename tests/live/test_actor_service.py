"""A service of stateful actors on a real cluster: every request answered once, also when the node of an actor dies."""

from __future__ import annotations

from collections import Counter

import pytest

from chaos.events import ActorRestarted, BatchInvoked, RequestAnswered, RequestSent
from tests.live.lab import Lab
from tests.live.rulers import PAIR, REQUESTS, SERVICE, ruler

_KILL = "[{fault: kill_node, target: oldest, on: {progress_percent: 40}}]"


async def test_without_faults_every_request_is_answered_at_once(lab: Lab) -> None:
    results = await lab.run(ruler(lab, "local", SERVICE))
    assert results.judgement == "pass", results.report
    history = results.history
    assert len(history.of(RequestSent)) == REQUESTS
    assert Counter(event.outcome for _, event in history.of(RequestAnswered)) == {"ok": REQUESTS}
    assert len(history.of(BatchInvoked)) == REQUESTS
    assert not history.of(ActorRestarted)


@pytest.mark.parametrize("delivery", ["at_least_once", "idempotent"])
async def test_a_node_that_dies_costs_repeats_and_an_actors_state(lab: Lab, delivery: str) -> None:
    job = SERVICE.replace("at_least_once", delivery)
    spec = lab.spec(f"cluster: {{{PAIR}}}\nworkload: {job}\nschedule: {_KILL}\n", "local")
    results = await lab.run(spec, baseline_of=ruler(lab, "local", SERVICE))
    assert results.judgement == "pass", results.report
    history = results.history
    outcomes = Counter(event.outcome for _, event in history.of(RequestAnswered))
    assert outcomes["ok"] + outcomes["retried"] == REQUESTS
    assert outcomes["retried"] == 1
    [(_, restarted)] = history.of(ActorRestarted)
    assert restarted.served > 0
    executions = Counter(event.rows for _, event in history.of(BatchInvoked))
    assert len(executions) == REQUESTS
    if delivery == "at_least_once":
        assert sum(executions.values()) == REQUESTS + 1
    else:
        assert sum(executions.values()) in (REQUESTS, REQUESTS + 1)
