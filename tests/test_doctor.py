"""The doctor: parsers and judgements on made-up machines, and one look at the real one."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest

from chaos import doctor, kernel
from chaos.cluster import FaultsLaunches, KillsNodes, NetworkView, PathMeasurement, PathSample, ShapesNetworks
from chaos.errors import ClusterError
from chaos.examination import Engine, Examination, Facts, Finding, Gpu, Kernel, KernelFeature, Room
from chaos.fault import Effect, Fault, Site
from chaos.harm import LaunchFault, NetworkShape
from chaos.report.examination import render_examination


class _Fault(Fault):
    name: ClassVar[str] = "kill"
    summary: ClassVar[str] = "ends a node"
    needs: ClassVar[tuple[type, ...]] = (KillsNodes,)
    acts_on: ClassVar[Literal["nodes", "launches"]] = "nodes"
    lasts: ClassVar[bool] = False

    async def inject(self, site: Site) -> None: ...

    async def probe(self, site: Site) -> Effect:
        return Effect(outcome="unknown", detail="")


class _Slow(_Fault):
    name: ClassVar[str] = "slow"
    needs: ClassVar[tuple[type, ...]] = (ShapesNetworks,)
    shapes: ClassVar[tuple[str, ...]] = ("rate_mbit",)


class _Late(_Fault):
    name: ClassVar[str] = "late"
    needs: ClassVar[tuple[type, ...]] = (FaultsLaunches,)


class _Local:
    async def kill_node(self, node: str) -> None: ...

    async def fault_launches(self, fault: LaunchFault, *, effect_id: str, lease_s: float) -> None: ...


class _Compose(_Local):
    async def shape_network(self, node: str, shape: NetworkShape, *, effect_id: str, lease_s: float) -> None: ...

    async def sample_path(
        self, source: str, destination: str, *, packets: int, interval_ms: float, patience_ms: float, port: int = 0
    ) -> PathSample:
        raise AssertionError

    async def view_network(self, node: str) -> NetworkView:
        raise AssertionError

    async def measure_path(self, source: str, destination: str, *, transfer_kib: int) -> PathMeasurement:
        return PathMeasurement(reachable=True)


FAULTS: Mapping[str, type[Fault]] = {fault.name: fault for fault in (_Fault, _Slow, _Late)}
CLUSTERS: Mapping[str, type] = {"local": _Local, "compose": _Compose}
GOOD_ENGINE = Engine(client_version="28.2", server_version="20.10", compose_version="2.26.1", kernel="6.1")


NETWORK_FEATURES = ("netem", "tbf", "ingress", "ifb", "mirred", "police", "drop")


def _kernel(*names: str) -> Kernel:
    """A kernel that was tried, and has these features of those that network faults may need."""
    features = tuple(KernelFeature(name=name, available=name in names, found_by="probe") for name in NETWORK_FEATURES)
    return Kernel(release="6.1", cgroup="v2", features=features)


def _untried() -> Kernel:
    """A kernel of which nothing could be found out."""
    kernel = _kernel()
    unknown = tuple(feature.model_copy(update={"found_by": "unknown"}) for feature in kernel.features)
    return kernel.model_copy(update={"features": unknown})


def _facts(**changes: Any) -> Facts:
    room = Room(
        cores=8.0,
        cores_free=7.0,
        memory_total_mb=32000,
        memory_free_mb=30000,
        disk_free_mb=90000,
        disk_path="/runs",
        shm_free_mb=8000,
    )
    facts = Facts(
        raychaos="0.1.0",
        python="3.11.2",
        packages={name: "1.0" for name in ("torch", "pydantic", "psutil", "aiohttp")} | {"ray": "2.60.1"},
        torch_cuda=None,
        gpus=(),
        engine=GOOD_ENGINE,
        kernel=_kernel(*NETWORK_FEATURES),
        room=room,
        leftovers=(),
    )
    return facts.model_copy(update=changes)


def _examined(facts: Facts) -> Examination:
    return doctor.conclude(facts, faults=FAULTS, clusters=CLUSTERS)


def _finding(facts: Facts, about: str) -> Finding:
    return next(finding for finding in _examined(facts).findings if finding.about == about)


def test_a_good_machine_has_no_trouble() -> None:
    examination = _examined(_facts())
    assert {finding.state for finding in examination.findings} == {"ok"}
    assert all(finding.remedy == "" for finding in examination.findings)
    assert examination.usable
    local, compose = examination.clusters
    assert [(fault.fault, fault.available) for fault in local.faults] == [
        ("kill", True),
        ("slow", False),
        ("late", True),
    ]
    assert "ShapesNetworks" in local.faults[1].why_not
    assert all(fault.available and fault.form for fault in compose.faults)
    assert "✓ ready: local (2 of 3 faults), compose (3 of 3 faults)" in render_examination(examination)


@pytest.mark.parametrize(
    ("changes", "about", "state", "remedy"),
    [
        ({"python": "3.9.2"}, "python", "problem", "3.10"),
        ({"packages": {}}, "ray", "problem", "pip install"),
        ({"packages": {"ray": "2.60.0"}}, "packages", "problem", "pip install"),
        ({"packages": {"ray": "2.55.0"}}, "ray", "problem", "2.60"),
        ({"engine": Engine(error="no docker on the PATH")}, "docker", "warning", "install Docker"),
        ({"engine": Engine(client_version="28", error="denied", denied=True)}, "docker", "warning", "group docker"),
        ({"engine": Engine(client_version="28", error="no daemon")}, "docker", "warning", "start the engine"),
        ({"engine": GOOD_ENGINE.model_copy(update={"compose_version": ""})}, "compose", "warning", "install"),
        ({"engine": GOOD_ENGINE.model_copy(update={"kernel": "5.15"})}, "engine kernel", "warning", "trust"),
        ({"kernel": _kernel("netem")}, "kernel", "warning", "modprobe"),
        ({"kernel": _untried()}, "kernel", "warning", "as root"),
        ({"leftovers": ("container x",)}, "leftovers", "warning", "raychaos heal"),
        ({"gpus": (Gpu(name="T4", memory_total_mb=9, memory_free_mb=8, driver="5"),)}, "gpus", "warning", "CUDA"),
    ],
)
def test_trouble_comes_with_a_remedy(changes: dict[str, Any], about: str, state: str, remedy: str) -> None:
    finding = _finding(_facts(**changes), about)
    assert finding.state == state
    assert remedy in finding.remedy
    assert f"→ {finding.remedy.split()[0]}" in render_examination(_examined(_facts(**changes)))


@pytest.mark.parametrize(
    ("change", "about"),
    [
        ({"cores": 1.0}, "cores"),
        ({"cores_free": 0.1}, "cores"),
        ({"memory_free_mb": 1000}, "memory"),
        ({"disk_free_mb": 1999}, "disk"),
        ({"shm_free_mb": 319}, "shm"),
        ({"shm_free_mb": None}, "shm"),
    ],
)
def test_too_little_room_is_a_warning(change: dict[str, float | None], about: str) -> None:
    facts = _facts(room=_facts().room.model_copy(update=change))
    assert _finding(facts, about).state == "warning"
    assert _finding(facts, about).remedy


def test_without_an_engine_compose_cannot_run_and_local_can() -> None:
    local, compose = _examined(_facts(engine=Engine(error="no docker on the PATH"))).clusters
    assert local.available
    assert not compose.available
    assert compose.why_not == "docker: no docker on the PATH"
    assert {fault.why_not for fault in compose.faults} == {compose.why_not}


def test_a_kernel_without_tbf_costs_network_faults_only() -> None:
    compose = _examined(_facts(kernel=_kernel("ingress", "ifb", "mirred", "drop"))).clusters[1]
    assert [(fault.fault, fault.why_not) for fault in compose.faults if not fault.available] == [
        ("slow", "the kernel lacks tbf")
    ]


@pytest.mark.parametrize(
    ("kernel", "form"),
    [
        (_kernel("tbf", "ingress", "ifb", "mirred", "police"), "rates by tbf, both ways"),
        (_kernel("tbf", "ingress", "police"), "rates by tbf, what is received by a policer that drops"),
        (
            _untried(),
            "rates by tbf, both ways (whether the kernel has tbf, ingress, ifb, mirred is not known)",
        ),
    ],
)
def test_of_several_forms_the_first_the_kernel_can_do_is_told(kernel: Kernel, form: str) -> None:
    slow = _examined(_facts(kernel=kernel)).clusters[1].faults[1]
    assert (slow.available, slow.form) == (True, form)


def test_without_ray_nothing_can_run() -> None:
    examination = _examined(_facts(packages={}))
    assert not examination.usable
    assert "✗ no kind of cluster can run here" in render_examination(examination)


def test_json_reads_back() -> None:
    examination = _examined(_facts())
    assert Examination.model_validate_json(examination.model_dump_json()) == examination


def test_gpus_are_parsed() -> None:
    gpus = doctor.parse_gpus("NVIDIA H100 80GB HBM3, 81559, 81008, 570.86\nNo devices were found\n")
    assert gpus == (Gpu(name="NVIDIA H100 80GB HBM3", memory_total_mb=81559, memory_free_mb=81008, driver="570.86"),)


@pytest.mark.parametrize(
    ("information", "said", "denied", "error"),
    [
        ('{"ServerVersion": ""}', "Cannot connect to the Docker daemon at unix:///x.", False, "Cannot connect"),
        ("", "permission denied while trying to connect to the Docker daemon socket", True, "permission denied"),
        ('{"ServerErrors": ["Got permission denied"]}', "", True, "Got permission denied"),
        ("[]", "", False, "the engine did not answer"),
    ],
)
def test_an_engine_that_does_not_answer(information: str, said: str, denied: bool, error: str) -> None:
    engine = doctor.parse_engine(information, said, client_version="28", compose_version="v2.26.1")
    assert not engine.reachable
    assert engine.denied == denied
    assert engine.error.startswith(error)


def test_an_engine_that_answers() -> None:
    information = json.dumps({"ServerVersion": "20.10", "KernelVersion": "6.1", "CgroupVersion": "1", "Runtimes": None})
    engine = doctor.parse_engine(
        information, "WARNING: no swap", client_version="28", compose_version="unknown command"
    )
    assert engine.reachable
    assert (engine.error, engine.compose_version, engine.cgroup_version) == ("", "", "1")


def test_examine_looks_at_this_machine(tmp_path: Path) -> None:
    def broken() -> tuple[str, ...]:
        raise ClusterError("no access")

    examination = doctor.examine(faults=FAULTS, clusters=CLUSTERS, leftovers=broken, store=tmp_path / "runs" / "deep")
    assert examination.facts.room.disk_path == str(tmp_path)
    assert examination.facts.leftovers == ("cannot look for them: no access",)
    assert examination.facts.kernel.release
    assert max(len(line) for line in render_examination(examination).splitlines()) <= 110


def test_a_long_reason_keeps_to_the_page(tmp_path: Path) -> None:
    examination = doctor.examine(faults=FAULTS, clusters=CLUSTERS, leftovers=tuple, store=tmp_path)
    why_not = "docker: " + "the engine does not answer; " * 12
    silent = examination.clusters[0].model_copy(update={"available": False, "why_not": why_not})
    told = render_examination(examination.model_copy(update={"clusters": (silent,)}))
    assert max(len(line) for line in told.splitlines()) <= 110
    assert "✗ cannot run here: docker: the engine" in told


def test_a_kernel_is_judged_by_its_files_when_it_may_not_be_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "_search_path", lambda: "")
    release = os.uname().release
    for path, text in {
        "proc/modules": "sch_netem 28672 0 - Live 0x0\n",
        f"lib/modules/{release}/modules.dep": "kernel/net/sched/sch_tbf.ko.xz:\nkernel/drivers/net/ifb.ko: x.ko\n",
        f"boot/config-{release}": "CONFIG_NET_SCH_HTB=m\n# CONFIG_VETH is not set\n",
        "sys/fs/cgroup/cgroup.controllers": "cpu memory pids\n",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    found = kernel.examine_kernel(root=tmp_path)
    by_name = {feature.name: feature for feature in found.features}
    assert found.cgroup == "v2"
    assert {name for name, feature in by_name.items() if feature.available} == {
        "netem",
        "tbf",
        "ifb",
        "htb",
        "cgroup_freezer",
        "cgroup_cpu",
        "cgroup_memory",
    }
    assert (by_name["netem"].found_by, by_name["htb"].found_by, by_name["veth"].found_by) == (
        "modules",
        "config",
        "config",
    )


def test_what_nothing_tells_of_is_unknown_and_not_lacking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "_search_path", lambda: "")
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/modules").write_text("sch_tbf 28672 0 - Live 0x0\n")
    found = kernel.examine_kernel(root=tmp_path)
    assert found.has("tbf")
    assert not found.has("drop")
    assert found.lacks("tbf", "drop", "cgroup_freezer", "never looked for") == ()
    assert {feature.found_by for feature in found.features if feature.name in ("drop", "cgroup_freezer")} == {"unknown"}
    (tmp_path / "lib/modules" / os.uname().release).mkdir(parents=True)
    (tmp_path / "lib/modules" / os.uname().release / "modules.dep").write_text("kernel/net/sched/sch_tbf.ko:\n")
    assert kernel.examine_kernel(root=tmp_path).lacks("tbf", "drop") == ("drop",)


def test_probing_leaves_nothing_behind() -> None:
    # Other devices come and go meanwhile; these names are the probe's own.
    def devices() -> list[Path]:
        return list(Path("/sys/class/net").glob("raychaos*"))

    assert not devices()
    kernel.examine_kernel()
    assert not devices()
