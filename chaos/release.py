"""Other releases of Ray than the installed one, for the twin: each a wheel of Ray's, unpacked once and kept.

A release is Ray's wheel and nothing else. What runs with it has this interpreter, this raychaos and the same other
packages, so that Ray is all that differs between two runs.
"""

from __future__ import annotations

import contextlib
import csv
import fcntl
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from chaos.commands import TWIN
from chaos.errors import ClusterError, InvalidSpec
from chaos.home import home
from chaos.installed import ray_version

LOWEST, HIGHEST = (2, 44), (2, 60)
"""The first and the last minor release of Ray whose autoscaler v2 the twin is known to work with."""
_VERSION = re.compile(r"\d+\.\d+\.\d+")
_FETCH_LIMIT_S = 1800.0
_TRY_LIMIT_S = 120.0
_POLL_S = 0.2
# What of the twin brings Ray with it: a release in which this cannot be imported is of no use.
_TRY = "import chaos.clusters.sim"
# What has to be on the path for this raychaos to be imported.
_ROOT = Path(__file__).resolve().parent.parent

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Release:
    """A release of Ray that can be run with; `path` is where it is unpacked, None for the installed one."""

    version: str
    path: Path | None = None

    @property
    def flags(self) -> tuple[str, ...]:
        """What names it on the command line."""
        return ("--ray", self.version) if _is_known(self.version) else ("--ray", self.version, "--try-ray")

    def start(self, arguments: Sequence[str]) -> subprocess.Popen[str]:
        """A process of Python with the release; its standard output is to be read, its standard error is this one's.

        It is in a session of its own: what is pressed at the terminal is for the process that started it.
        """
        command = [sys.executable, *arguments]
        return subprocess.Popen(
            command, env=self.environment(), stdout=subprocess.PIPE, text=True, start_new_session=True
        )

    def environment(self) -> dict[str, str]:
        """The environment in which this interpreter runs this raychaos with the release."""
        before = os.environ.get("PYTHONPATH")
        first = [str(part) for part in (self.path, _ROOT, before) if part]
        # Or the directory the user is in would come before all of these.
        return {**os.environ, "PYTHONPATH": os.pathsep.join(first), "PYTHONSAFEPATH": "1"}


def versions_asked(text: str | None, *, try_any: bool, cluster: str) -> tuple[str, ...]:
    """The versions that `--ray` names, for a kind of cluster.

    Raises:
        InvalidSpec: the kind of cluster has a Ray of its own, or they cannot be meant.
    """
    if text is None:
        raise InvalidSpec("--try-ray is about a release: name it by --ray, such as --ray 2.61.0")
    if cluster != TWIN:
        raise InvalidSpec(
            f"--ray is for the twin, --cluster sim: a {cluster} cluster runs the Ray that is installed; to judge "
            "another release there, run raychaos from an environment that has it"
        )
    return versions_of(text, try_any=try_any)


def versions_of(text: str, *, try_any: bool = False) -> tuple[str, ...]:
    """The versions in a list separated by commas, each once, in its order.

    Raises:
        InvalidSpec: there is none, one is no version, or is outside `LOWEST` to `HIGHEST` and not to be tried anyway.
    """
    found = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not found:
        raise InvalidSpec("--ray is empty: give a version, such as 2.54.1, or several: 2.48.0,2.54.1")
    for version in found:
        if not _VERSION.fullmatch(version):
            raise InvalidSpec(f"--ray {version}: no version of a Ray release; give three numbers, such as 2.54.1")
        if not try_any and not _is_known(version):
            raise InvalidSpec(
                f"--ray {version}: the twin knows the autoscaler of Ray {_dotted(LOWEST)} to {_dotted(HIGHEST)}; give "
                "one of those, or --try-ray to have it tried all the same"
            )
    return found


def obtain(version: str, tell: Tell) -> Release:
    """The release, fetched if it is not kept already; one process at a time makes it, and others wait for that.

    Raises:
        InvalidSpec: there is no such release for this Python and machine.
        ClusterError: it cannot be fetched, or cannot be used.
    """
    if version == ray_version():
        return Release(version)
    path = _kept(version)
    if not _whole(path):
        with _turn(path, tell):
            if not _whole(path):
                _make(version, path, tell)
    return Release(version, path)


