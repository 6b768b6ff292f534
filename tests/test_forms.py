"""Forms of harm: which the kernel allows, and that a schedule it cannot carry out is refused before anything starts."""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

import faults
import workloads
from chaos import commands
from chaos.cluster import UndoesEffects
from chaos.commands import CLUSTERS, SpecWish
from chaos.errors import ClusterError
from chaos.examination import Kernel, KernelFeature
from chaos.forms import provision, unmakeable
from chaos.schedule import Schedule
from chaos.spec import Catalogue

THROTTLE = {"fault": "throttle_network", "rate_mbit": 5, "target": "w1", "at_s": 1, "duration_s": 1}
PARTITION = {"fault": "partition_network", "target": "w1", "at_s": 2, "duration_s": 1}
PAUSE = {"fault": "pause_node", "target": "w1", "at_s": 3, "duration_s": 1}
KILL = {"fault": "kill_node", "target": "w1", "at_s": 4}
ALL_OF_IT = (
    "tbf",
    "ingress",
    "ifb",
    "mirred",
    "police",
    "drop",
    "reject",
    "statistic",
    "nfqueue",
    "netem",
    "prio",
    "cgroup_freezer",
    "cgroup_cpu",
    "cgroup_io",
)


def kernel(*, lacks: tuple[str, ...] = (), unknown: tuple[str, ...] = ()) -> Kernel:
    """A kernel with all features that faults need, but for these."""
    features = tuple(
        KernelFeature(
            name=name, available=name not in lacks + unknown, found_by="unknown" if name in unknown else "probe"
        )
        for name in ALL_OF_IT
    )
    return Kernel(release="6.1-toy", cgroup="v2", features=features)


def never() -> NoReturn:
    raise AssertionError("the kernel was examined")


def schedule(*injections: dict[str, object]) -> Schedule:
    return Schedule.from_data(list(injections), faults.ALL)


def test_every_harm_a_cluster_can_do_has_a_form() -> None:
    for kind, cluster in CLUSTERS.items():
        for fault in faults.ALL.values():
            if not fault.missing_capabilities(cluster):
                found = provision(kind, fault, kernel())
                assert found.words, f"{fault.name} on {kind}"
                assert (found.lacking, found.unsure) == ((), ())
                harms = [need for need in fault.needs if need is not UndoesEffects]
                assert len(found.words.split("; ")) == max(len(harms), len(fault.shapes))


def test_the_kernel_is_examined_only_for_faults_that_take_something_of_it() -> None:
    assert unmakeable("compose", schedule(KILL), never) == ()
    assert unmakeable("local", schedule(PAUSE, KILL), never) == ()
    with pytest.raises(AssertionError, match="was examined"):
        unmakeable("compose", schedule(PAUSE, KILL), never)


@pytest.mark.parametrize(
    ("lacks", "told"),
    [
        ((), []),
        (("ifb", "mirred"), []),  # what is received can be policed
        (("police",), []),
        (("ifb", "police"), ["i1: a compose cluster cannot make throttle_network here: kernel 6.1-toy lacks ifb"]),
        (("tbf",), ["i1: a compose cluster cannot make throttle_network here: kernel 6.1-toy lacks tbf"]),
        (("drop",), ["i2: a compose cluster cannot make partition_network here: kernel 6.1-toy lacks drop"]),
        (
            ("cgroup_freezer", "drop"),
            [
                "i2: a compose cluster cannot make partition_network here: kernel 6.1-toy lacks drop",
                "i3: a compose cluster cannot make pause_node here: kernel 6.1-toy lacks cgroup_freezer",
            ],
        ),
    ],
)
def test_each_fault_is_judged_by_what_it_takes(lacks: tuple[str, ...], told: list[str]) -> None:
    found = unmakeable("compose", schedule(THROTTLE, PARTITION, PAUSE, KILL), lambda: kernel(lacks=lacks))
    assert found == tuple(f"injection {message}" for message in told)


def test_what_could_not_be_found_out_is_not_refused() -> None:
    assert unmakeable("compose", schedule(THROTTLE, PARTITION), lambda: kernel(unknown=ALL_OF_IT)) == ()
    found = provision("compose", faults.ALL["partition_network"], kernel(unknown=("drop",)))
    assert (found.lacking, found.unsure) == ((), ("drop",))


# -- `raychaos run` -------------------------------------------------------------------------------------------


@pytest.fixture
def engine_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a `docker` on the PATH whose engine's containers run on a kernel of this release."""

    def put(release: str) -> None:
        docker = tmp_path / "bin/docker"
        docker.parent.mkdir()
        docker.write_text(f"#!/bin/sh\necho {release}\n")
        docker.chmod(0o755)
        monkeypatch.setenv("PATH", f"{docker.parent}:/usr/bin:/bin")

    return put


class Started(Exception):
    """A run went past the check."""


async def attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: Kernel, *injections: dict[str, object]
) -> None:
    """A run on this kernel, up to where its directory would be made."""

    def made(store: Path, spec: object) -> NoReturn:
        raise Started

    monkeypatch.setattr(commands, "examine_kernel", lambda: machine)
    monkeypatch.setattr(commands, "create", made)
    lines = "".join(f"  - {injection}\n" for injection in injections)
    (tmp_path / "spec.yaml").write_text(f"schedule:\n{lines}")
    catalogue = Catalogue(faults=faults.ALL, workloads=workloads.ALL)
    wish = SpecWish(spec=str(tmp_path / "spec.yaml"), cluster="compose")
    await commands.run(wish.resolve(catalogue), store=tmp_path, name=None, keep=False, rebaseline=False)


async def test_a_run_is_refused_before_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine_on: Callable[[str], None]
) -> None:
    engine_on(platform.release())
    with pytest.raises(ClusterError) as caught:
        await attempt(tmp_path, monkeypatch, kernel(lacks=("drop",)), THROTTLE, PARTITION)
    assert str(caught.value) == (
        "injection i2: a compose cluster cannot make partition_network here: kernel 6.1-toy lacks drop; "
        "load the modules, or leave it out: `raychaos doctor` lists what this machine can do"
    )


@pytest.mark.parametrize(
    ("machine", "injection"), [(kernel(lacks=("drop",)), THROTTLE), (kernel(unknown=ALL_OF_IT), PARTITION)]
)
async def test_a_run_that_lacks_nothing_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: Kernel, injection: dict[str, object]
) -> None:
    with pytest.raises(Started):
        await attempt(tmp_path, monkeypatch, machine, injection)


async def test_of_containers_on_another_kernel_nothing_is_said_before_they_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine_on: Callable[[str], None]
) -> None:
    engine_on("5.15-elsewhere")
    with pytest.raises(Started):
        await attempt(tmp_path, monkeypatch, kernel(lacks=("drop",)), PARTITION)


@pytest.mark.parametrize(
    ("lacks", "words"),
    [
        ((), "losses by netem, of some packets only by a user-space queue (NFQUEUE)"),
        (("prio",), "losses by a user-space queue (NFQUEUE)"),
        (("netem",), "losses by a user-space queue (NFQUEUE)"),
        (("nfqueue",), "losses by netem, of all packets only"),
    ],
)
def test_packets_are_impaired_by_what_the_kernel_has(lacks: tuple[str, ...], words: str) -> None:
    found = provision("compose", faults.ALL["lose_packets"], kernel(lacks=lacks))
    assert (found.words, found.lacking) == (words, ())


def test_without_netem_and_without_a_queue_packets_cannot_be_impaired() -> None:
    assert provision("compose", faults.ALL["delay_network"], kernel(lacks=("netem", "nfqueue"))).lacking == ("nfqueue",)
