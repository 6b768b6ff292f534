"""The clients of `actor_service`: which requests are sent, tried, and answered."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass
class Request:
    """One request on its way, and how often an actor was asked."""

    number: int
    attempts: int = 0

    @property
    def id(self) -> str:
        """What it is called in the history."""
        return f"r{self.number}"


class Clients:
    """So many clients, each of which sends its next request when its last one is answered."""

    def __init__(self, requests: Iterable[int], *, clients: int) -> None:
        self._unsent = deque(requests)
        self._free = clients
        self._waiting: deque[Request] = deque()
        self._sent: set[int] = set()

    @property
    def unanswered(self) -> int:
        """How many requests are not answered yet, sent or not."""
        return len(self._unsent) + len(self._sent)

    def send(self) -> list[Request]:
        """The requests that free clients send now."""
        sent = []
        while self._free and self._unsent:
            request = Request(self._unsent.popleft())
            self._free -= 1
            self._sent.add(request.number)
            self._waiting.append(request)
            sent.append(request)
        return sent

    def attempt(self) -> Request | None:
        """The request that has waited longest for an actor; repeats come first."""
        if not self._waiting:
            return None
        request = self._waiting.popleft()
        request.attempts += 1
        return request

    def repeat(self, request: Request) -> None:
        """The attempt came to nothing: the request waits again."""
        self._waiting.appendleft(request)

    def answered(self, request: Request) -> None:
        """Its client is free for the next one."""
        self._sent.remove(request.number)
        self._free += 1
