"""The pytest plugin: the fixture `ray_cluster`, the mark `raychaos`, options `--raychaos-…`.

Nothing but pytest is imported until a test asks for a cluster.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from chaos.duration import seconds_of

if TYPE_CHECKING:
    from chaos.cluster_under_test import ClusterUnderTest, ClusterWish
    from chaos.judged_run import JudgedRun

FIXTURE = "ray_cluster"
MARK = "raychaos"
KINDS = ("sim", "local", "compose")
SCOPES = ("function", "class", "module", "session")
# Examples of a Hypothesis test on a real cluster; on the twin, a run costs a fiftieth.
PROFILES = {"dev": 5, "ci": 20, "release": 100}
TWIN_FACTOR = 20
_MARK_ARGUMENTS = ("cluster", "workers", "spec", "set", "scope")


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options."""
    group = parser.getgroup("raychaos", "chaos tests on Ray clusters (raychaos)")
    group.addoption(
        "--raychaos-cluster",
        choices=KINDS,
        default="local",
        help="kind of cluster for tests whose mark names none (default: %(default)s)",
    )
    group.addoption(
        "--raychaos-profile",
        choices=tuple(PROFILES),
        default="dev",
        help="how many examples Hypothesis tries: "
        + ", ".join(f"{name} {count}" for name, count in PROFILES.items())
        + f", and {TWIN_FACTOR} times as many on the twin; `ci` tries the same each time (default: %(default)s)",
    )
    group.addoption(
        "--raychaos-budget",
        type=seconds_of,
        metavar="DURATION",
        help="time for all runs together, such as 90s, 10m or 2h; when it is spent, tests end with what they have",
    )
    group.addoption(
        "--raychaos-store",
        default=".raychaos",
        metavar="DIR",
        help="where the run directories of failed tests are kept (default: %(default)s)",
    )
    group.addoption(
        "--raychaos-keep-failed",
        action="store_true",
        help="let the cluster of a failed test run on, and say how to connect to it and how to end it",
    )
    group.addoption(
        "--raychaos-require",
        action="store_true",
        help="an inconclusive run, or a cluster this machine cannot run, fails the test; else it is skipped",
    )


