"""The image every container of a `compose` cluster runs: named by its content, built when that name is missing.

Two layers of images, so that an edit of raychaos' code costs a second and not minutes:

- `raychaos-runtime:<ray>-<hash>`: Debian, Python, Ray, torch: `compose/Dockerfile` up to its last FROM. The hash covers
  that, the files beside it that it copies, the versions and the base image.
- `raychaos:<ray>-<hash>`: the runtime plus the packages `chaos`, `faults` and `workloads`, which the hash covers too.

Where this machine's pip takes packages from somewhere a container cannot reach (a directory, a private index, a proxy's
certificate), a *wheelhouse* is filled on the host first and the build installs from it alone.

Environment: `RAYCHAOS_WHEELHOUSE` (`auto`, `always`, `never`), `RAYCHAOS_TORCH_INDEX_URL` (an index to search besides
the default one when there is no wheelhouse), `RAYCHAOS_HOME` (where wheelhouses are kept).
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from chaos.clusters.compose_command import absent, stream
from chaos.errors import ClusterError, ExceptionGroup
from chaos.finish import to_the_end
from chaos.home import home

TORCH_VERSION = "2.13.0"

_REPOSITORY = "raychaos"
_RUNTIME_REPOSITORY = "raychaos-runtime"
_PACKAGES = ("chaos", "faults", "workloads")
_RUNTIME_FILES = ("requirements.txt", "clock.c")
_LAST_STAGE = "\nFROM runtime\n"
_IMAGES_KEPT = 3
_RUNTIMES_KEPT = 2
_WHEELHOUSES_KEPT = 2

# The python3 and the glibc of Debian 12; what `pip download` must fetch for.
_PYTHON_VERSION = "3.11"
_GLIBC_MINOR = 36

_QUESTION_LIMIT_S = 30.0
_PULL_LIMIT_S = 900.0
_DOWNLOAD_LIMIT_S = 3600.0
_BUILD_LIMIT_S = 3600.0
_TURN_POLL_S = 0.2

# pip settings that a pip inside a container would not have, and that decide what it can reach.
_PRIVATE_PIP_SETTINGS = frozenset(
    {"index-url", "extra-index-url", "find-links", "no-index", "trusted-host", "proxy", "cert", "client-cert"}
)
_PROXY_VARIABLES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")

OnLine = Callable[[str], None]


def compose_directory() -> Path:
    """The directory with the Dockerfile: `compose/` of a checkout, `chaos/_compose` of an installed wheel.

    Raises ClusterError when neither is there.
    """
    package = Path(__file__).resolve().parents[1]
    for candidate in (package.parent / "compose", package / "_compose"):
        if (candidate / "Dockerfile").is_file():
            return candidate
    raise ClusterError(
        f"compose/Dockerfile is neither next to {package} nor in it as _compose: reinstall raychaos, or use a checkout"
    )


def image_tag(ray_version: str, *, base_image: str) -> str:
    """The name of the image that `build` makes from the files as they are now; equal content gives an equal name."""
    return _source_tag(ray_version, base_image, _source_files())


async def wheelhouse_wanted() -> bool:
    """Whether `build` should install from wheels fetched by this machine's pip.

    `RAYCHAOS_WHEELHOUSE` decides: `always`, `never`, or `auto` (the default), which is yes where pip is configured
    with anything that a container would lack: an index, a directory of wheels, a proxy, a certificate.
    Raises ClusterError for another value.
    """
    choice = os.environ.get("RAYCHAOS_WHEELHOUSE") or "auto"
    if choice not in ("auto", "always", "never"):
        raise ClusterError(f"RAYCHAOS_WHEELHOUSE is {choice!r}: it must be auto, always or never")
    if choice != "auto":
        return choice == "always"
    pip = _pip_command()
    if pip is None:
        return False
    answer = await _ask([*pip, "config", "list"])
    # One setting a line: `global.index-url='…'`, `:env:.find-links='…'`.
    names = {line.partition("=")[0].rpartition(".")[2] for line in answer.stdout.splitlines()}
    return not names.isdisjoint(_PRIVATE_PIP_SETTINGS)


async def build(*, ray_version: str, base_image: str, on_line: OnLine, use_wheelhouse: bool) -> str:
    """Leaves the image of the present files on the engine and returns its tag; returns at once when it is there.

    `on_line` gets the output of pip and docker line by line. Older raychaos images of this Ray version are removed,
    but for the newest three and those in use. Safe to call from several processes: they take turns. Cancelled, it ends
    pip or docker within seconds with all they started, and removes what they had made so far.

    Raises ClusterError when there is no docker client, no engine, no permission to use it, no base image, when pip
    cannot fetch the wheels, or when the build fails; the message holds the last lines of what failed. An ExceptionGroup
    of that and of what went wrong in tidying up, where both did.
    """
    await _require_engine()
    source = _source_files()
    tag = _source_tag(ray_version, base_image, source)
    if await _image_exists(tag):
        return tag
    async with _turn(home() / "image.lock", on_line):
        if await _image_exists(tag):
            return tag
        async with _tidied(on_line):
            runtime = _runtime_tag(ray_version, base_image)
            if not await _image_exists(runtime):
                await _require_base_image(base_image, on_line)
                wheelhouse = await fill_wheelhouse(ray_version, on_line=on_line) if use_wheelhouse else None
                await _build_runtime(runtime, ray_version, base_image, wheelhouse, on_line)
                await _remove_old(f"{_RUNTIME_REPOSITORY}:{ray_version}-*", runtime, _RUNTIMES_KEPT, on_line)
            await _build_source(tag, runtime, source, on_line)
            await _remove_old(f"{_REPOSITORY}:{ray_version}-*", tag, _IMAGES_KEPT, on_line)
    return tag


async def fill_wheelhouse(ray_version: str, *, on_line: OnLine) -> Path:
    """A directory with every wheel the image needs, fetched once by this machine's pip for the image's Python.

    Kept under `RAYCHAOS_HOME` and found again by the hash of the requirements and versions; the newest two stay.
    A host whose Python is newer than the image's may miss packages that only the older Python needs: `pip download`
    evaluates environment markers for the Python it runs on (https://github.com/pypa/pip/issues/11664).

    Raises ClusterError when there is no pip or a wheel cannot be had.
    """
    requirements = compose_directory() / "requirements.txt"
    parts = (requirements.read_bytes(), ray_version, TORCH_VERSION, _PYTHON_VERSION, platform.machine())
    root = home() / "wheelhouse"
    finished = root / _digest(parts)
    if finished.is_dir():
        return finished
    pip = _pip_command()
    if pip is None:
        raise ClusterError(
            "a wheelhouse is wanted but this Python has no pip: install pip, or set RAYCHAOS_WHEELHOUSE=never to let "
            "the build install from the default index"
        )
    root.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="pip-", dir=home()) as scratch,
        tempfile.TemporaryDirectory(prefix="partial-", dir=root) as partial,
    ):
        code, tail = await stream(
            [*pip, "download", "--dest", partial, *_download_target(), "--requirement", str(requirements)],
            on_line,
            # A pip that is ended leaves its temporary files.
            environment={"RAY_VERSION": ray_version, "TORCH_VERSION": TORCH_VERSION, "TMPDIR": scratch},
            limit_s=_DOWNLOAD_LIMIT_S,
        )
        if code:
            raise ClusterError(f"pip download could not fetch the wheels of {requirements} (exit code {code}):\n{tail}")
        _keep_wheels(Path(partial), finished)
    return finished


def _keep_wheels(partial: Path, finished: Path) -> None:
    """Gives a filled wheelhouse its name, and removes older ones."""
    # mkdtemp's 0700 would keep other users of a shared RAYCHAOS_HOME out.
    partial.chmod(0o755)
    partial.rename(finished)
    # TemporaryDirectory insists on something to remove.
    partial.mkdir()
    houses = [path for path in finished.parent.iterdir() if path.is_dir() and path != partial]
    for old in sorted(houses, key=lambda path: path.stat().st_mtime)[:-_WHEELHOUSES_KEPT]:
        shutil.rmtree(old)


# --- names ------------------------------------------------------------------------------------------------------------


def _digest(parts: Sequence[str | bytes]) -> str:
    """Twelve hex digits that differ when any part, or the division into parts, differs."""
    digest = hashlib.sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        digest.update(b"%d:" % len(content))
        digest.update(content)
    return digest.hexdigest()[:12]


def _stages() -> tuple[str, str]:
    """The Dockerfile's stages up to the runtime, and the instructions of its last stage, which lays the code on top."""
    runtime, last, code = (compose_directory() / "Dockerfile").read_text(encoding="utf-8").rpartition(_LAST_STAGE)
    assert last, "compose/Dockerfile ends with the stage that begins with `FROM runtime`"
    return f"{runtime}\n", code


def _runtime_tag(ray_version: str, base_image: str) -> str:
    parts: list[str | bytes] = [_stages()[0], *((compose_directory() / name).read_bytes() for name in _RUNTIME_FILES)]
    parts += [ray_version, TORCH_VERSION, base_image, _torch_index_url()]
    return f"{_RUNTIME_REPOSITORY}:{ray_version}-{_digest(parts)}"


def _source_tag(ray_version: str, base_image: str, source: Mapping[str, bytes]) -> str:
    parts: list[str | bytes] = [_runtime_tag(ray_version, base_image), _stages()[1]]
    for name, content in source.items():
        parts += [name, content]
    return f"{_REPOSITORY}:{ray_version}-{_digest(parts)}"


def _source_files() -> dict[str, bytes]:
    """The files of raychaos' packages by their path from the packages' parent, sorted; read once, hashed and staged."""
    root = Path(__file__).resolve().parents[2]
    files: dict[str, bytes] = {}
    for package in _PACKAGES:
        for path in sorted((root / package).rglob("*")):
            inner = path.relative_to(root)
            hidden = any(part.startswith(".") or part in ("__pycache__", "_compose") for part in inner.parts)
            if not hidden and path.suffix != ".pyc" and path.is_file():
                files[inner.as_posix()] = path.read_bytes()
    return files


def _torch_index_url() -> str:
    return os.environ.get("RAYCHAOS_TORCH_INDEX_URL", "")


# --- the wheelhouse ---------------------------------------------------------------------------------------------------


def _pip_command() -> list[str] | None:
    """This Python's pip, or any on the PATH: the wheels are for the image's Python, not for the one that runs pip."""
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    found = shutil.which("pip3") or shutil.which("pip")
    return [found] if found else None


def _download_target() -> list[str]:
    """Arguments that make pip fetch for the image's Python and glibc, whatever this machine's are."""
    machine = platform.machine()
    # PEP 600: a wheel for glibc 2.N runs on every later glibc; pip wants each name spelled out.
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in range(_GLIBC_MINOR, 4, -1)]
    platforms += [f"manylinux2014_{machine}", f"manylinux2010_{machine}", f"manylinux1_{machine}", f"linux_{machine}"]
    arguments = ["--only-binary", ":all:", "--implementation", "cp", "--python-version", _PYTHON_VERSION]
    arguments += ["--progress-bar", "off", "--disable-pip-version-check"]
    for name in platforms:
        arguments += ["--platform", name]
    return arguments


