"""`no_leaked_nodes`: a minimal history that passes, one that fails, and those it cannot judge."""

from __future__ import annotations

from chaos.events import ClusterSampled, WorkloadFinished
from tests.checkers.histories import Story, Timed, judged


def with_samples(story: Story, *, from_s: float, **changes: object) -> list[Timed]:
    return [
        (t_s, event.model_copy(update=changes) if isinstance(event, ClusterSampled) and t_s >= from_s else event)
        for t_s, event in story.events()
    ]


def test_an_instance_the_gcs_does_not_know_is_a_leak() -> None:
    leak = with_samples(Story(stopping_s=70.0), from_s=48.0, cloud={"head": "running", "w3": "running"})
    verdict = judged("no_leaked_nodes", leak)
    assert verdict.verdict == "fail"
    assert "the Cloud has w3 (running)" in verdict.summary
    ghost = with_samples(Story(stopping_s=70.0), from_s=20.0, cloud={"head": "running"})
    assert judged("no_leaked_nodes", [pair for pair in ghost if pair[0] < 46.0 or pair[0] > 69.9]).verdict == "fail"


def test_a_launch_pending_for_ever_is_a_leak() -> None:
    assert judged("no_leaked_nodes", with_samples(Story(), from_s=41.0, autoscaler_pending=1)).verdict == "fail"


def test_a_disagreement_that_may_pass_is_inconclusive() -> None:
    leaving = with_samples(Story(), from_s=49.0, cloud={"head": "running", "w3": "stopping"})
    assert judged("no_leaked_nodes", leaving).verdict == "inconclusive"
    assert judged("no_leaked_nodes", Story(stopping_s=40.0)).verdict == "inconclusive"
    assert judged("no_leaked_nodes", Story(workers=[])).verdict == "inconclusive"
    assert judged("no_leaked_nodes", Story(without=(WorkloadFinished,))).verdict == "inconclusive"