def pytest_configure(config: pytest.Config) -> None:
    """The mark, and what is known of this session."""
    config.addinivalue_line(
        "markers",
        f"{MARK}(cluster, workers, spec, set, scope): the cluster of a test that uses {FIXTURE}: its kind "
        f"({', '.join(KINDS)}), how many workers it may have, a specification's file and fields to start from, and how "
        f"long it is kept ({', '.join(SCOPES)}; default: session)",
    )
    config.stash[_PLAY] = _Play(config)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Marks that cannot be meant are told before the first test."""
    for item in items:
        if FIXTURE in getattr(item, "fixturenames", ()):
            config.stash[_PLAY].prepare(item)


def pytest_report_collectionfinish(config: pytest.Config) -> list[str]:
    """One line on what the tests run on, where any test uses a cluster."""
    return config.stash[_PLAY].header()


@pytest.fixture(scope="session")
def ray_cluster(request: pytest.FixtureRequest) -> Iterator[ClusterUnderTest]:
    """The Ray cluster of a test, as its mark `raychaos` says; warm between examples and tests, reset and proven clean.

    `ray_cluster.run(workload, schedule)` returns what came of it: `passed`, `verdicts`, `history`, `explain()`.
    """
    play = request.config.stash[_PLAY]
    yield play.cluster
    play.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Points the fixture at the test's cluster while the test runs."""
    play = item.config.stash[_PLAY]
    if FIXTURE not in getattr(item, "fixturenames", ()):
        return (yield)
    play.begin(item)
    try:
        return (yield)
    except Exception as error:
        if (reason := play.reason_to_skip(error)) is None:
            raise
        pytest.skip(reason)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What a test's runs came to, in its report."""
    report = yield
    if FIXTURE in getattr(item, "fixturenames", ()) and call.when == "call":
        item.config.stash[_PLAY].tell(item, report, call)
    return report


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Ends clusters whose scope is over, which the last test in it may not have used."""
    item.config.stash[_PLAY].end_scopes(item, nextitem)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """What a budget cut short."""
    for line in config.stash[_PLAY].summary():
        terminalreporter.write_line(line)


class _Play:
    """One session's clusters, and what its tests made of them."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._cluster: ClusterUnderTest | None = None
        self._wanted: set[str] = set()
        self._began_s: float | None = None
        self._spent = False
        self._cut: list[str] = []
        self._runs = 0
        self._unsure = 0
        self._last_unsure: JudgedRun | None = None
        self._test = ""
        self._own_settings: dict[object, Any] = {}

    # -- before ---------------------------------------------------------------------------------------------

    def prepare(self, item: pytest.Item) -> None:
        """Checks the mark."""
        wish, _ = self._wish(item)
        self._wanted.add(wish.cluster)

    def _settle(self, item: pytest.Item, wish: ClusterWish) -> None:
        """Gives a Hypothesis test the profile's settings, for this of its clusters: cases share one function."""
        function = getattr(item.obj, "__func__", item.obj) if isinstance(item, pytest.Function) else None
        if "hypothesis" not in sys.modules or not getattr(function, "is_hypothesis_test", False):
            return
        from hypothesis import HealthCheck, Phase, settings

        assert function is not None
        own = self._own_settings.setdefault(function, function._hypothesis_internal_use_settings)
        on_twin = wish.cluster == "sim"
        profile = self._config.getoption("--raychaos-profile")
        examples = PROFILES[profile] * (TWIN_FACTOR if on_twin else 1)
        usual = settings.default
        assert usual is not None
        given: dict[str, Any] = {
            "deadline": None,
            "suppress_health_check": {*own.suppress_health_check, HealthCheck.too_slow, HealthCheck.filter_too_much},
        }
        if own.max_examples == usual.max_examples:
            given["max_examples"] = examples
        if not on_twin:  # a real cluster may not fail twice in the same way: `raychaos shrink` is made for that
            given["phases"] = [phase for phase in own.phases if phase not in (Phase.shrink, Phase.explain)]
        if profile == "ci":
            given |= {"derandomize": True, "database": None, "print_blob": True}
        function._hypothesis_internal_use_settings = settings(own, **given)

    def header(self) -> list[str]:
        """What the tests run on."""
        if not self._wanted:
            return []
        seed = self._config.getoption("--hypothesis-seed", None)
        profile = self._config.getoption("--raychaos-profile")
        drawn = f"--hypothesis-seed={seed}" if seed is not None else "anew" if profile != "ci" else "alike each time"
        return [
            f"raychaos: cluster {', '.join(sorted(self._wanted))}; profile {profile}; schedules drawn {drawn}; "
            f"failed runs are kept in {self._store}"
        ]

    def _wish(self, item: pytest.Item) -> tuple[ClusterWish, str]:
        from chaos.cluster_under_test import ClusterWish

        mark = item.get_closest_marker(MARK)
        given = dict(mark.kwargs) if mark else {}
        if mark and mark.args:
            raise pytest.UsageError(f"{item.nodeid}: the mark {MARK} takes names: {MARK}(cluster={mark.args[0]!r})")
        for name in given:
            if name not in _MARK_ARGUMENTS:
                raise pytest.UsageError(
                    f"{item.nodeid}: the mark {MARK} has no {name!r}; it takes {', '.join(_MARK_ARGUMENTS)}"
                )
        kind = given.pop("cluster", self._config.getoption("--raychaos-cluster"))
        scope = given.pop("scope", "session")
        for what, value, allowed in (("cluster", kind, KINDS), ("scope", scope, SCOPES)):
            if value not in allowed:
                raise pytest.UsageError(
                    f"{item.nodeid}: the mark {MARK} says {what}={value!r}; allowed: {', '.join(allowed)}"
                )
        overrides = given.pop("set", ())
        fields = (overrides,) if isinstance(overrides, str) else tuple(overrides)
        return ClusterWish(cluster=kind, set=fields, **given), scope

    # -- during ---------------------------------------------------------------------------------------------

    @property
    def cluster(self) -> ClusterUnderTest:
        """The fixture's value, one for all tests."""
        if self._cluster is None:
            import faults
            import workloads
            from chaos.cluster_under_test import ClusterUnderTest
            from chaos.report.live import SilentView
            from chaos.spec import Catalogue

            self._cluster = ClusterUnderTest(
                Catalogue(faults=faults.ALL, workloads=workloads.ALL),
                self._store,
                name="pytest",
                view=SilentView,
                on_run=self._judged,
                before_run=self._within_budget,
            )
        return self._cluster

    @property
    def _store(self) -> Path:
        return Path(self._config.rootpath, self._config.getoption("--raychaos-store"))

    def begin(self, item: pytest.Item) -> None:
        """A test begins."""
        from chaos.cluster_under_test import Setting

        wish, scope = self._wish(item)
        self._settle(item, wish)
        self._runs, self._unsure, self._last_unsure, self._test = 0, 0, None, item.nodeid
        self.cluster.enter(Setting(wish, _scope_name(item, scope), beside=item.path.parent))

    def _within_budget(self) -> None:
        now_s = time.monotonic()
        if self._began_s is None:
            self._began_s = now_s
        budget_s = self._config.getoption("--raychaos-budget")
        if budget_s is None or now_s - self._began_s < budget_s:
            return
        if self._test not in self._cut:
            self._cut.append(self._test)
        if not _in_hypothesis():
            pytest.skip(f"the budget of {budget_s:g} s is spent (--raychaos-budget)")
        self._spent = True
        _reject()

    def _judged(self, run: JudgedRun) -> None:
        self._runs += 1
        self._say(run)
        if run.judgement != "inconclusive" or self._config.getoption("--raychaos-require"):
            return
        self._unsure, self._last_unsure = self._unsure + 1, run
        if not _in_hypothesis():
            pytest.skip(f"inconclusive: {run.explain()}")
        _reject()

    def _say(self, run: JudgedRun) -> None:
        plugins = self._config.pluginmanager
        reporter, capture = plugins.get_plugin("terminalreporter"), plugins.get_plugin("capturemanager")
        if reporter is not None and self._config.getoption("verbose") > 0:
            what = ", ".join(type(injection.fault).name for injection in run.spec.schedule.injections) or "no fault"
            with capture.global_and_fixture_disabled() if capture else contextlib.nullcontext():
                reporter.ensure_newline()
                reporter.write_line(f"  raychaos: run {self._runs}: {what}: {run.judgement}")

    # -- after ----------------------------------------------------------------------------------------------

    def reason_to_skip(self, error: Exception) -> str | None:
        """Why a test that ended with an error is to be skipped rather than failed, if it is."""
        from chaos.errors import ClusterUnavailable

        if self._config.getoption("--raychaos-require"):
            return None
        if isinstance(error, ClusterUnavailable) and not self._runs:
            return f"this machine cannot run the cluster: {error}"
        if type(error).__name__ != "Unsatisfiable":
            return None
        if self._last_unsure is not None:
            return f"all of {self._unsure} runs were inconclusive; the last: {self._last_unsure.explain()}"
        return "the budget was spent before its first run" if self._spent else None

    def tell(self, item: pytest.Item, report: pytest.TestReport, call: pytest.CallInfo[None]) -> None:
        """The last run's story in a failed test's report; what identifies it, for JUnit, in each."""
        runs = self.cluster.runs
        failed = next((run for run in reversed(runs) if not run.passed), None)
        shown = failed or (runs[-1] if runs else None)
        if shown is not None:
            properties = {**shown.properties(), "raychaos.runs": str(self._runs)}
            item.user_properties.extend(properties.items())
            report.user_properties = list(item.user_properties)
        if report.failed and failed is not None:
            with self._told(report, "its report could not be written"):
                failed.write_report()
            report.sections.append((f"raychaos: {failed.judgement}", failed.explain()))
            if call.excinfo is not None and _is_flaky(call.excinfo.value):
                report.sections.append(("raychaos: it does not always fail", _FLAKY.format(path=failed.directory.path)))
        keeps = failed is not None and not report.passed
        keeps_cluster = keeps and report.failed and self._config.getoption("--raychaos-keep-failed")
        with self._told(report, "the cluster could not be kept"):
            if words := self.cluster.leave(keep_runs=keeps, keep_cluster=keeps_cluster):
                report.sections.append(("raychaos: the cluster is kept", words))

    @contextlib.contextmanager
    def _told(self, report: pytest.TestReport, what: str) -> Iterator[None]:
        """An error here is one more thing to tell of the test: the test, not the session, has failed."""
        from chaos.errors import ChaosError

        try:
            yield
        except (ChaosError, OSError) as error:
            report.sections.append((f"raychaos: {what}", str(error)))

    def end_scopes(self, item: pytest.Item, nextitem: pytest.Item | None) -> None:
        """Ends the clusters that no test after this one may use."""
        if self._cluster is None:
            return
        for scope in SCOPES[:-1]:
            name = _scope_name(item, scope)
            if nextitem is None or _scope_name(nextitem, scope) != name:
                self._cluster.end(name)

    def close(self) -> None:
        """Ends all clusters."""
        if self._cluster is not None:
            self._cluster.close()

    def summary(self) -> list[str]:
        """Which tests a budget cut short."""
        if not self._cut:
            return []
        budget_s = self._config.getoption("--raychaos-budget")
        return [f"raychaos: the budget of {budget_s:g} s was spent; cut short: {', '.join(self._cut)}"]


_PLAY = pytest.StashKey[_Play]()
_FLAKY = (
    "The same schedule has failed and passed. On a real cluster that is the rule rather than the exception: how often\n"
    "it fails, and the smallest schedule that still does, say\n"
    "  raychaos replay {path} --until-confident\n"
    "  raychaos shrink {path}"
)


def _scope_name(item: pytest.Item, scope: str) -> str:
    """What a test's cluster is shared under."""
    if scope == "session":
        return scope
    if scope == "function":
        return f"function {item.nodeid}"
    kind = pytest.Class if scope == "class" else pytest.Module
    parent = item.getparent(kind) or item
    return f"{scope} {parent.nodeid}"


def _in_hypothesis() -> bool:
    """Whether a Hypothesis example is being tried."""
    if "hypothesis" not in sys.modules:
        return False
    from hypothesis import currently_in_test_context

    return currently_in_test_context()


def _reject() -> None:
    """This example says nothing."""
    from hypothesis import reject

    reject()


def _is_flaky(error: BaseException) -> bool:
    from hypothesis.errors import Flaky

    return isinstance(error, Flaky)
