"""Replay and shrink with another release of Ray: which one it is, and that all that is told and written names it.

The other release is a stand-in: the installed Ray under another version, in a process of its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from chaos import cli, release, release_reruns
from chaos.errors import ClusterError, InvalidSpec
from chaos.events import RunOpened
from chaos.history import History
from chaos.installed import ray_version
from chaos.release import Release
from chaos.release_reruns import again_with, release_for
from chaos.replay import Subject
from tests.quality.known_bugs import BUGS
from tests.sim.twin import twin_spec

OTHER = "2.47.1"
UNKNOWN = "3.0.0"
SPEC = """\
name: stuck
cluster: {kind: sim, idle_timeout_s: 6, max_workers: 2}
workload: {name: task_bursts, stages: [{tasks: 2, batches: 40}]}
deadline_s: 60
schedule:
  - {id: room, fault: limit_capacity, at_most: 0, at_s: 0, duration_s: 100, may_miss: true}
  - {id: late, fault: delay_launch, delay_s: 2, at_s: 0, duration_s: 10, may_miss: true}
"""

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def raychaos(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a command in a directory with the specification, where releases of Ray are stand-ins."""

    def fetch(version: str, into: Path) -> None:
        info = into / f"ray-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: ray\nVersion: {version}\n")
        (info / "RECORD").write_text(f"ray-{version}.dist-info/RECORD,,\n")

    monkeypatch.setenv("RAYCHAOS_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(release, "_fetch", fetch)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spec.yaml").write_text(SPEC)

    def run(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            cli.main(list(words))
        said = capfd.readouterr()
        assert "Traceback" not in said.err
        assert isinstance(ended.value.code, int)
        return ended.value.code, said.out, said.err

    return run


def made_with(path: Path) -> str:
    opened = History.load(path / "history.jsonl").first(RunOpened)
    assert opened is not None
    return opened[1].versions["ray"]


def test_a_run_of_another_release_is_replayed_and_shrunk_with_it(raychaos: Command, tmp_path: Path) -> None:
    assert raychaos("run", "spec.yaml", "--ray", OTHER)[0] == cli.EXIT_FAIL
    said = f"runs/latest was run with Ray {OTHER}, and so it is again; --ray {ray_version()} is the one installed"
    code, out, err = raychaos("replay", "runs/latest", "--times", "2")
    assert code == cli.EXIT_FAIL, err
    assert f"on sim with Ray {OTHER}, 2 runs\nfailed: 2 of 2 runs\n" in out
    assert err.count(said) == 1
    code, out, err = raychaos("shrink", "runs/latest", "--max-runs", "2")
    assert code == cli.EXIT_PASS, err
    assert said in err
    [directory] = (tmp_path / "runs").glob("shrunk-*")
    assert f"s of them, with Ray {OTHER}\n" in out
    assert f"raychaos replay {directory.relative_to(tmp_path)}/spec.yaml --ray {OTHER}\n" in out
    again = f"raychaos shrink runs/latest --store runs --ray {OTHER}"
    assert f"To go on: {again}\n" in out
    assert json.loads((directory / "shrunk.json").read_text())["ray"] == OTHER
    test = (directory / "test_shrunk.py").read_text()
    assert f"with Ray {OTHER}." in test.splitlines()[0]
    assert f'cli.main(["replay", str(spec), *words, "--ray", "{OTHER}"])' in test
    code, out, err = raychaos(*again.split()[1:])
    assert "going on after 2 runs" in err
    # With the installed release it is another shrinking, and its test is of whichever will be installed.
    assert raychaos("shrink", "runs/latest", "--ray", ray_version())[0] == cli.EXIT_PASS
    [directory] = [found for found in (tmp_path / "runs").glob("shrunk-*") if found != directory]
    assert json.loads((directory / "shrunk.json").read_text())["ray"] == ray_version()


def test_a_schedule_is_replayed_with_the_release_that_is_named(raychaos: Command, tmp_path: Path) -> None:
    code, out, err = raychaos("replay", "spec.yaml", "--ray", OTHER)
    assert code == cli.EXIT_FAIL, err
    assert f"on sim with Ray {OTHER}, 1 run\n" in out
    [kept] = [path for path in (tmp_path / "runs").iterdir() if (path / "history.jsonl").is_file()]
    assert made_with(kept) == OTHER


def test_without_another_release_nothing_is_named(raychaos: Command, tmp_path: Path) -> None:
    code, out, err = raychaos("shrink", "spec.yaml")
    assert code == cli.EXIT_PASS, err
    assert "--ray" not in out + err
    [directory] = (tmp_path / "runs").glob("shrunk-*")
    assert "--ray" not in (directory / "test_shrunk.py").read_text()
    assert not (tmp_path / "home" / "releases").exists()


@pytest.mark.parametrize("command", ["replay", "shrink"])
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--cluster", "local", "--ray", OTHER], "--ray is for the twin, --cluster sim: a local cluster runs the Ray"),
        (["--ray", "2.40.0"], "2.44 to 2.60"),
        (["--ray", f"{OTHER},2.48.0"], "with one release at a time; give one of them"),
        (["--try-ray"], "--try-ray is about a release"),
        (["--ray", OTHER, "--set", "cluster.autoscaler=v1"], "autoscaler v2"),
    ],
)
def test_what_cannot_be_meant_is_wrong_usage(
    command: str, arguments: Sequence[str], says: str, raychaos: Command, tmp_path: Path
) -> None:
    code, _, err = raychaos(command, "spec.yaml", *arguments)
    assert code == cli.EXIT_USAGE
    assert says in err
    assert not (tmp_path / "home" / "releases").exists()


