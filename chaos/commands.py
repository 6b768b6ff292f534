"""What the commands do, apart from arguments and exit codes."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import platform
import secrets
import shutil
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from chaos.campaign import BaselineFailed, Campaign
from chaos.cloud.config import CloudDirectory
from chaos.cloud.node_process import cloud_alive
from chaos.cluster_spec import ClusterSpec
from chaos.clusters import compose_command, compose_leftovers
from chaos.clusters.cloud_cluster import CloudCluster, Step, config_of
from chaos.clusters.compose import ComposeCluster
from chaos.clusters.local import LocalCluster, orphans, sweep
from chaos.errors import ChaosError, ClusterError, ExceptionGroup, InjectionError, InvalidSpec
from chaos.finish import LEAVE_LIMIT_S, Departure, to_the_end
from chaos.forms import unmakeable
from chaos.history import History
from chaos.home import cluster_names, cluster_root, home
from chaos.installed import versions
from chaos.kernel import examine_kernel
from chaos.report.live import live_view
from chaos.results import Results, judge, write
from chaos.schedule import Misplaced, Schedule
from chaos.spec import (
    Catalogue,
    RunSpec,
    json_schema,
    missing_on,
    parse,
    read_text,
    read_yaml,
    refuse_impossible,
    where,
)
from chaos.store import RunDirectory, create, discard_unused, find, point_latest
from chaos.survival import expected, in_words

CLUSTERS: Mapping[str, type[CloudCluster]] = {"local": LocalCluster, "compose": ComposeCluster}
TWIN = "sim"
KINDS = (*CLUSTERS, TWIN)
_SPECS = Path(__file__).parent / "specs"


def soak_spec() -> Path:
    """What a soak draws from, unless told otherwise."""
    return _SPECS / "soak.yaml"


def cluster_class(kind: str, *, provider: str = "cloud") -> type:
    """The class of a kind of cluster and provider. The twin's brings Ray, a second's worth: it is imported late."""
    if kind != TWIN:
        return CLUSTERS[kind]
    from chaos.clusters.sim import twin_class

    return twin_class(provider)


@dataclass(frozen=True)
class SpecWish:
    """What the user asked for on the command line; what is None is left to the spec."""

    spec: str | None = None
    cluster: str | None = None
    workload: str | None = None
    schedule: str | None = None
    seed: int | None = None
    overrides: tuple[str, ...] = ()
    calibration: str | None = None
    provider: str | None = None

    def resolve(self, catalogue: Catalogue) -> RunSpec:
        """The full specification.

        Raises:
            InvalidSpec: something cannot be read or meant, or the cluster lacks a capability a fault needs.
        """
        path = Path(self.spec) if self.spec else _SPECS / f"{self.cluster or 'local'}.yaml"
        overrides = [
            *([f"cluster.kind={self.cluster}"] if self.cluster else []),
            *([f"workload={{name: {self.workload}}}"] if self.workload else []),
            *([f"seed={self.seed}"] if self.seed is not None else []),
            *([_calibrated(Path(self.calibration))] if self.calibration else []),
            *([f"cluster.twin.provider={self.provider}"] if self.provider else []),
            *self.overrides,
        ]
        name = self.spec or f"built-in {path.name}"
        spec = parse(read_text(path), catalogue, name=name, overrides=overrides)
        if self.schedule:
            spec = spec.model_copy(update={"schedule": _schedule_file(Path(self.schedule), catalogue)})
            refuse_impossible(spec, name=self.schedule)
        missing = missing_on(spec, cluster_class(spec.cluster.kind, provider=spec.cluster.twin.provider))
        if missing:
            raise InvalidSpec("; ".join(missing) + "; `raychaos doctor` lists what each cluster can do")
        command = spec.abort.command
        if command and shutil.which(command[0]) is None:
            raise InvalidSpec(f"{name}: at abort.command: there is no program {command[0]!r} on this machine")
        return spec


def _calibrated(path: Path) -> str:
    """The override that puts a calibration file's latencies into the specification: the values, not the path."""
    from chaos.twin_commands import latencies_from

    return f"cluster.latencies={latencies_from(path).model_dump_json()}"


@dataclass(frozen=True)
class Finished:
    """A run that came to its end, or was brought to it."""

    directory: RunDirectory
    results: Results
    interrupted: bool = False


