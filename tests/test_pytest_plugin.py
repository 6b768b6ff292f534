"""The pytest plugin as its users meet it: tests of theirs, run by pytest, on the twin."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

import faults
from chaos.results import prepare
from chaos.schedule import Schedule
from chaos.store import RunDirectory

PREAMBLE = """
import pytest
from hypothesis import example, given, settings, strategies as st

import faults
from chaos.events import FaultInjected
from chaos.schedule import Schedule
from workloads import BatchInference

JOB = BatchInference(rows=400)

def kill(at_s):
    return {"fault": "kill_node", "target": "oldest", "at_s": at_s, "may_miss": True}

def impossible():
    return {"fault": "change_node_types", "node_type": "gpu", "remove": True, "at_s": 1.0, "duration_s": 5.0}

def late():
    return {"fault": "delay_launch", "delay_s": 60.0, "at_s": 0.0, "duration_s": 5.0}

def schedule(*injections):
    return Schedule.from_data(list(injections), faults.ALL)

pytestmark = pytest.mark.raychaos(cluster="sim")
"""


@pytest.fixture(scope="session")
def _loaded() -> None:
    """What such tests import: pytester forgets what is new after each, and modules of C may be loaded only once."""
    importlib.import_module("chaos.twin_runs")
    prepare()


@pytest.fixture
def play(_loaded: None, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Play:
    """Runs tests of users."""
    # They run as in a project of their own: without this one's settings and without what it is run by.
    for name in ("PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT"):
        monkeypatch.delenv(name, raising=False)
    return Play(pytester)


class Play:
    def __init__(self, pytester: pytest.Pytester) -> None:
        self._pytester = pytester
        self.path = pytester.path

    def __call__(self, text: str, *options: str, preamble: str = PREAMBLE) -> pytest.RunResult:
        self._pytester.makepyfile(preamble + text)
        return self._pytester.runpytest_inprocess("-p", "no:asyncio", "-p", "no:cacheprovider", *options)

    @property
    def kept(self) -> list[RunDirectory]:
        store = self.path / ".raychaos"
        return [RunDirectory(path) for path in sorted(store.iterdir())] if store.is_dir() else []


def output(result: pytest.RunResult) -> str:
    return "\n".join(result.outlines)


def test_a_run_that_passes_leaves_nothing(play: Play) -> None:
    result = play(
        """
def test_it(ray_cluster):
    run = ray_cluster.run(JOB)
    assert run.passed, run.explain()
    assert ray_cluster.kind == "sim"
""",
        "-v",
    )
    result.assert_outcomes(passed=1)
    assert "raychaos: run 1: no fault: pass" in output(result)
    assert "raychaos: cluster sim; profile dev; schedules drawn anew" in output(result)
    assert play.kept == []


def test_a_failure_tells_verdict_evidence_schedule_and_how_to_see_it_again(play: Play) -> None:
    result = play(
        """
def test_it(ray_cluster):
    run = ray_cluster.run(JOB, schedule(late()), deadline_s=30)
    assert run.passed
""",
        "--junitxml=junit.xml",
    )
    result.assert_outcomes(failed=1)
    text = output(result)
    assert "✗ job_completes: " in text
    assert re.search(r"evidence of job_completes:\n(?: +\d+: .*\n)* +\d+: [\d.]+ s workload ended: hung", text)
    kept = play.kept[-1]
    assert f"raychaos replay {kept.path}" in text
    assert kept.report.exists()
    assert kept.picture.exists()
    shown = re.search(r"schedule (\w{16}) \(seed 0\):\n((?:  .*\n)+)", text)
    assert shown is not None
    schedule = Schedule.from_data(yaml.safe_load(shown[2]), faults.ALL)
    assert schedule.hash == shown[1]
    line = re.search(r"@example\(schedule=(.*)\)", text)
    assert line is not None
    assert eval(line[1], {"Schedule": Schedule, "faults": faults}) == schedule
    named = {
        str(item.get("name")): str(item.get("value"))
        for item in ElementTree.parse(play.path / "junit.xml").iter("property")
    }
    assert named["raychaos.verdict"] == "fail"
    assert named["raychaos.schedule_hash"] == schedule.hash
    assert named["raychaos.directory"] == str(kept.path)


INCONCLUSIVE = """
def test_plain(ray_cluster):
    run = ray_cluster.run(JOB, schedule(impossible()))
    assert run.passed

@given(at=st.integers(1, 3))
@settings(max_examples=2)
def test_drawn(ray_cluster, at):
    run = ray_cluster.run(JOB, schedule({**impossible(), "at_s": at}))
    assert run.passed