# --- the engine -------------------------------------------------------------------------------------------------------


async def _require_engine() -> None:
    answer = await _docker("version", "--format", "{{.Server.Version}}")
    if answer.returncode == 0:
        return
    said = answer.stderr.strip() or answer.stdout.strip()
    if "permission denied" in said.lower():
        raise ClusterError(
            f"this user may not talk to the Docker engine ({said}): join the group docker, or run as root"
        )
    raise ClusterError(f"no Docker engine answers ({said}): start it, or point DOCKER_HOST at one that runs")


async def _image_exists(tag: str) -> bool:
    return (await _docker("image", "inspect", "--format", "{{.Id}}", tag)).returncode == 0


async def _require_base_image(base_image: str, on_line: OnLine) -> None:
    if await _image_exists(base_image):
        return
    code, tail = await stream(["docker", "pull", base_image], on_line, limit_s=_PULL_LIMIT_S)
    if code:
        raise ClusterError(
            f"the base image {base_image} is not on this machine and cannot be pulled: import it by hand, name another "
            f"Debian 12 image, or, where no registry is in reach, make it from Debian's packages as .ci/prepare does\n"
            f"{tail}"
        )


async def _build_runtime(tag: str, ray_version: str, base_image: str, wheelhouse: Path | None, on_line: OnLine) -> None:
    arguments = {"BASE_IMAGE": base_image, "RAY_VERSION": ray_version, "TORCH_VERSION": TORCH_VERSION}
    arguments["TORCH_INDEX_URL"] = _torch_index_url()
    with _context(_stages()[0]) as context:
        for name in _RUNTIME_FILES:
            _write(context / "compose" / name, (compose_directory() / name).read_bytes())
        if wheelhouse is not None:
            _link_wheels(wheelhouse, context / "compose" / "wheelhouse")
        await _docker_build(tag, context, arguments, on_line)