async def run(
    spec: RunSpec,
    *,
    store: Path,
    name: str | None,
    keep: bool,
    rebaseline: bool,
    departure: Departure | None = None,
) -> Finished:
    """One run, with its baseline, on a warm cluster if there is one for it, else on a fresh one.

    `departure` learns what to do with the cluster should the user not wait for the run's end.

    Raises:
        InvalidSpec: the name is none a cluster can have, or is that of another cluster.
        ClusterError: this machine cannot make a fault of the schedule, or run the cluster.
    """
    await refuse_unmakeable(spec)
    if name is not None:
        cluster_root(name)  # refuses a bad name before a directory is made
    with live_view() as view, contextlib.ExitStack() as stack:
        directory = create(store, spec)
        stack.callback(discard_unused, directory)
        view.step(f"expected: {in_words(expected(spec))}")
        cluster, warm = await _obtain(spec.cluster, name, view.step, stack, departure or Departure())
        stays = warm

        async def work() -> None:
            nonlocal stays
            campaign = Campaign(cluster, store=store, versions=versions(), view=lambda: view)
            baseline = await campaign.baseline(spec, renew=rebaseline)
            await campaign.run(spec, directory, baseline=baseline)
            # Without its head it is of no use to anyone.
            headed = any(node.node == "head" for node in await cluster.nodes())
            stays = warm and headed
            if keep and headed and not warm:
                await cluster.keep()
                stays = True

        try:
            return await concluded(work, directory)
        finally:
            if not stays:
                view.step(f"stopping cluster {cluster.name!r}")
            await to_the_end(cluster.release() if stays else cluster.stop())


async def refuse_unmakeable(spec: RunSpec) -> None:
    """Refuses, before anything starts, faults that the kernel the nodes run on has no form of."""
    kind = spec.cluster.kind
    told = await asyncio.to_thread(unmakeable, kind, spec.schedule, examine_kernel)
    # Containers may run on another machine's kernel, or a virtual one: of that nothing is known before they do.
    if told and (kind != "compose" or await compose_command.kernel_release() == platform.release()):
        raise ClusterError(
            "; ".join(told) + "; load the modules, or leave it out: `raychaos doctor` lists what this machine can do"
        )


async def concluded(work: Callable[[], Awaitable[None]], directory: RunDirectory) -> Finished:
    """Does what records a run into a directory, and judges what came of it, however it ended.

    Raises:
        ChaosError: the run could not be done; what was recorded of it is judged all the same.
        ExceptionGroup: so, of several errors.
    """
    try:
        await work()
        return conclude(directory, interrupted=False)
    except asyncio.CancelledError:
        if not directory.history.exists():
            raise
        return conclude(directory, interrupted=True)
    except BaselineFailed as failed:
        point_latest(failed.directory)
        return Finished(failed.directory, failed.results)
    except (ChaosError, ExceptionGroup):
        if directory.history.exists():
            conclude(directory, interrupted=False)
        raise


def conclude(directory: RunDirectory, *, interrupted: bool) -> Finished:
    """Judges a recorded run, and writes what is to be read of it."""
    results = judge(History.load(directory.history))
    write(results, directory)
    point_latest(directory)
    return Finished(directory, results, interrupted)


async def up(wish: SpecWish, catalogue: Catalogue, *, name: str, departure: Departure) -> str:
    """Starts a cluster that stays, and tells how to use it."""
    spec = wish.resolve(catalogue).cluster.model_copy(update={"dashboard": True})
    cluster_root(name)  # refuses a bad name before anything else
    if spec.kind == TWIN:
        raise InvalidSpec("the twin lives as long as its run, and cannot be kept: use --cluster local or compose")
    with live_view() as view, alone(name):
        cluster = CLUSTERS[spec.kind](name, spec, on_step=view.step)
        departure.prepare(partial(cluster.abandon, limit_s=LEAVE_LIMIT_S))
        await cluster.start()
        try:
            await cluster.keep()
            words = cluster.how_to_connect()
        except BaseException:
            await to_the_end(cluster.stop())
            raise
        await cluster.release()
    return words


async def down(names: list[str], *, everything: bool) -> str:
    """Ends clusters by name."""
    known = cluster_names()
    wanted = list(known) if everything else names
    if not wanted and len(known) == 1:
        wanted = list(known)
    if not wanted and not everything:
        raise InvalidSpec(f"which cluster? there are: {', '.join(known) or 'none'}; or give --all")
    told = []
    for name in wanted:
        if name not in known:
            raise InvalidSpec(f"no cluster {name!r}; there are: {', '.join(known) or 'none'}")
        with alone(name):
            await _existing(name).stop()
        told.append(f"{name}: ended")
    return "\n".join(told)


