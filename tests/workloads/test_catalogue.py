"""The catalogue and the parameters: light to import, validated, and right about the nodes they want."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

import workloads
from chaos.workload import Load, Stage, Workload
from tests import planted_workloads
from workloads import ALL, OpenLoad
from workloads.batch_inference import BatchInference
from workloads.task_bursts import TaskBursts


def test_importing_the_catalogue_imports_neither_ray_nor_torch() -> None:
    program = "import sys, workloads; sys.exit(bool({'ray', 'torch', 'numpy', 'pandas'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize("catalogue", [workloads.ALL, planted_workloads.ALL])
def test_every_workload_is_listed_by_its_name_and_has_defaults(catalogue: dict[str, type[Workload]]) -> None:
    for name, kind in catalogue.items():
        workload = kind()
        assert kind.name == name
        assert workload.rows_total > 0
        assert kind.model_validate_json(workload.model_dump_json()) == workload


@pytest.mark.parametrize(
    ("rows", "max_actors", "fits", "nodes"),
    [(2048, 4, 1, 4), (2048, 4, 2, 2), (2048, 5, 2, 3), (33, 4, 1, 2), (1, 4, 1, 1), (2048, 4, 0, 4)],
)
def test_batch_inference_wants_nodes_for_its_pool(rows: int, max_actors: int, fits: int, nodes: int) -> None:
    assert BatchInference(rows=rows, max_actors=max_actors).nodes_wanted(fits) == nodes


def test_batch_inference_refuses_contradictions() -> None:
    with pytest.raises(ValidationError, match="min_actors 5 is above max_actors 4"):
        BatchInference(min_actors=5)
    with pytest.raises(ValidationError, match="initial_actors 9 is not between"):
        BatchInference(initial_actors=9)
    with pytest.raises(ValidationError, match="requests lapse"):
        BatchInference(request_gap_s=20)
    with pytest.raises(ValidationError):
        BatchInference.model_validate({"size": "huge"})


def test_task_bursts_counts_its_rows_and_nodes() -> None:
    stages = (Stage(tasks=6, batches=12), Stage(tasks=0, pause_s=3.0), Stage(tasks=2, batches=5))
    workload = TaskBursts(stages=stages, batch_rows=10)
    assert workload.rows_total == 170
    assert workload.nodes_wanted(1) == 6
    assert workload.nodes_wanted(4) == 2


def test_an_open_load_has_room_for_so_many_batches() -> None:
    workload = OpenLoad(batch_rows=5, batches_limit=20, tasks_limit=6)
    assert workload.rows_total == 100
    assert workload.nodes_wanted(4) == 2
    assert OpenLoad.name not in ALL


def test_what_a_load_is_told_is_read_again(tmp_path: Path) -> None:
    assert Load.told(tmp_path) == Load()
    for load in (Load(tasks=2, batches=7), Load(tasks=0, batches=7, ended=True)):
        load.tell(tmp_path)
        assert Load.told(tmp_path) == load


def test_a_stage_is_either_work_or_a_pause() -> None:
    for stage in ({"tasks": 0}, {"tasks": 0, "batches": 3, "pause_s": 1.0}, {"tasks": 4, "batches": 3}):
        with pytest.raises(ValidationError):
            Stage.model_validate(stage)
    with pytest.raises(ValidationError, match="no stage has batches"):
        TaskBursts(stages=(Stage(tasks=0, pause_s=1.0),))