async def _build_source(tag: str, runtime: str, source: Mapping[str, bytes], on_line: OnLine) -> None:
    with _context(f"FROM {runtime}\n{_stages()[1]}") as context:
        for name, content in source.items():
            _write(context / name, content)
        await _docker_build(tag, context, {}, on_line)


async def _docker_build(tag: str, context: Path, arguments: Mapping[str, str], on_line: OnLine) -> None:
    command = ["docker", "build", "--network", "host", "--tag", tag]
    for name, value in arguments.items():
        command += ["--build-arg", f"{name}={value}"]
    for name in _PROXY_VARIABLES:
        # Without a value the client takes it from the environment; the builder keeps these out of the image.
        command += ["--build-arg", name] if name in os.environ else []
    environment: dict[str, str] = {}
    if (await _docker("buildx", "version")).returncode:
        # Without buildx the client has the classic builder only, which leaves a failed step's container behind.
        environment["DOCKER_BUILDKIT"] = "0"
        command += ["--force-rm"]
    code, tail = await stream([*command, str(context)], on_line, environment=environment, limit_s=_BUILD_LIMIT_S)
    if code:
        raise ClusterError(f"docker build of {tag} failed (exit code {code}); its last lines:\n{tail}")


async def _remove_old(reference: str, current: str, keep: int, on_line: OnLine) -> None:
    """Removes the images a reference pattern matches, but for the current one, the newest, and those in use."""
    # docker lists the newest first.
    answer = await _docker("image", "ls", "--filter", f"reference={reference}", "--format", "{{.Repository}}:{{.Tag}}")
    _report_failure(answer, on_line)
    others = [tag for tag in answer.stdout.split() if tag != current]
    for tag in others[keep - 1 :]:
        _report_failure(await _docker("image", "rm", tag), on_line)


