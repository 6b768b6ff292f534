"""Survival: what a job is expected to outlive, from the specification alone."""

from __future__ import annotations

from typing import Any

import pytest

import faults
from chaos.schedule import Schedule
from chaos.spec import Catalogue, RunSpec, parse
from chaos.survival import expected, in_words

KILL_HEAD = "{fault: kill_node, target: head, at_s: 5}"


def spec_of(catalogue: Catalogue, *injections: str) -> RunSpec:
    return parse(f"schedule: [{', '.join(injections)}]\n", catalogue)


def test_killing_the_head_is_not_survived_and_says_why(catalogue: Catalogue) -> None:
    found = expected(spec_of(catalogue, "{fault: kill_node, target: w1, at_s: 1}", KILL_HEAD))
    assert (found.survives, found.fatal) == (False, ("i2",))
    assert found.reason == (
        "i2 (kill_node) ends the head, and with it the GCS, the autoscaler and the job's driver; "
        "a local cluster does not start its head again"
    )
    assert in_words(found).startswith("the job does NOT survive; it is to fail, clearly and soon (i2 (kill_node)")


@pytest.mark.parametrize(
    "injection",
    [
        "{fault: kill_node, target: all, at_s: 1}",
        "{fault: pause_node, target: head, at_s: 1, duration_s: 3}",
        "{fault: fail_launch, at_s: 1, duration_s: 3}",
    ],
)
def test_everything_else_is_survived(catalogue: Catalogue, injection: str) -> None:
    found = expected(spec_of(catalogue, injection))
    assert (found.survives, found.fatal) == (True, ())
    assert in_words(found) == "the job survives (no fault ends what the job cannot do without)"


KILL_DRIVER = "{fault: kill_driver, at_s: 5}"


def test_a_killed_driver_is_survived_as_often_as_it_is_started_again(catalogue: Catalogue) -> None:
    assert expected(spec_of(catalogue, KILL_DRIVER)).fatal == ("i1",)
    text = f"workload: {{name: batch_inference, driver_restarts: 1}}\nschedule: [{KILL_DRIVER}]\n"
    assert expected(parse(text, catalogue)).survives
    twice = text.replace(KILL_DRIVER, f"{KILL_DRIVER}, {KILL_DRIVER}")
    assert expected(parse(twice, catalogue)).fatal == ("i2",)


def test_a_killed_gcs_takes_the_head_with_it(catalogue: Catalogue) -> None:
    assert "ends the head" in expected(spec_of(catalogue, "{fault: kill_gcs, at_s: 5}")).reason


def test_a_schedule_without_faults_is_survived(catalogue: Catalogue) -> None:
    assert in_words(expected(spec_of(catalogue))) == "the job survives (there are no faults)"


def test_another_schedule_on_the_same_spec_is_judged_by_itself(catalogue: Catalogue) -> None:
    spec = spec_of(catalogue, KILL_HEAD)
    assert expected(spec, Schedule()).survives
    twice: list[dict[str, Any]] = [{"fault": "kill_node", "target": "head", "at_s": at_s} for at_s in (1.0, 2.0)]
    found = expected(spec_of(catalogue), Schedule.from_data(twice, faults.ALL))
    assert found.fatal == ("i1", "i2")
    assert found.reason.startswith("i1 ")


def test_a_fault_that_ends_only_the_driver_is_not_survived_either(catalogue: Catalogue) -> None:
    from faults.kill_node import KillNode

    class KillsDriver(KillNode):
        """Ends the driver, whatever its target."""

        def hits(self, selected: str | None) -> frozenset[Any]:
            """The driver."""
            return frozenset(("driver",))

    spec = spec_of(catalogue, "{fault: kill_node, target: w1, at_s: 1}")
    struck = spec.schedule.injections[0].model_copy(update={"fault": KillsDriver()})
    found = expected(spec, Schedule(injections=(struck,)))
    assert (found.survives, found.reason) == (False, "i1 (kill_node) ends the job's driver; nothing starts it again")
