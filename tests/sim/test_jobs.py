"""Jobs on the model: when batches begin and end."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from chaos.clock import monotonic_s
from chaos.sim.jobs import drive
from chaos.sim.ray import HEAD, RayModel
from chaos.workload import Stage
from tests.sim.test_ray import play
from workloads.task_bursts import TaskBursts

ONE = Stage(tasks=1, batches=1)


def operations(data: Path) -> list[tuple[str, float]]:
    """The phases of its batches, and when each was (monotonic)."""
    lines = (data / "ops" / "model.jsonl").read_text().splitlines()
    return [(operation["phase"], operation["monotonic_s"]) for operation in map(json.loads, lines)]


def test_a_batch_that_is_given_to_a_frozen_node_begins_when_the_node_goes_on(tmp_path: Path) -> None:
    workload = TaskBursts(stages=(ONE, Stage(tasks=0, pause_s=2.0), ONE))

    async def scene(model: RayModel) -> float:
        job = drive(workload, model, tmp_path, host=HEAD)
        await asyncio.sleep(0.0)  # it begins
        while len(operations(tmp_path)) < 2:
            await asyncio.sleep(0.1)
        model.freeze("i-1")
        await asyncio.sleep(5.0)
        model.thaw("i-1")
        thawed_s = monotonic_s()
        assert await job.wait() == 0
        return thawed_s

    thawed_s = play(scene)
    phases = operations(tmp_path)
    assert [phase for phase, _ in phases] == ["invoked", "completed", "invoked", "completed"]
    assert phases[2][1] == pytest.approx(thawed_s)