"""


def test_an_inconclusive_run_skips_its_test(play: Play) -> None:
    result = play(INCONCLUSIVE, "-rs")
    result.assert_outcomes(skipped=2)
    assert "inconclusive: ? INCONCLUSIVE" in output(result)
    assert re.search(r"all of \d+ runs were inconclusive; the last: ", output(result))


def test_where_a_verdict_is_required_an_inconclusive_run_fails_its_test(play: Play) -> None:
    play(INCONCLUSIVE, "--raychaos-require").assert_outcomes(failed=2)


def test_examples_that_say_nothing_do_not_spoil_the_others(play: Play) -> None:
    result = play(
        """
@given(bad=st.booleans())
@settings(max_examples=4)
def test_it(ray_cluster, bad):
    run = ray_cluster.run(JOB, schedule(*([impossible()] if bad else [])))
    assert run.passed
"""
    )
    result.assert_outcomes(passed=1)


def test_hypothesis_shrinks_on_the_twin(play: Play) -> None:
    result = play(
        """
@given(times=st.lists(st.sampled_from([8, 9]), max_size=3))
@settings(max_examples=10)
def test_it(ray_cluster, times):
    run = ray_cluster.run(JOB, schedule(*map(kill, times)))
    assert not run.history.of(FaultInjected)
""",
        "--hypothesis-seed=1",
    )
    result.assert_outcomes(failed=1)
    assert "schedules drawn --hypothesis-seed=1" in output(result)
    assert "times=[8]" in output(result)


def test_a_test_of_ones_own_error_is_shown_as_itself(play: Play) -> None:
    result = play(
        """
def test_it(ray_cluster):
    ray_cluster.run(JOB)
    raise RuntimeError("my own")
"""
    )
    result.assert_outcomes(failed=1)
    assert "RuntimeError: my own" in output(result)
    assert "raychaos replay" not in output(result)


def test_what_the_cluster_cannot_do_is_an_error_that_says_so(play: Play) -> None:
    result = play(
        """
def test_it(ray_cluster):
    slow = {"fault": "throttle_network", "rate_mbit": 1, "target": "oldest", "at_s": 1, "duration_s": 1}
    ray_cluster.run(JOB, schedule(slow))
"""
    )
    result.assert_outcomes(failed=1)
    assert "throttle_network needs ShapesNetworks, which a sim cluster does not have" in output(result)


def test_a_budget_ends_tests_with_what_they_have(play: Play) -> None:
    result = play(
        """
@given(at=st.integers(1, 1000))
@settings(max_examples=100_000)
def test_drawn(ray_cluster, at):
    assert ray_cluster.run(JOB).passed

def test_late(ray_cluster):
    ray_cluster.run(JOB)
""",
        "--raychaos-budget=3s",
        "-rs",
    )
    result.assert_outcomes(passed=1, skipped=1)
    text = output(result)
    assert "the budget of 3 s is spent (--raychaos-budget)" in text
    assert re.search(r"raychaos: the budget of 3 s was spent; cut short: .*::test_drawn, .*::test_late", text)


def test_a_failure_outlives_the_budget_and_its_run_is_kept(play: Play) -> None:
    result = play(
        """
@given(at=st.integers(0, 10_000))
@settings(derandomize=True, database=None)
def test_it(ray_cluster, at):
    run = ray_cluster.run(JOB, schedule(late(), kill(at / 1000)), deadline_s=30)
    assert run.passed, run.explain()
""",
        "--raychaos-budget=2s",
    )
    result.assert_outcomes(failed=1)
    text = output(result)
    assert "Flaky" not in text
    told = re.search(r"again: +raychaos replay (\S+)", text)
    assert told is not None
    assert (Path(told[1]) / "history.jsonl").exists()
    assert len([path for path in (play.path / ".raychaos").iterdir() if not path.is_symlink()]) <= 3


def test_of_many_failed_runs_few_are_held_and_each_stands(play: Play) -> None:
    result = play(
        """
import gc
from chaos.judged_run import JudgedRun

def test_it(ray_cluster):
    def path_of(at_s):
        run = ray_cluster.run(JOB, schedule(late(), kill(at_s)), deadline_s=30)
        assert not run.passed
        return run.directory.path

    paths = [path_of(at_s) for at_s in range(6)]
    gc.collect()
    assert sum(type(thing) is JudgedRun for thing in gc.get_objects()) <= 3
    assert path_of(0) == paths[0]
"""
    )
    result.assert_outcomes(passed=1)


def test_a_coroutine_is_told_that_the_twin_cannot_be_run_from_it(play: Play) -> None:
    result = play(
        """
import asyncio

def test_it(ray_cluster):
    async def go():
        ray_cluster.run(JOB)
    asyncio.run(go())
"""
    )
    result.assert_outcomes(failed=1)
    assert "make the test a plain function" in output(result)


def test_a_cluster_that_breaks_fails_the_test_and_one_that_cannot_be_run_skips_it(play: Play) -> None:
    result = play(
        """
from chaos import twin_runs
from chaos.errors import ClusterError, ClusterUnavailable

