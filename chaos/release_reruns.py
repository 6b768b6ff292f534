"""What `--ray` of `raychaos replay` and `shrink` does: the same command in a process that has the release."""

from __future__ import annotations

from collections.abc import Sequence

from chaos.errors import ClusterError, InvalidSpec
from chaos.exit_codes import EXIT_INTERRUPTED, EXIT_MACHINE, EXIT_OF, EXIT_USAGE
from chaos.installed import ray_version
from chaos.release import Release, Tell, obtain, versions_asked, versions_of
from chaos.release_runs import RAYCHAOS, told_by
from chaos.replay import Subject
from chaos.twin import refuse_beyond_model

_TOLD_OF_ELSEWHERE = (EXIT_USAGE, EXIT_MACHINE, EXIT_INTERRUPTED)


def release_for(what: Subject, *, given: str, ray: str | None, try_ray: bool, tell: Tell) -> Release:
    """The release that is asked for, else the one that the run was made with, else the one installed.

    `given` is what the user named to be run again.

    Raises:
        InvalidSpec: more than one is asked for, the cluster has a Ray of its own, or there is no such release.
        ClusterError: it cannot be fetched, or does not work here.
    """
    asked = ray is not None or try_ray
    version = _one_asked(what, ray, try_ray) if asked else _recorded(what, given, tell)
    if version == ray_version():
        return Release(version)
    refuse_beyond_model(what.spec)
    return obtain(version, tell)


def _one_asked(what: Subject, ray: str | None, try_ray: bool) -> str:
    first, *more = versions_asked(ray, try_any=try_ray, cluster=what.spec.cluster.kind)
    if more:
        raise InvalidSpec(f"--ray {ray}: it is run again with one release at a time; give one of them")
    return first


def _recorded(what: Subject, given: str, tell: Tell) -> str:
    """The release of the recorded run, which is said where it is another than the installed one."""
    here = ray_version()
    if what.ray is None or what.ray == here:
        return here
    try:
        [version] = versions_of(what.ray, try_any=True)
    except InvalidSpec:
        raise InvalidSpec(
            f"{given} was run with Ray {what.ray}, which is no release that could be fetched; name one by --ray: "
            f"--ray {here} is the one installed"
        ) from None
    tell(f"{given} was run with Ray {version}, and so it is again; --ray {here} is the one installed")
    return version


def again_with(release: Release, arguments: Sequence[str]) -> tuple[int, str]:
    """The command of these arguments, carried out with the release: its exit code, and what it said.

    Raises:
        ClusterError: it did not come to its end.
    """
    command, *rest = arguments
    # What was typed stays last: after `--` there are no flags.
    code, told = told_by(release, [*RAYCHAOS, command, *release.flags, *rest])
    # Python itself ends with 1 where it cannot even begin: that is no failed property.
    concluded = code in EXIT_OF.values() and told
    if not concluded and code not in _TOLD_OF_ELSEWHERE:
        raise ClusterError(f"{command} with Ray {release.version} ended with exit code {code}")
    return code, told
