"""The drivers of workloads that run in the twin, each on a node: it ends when that does, without a word."""

from __future__ import annotations

from chaos.sim.jobs import ModelProcess


class Programs:
    """Which drivers run where, each with a number that no other has had."""

    def __init__(self) -> None:
        self._on: dict[str, dict[int, ModelProcess]] = {}
        self._started = 0

    def host(self, instance: str, process: ModelProcess) -> None:
        """It runs on this instance."""
        self._started += 1
        self._on.setdefault(instance, {})[self._started] = process

    def on(self, instance: str) -> dict[int, ModelProcess]:
        """Those that run on an instance, by number."""
        running = {number: one for number, one in self._on.get(instance, {}).items() if one.running}
        self._on[instance] = running
        return running

    def kill(self, instance: str) -> None:
        """Ends all that run on an instance, as SIGKILL does."""
        for process in self._on.pop(instance, {}).values():
            process.kill()
