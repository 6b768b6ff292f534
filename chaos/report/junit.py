"""JUnit XML: a run is a test suite, a check a test case, so that CI shows which property failed and why."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from xml.etree import ElementTree

from chaos.checker import Verdict
from chaos.events import RunOpened, RunSealed, WorkloadStarted
from chaos.history import History
from chaos.report.describe import quantity
from chaos.report.verdict_json import run_verdict

_BROKEN = ("error", "aborted", "interrupted")


def render_junit(history: History, verdicts: Sequence[Verdict]) -> str:
    """The run as JUnit XML: a failed check is a failure, an inconclusive one skipped, a run that broke off an error.

    Structure and order follow the schema Jenkins' xUnit plugin validates against (junit-10.xsd).
    """
    judged = run_verdict(history, verdicts)
    sealed, started = history.last(RunSealed), history.first(WorkloadStarted)
    broken = sealed[1] if sealed and sealed[1].reason in _BROKEN else None
    counts = {
        "tests": str(len(verdicts) + bool(broken)),
        "failures": str(sum(check.verdict == "fail" for check in verdicts)),
        "errors": str(int(bool(broken))),
        "skipped": str(sum(check.verdict == "inconclusive" for check in verdicts)),
        "time": f"{judged.durations_s.get('total', 0.0):.3f}",
    }
    named = "raychaos" if started is None else f"raychaos.{started[1].workload}"
    root = ElementTree.Element(
        "testsuites", {"name": "raychaos", **{k: v for k, v in counts.items() if k != "skipped"}}
    )
    suite = ElementTree.SubElement(root, "testsuite", {"name": named, **counts, "timestamp": _began(history)})
    properties = ElementTree.SubElement(suite, "properties")
    identity = {
        "run_id": judged.run_id,
        "verdict": judged.verdict,
        "seed": judged.seed,
        "cluster": judged.cluster,
        "schedule_hash": judged.schedule_hash,
        **{f"version.{name}": version for name, version in judged.versions.items()},
    }
    for name, value in identity.items():
        if value is not None:
            ElementTree.SubElement(properties, "property", {"name": _legal(name), "value": _legal(str(value))})
    classname = _legal(f"raychaos.{judged.cluster or 'unknown'}")
    if broken:
        case = ElementTree.SubElement(suite, "testcase", {"name": "run", "classname": classname, "time": "0.000"})
        error = ElementTree.SubElement(
            case, "error", {"message": _legal(broken.message or broken.reason), "type": broken.reason}
        )
        error.text = _legal(f"the run ended early: {broken.reason}\n{broken.message}")
    for check in verdicts:
        _case(suite, check, classname)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _case(suite: ElementTree.Element, check: Verdict, classname: str) -> None:
    attributes = {"name": _legal(check.name), "classname": classname, "time": "0.000"}
    case = ElementTree.SubElement(suite, "testcase", attributes)
    details = [check.summary]
    if check.measured is not None or check.bound is not None:
        details.append(f"measured {quantity(check.measured, check.unit)}, bound {quantity(check.bound, check.unit)}")
    if check.evidence:
        details.append("evidence: history events " + ", ".join(str(seq) for seq in check.evidence))
    text = _legal("\n".join(details))
    if check.verdict == "fail":
        attributes = {"message": _legal(check.summary), "type": _legal(check.name)}
        ElementTree.SubElement(case, "failure", attributes).text = text
    elif check.verdict == "inconclusive":
        ElementTree.SubElement(case, "skipped", {"message": _legal(f"inconclusive: {check.summary}")}).text = text
    else:
        ElementTree.SubElement(case, "system-out").text = text


def _began(history: History) -> str:
    opened = history.first(RunOpened)
    wall_s = opened[0].wall_s if opened else 0.0
    return datetime.datetime.fromtimestamp(wall_s, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")


def _legal(text: str) -> str:
    """The text with characters XML 1.0 cannot hold replaced."""
    return "".join(
        c
        if c in "\t\n" or "\x20" <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd" or "\U00010000" <= c <= "\U0010ffff"
        else "\ufffd"
        for c in text
    )
