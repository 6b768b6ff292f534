"""`verdict.json`: the judgement of a run for programs, written and read back without loss."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from pydantic import JsonValue, ValidationError

from chaos.checker import Judgement, Verdict, merge
from chaos.errors import InvalidSpec
from chaos.events import RunOpened, WorkloadFinished, WorkloadStarted
from chaos.history import History
from chaos.report.scaling import phases
from chaos.value import Value


class RunVerdict(Value):
    """What `verdict.json` holds. `durations_s` names each phase, `workload_run` (start to end of the job), `total`."""

    verdict: Judgement
    checks: tuple[Verdict, ...]
    run_id: str | None
    cluster: str | None
    seed: int | None
    schedule_hash: str | None
    versions: dict[str, str]
    durations_s: dict[str, float]


def run_verdict(history: History, verdicts: Sequence[Verdict]) -> RunVerdict:
    """The merged judgement of a run with what identifies it; None where the history has no opening."""
    opening = history.first(RunOpened)
    opened = opening[1] if opening else None
    return RunVerdict(
        verdict=merge(check.verdict for check in verdicts),
        checks=tuple(verdicts),
        run_id=opened.run_id if opened else None,
        cluster=opened.cluster if opened else None,
        seed=opened.seed if opened else None,
        schedule_hash=opened.schedule_hash if opened else None,
        versions=dict(opened.versions) if opened else {},
        durations_s=durations_s(history),
    )


def render_verdict(history: History, verdicts: Sequence[Verdict]) -> dict[str, JsonValue]:
    """The content of `verdict.json`."""
    return run_verdict(history, verdicts).model_dump(mode="json")


def parse_verdict(text: str | bytes) -> RunVerdict:
    """Reads the content of a `verdict.json` back.

    Raises:
        InvalidSpec: it is no JSON object, or not one this version writes.
    """
    try:
        data = json.loads(text)
    except ValueError as error:
        raise InvalidSpec(f"not a verdict: no JSON ({error}); `raychaos check RUN --json` prints one") from error
    if not isinstance(data, Mapping):
        raise InvalidSpec(f"not a verdict: expected a JSON object, found {type(data).__name__}")
    try:
        return RunVerdict.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InvalidSpec(
            f"not a verdict of this version: {place}: {first['msg']}; `raychaos check RUN --json` prints one"
        ) from error


def durations_s(history: History) -> dict[str, float]:
    """How long each phase, the workload and the whole run took, in seconds; phases of one name are added up."""
    taken: dict[str, float] = {}
    for phase, begin_s, end_s in phases(history):
        taken[phase] = taken.get(phase, 0.0) + end_s - begin_s
    started, finished = history.first(WorkloadStarted), history.first(WorkloadFinished)
    if started and finished:
        taken["workload_run"] = max(0.0, finished[0].t_s - started[0].t_s)
    taken["total"] = max((record.t_s for record in history), default=0.0)
    return {name: round(duration_s, 3) for name, duration_s in taken.items()}
