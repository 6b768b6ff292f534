"""Two runs held against each other, and the twin's calibration."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chaos.yaml_text import load
from tests.cli.said import GOLDEN, Command, edited


def test_compare_tells_and_draws(raychaos: Command, tmp_path: Path) -> None:
    other = edited(tmp_path, lambda lines: lines)
    said = raychaos("compare", GOLDEN / "local_pass", other)
    assert said.code == 0
    assert "every decision of one is in the other" in said.out
    assert said.out.splitlines()[-1] == f"picture: {other / 'comparison.png'}"
    assert (other / "comparison.png").stat().st_size > 10_000


def test_compare_as_json_with_its_picture_elsewhere(raychaos: Command, tmp_path: Path) -> None:
    said = raychaos(
        "compare", GOLDEN / "local_pass", GOLDEN / "local_hung", "--json", "--tolerance", "2", "--picture", "both.svg"
    )
    told = json.loads(said.out)
    assert (told["same_launches"], told["tolerance_s"], told["parting"]["what"]) == (False, 2.0, "launch")
    assert (tmp_path / "both.svg").is_file()
    assert not (GOLDEN / "local_hung" / "comparison.png").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["compare", "one"], 2, "the following arguments are required: RUN"),
        (["compare", "one", "two"], 2, "no run 'one': neither a directory nor in the store"),
        (
            ["compare", "one", "two", "--tolerance", "-1"],
            2,
            "argument --tolerance: '-1' is no number of seconds, such as 0 or 2.5",
        ),
        (["calibrate"], 2, "the following arguments are required: RUN"),
        (["calibrate", "one"], 2, "no run 'one'"),
        (["run", "--cluster", "sim", "--calibration", "none.yaml"], 2, "none.yaml: No such file or directory"),
    ],
)
def test_wrong_usage_of_what_is_around_the_twin(raychaos: Command, arguments: list[str], code: int, says: str) -> None:
    said = raychaos(*arguments)
    assert said.code == code
    assert says in said.err


def test_a_picture_that_cannot_be_written_is_4(raychaos: Command) -> None:
    run = GOLDEN / "local_pass"
    said = raychaos("compare", run, run, "--picture", "nowhere/x.png")
    assert said.code == 4
    assert "nowhere/x.png: the picture cannot be written" in said.err


def without_faults(lines: list[str]) -> list[str]:
    """The lines of a history in which nothing was injected, for all that is recorded."""
    return [
        json.dumps(
            {name: line[name] for name in ("seq", "t_s", "wall_s")} | {"kind": "workload.logged", "text": "calm"}
            if line["kind"].startswith("fault.")
            else line
        )
        + "\n"
        for line in map(json.loads, lines)
    ]


def test_what_calibrate_writes_is_what_the_twins_run_records(raychaos: Command, tmp_path: Path) -> None:
    said = raychaos("calibrate", edited(tmp_path, without_faults), "--into", "mine.yaml")
    assert said.code == 0
    assert said.out.splitlines()[-1] == "calibration: mine.yaml"
    fitted = load((tmp_path / "mine.yaml").read_text())
    assert fitted["runs"] == ["20261123-194243-demo-532a"]
    assert fitted["fits"]["jobs.batch_inference.batch"]["samples"] > 10
    job = "workload={name: task_bursts, stages: [{tasks: 1, batches: 2}]}"
    ran = raychaos("run", "--cluster", "sim", "--calibration", "mine.yaml", "--set", job, "--set", "schedule=[]")
    assert ran.code == 0, ran.out
    [recorded] = [load(path.read_text()) for path in tmp_path.glob("runs/latest/spec.yaml")]
    assert recorded["cluster"]["latencies"] == fitted["latencies"]
    assert "mine.yaml" not in json.dumps(recorded)
    refused = raychaos("calibrate", "latest")
    assert refused.code == 2
    assert "a run of the twin says nothing of a real cluster" in refused.err


@pytest.mark.usefixtures("no_clusters")
def test_a_calibration_is_of_the_twin_only(raychaos: Command, tmp_path: Path) -> None:
    raychaos("calibrate", edited(tmp_path, without_faults), "--into", "mine.yaml")
    said = raychaos("run", "--cluster", "local", "--calibration", "mine.yaml")
    assert said.code == 2
    assert "latencies are of the twin's model, and a local cluster takes its own time: use sim" in said.err


def test_what_is_no_calibration_is_refused_by_its_place(raychaos: Command, tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text("format: 1\nmachine: m\n")
    said = raychaos("run", "--cluster", "sim", "--calibration", "wrong.yaml")
    assert said.code == 2
    assert "wrong.yaml: no calibration: at versions: Field required; `raychaos calibrate RUN…` writes one" in said.err