@contextlib.asynccontextmanager
async def _tidied(on_line: OnLine) -> AsyncIterator[None]:
    """Removes what builds leave, however they end; that this fails too is told, and hides no other error."""
    failure: Exception | None = None
    try:
        yield
    except (ClusterError, OSError) as error:
        failure = error
        raise
    finally:
        try:
            await to_the_end(_remove_untagged())
        except ClusterError as untidy:
            if failure is not None:
                raise ExceptionGroup("making the image failed, and so did tidying up", [failure, untidy]) from None
            on_line(f"not tidied: {untidy}")


async def _remove_untagged() -> None:
    """Removes what a build leaves without a name: stages, images that lost theirs, and an unfinished build's layers."""
    answer = await _docker("image", "prune", "--force", "--filter", "label=raychaos.image=1")
    if answer.returncode:
        raise ClusterError(f"`docker image prune` failed, and may have left layers: {answer.stderr.strip()}")


def _report_failure(answer: subprocess.CompletedProcess[str], on_line: OnLine) -> None:
    """Tells of tidying that did not work (an image in use, say); the image that was asked for is there all the same."""
    if answer.returncode:
        on_line(f"not tidied: {answer.stderr.strip()}")


# --- processes and files ----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _context(dockerfile: str) -> Iterator[Path]:
    """A build context, gone afterwards; next to the wheelhouses, so that wheels can be linked into it."""
    home().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="image-context-", dir=home()) as directory:
        _write(Path(directory) / "Dockerfile", dockerfile.encode())
        yield Path(directory)


def _link_wheels(wheelhouse: Path, into: Path) -> None:
    into.mkdir()
    for wheel in wheelhouse.glob("*.whl"):
        # Beside the wheelhouse, on the same file system: several hundred MB that need no copy.
        os.link(wheel, into / wheel.name)


def _write(path: Path, content: bytes) -> None:
    # The modes become the image's, and part of the builder's cache key: they must not depend on this user's umask.
    path.parent.mkdir(parents=True, exist_ok=True)
    path.parent.chmod(0o755)
    path.write_bytes(content)
    path.chmod(0o644)


@contextlib.asynccontextmanager
async def _turn(path: Path, on_line: OnLine) -> AsyncIterator[None]:
    """Holds a lock file, so that processes build one after the other; waits as long as a build may take."""
    deadline_s = time.monotonic() + _DOWNLOAD_LIMIT_S + _BUILD_LIMIT_S
    told = False
    with _opened(path) as file:
        while not _locked(file):
            if time.monotonic() > deadline_s:
                raise ClusterError(f"waited too long for another raychaos to finish building: {path} is locked")
            if not told:
                on_line("waiting for another raychaos that is building an image")
                told = True
            await asyncio.sleep(_TURN_POLL_S)
        yield


def _opened(path: Path) -> IO[str]:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("a")


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


async def _docker(*arguments: str) -> subprocess.CompletedProcess[str]:
    return await _ask(["docker", *arguments])


async def _ask(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Runs a short command and returns its answer, failed or not; ClusterError when it is absent or hangs."""
    try:
        return await asyncio.to_thread(
            subprocess.run,
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_QUESTION_LIMIT_S,
            check=False,
        )
    except FileNotFoundError:
        raise absent(command[0]) from None
    except subprocess.TimeoutExpired:
        raise ClusterError(f"`{' '.join(command)}` did not answer within {_QUESTION_LIMIT_S:.0f} s") from None
