"""Jobs on the model: when batches begin and end."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from chaos.clock import monotonic_s
from chaos.sim.jobs import drive
from chaos.sim.ray import HEAD, RayModel
from chaos.workload import Stage
from tests.sim.test_ray import play
from workloads.task_bursts import TaskBursts

ONE = Stage(tasks=1, batches=1)


def test_a_batch_that_is_given_to_a_frozen_node_begins_when_the_node_goes_on(tmp_path: Path) -> None:
    workload = TaskBursts(stages=(ONE, Stage(tasks=0, pause_s=2.0), ONE))

    async def scene(model: RayModel) -> None:
        job = drive(workload, model, tmp_path, host=HEAD)
        while len(job.operations) < 2:
            await asyncio.sleep(0.1)
        model.freeze("i-1")
        await asyncio.sleep(5.0)
        model.thaw("i-1")
        thawed_s = monotonic_s()
        assert await job.wait() == 0
        assert [one.phase for one in job.operations] == ["invoked", "completed", "invoked", "completed"]
        assert job.operations[2].monotonic_s == pytest.approx(thawed_s)

    play(scene)
