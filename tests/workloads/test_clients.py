"""The clients of actor_service: each waits for its answer, and none is forgotten."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.clients import Clients


def test_a_client_sends_its_next_request_when_its_last_is_answered() -> None:
    clients = Clients(range(3), clients=2)
    assert [request.number for request in clients.send()] == [0, 1]
    assert clients.send() == []
    first = clients.attempt()
    assert first is not None
    clients.answered(first)
    assert [request.number for request in clients.send()] == [2]
    assert clients.unanswered == 2


def test_a_repeat_goes_first_and_is_counted() -> None:
    clients = Clients(range(2), clients=2)
    clients.send()
    first = clients.attempt()
    assert first is not None
    clients.repeat(first)
    again = clients.attempt()
    assert again is first
    assert again.attempts == 2


@given(requests=st.integers(0, 30), count=st.integers(1, 5), fates=st.lists(st.booleans(), max_size=100))
def test_every_request_is_answered_once_whatever_fails(requests: int, count: int, fates: list[bool]) -> None:
    clients = Clients(range(requests), clients=count)
    answered: list[int] = []
    while clients.unanswered:
        clients.send()
        request = clients.attempt()
        assert request is not None
        if fates and fates.pop():
            clients.repeat(request)
            continue
        clients.answered(request)
        answered.append(request.number)
    assert sorted(answered) == list(range(requests))


def test_nobody_answers_what_was_not_sent() -> None:
    clients = Clients(range(1), clients=1)
    assert clients.attempt() is None
    [request] = clients.send()
    clients.answered(request)
    with pytest.raises(KeyError):
        clients.answered(request)