def test_a_run_of_what_is_no_release_is_refused() -> None:
    what = Subject(twin_spec(SPEC), ray="3.0.0.dev0")
    with pytest.raises(InvalidSpec, match=f"run was run with Ray 3.0.0.dev0, .* --ray {ray_version()} is the one"):
        release_for(what, given="run", ray=None, try_ray=False, tell=pytest.fail)
    asked = release_for(what, given="run", ray=ray_version(), try_ray=False, tell=pytest.fail)
    assert asked == Release(ray_version())


def test_a_release_that_is_not_known_is_tried_again() -> None:
    assert Release(UNKNOWN).flags == ("--ray", UNKNOWN, "--try-ray")
    assert Release(OTHER).flags == ("--ray", OTHER)


@pytest.mark.parametrize(
    ("code", "told", "fine"),
    [(0, "told", True), (1, "told", True), (2, "", True), (130, "", True), (1, "", False), (-9, "told", False)],
)
def test_a_process_that_does_not_come_to_a_conclusion_is_no_verdict(
    code: int, told: str, fine: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told_by(_: Release, arguments: Sequence[str]) -> tuple[int, str]:
        assert arguments == ["-m", "chaos.cli", "replay", "--ray", OTHER, "--", "run"]
        return code, told

    monkeypatch.setattr(release_reruns, "told_by", told_by)
    if fine:
        assert again_with(Release(OTHER), ["replay", "--", "run"]) == (code, told)
    else:
        with pytest.raises(ClusterError, match=f"replay with Ray {OTHER} ended with exit code {code}"):
            again_with(Release(OTHER), ["replay", "--", "run"])


@pytest.mark.releases
@pytest.mark.slow
def test_a_bug_of_a_release_is_seen_again_and_made_smaller_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A real one this time."""
    bug, failure = BUGS[0], "updates_succeed (AssertionError)"
    more = "  - {fault: kill_node, target: newest, at_s: 40, may_miss: true}\n"
    (tmp_path / "bug.yaml").write_text(bug.specification + more)
    monkeypatch.chdir(tmp_path)

    def raychaos(*words: str) -> int:
        with pytest.raises(SystemExit) as ended:
            cli.main(list(words))
        assert isinstance(ended.value.code, int)
        return ended.value.code

    assert raychaos("run", "bug.yaml", "--cluster", "sim", "--ray", bug.last) == cli.EXIT_FAIL
    assert raychaos("replay", "runs/latest", "--failure", failure) == cli.EXIT_FAIL
    assert raychaos("replay", "runs/latest", "--failure", failure, "--ray", bug.fixed) == cli.EXIT_PASS
    capfd.readouterr()
    assert raychaos("shrink", "runs/latest") == cli.EXIT_PASS
    assert "3 injections → 2" in capfd.readouterr().out
    [test] = (tmp_path / "runs").glob("shrunk-*/test_shrunk.py")
    assert f'"--ray", "{bug.last}"' in test.read_text()