async def ps(*, as_json: bool) -> str:
    """The clusters and their nodes.

    One that cannot be attached to is `dead`, `silent` where its Cloud runs all the same, or `unknown` where the Docker
    engine does not answer: then it may well run.
    """
    listed: list[dict[str, Any]] = []
    for name in cluster_names():
        try:
            cluster = _existing(name)
        except ClusterError as error:
            listed.append({"name": name, "kind": "unknown", "state": "unreadable", "nodes": [], "problem": str(error)})
            continue
        entry: dict[str, Any] = {"name": name, "kind": cluster.kind, "state": "up", "nodes": []}
        try:
            await cluster.attach()
            nodes = await cluster.nodes()
            entry["nodes"] = [node.model_dump(include={"node", "node_type", "state"}) for node in nodes]
            entry["dashboard"] = cluster.dashboard()
            entry["ray_address"] = cluster.gcs_address()
        except ChaosError as error:
            entry |= {"state": await asyncio.to_thread(cluster.standing), "problem": str(error)}
        finally:
            await cluster.release()
        listed.append(entry)
    if as_json:
        return json.dumps(listed, indent=1)
    lines = []
    for entry in listed:
        told = ", ".join(f"{node['node']} ({node['node_type']}, {node['state']})" for node in entry["nodes"])
        dashboard = f"  dashboard {entry['dashboard']}" if entry.get("dashboard") else ""
        lines.append(
            f"{entry['name']}  {entry['kind']}  {entry['state']}  {told or entry.get('problem', '')}{dashboard}"
        )
    return "\n".join(lines) or "no clusters; `raychaos up` starts one"


@dataclass(frozen=True)
class Healing:
    """What was done about what dead runs left, and which harm is still there."""

    told: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()


async def heal() -> Healing:
    """Undoes what dead runs left: effects in force on warm clusters, dead clusters, processes of vanished ones.

    A cluster of containers whose engine does not answer may be alive, and is left alone.
    """
    told: list[str] = []
    failures: list[str] = []
    for name in cluster_names():
        try:
            with alone(name):
                healed = await _heal_cluster(name)
        except ChaosError as error:
            told.append(f"{name}: left alone: {error}")
        else:
            told += healed.told
            failures += healed.failures
    for mark in orphans():
        told.append(f"{mark}: its directory is gone; ended {await sweep(mark)} processes")
    for mark in await asyncio.to_thread(compose_leftovers.orphans):
        told.append(f"{mark}: its directory is gone; removed {', '.join(await compose_leftovers.sweep(mark))}")
    return Healing(tuple(told), tuple(failures))


async def _heal_cluster(name: str) -> Healing:
    try:
        cluster = _existing(name)
    except ClusterError as error:
        return Healing((await _heal_unreadable(CloudDirectory(cluster_root(name)), error),))
    if not cluster.answers():
        await cluster.stop()
        return Healing((f"{name}: dead; removed what was left of it",))
    failures: list[str] = []
    try:
        await cluster.attach()
        before = await cluster.active_effects()
        try:
            await cluster.undo_all()
        except InjectionError as error:
            failures.append(f"{name}: {error}")
        after = await cluster.active_effects()
        if left := await cluster.leftovers():
            failures.append(f"{name}: still shows {', '.join(left)}; `raychaos down {name}` ends it")
        undone = tuple(f"{name}: undid {effect}" for effect in before if effect not in after)
        return Healing(undone, tuple(failures))
    finally:
        await cluster.release()


async def doctor(catalogue: Catalogue, *, as_json: bool) -> str:
    """What this machine can do."""
    from chaos.doctor import examine
    from chaos.report.examination import render_examination

    examination = await asyncio.to_thread(examine, faults=catalogue.faults, clusters=CLUSTERS, leftovers=leftovers)
    return examination.model_dump_json(indent=1) if as_json else render_examination(examination)


def leftovers() -> list[str]:
    """Traces of dead runs on this machine, as `heal` would remove them."""
    dead = []
    for name in cluster_names():
        try:
            cluster = _existing(name)
        except ClusterError:
            dead.append(f"unreadable cluster {name!r}")
            continue
        with contextlib.suppress(ClusterError):  # an engine that does not answer tells nothing of its clusters
            dead += [] if cluster.answers() else [f"dead cluster {name!r}"]
    dead += [f"processes of vanished cluster {mark}" for mark in orphans()]
    return dead + [f"containers of vanished cluster {mark}" for mark in compose_leftovers.orphans()]


