"""A bug that only faults bring out is found by a campaign on a real cluster, shrunk, and replayed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field

import faults
from chaos import cli
from chaos.drawn import Drawn
from chaos.spec import Catalogue
from tests.planted_workloads import DropsRowOnRetry

# Its first run has one node at a time, a kill amid the job, and another that has nothing to hit.
SEED = 5156
RUNS = 3
# Three to see how often it fails, one or two to leave out the other injection, the rest to see how often that fails.
SHRINKING = 6


class QuickDropsRowOnRetry(DropsRowOnRetry):
    """The planted workload, drawn so that a run takes seconds."""

    rows: Annotated[int, Drawn(among=(640,))] = Field(default=640, ge=1)
    max_actors: Annotated[int, Drawn(among=(1,))] = Field(default=1, ge=1)
    device_ms_per_batch: Annotated[float, Drawn(among=(400.0,))] = Field(default=400.0, ge=0.0)


PLANTED = Catalogue(faults=faults.ALL, workloads={QuickDropsRowOnRetry.name: QuickDropsRowOnRetry})
Command = Callable[..., tuple[int, str]]


@pytest.fixture
def raychaos(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a command that knows the planted workload, in an empty directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "catalogue", lambda: PLANTED)

    def run(*words: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            cli.main(list(words))
        said = capsys.readouterr()
        assert isinstance(ended.value.code, int), said.err
        return ended.value.code, f"{said.out}\n{said.err}"

    return run


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_row_lost_on_retry_is_found_shrunk_and_replayed(raychaos: Command, tmp_path: Path) -> None:
    campaign = ["fuzz", "--cluster", "local", "--seed", str(SEED), "--max-runs", str(RUNS), "--stop-on", "first"]
    code, told = raychaos(*campaign, "--faults", "kill_node", "--json", "found.json")
    assert code == cli.EXIT_FAIL, told
    (found,) = json.loads(Path("found.json").read_text())["failures"]
    assert found["signature"]["property"] == "rows_exactly_once", told
    assert found["injections"] == 2, told
    code, told = raychaos("shrink", found["run"], "--max-runs", str(SHRINKING))
    assert code == cli.EXIT_PASS, told
    assert "2 injections → 1" in told
    (shrunk,) = (tmp_path / "runs").glob("shrunk-*")
    schedule = (shrunk / "schedule.yaml").read_text()
    assert schedule.count("fault: ") == 1
    assert "fault: kill_node" in schedule
    code, told = raychaos("replay", str(shrunk / "spec.yaml"), "--times", "1", "--failure", "rows_exactly_once")
    assert code == cli.EXIT_FAIL, told
