"""`raychaos doctor` for people: what was found, what to do about it, and which faults are to be had."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from chaos.examination import ClusterOutlook, Examination, Finding, Kernel
from chaos.report.table import WIDTH, pairs, table

_MARKS = {"ok": "✓", "warning": "!", "problem": "✗"}


def render_examination(examination: Examination) -> str:
    """The examination as aligned plain text with a mark before each finding, and what to do after each that is bad."""
    sections = [
        ("This machine", _findings(examination.findings)),
        (f"Kernel {examination.facts.kernel.release}", _kernel(examination.facts.kernel)),
        *((f"Cluster kind {cluster.kind}", _cluster(cluster)) for cluster in examination.clusters),
        ("In short", _conclusion(examination)),
    ]
    lines = [f"raychaos {examination.facts.raychaos}"]
    for title, body in sections:
        lines += ["", f"{title} {'─' * max(0, WIDTH - len(title) - 1)}", "", *body]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _findings(findings: Sequence[Finding]) -> list[str]:
    longest = max((len(finding.about) for finding in findings), default=0)
    lines: list[str] = []
    for finding in findings:
        lines += pairs([(f"{_MARKS[finding.state]} {finding.about.ljust(longest)}", finding.detail)])
        if finding.remedy:
            lines += pairs([("  " + " " * longest, f"→ {finding.remedy}")])
    return lines


def _kernel(kernel: Kernel) -> list[str]:
    rows = [
        (f"{'✓' if feature.available else '✗'} {feature.name}", feature.found_by, feature.detail)
        for feature in kernel.features
    ]
    return table(("feature", "found by", "detail"), rows) if rows else ["nothing was looked for"]


def _cluster(cluster: ClusterOutlook) -> list[str]:
    told = "✓ can run here" if cluster.available else f"✗ cannot run here: {cluster.why_not}"
    head = textwrap.wrap(told, WIDTH, subsequent_indent="  ")
    rows = [
        (
            f"{'✓' if fault.available else '✗'} {fault.fault}",
            fault.form if fault.available else f"not here: {fault.why_not}",
            fault.summary,
        )
        for fault in cluster.faults
    ]
    return [*head, "", *table(("fault", "how", "what it does"), rows)] if rows else head


def _conclusion(examination: Examination) -> list[str]:
    usable = [cluster for cluster in examination.clusters if cluster.available]
    troubles = sum(finding.state != "ok" for finding in examination.findings)
    if not usable:
        return ["✗ no kind of cluster can run here; do what the arrows above say"]
    kinds = ", ".join(
        f"{cluster.kind} ({sum(fault.available for fault in cluster.faults)} of {len(cluster.faults)} faults)"
        for cluster in usable
    )
    rest = "" if not troubles else f"; {troubles} thing{'' if troubles == 1 else 's'} to look at above"
    return [f"✓ ready: {kinds}{rest}"]
