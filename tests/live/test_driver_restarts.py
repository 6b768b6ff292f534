"""A driver that is killed is started again, and the job ends with every row once."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from chaos.cloud.marks import all_pids, command_of, environment_of
from chaos.cloud.ray_start import PROGRAM_VARIABLE
from chaos.errors import InvalidSpec
from chaos.events import DriverRestarted, WorkloadFinished, WorkloadProgressed, WorkloadStarted
from chaos.history import History
from chaos.store import RunDirectory
from tests.live.lab import Lab
from tests.live.rulers import INFERENCE, NODES, REQUESTS, SERVICE, ruler

_POLL_S = 0.2
_KILL_AT = 0.4


_JOBS = {
    "generated": "{name: batch_inference, rows: 640, max_actors: 2, driver_restarts: 1}",
    "parquet": "{name: batch_inference, rows: 640, max_actors: 2, driver_restarts: 1, source: parquet}",
    "service": f"{{name: actor_service, requests: {REQUESTS}, clients: 2, max_actors: 2, driver_restarts: 1}}",
}


@pytest.mark.parametrize("job", _JOBS)
async def test_a_job_goes_on_after_its_driver_was_killed(lab: Lab, job: str) -> None:
    # Nodes that outlast the time that a driver takes to start.
    spec = lab.spec(f"cluster: {{{NODES}}}\nworkload: {_JOBS[job]}\n", "local")
    measured = ruler(lab, "local", SERVICE if job == "service" else INFERENCE)
    results = await lab.run(spec, baseline_of=measured, meanwhile=_kill_driver)
    verdicts = {verdict.name: verdict for verdict in results.verdicts}
    history = results.history
    [(_, restarted)] = history.of(DriverRestarted)
    assert (restarted.attempt, restarted.status) == (2, -signal.SIGKILL)
    assert len(history.of(WorkloadStarted)) == 1
    assert [event.outcome for _, event in history.of(WorkloadFinished)] == ["ok"], results.report
    assert verdicts["rows_exactly_once"].verdict == "pass", results.report
    assert results.judgement == "pass", results.report


async def _kill_driver(directory: RunDirectory) -> None:
    """Kills the run's driver, once, when so many of its rows are computed."""
    while True:
        await asyncio.sleep(_POLL_S)
        try:
            progressed = History.load(directory.history).last(WorkloadProgressed)
        except InvalidSpec:  # not begun
            continue
        if progressed is None or progressed[1].rows_done < _KILL_AT * progressed[1].rows_total:
            continue
        for pid in all_pids():
            environment = environment_of(pid)
            ours = directory.run_id in environment.get("RAYCHAOS_DATA", "")
            if PROGRAM_VARIABLE in environment and ours and any(word.endswith("_driver") for word in command_of(pid)):
                os.kill(pid, signal.SIGKILL)
                return
