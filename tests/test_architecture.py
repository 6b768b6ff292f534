"""Who may import whom: the arrows of docs/whats-here.md, read from the source's own imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("chaos", "faults", "workloads")
VALUES = (
    "chaos",
    "chaos.abort",
    "chaos.blast_radius",
    "chaos.bounds",
    "chaos.checker",
    "chaos.clock",
    "chaos.cluster",
    "chaos.cluster_spec",
    "chaos.deferral",
    "chaos.demand",
    "chaos.drawn",
    "chaos.errors",
    "chaos.events",
    "chaos.examination",
    "chaos.fault",
    "chaos.finish",
    "chaos.harm",
    "chaos.history",
    "chaos.home",
    "chaos.installed",
    "chaos.network_reading",
    "chaos.kuberay",
    "chaos.path_fault",
    "chaos.rate",
    "chaos.rows",
    "chaos.schedule",
    "chaos.signature",
    "chaos.spelling",
    "chaos.target",
    "chaos.value",
    "chaos.workload",
    "chaos.yaml_text",
)
# Module prefix → what of ours it may import beside its own room, and which libraries it may not.
_SHRINKING = ("chaos.kept_lines", "chaos.outcomes", "chaos.sequential", "chaos.shrink", "chaos.simpler")
RULES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "chaos.checkers": (VALUES, ("ray", "docker", "torch", "os", "pathlib", "subprocess", "aiohttp", "psutil")),
    "chaos.report": ((*VALUES, "chaos.comparison"), ("ray", "docker", "torch", "subprocess", "aiohttp", "psutil")),
    "chaos.cloud": (VALUES, ("torch", "rich", "matplotlib")),
    "chaos.clusters": ((*VALUES, "chaos.cloud", "chaos.sim"), ("torch", "rich", "matplotlib")),
    "chaos.comparison": ((*VALUES, "chaos.checkers"), ("ray", "docker", "torch", "os", "pathlib", "subprocess")),
    "chaos.samples": ((*VALUES, "chaos.checkers"), ("ray", "docker", "torch", "os", "pathlib", "subprocess")),
    "chaos.calibration": (
        (*VALUES, "chaos.checkers", "chaos.samples", "chaos.sim.latency"),
        ("ray", "docker", "torch", "os", "pathlib", "subprocess"),
    ),
    "chaos.sim": (
        (*VALUES, "chaos.cloud"),
        ("docker", "torch", "rich", "matplotlib", "psutil", "aiohttp", "subprocess"),
    ),
    "chaos.nemesis": (VALUES, ("ray", "docker", "torch", "psutil", "aiohttp", "subprocess")),
    "chaos.job": (VALUES, ("ray", "docker", "torch", "psutil", "aiohttp", "subprocess")),
    "chaos.run": (
        (*VALUES, "chaos.job", "chaos.nemesis", "chaos.spec", "chaos.store", "chaos.survival"),
        ("ray", "docker", "torch", "psutil", "aiohttp", "subprocess"),
    ),
    "chaos.strategies": (
        (*VALUES, "chaos.commands", "chaos.survival"),
        ("ray", "docker", "torch", "psutil", "aiohttp", "subprocess"),
    ),
    "chaos.fuzz.on_ray": (
        (*VALUES, "chaos.fuzz", "chaos.spec"),
        ("docker", "torch", "psutil", "aiohttp"),
    ),
    "chaos.fuzz": (
        (
            *VALUES,
            "chaos.background",
            "chaos.campaign",
            "chaos.checkers",
            "chaos.clusters",
            "chaos.commands",
            "chaos.forms",
            "chaos.kernel",
            "chaos.kept_lines",
            "chaos.report",
            "chaos.shrink",
            "chaos.spec",
            "chaos.store",
            "chaos.strategies",
            "chaos.twin_runs",
            "chaos.warm",
        ),
        ("ray", "docker", "torch", "psutil", "aiohttp", "subprocess"),
    ),
    **{
        room: ((*VALUES, *_SHRINKING), ("ray", "docker", "torch", "psutil", "aiohttp", "subprocess"))
        for room in _SHRINKING
    },
    "faults": (
        (
            "chaos.cluster",
            "chaos.cluster_spec",
            "chaos.drawn",
            "chaos.errors",
            "chaos.events",
            "chaos.fault",
            "chaos.harm",
            "chaos.kuberay",
            "chaos.path_fault",
            "chaos.value",
        ),
        ("ray", "docker", "subprocess", "psutil", "aiohttp", "torch", "os", "signal"),
    ),
    "workloads": (
        ("chaos.drawn", "chaos.errors", "chaos.events", "chaos.rows", "chaos.value", "chaos.workload"),
        ("docker", "aiohttp", "psutil"),
    ),
}
MAY_KNOW_CATALOGUES = ("chaos.cli", "chaos.pytest_plugin")


def sources() -> Iterator[tuple[str, Path]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            yield name.removesuffix(".__init__"), path


def imports(path: Path, module: str) -> Iterator[str]:
    """Full names of all modules a file imports, wherever in it the import stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            base = node.module or ""
            for alias in node.names:
                whole = f"{base}.{alias.name}"
                inner = ROOT / Path(*whole.split("."))
                yield whole if inner.with_suffix(".py").exists() or (inner / "__init__.py").exists() else base


MODULES = dict(sources())
IMPORTS = {module: sorted(set(imports(path, module))) for module, path in MODULES.items()}


def within(name: str, room: str) -> bool:
    return name == room or name.startswith(f"{room}.")


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_follow_the_arrows(module: str) -> None:
    room = next((prefix for prefix in RULES if within(module, prefix)), None)
    if room is None:
        return
    allowed, forbidden = RULES[room]
    for name in IMPORTS[module]:
        if name.split(".")[0] in PACKAGES:
            exact = name in allowed
            assert exact or within(name, room) or any(within(name, a) for a in allowed if a != "chaos"), (
                f"{module} must not import {name}"
            )
        assert name.split(".")[0] not in forbidden, f"{module} must not import {name}"


def test_only_the_entry_points_know_the_catalogues() -> None:
    for module, names in IMPORTS.items():
        if module.split(".")[0] == "chaos" and module not in MAY_KNOW_CATALOGUES:
            known = [name for name in names if name.split(".")[0] in ("faults", "workloads")]
            assert not known, f"{module} knows a catalogue: {known}"


def test_faults_and_workloads_do_not_know_each_other() -> None:
    for module, names in IMPORTS.items():
        room = module.split(".")[0]
        other = {"faults": "workloads", "workloads": "faults"}.get(room)
        assert not [name for name in names if other and name.split(".")[0] == other], module


def test_every_fault_module_is_in_the_catalogue() -> None:
    import faults
    import workloads

    listed = {fault.__module__ for fault in faults.ALL.values()}
    assert listed == {name for name in MODULES if name.startswith("faults.")}
    assert {kind.__module__ for kind in workloads.ALL.values()} <= set(MODULES)


def test_no_module_is_past_five_hundred_lines() -> None:
    long = {module: count for module, path in MODULES.items() if (count := len(path.read_text().splitlines())) > 500}
    assert not long


def test_the_product_never_ends_processes_by_name() -> None:
    for module, path in MODULES.items():
        words = path.read_text()
        for forbidden in ("pk" + "ill", "kill" + "all", "ray " + "stop"):
            assert forbidden not in words, f"{module} speaks of {forbidden}"
