"""Runs on the twin for code without an event loop."""

from __future__ import annotations

from pathlib import Path

from chaos.history import History
from chaos.twin_runs import TwinRuns
from tests.live.lab import Silence
from tests.sim.twin import twin_spec

TEXT = """
cluster: {update_interval_s: 1, max_workers: 2, node_types: {gpu: {resources: {CPU: 2, GPU: 1}, max_workers: 2}}}
workload: {name: task_bursts, device_ms_per_batch: 333.3, stages: [{tasks: 2, batches: 30}]}
schedule:
  - {fault: kill_node, on: {progress_percent: 30}, after_s: 0.1234567, target: oldest}
"""


def test_the_history_of_a_run_is_the_one_in_its_file(tmp_path: Path) -> None:
    directory, history = TwinRuns(view=Silence).run(twin_spec(TEXT), store=tmp_path)
    assert history.sealed
    assert list(History.load(directory.history)) == list(history)
