"""`updates_succeed`: a minimal history that passes, ones that fail, and what it does not take for an exception."""

from __future__ import annotations

import pytest

from chaos.events import AutoscalerLogged, ClusterSampled
from tests.checkers.histories import CLUSTER, Story, Timed, judged, opened


def error(t_s: float, text: str) -> Timed:
    return t_s, AutoscalerLogged(about="error", text=text)


def test_updates_that_raise_nothing_pass() -> None:
    assert judged("updates_succeed", Story()).verdict == "pass"


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-26 21:32:52,001\tERROR autoscaler.py:215 -- 'big'",
        "ERROR autoscaler.py -- AssertionError: Invalid status transition from REQUESTED to RAY_STOP_REQUESTED",
        "ERROR autoscaler.py -- HTTPError: 404 Client Error: Not Found for url: https://kubernetes.default:443/",
    ],
)
def test_an_update_that_raises_fails_with_what_it_raised(text: str) -> None:
    verdict = judged("updates_succeed", Story(more=[error(12.0, text), error(13.0, text)]))
    assert (verdict.verdict, verdict.measured) == ("fail", 2.0)
    assert text.split(" -- ")[1] in verdict.summary


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-26 21:32:52,001\tERROR autoscaler.py:215 -- GET /provider/instances: no answer: RemoteDisconnected()",
        "2026-11-26 21:32:52,001\tERROR gcs_client.py:20 -- something else",
        "ERROR the API is out of reach",
        "ERROR autoscaler.py -- HTTPError: 503 Server Error: Service Unavailable for url: https://kubernetes.default:443/",
    ],
)
def test_a_call_that_nobody_answered_is_no_exception_of_the_update(text: str) -> None:
    assert judged("updates_succeed", Story(more=[error(12.0, text)])).verdict == "pass"


def test_an_update_that_fails_while_the_gcs_is_silent_is_none() -> None:
    silent = (14.5, ClusterSampled(reachable=False))
    assert judged("updates_succeed", Story(more=[error(12.0, "ERROR autoscaler.py -- x"), silent])).verdict == "pass"


def test_a_log_that_was_not_read_proves_nothing() -> None:
    verdict = judged("updates_succeed", Story(without=(AutoscalerLogged,)))
    assert verdict.verdict == "inconclusive"
    assert "log was not read" in verdict.summary


def test_the_older_autoscaler_is_not_judged() -> None:
    story = Story(opening=opened(cluster=CLUSTER.model_copy(update={"autoscaler": "v1"})))
    story.more = [error(12.0, "ERROR autoscaler.py -- x")]
    verdict = judged("updates_succeed", story)
    assert verdict.verdict == "pass"
    assert "not applicable" in verdict.summary