@pytest.mark.parametrize("error", [ClusterError, ClusterUnavailable])
def test_it(ray_cluster, monkeypatch, error):
    def fail(*_, **__):
        raise error("the head is gone")
    monkeypatch.setattr(twin_runs.TwinRuns, "run", fail)
    ray_cluster.run(JOB)
""",
        "-rs",
    )
    result.assert_outcomes(failed=1, skipped=1)
    assert "this machine cannot run the cluster: the head is gone" in output(result)


@pytest.mark.parametrize(
    ("mark", "told"),
    [
        ("cluster='moon'", "says cluster='moon'; allowed: sim, local, compose"),
        ("size=3", "has no 'size'; it takes cluster, workers, spec, set, scope"),
        ("scope='week'", "says scope='week'; allowed: function, class, module, session"),
        ("'sim'", "takes names: raychaos(cluster='sim')"),
    ],
)
def test_a_mark_that_cannot_be_meant_is_refused_before_anything_runs(play: Play, mark: str, told: str) -> None:
    result = play(f"@pytest.mark.raychaos({mark})\ndef test_it(ray_cluster): ...")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert told in "\n".join(result.errlines)


def test_a_budget_must_be_a_duration(play: Play) -> None:
    result = play("", "--raychaos-budget=soon")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "--raychaos-budget" in "\n".join(result.errlines)


def test_the_mark_shapes_the_cluster(play: Play) -> None:
    (play.path / "base.yaml").write_text("cluster: {update_interval_s: 2}\nbounds: {slack_s: 7}\n")
    result = play(
        """
@pytest.mark.raychaos(cluster="sim", workers=2, spec="base.yaml", set=["cluster.idle_timeout_s=3"])
def test_it(ray_cluster):
    spec = ray_cluster.run(JOB, seed=5).spec
    assert spec.cluster.worker_limit == 2
    assert spec.cluster.update_interval_s == 2
    assert spec.cluster.idle_timeout_s == 3
    assert spec.bounds.slack_s == 7
    assert spec.seed == 5
"""
    )
    result.assert_outcomes(passed=1)


def test_it_works_with_xdist(play: Play) -> None:
    result = play(
        """
@pytest.mark.parametrize("rows", [300, 400, 500])
def test_it(ray_cluster, rows):
    assert ray_cluster.run(BatchInference(rows=rows)).passed

def test_bad(ray_cluster):
    assert ray_cluster.run(JOB, schedule(late()), deadline_s=30).passed
""",
        "-n2",
    )
    result.assert_outcomes(passed=3, failed=1)
    assert "raychaos replay" in output(result)


def test_where_it_is_not_used_it_costs_and_says_nothing(play: Play) -> None:
    result = play("def test_it(): ...")
    result.assert_outcomes(passed=1)
    assert "raychaos:" not in output(result)
    loaded = subprocess.run(
        [sys.executable, "-c", "import chaos.pytest_plugin, sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert not {"ray", "pydantic", "hypothesis", "torch", "faults"}.intersection(loaded)


def test_flaky_failures_are_handed_to_replay(play: Play) -> None:
    result = play(
        """
seen = []

@given(at=st.integers(1, 3))
@settings(max_examples=3)
def test_it(ray_cluster, at):
    run = ray_cluster.run(JOB, schedule(late()), deadline_s=30)
    seen.append(run)
    assert len(seen) != 1
"""
    )
    result.assert_outcomes(failed=1)
    assert "The same schedule has failed and passed." in output(result)
    assert re.search(r"raychaos replay \S+ --until-confident", output(result))


def test_what_its_page_shows_runs(play: Play) -> None:
    page = (Path(__file__).parent.parent / "docs" / "pytest.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    few = "@settings(max_examples=3, phases=[Phase.generate])"
    names = re.findall(r"^(?:def (?:test_\w+)|Test\w+ =)", "\n".join(blocks), re.MULTILINE)
    text = "\n".join(blocks).replace("@given(schedule=", f"{few}\n@given(schedule=")
    text = f"import pytest\nfrom hypothesis import Phase, settings\n{text}"
    result = play(text, "--raychaos-cluster=sim", "-rf", preamble="")
    failed = re.findall(r"^FAILED \S+::(\w+)", output(result), re.MULTILINE)
    # What is drawn may show what Ray does wrong; then it is a verdict that fails the test, and nothing else.
    assert set(failed) <= {"test_inference_survives"}, output(result)
    assert not failed or "✗ FAIL" in output(result)
    assert result.parseoutcomes().get("passed", 0) == len(names) - len(failed)
    assert len(names) > 1


def test_files_of_a_test_lie_beside_it(tmp_path: Path) -> None:
    from chaos.cluster_under_test import ClusterWish
    from chaos.errors import InvalidSpec
    from chaos.spec import Catalogue

    with pytest.raises(InvalidSpec, match=r"missing\.yaml"):
        ClusterWish(spec="missing.yaml").resolve(Catalogue(faults={}, workloads={}), beside=tmp_path)
