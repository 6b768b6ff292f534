"""Starting what has ended, with an engine that only listens."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from docker.errors import NotFound

from chaos.cloud.container_starts import start_again, start_in
from chaos.errors import ClusterError


class Engine:
    """Notes what it is asked, in order."""

    def __init__(self, *, running: bool = True, there: bool = True) -> None:
        self.calls: list[tuple[str, Any]] = []
        self._running = running
        self._there = there
        self.api = SimpleNamespace(
            wait=self._wait,
            start=lambda container: self.calls.append(("start", container)),
            inspect_container=lambda container: {"Id": container, "State": {"Running": self._running}},
            exec_create=self._exec,
            exec_start=lambda made, detach: self.calls.append(("exec_start", (made, detach))),
        )

    def _wait(self, container: str, *, timeout: float) -> None:
        if not self._there:
            raise NotFound("gone")
        self.calls.append(("wait", container))

    def _exec(self, container: str, argv: list[str], **how: Any) -> dict[str, str]:
        self.calls.append(("exec", (container, argv, how["environment"], how["user"])))
        return {"Id": "e1"}


def test_a_container_is_started_once_it_has_ended() -> None:
    engine = Engine()
    assert start_again(engine, "c1")["Id"] == "c1"
    assert engine.calls == [("wait", "c1"), ("start", "c1")]


@pytest.mark.parametrize(("engine", "says"), [(Engine(there=False), "is gone"), (Engine(running=False), "ended as it")])
def test_one_that_is_gone_or_ends_again_is_an_error(engine: Engine, says: str) -> None:
    with pytest.raises(ClusterError, match=says):
        start_again(engine, "c1")


def test_a_program_runs_as_whom_the_nodes_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYCHAOS_UID", "7")
    monkeypatch.setenv("RAYCHAOS_GID", "8")
    engine = Engine()
    start_in(engine, "c1", ("python", "monitor.py"), {"A": "1"})
    assert engine.calls == [
        ("exec", ("c1", ["python", "monitor.py"], {"A": "1"}, "7:8")),
        ("exec_start", ("e1", True)),
    ]
