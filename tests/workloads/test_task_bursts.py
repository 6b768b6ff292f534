"""Bursts that are drawn anew: alike those they are drawn from."""

from __future__ import annotations

import random

from chaos.workload import Stage
from workloads.task_bursts import TaskBursts


def drawn(*stages: Stage) -> tuple[Stage, ...]:
    profile = TaskBursts(stages=stages)
    return tuple(stage for seed in range(9) for stage in profile.varied(random.Random(seed), length_s=600.0).stages)


def test_what_is_requested_beside_the_tasks_is_varied_as_they_are() -> None:
    plain = drawn(Stage(tasks=3, batches=6))
    assert not any(stage.request for stage in plain)
    stages = drawn(Stage(tasks=3, batches=6), Stage(tasks=0, pause_s=5.0, request=2))
    assert {stage.request for stage in stages if stage.tasks} == {0, 1, 2}
    assert {stage.request for stage in stages if not stage.tasks} == {0, 1, 2}
    assert {stage.tasks for stage in stages} <= {0, 1, 2, 3}
