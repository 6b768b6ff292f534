"""Run directories and kept baselines: made before anything starts, found by name, never mixed up."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from chaos import store
from chaos.errors import ClusterError, InvalidSpec
from chaos.events import BaselineKnown
from chaos.spec import RunSpec, parse
from chaos.store import (
    RunDirectory,
    baseline_path,
    create,
    find,
    load_baseline,
    point_latest,
    save_baseline,
)
from tests.test_spec_schema import CATALOGUE

BASELINE = BaselineKnown(
    run_id="r",
    job_s=10.0,
    rows_per_s=5.0,
    longest_pause_s=1.0,
    scale_up_s=2.0,
    scale_down_s=3.0,
    join_s=1.5,
    peak_nodes=4,
)


def spec(*overrides: str) -> RunSpec:
    return parse("name: my-run\nworkload: batch_inference\n", CATALOGUE, overrides=overrides)


def recorded(path: Path) -> RunDirectory:
    directory = create(path, spec())
    directory.history.write_text("")
    return directory


def test_a_new_directory_holds_spec_and_schedule_before_anything_starts(tmp_path: Path) -> None:
    directory = create(tmp_path / "deep" / "runs", spec("seed=7"))
    assert re.fullmatch(r"\d{8}-\d{6}-my-run-[0-9a-f]{4}", directory.run_id)
    assert sorted(entry.name for entry in directory.path.iterdir()) == ["logs", "schedule.yaml", "spec.yaml"]
    assert parse(directory.spec.read_text(), CATALOGUE) == spec("seed=7")
    assert directory.schedule.read_text() == spec().schedule.to_yaml()
    assert create(tmp_path, spec(), suffix="-baseline").run_id.count("my-run-baseline-") == 1


def test_two_directories_made_in_the_same_second_differ(tmp_path: Path) -> None:
    assert len({create(tmp_path, spec()).run_id for _ in range(5)}) == 5


def test_a_store_that_cannot_be_written_is_a_matter_of_the_machine(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ClusterError, match=r"file.*: cannot write run directories here: (Not a directory|File exists)"):
        create(tmp_path / "file", spec())


def test_every_file_of_a_directory_lies_in_it(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "r")
    files = [getattr(directory, name) for name, kind in vars(RunDirectory).items() if isinstance(kind, property)]
    paths = [path for path in files if isinstance(path, Path)]
    assert len(set(paths)) == len(paths) >= 8
    assert all(path.parent == directory.path for path in paths)


@pytest.mark.parametrize(
    "named",
    [
        pytest.param(lambda run, _: str(run.path), id="its path"),
        pytest.param(lambda run, _: str(run.history), id="its history"),
        pytest.param(lambda run, _: run.run_id, id="its name in the store"),
        pytest.param(lambda _, where: str(where / "latest"), id="the latest, by path"),
        pytest.param(lambda _run, _where: "latest", id="the latest"),
    ],
)
def test_a_run_is_found_by(named: Callable[[RunDirectory, Path], str], tmp_path: Path) -> None:
    recorded(tmp_path)
    run = recorded(tmp_path)
    point_latest(run)
    found = find(named(run, tmp_path), tmp_path)
    assert found == RunDirectory(run.path.resolve())
    assert found.run_id == run.run_id


def test_latest_points_at_the_newest_by_a_relative_link(tmp_path: Path) -> None:
    first, second = recorded(tmp_path), recorded(tmp_path)
    point_latest(first)
    point_latest(second)
    assert (tmp_path / "latest").readlink() == Path(second.run_id)
    assert not [entry for entry in tmp_path.iterdir() if entry.name.startswith(".")]


def test_a_run_that_is_not_there_is_told_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(
        InvalidSpec, match=r"no run 'nothing': neither a directory nor in the store .*newest there: none"
    ):
        find("nothing", tmp_path / "no-store")
    run = recorded(tmp_path)
    with pytest.raises(InvalidSpec, match=f"newest there: {run.run_id}"):
        find("nothing", tmp_path)
    (tmp_path / "bare").mkdir()
    with pytest.raises(InvalidSpec, match=r"bare: no history\.jsonl in it; is it a run directory\?"):
        find("bare", tmp_path)


def test_a_baseline_is_kept_by_cluster_and_workload_not_by_schedule_seed_or_name() -> None:
    path = baseline_path(spec(), ray_version="2.60.0")
    kill = "schedule=[{fault: kill_node, target: w1, at_s: 1}]"
    assert baseline_path(spec("seed=9", "name=other", "deadline_s=9", kill), ray_version="2.60.0") == path
    others = [
        baseline_path(spec("cluster.max_workers=2"), ray_version="2.60.0"),
        baseline_path(spec("workload.rows=1"), ray_version="2.60.0"),
        baseline_path(spec("workload=task_bursts"), ray_version="2.60.0"),
        baseline_path(spec(), ray_version="2.60.1"),
    ]
    assert len({path, *others}) == 5


def test_a_baseline_of_another_machine_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    here = baseline_path(spec(), ray_version="2.60.0")
    monkeypatch.setattr(store, "machine_id", lambda: "other-64c-512g")
    assert baseline_path(spec(), ray_version="2.60.0") != here


def test_a_baseline_survives_being_kept_and_a_damaged_one_is_none(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "b.json"
    assert load_baseline(path) is None
    save_baseline(path, BASELINE)
    assert load_baseline(path) == BASELINE
    assert [entry.name for entry in path.parent.iterdir()] == ["b.json"]
    for damaged in ("", "{", "[]", '{"kind": "baseline.known"}', BASELINE.model_dump_json()[:-1] + ', "more": 1}'):
        path.write_text(damaged)
        assert load_baseline(path) is None