def _kept(version: str) -> Path:
    """Where the release lies for this kind of Python and machine."""
    return home() / "releases" / f"ray-{version}-{sys.implementation.cache_tag}-{sysconfig.get_platform()}"


def _whole(path: Path) -> bool:
    """Whether every file that the wheel lists is there in its size."""
    record = next(path.glob("ray-*.dist-info/RECORD"), None)
    if record is None:
        return False
    with record.open(newline="") as lines:
        listed = [(name, size) for name, _, size in csv.reader(lines) if size and not name.startswith("..")]
    try:
        return all((path / name).stat().st_size == int(size) for name, size in listed)
    except OSError:
        return False


def _make(version: str, path: Path, tell: Tell) -> None:
    """Fetches and unpacks the release beside its place, tries it, and puts it there whole or not at all."""
    began_s = time.monotonic()
    for left in path.parent.glob(f"{path.name}.making-*"):  # by one that was killed; nobody else is at it
        shutil.rmtree(left)
    tell(f"fetching Ray {version}, once: some 70 MB, 250 MB unpacked, into {path}")
    making = Path(tempfile.mkdtemp(prefix=f"{path.name}.making-", dir=path.parent))
    try:
        _fetch(version, making)
        tell(f"trying Ray {version}")
        _try(Release(version, making))
        shutil.rmtree(path, ignore_errors=True)
        making.chmod(0o755)  # a home may be shared
        making.rename(path)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    tell(f"Ray {version} is there, after {time.monotonic() - began_s:.0f} s")


def _fetch(version: str, into: Path) -> None:
    if importlib.util.find_spec("pip") is not None:
        command = [sys.executable, "-m", "pip", "install", "--no-input", "--disable-pip-version-check", "--no-compile"]
    elif (uv := shutil.which("uv")) is not None:
        command = [uv, "pip", "install", "--python", sys.executable]
    else:
        raise ClusterError(f"Ray {version} is fetched with pip or uv, and there is neither; install one of them")
    command += ["--no-deps", "--only-binary", ":all:", "--target", str(into), f"ray=={version}"]
    try:
        # What it tells while it works is for the user's eyes; standard output is for results.
        done = subprocess.run(
            command, stdout=sys.stderr, stderr=subprocess.PIPE, text=True, timeout=_FETCH_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise ClusterError(f"Ray {version} was not fetched within {_FETCH_LIMIT_S:.0f} s") from None
    if done.returncode == 0:
        return
    if offered := re.search(r"\(from versions: ([^)]*)\)", done.stderr):
        there = [each for each in offered[1].split(", ") if _VERSION.fullmatch(each) and _is_known(each)]
        if there:
            raise InvalidSpec(
                f"--ray {version}: there is no such release for this Python and machine; there are {', '.join(there)}"
            )
    last = "\n".join(done.stderr.strip().splitlines()[-5:])
    raise ClusterError(f"Ray {version} cannot be fetched (`{' '.join(command)}`):\n{last}")


def _try(release: Release) -> None:
    """Imports what the twin needs, which also compiles it.

    Raises:
        ClusterError: it cannot be imported.
    """
    command = [sys.executable, "-c", _TRY]
    try:
        done = subprocess.run(
            command, env=release.environment(), capture_output=True, text=True, timeout=_TRY_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise ClusterError(
            f"the twin was not imported with Ray {release.version} within {_TRY_LIMIT_S:.0f} s"
        ) from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no word of why"])[-1]
        raise ClusterError(f"the twin does not work with Ray {release.version} and the packages installed here: {last}")


@contextlib.contextmanager
def _turn(path: Path, tell: Tell) -> Iterator[None]:
    """One process at a time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline_s = time.monotonic() + _FETCH_LIMIT_S + _TRY_LIMIT_S
    with path.with_name(f"{path.name}.lock").open("w") as file:
        told = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                pass
            if time.monotonic() > deadline_s:
                raise ClusterError(
                    f"another raychaos has been fetching {path.name} for too long; its lock: {file.name}"
                )
            if not told:
                tell(f"waiting for another raychaos that is fetching {path.name}")
                told = True
            time.sleep(_POLL_S)
        yield


def _is_known(version: str) -> bool:
    """Whether the twin is known to work with it."""
    return LOWEST <= tuple(int(part) for part in version.split("."))[:2] <= HIGHEST


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(str(part) for part in version)
