"""In which form a kind of cluster does a harm, and which features of the kernel that takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from chaos.examination import Kernel
from chaos.fault import Fault
from chaos.schedule import Schedule


@dataclass(frozen=True)
class Form:
    """One way to provide a capability: in words, and the kernel features it takes."""

    words: str
    features: tuple[str, ...] = ()


_IMPAIRMENTS = {
    "delay_ms": "delays",
    "loss_percent": "losses",
    "duplicate_percent": "duplicates",
    "corrupt_percent": "damage",
    "reorder_percent": "reordering",
}


def _impaired(words: str) -> tuple[Form, ...]:
    """Netem for all packets of a way; for some of them, and without it, a packet queue process."""
    netem, queue = ("netem", "prio", "ifb", "ingress", "mirred"), ("nfqueue", "statistic")
    return (
        Form(
            f"{words} by netem, of some packets only by a user-space queue (NFQUEUE)",
            (*netem, *queue),
        ),
        Form(f"{words} by a user-space queue (NFQUEUE)", queue),
        Form(f"{words} by netem, of all packets only", netem),
    )


# By kind of cluster and capability protocol, or field of `NetworkShape`, whose fields take different features. Of
# several forms the first that the kernel can do is used.
_FORMS: Mapping[tuple[str, str], tuple[Form, ...]] = {
    ("local", "KillsNodes"): (Form("SIGKILL to the node's processes"),),
    ("local", "PausesNodes"): (Form("SIGSTOP to the node's processes"),),
    ("local", "FaultsLaunches"): (Form("the Cloud launches late, otherwise, or not at all"),),
    ("local", "FaultsAnswers"): (Form("the Cloud answers Ray otherwise than it is"),),
    ("compose", "KillsNodes"): (Form("the container is killed"),),
    ("compose", "PausesNodes"): (Form("the container is frozen (cgroup freezer)", ("cgroup_freezer",)),),
    ("local", "FaultsDevices"): (Form("at the workload's device boundary (real on CUDA where that can be)"),),
    ("compose", "FaultsDevices"): (Form("at the workload's device boundary (real on CUDA where that can be)"),),
    ("compose", "FaultsLaunches"): (Form("the Cloud launches late, otherwise, or not at all"),),
    ("compose", "FaultsAnswers"): (Form("the Cloud answers Ray otherwise than it is"),),
    ("local", "SignalsProcesses"): (Form("SIGKILL and SIGSTOP to single processes, found below the node's wrapper"),),
    ("local", "EndsProcesses"): (Form("SIGTERM, and later the same command again"),),
    ("local", "GivesNotice"): (Form("Ray's drain notice or SIGTERM, and SIGKILL to the node's processes"),),
    ("local", "RestartsNodes"): (Form("the node's processes are killed and started again"),),
    ("local", "RestartsRaylets"): (Form("SIGKILL to the raylet, and the node's wrapper starts Ray again"),),
    ("compose", "SignalsProcesses"): (Form("SIGKILL and SIGSTOP to single processes of the container"),),
    ("compose", "EndsProcesses"): (Form("SIGTERM, and later the same command again"),),
    ("compose", "GivesNotice"): (Form("Ray's drain notice or SIGTERM, and the container is killed"),),
    ("compose", "RestartsNodes"): (Form("the container is killed and started again"),),
    ("compose", "RestartsRaylets"): (Form("SIGKILL to the raylet, and the container's wrapper starts Ray again"),),
    ("local", "FaultsRpcs"): (Form("Ray's own RPC chaos, in the environment of nodes that start"),),
    ("local", "RestartsHead"): (Form("the head's processes are killed and started again"),),
    ("local", "ChangesConfiguration"): (Form("the autoscaler's configuration file is edited"),),
    ("compose", "FaultsRpcs"): (Form("Ray's own RPC chaos, in the environment of nodes that start"),),
    ("compose", "RestartsHead"): (Form("the head's container is killed and started again"),),
    ("compose", "ChangesConfiguration"): (Form("the autoscaler's configuration file is edited"),),
    ("local", "PressesMemory"): (Form("a process of the node holds memory of this machine"),),
    ("local", "LimitsFiles"): (Form("prlimit of the node's Ray processes"),),
    ("local", "FillsStores"): (Form("a Ray driver on the node holds objects"),),
    ("compose", "PressesMemory"): (Form("a process in the container holds memory of its group"),),
    ("compose", "LimitsFiles"): (Form("prlimit of the container's Ray processes"),),
    ("compose", "FillsStores"): (Form("a Ray driver in the container holds objects"),),
    ("compose", "FillsDisks"): (Form("a file fills the container's spill directory, of size `disk_limit_mb`"),),
    ("compose", "ThrottlesDisks"): (Form("rates of the container's control group (blkio, or io.max)", ("cgroup_io",)),),
    ("compose", "SkewsClocks"): (Form("a library before the C library, on node types with `own_clock`"),),
    ("compose", "ThrottlesCpus"): (Form("a CFS quota for the container, set by the engine", ("cgroup_cpu",)),),
    ("compose", "rate_mbit"): (
        Form("rates by tbf, both ways", ("tbf", "ingress", "ifb", "mirred")),
        Form("rates by tbf, what is received by a policer that drops", ("tbf", "ingress", "police")),
    ),
    ("compose", "cut"): (Form("cuts by netfilter DROP", ("drop",)),),
    ("compose", "reset"): (Form("resets by netfilter REJECT", ("reject",)),),
    **{("compose", field): _impaired(words) for field, words in _IMPAIRMENTS.items()},
}


@dataclass(frozen=True)
class Provision:
    """How a fault is made here: in words, the features the kernel lacks for it, and those not known to be there."""

    words: str
    lacking: tuple[str, ...] = ()
    unsure: tuple[str, ...] = ()


def provision(kind: str, fault: type[Fault], kernel: Kernel) -> Provision:
    """How a kind of cluster makes a fault on this kernel; with nothing lacking, it can be made."""
    words: list[str] = []
    lacking: list[str] = []
    unsure: list[str] = []
    for forms in _forms_of(kind, fault):
        best = min(forms, key=lambda form: (len(kernel.lacks(*form.features)), not kernel.has(*form.features)))
        words.append(best.words)
        lacking += kernel.lacks(*best.features)
        unsure += [name for name in best.features if not kernel.has(name) and not kernel.lacks(name)]
    return Provision("; ".join(words), tuple(dict.fromkeys(lacking)), tuple(dict.fromkeys(unsure)))


def unmakeable(kind: str, schedule: Schedule, look: Callable[[], Kernel]) -> tuple[str, ...]:
    """Messages for the injections of which this machine's kernel has no form.

    `look` examines the kernel, which takes a moment; it is called only where a fault takes something of the kernel.
    """
    doubtful = [
        injection
        for injection in schedule.injections
        if any(form.features for forms in _forms_of(kind, type(injection.fault)) for form in forms)
    ]
    if not doubtful:
        return ()
    kernel = look()
    found = []
    for injection in doubtful:
        lacking = provision(kind, type(injection.fault), kernel).lacking
        if lacking:
            found.append(
                f"injection {injection.id}: a {kind} cluster cannot make {injection.fault.name} here: "
                f"kernel {kernel.release} lacks {', '.join(lacking)}"
            )
    return tuple(found)


def _forms_of(kind: str, fault: type[Fault]) -> list[tuple[Form, ...]]:
    """For each thing the fault needs that takes a form, the forms there are of it."""
    names = [*(need.__name__ for need in fault.needs), *fault.shapes]
    return [forms for name in names if (forms := _FORMS.get((kind, name)))]
