"""The processes that the twin shows: each with a number of its own, and forgotten when it is over."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from chaos.cluster_spec import HealthCheck
from chaos.sim.latency import Latencies
from chaos.sim.loop import run_in_virtual_time
from chaos.sim.processes import ModelProcesses
from chaos.sim.programs import Programs
from chaos.sim.ray import RayModel


def test_what_is_over_is_forgotten_and_its_number_not_given_again() -> None:
    async def main() -> None:
        model = RayModel(health_check=HealthCheck(), latencies=Latencies(), seed=1)
        model.start_head({"CPU": 1.0})
        model.start("i-1", "gpu", {"CPU": 2.0, "GPU": 1.0})
        await asyncio.sleep(5.0)
        monitor: Any = SimpleNamespace(alive=True, number=1, frozen=False)
        processes = ModelProcesses(model, monitor, Programs())
        seen: set[int] = set()
        for _ in range(50):
            task = model.submit({"CPU": 1.0, "GPU": 1.0})
            (worker,) = [process for process in processes.of("i-1") if process.role == "worker"]
            assert worker.pid not in seen
            seen.add(worker.pid)
            model.release(task)
        raylet = next(process for process in processes.of("i-1") if process.role == "raylet")
        processes.forget(["head", "i-1"])
        assert len(processes._pids) == len(processes._there) == 5  # two raylets, an agent, the GCS and the monitor
        assert next(process for process in processes.of("i-1") if process.role == "raylet").pid == raylet.pid
        processes.forget(["head"])
        assert len(processes._pids) == 3
        model.close()

    run_in_virtual_time(main)