def schema(catalogue: Catalogue) -> str:
    """JSON Schema of a spec."""
    return json.dumps(json_schema(catalogue), indent=1)


def recorded(run: str, store: Path) -> Results:
    """The verdict on a recorded run."""
    return judge(History.load(find(run, store).history))


# -- clusters -------------------------------------------------------------------------------------------------


async def _obtain(
    spec: ClusterSpec, name: str | None, on_step: Step, stack: contextlib.ExitStack, departure: Departure
) -> tuple[CloudCluster, bool]:
    """A cluster for a run, held for it alone until `stack` closes, and whether it was there already."""
    cluster, warm = await _find(spec, name, on_step, stack)
    departure.prepare(partial(cluster.abandon, limit_s=LEAVE_LIMIT_S))
    if not warm:
        await cluster.start()
    return cluster, warm


async def _find(
    spec: ClusterSpec, name: str | None, on_step: Step, stack: contextlib.ExitStack
) -> tuple[CloudCluster, bool]:
    """A cluster that answers, or one to be started."""
    if name is None:
        for candidate in cluster_names():
            warm = await _warm(candidate, spec, on_step, stack)
            if warm is not None:
                return warm, True
    else:
        stack.enter_context(alone(name))
        if name in cluster_names():
            cluster = _existing(name, on_step=on_step)
            if not _fits(cluster, spec):
                raise InvalidSpec(
                    f"cluster {name!r} is up with another specification; use the same, another --name, or "
                    f"`raychaos down {name}`"
                )
            on_step(f"using warm cluster {name!r}")
            await cluster.attach()
            return cluster, True
    fresh_name = name or f"run-{secrets.token_hex(3)}"
    if name is None:
        stack.enter_context(alone(fresh_name))
    return CLUSTERS[spec.kind](fresh_name, spec, on_step=on_step), False


async def _warm(name: str, spec: ClusterSpec, on_step: Step, stack: contextlib.ExitStack) -> CloudCluster | None:
    """The kept cluster of this name, if it fits, answers, and nobody else uses it."""
    try:
        cluster = _existing(name, on_step=on_step)
        if not (_fits(cluster, spec) and cluster.kept() and cluster.answers()):
            return None
        with contextlib.ExitStack() as held:
            held.enter_context(alone(name))
            on_step(f"using warm cluster {name!r}")
            await cluster.attach()
            stack.push(held.pop_all())
    except ClusterError:
        return None
    return cluster


def _fits(cluster: CloudCluster, spec: ClusterSpec) -> bool:
    return cluster.spec.model_copy(update={"dashboard": spec.dashboard}) == spec


def _existing(name: str, *, on_step: Step = lambda _: None) -> CloudCluster:
    spec = config_of(CloudDirectory(cluster_root(name))).spec
    return CLUSTERS[spec.kind](name, spec, on_step=on_step)


async def _heal_unreadable(directory: CloudDirectory, error: ClusterError) -> str:
    """Removes what is left of a cluster whose configuration cannot be read, unless it runs or has containers."""
    name = directory.root.name
    if cloud_alive(directory.address):
        return f"{name}: left alone, for it runs: {error}"
    try:
        known = json.loads(directory.config.read_text(errors="replace"))
    except ValueError:
        known = {}
    mark, driver = (known.get("mark"), known.get("driver")) if isinstance(known, dict) else (None, None)
    if driver == "docker":
        return f"{name}: left alone, for it may have containers: {error}"
    ended = await sweep(mark) if isinstance(mark, str) and mark else 0
    shutil.rmtree(directory.root)
    return f"{name}: dead and unreadable; ended {ended} processes and removed its directory"


@contextlib.contextmanager
def alone(name: str) -> Iterator[None]:
    """Holds the cluster of a name, there or yet to be, for one command at a time.

    Raises:
        ClusterError: another command uses it.
    """
    locks = home() / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    with (locks / name).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ClusterError(f"cluster {name!r} is in use by another command; wait, or use another --name") from None
        yield


def _schedule_file(path: Path, catalogue: Catalogue) -> Schedule:
    data, places = read_yaml(read_text(path), name=str(path))
    if isinstance(data, dict) and "schedule" in data:
        data = data["schedule"]
        places = {place[1:]: mark for place, mark in places.items() if place[:1] == ("schedule",)}
    try:
        return Schedule.from_data(data or [], catalogue.faults)
    except Misplaced as error:
        raise InvalidSpec(f"{where(error.place, places, str(path))}: {error.message}") from error
