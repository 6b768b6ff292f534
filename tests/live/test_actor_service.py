"""A service of stateful actors on a real cluster: every request answered once, also when the node of an actor dies."""

from __future__ import annotations

from collections import Counter

import pytest

from chaos.events import ActorRestarted, BatchInvoked, RequestAnswered, RequestSent
from tests.live.lab import Lab

_REQUESTS = 40
_SPEC = """
cluster:
  max_workers: 2
  node_types: {{gpu: {{resources: {{CPU: 2, GPU: 1}}, max_workers: 2}}}}
workload: {{name: actor_service, requests: {requests}, clients: 2, max_actors: 2, delivery: {delivery}}}
schedule: {schedule}
"""
_KILL = "[{fault: kill_node, target: oldest, on: {progress_percent: 40}}]"


async def test_without_faults_every_request_is_answered_at_once(lab: Lab) -> None:
    results = await lab.run(
        lab.spec(_SPEC.format(requests=_REQUESTS, delivery="at_least_once", schedule="[]"), "local")
    )
    assert results.judgement == "pass", results.report
    history = results.history
    assert len(history.of(RequestSent)) == _REQUESTS
    assert Counter(event.outcome for _, event in history.of(RequestAnswered)) == {"ok": _REQUESTS}
    assert len(history.of(BatchInvoked)) == _REQUESTS
    assert not history.of(ActorRestarted)


@pytest.mark.parametrize("delivery", ["at_least_once", "idempotent"])
async def test_a_node_that_dies_costs_repeats_and_an_actors_state(lab: Lab, delivery: str) -> None:
    results = await lab.run(lab.spec(_SPEC.format(requests=_REQUESTS, delivery=delivery, schedule=_KILL), "local"))
    assert results.judgement == "pass", results.report
    history = results.history
    outcomes = Counter(event.outcome for _, event in history.of(RequestAnswered))
    assert outcomes["ok"] + outcomes["retried"] == _REQUESTS
    assert outcomes["retried"] == 1
    [(_, restarted)] = history.of(ActorRestarted)
    assert restarted.served > 0
    executions = Counter(event.rows for _, event in history.of(BatchInvoked))
    assert len(executions) == _REQUESTS
    if delivery == "at_least_once":
        assert sum(executions.values()) == _REQUESTS + 1
    else:
        assert sum(executions.values()) in (_REQUESTS, _REQUESTS + 1)
