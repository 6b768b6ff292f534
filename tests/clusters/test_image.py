"""The image: what it is named by, what a build is given, and that an interrupted build ends at once without a trace."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from chaos.cloud.marks import state_of
from chaos.cluster_spec import ClusterSpec
from chaos.clusters import compose_command, image
from chaos.errors import ClusterError, ExceptionGroup
from tests.conftest import ROOT

BASE = ClusterSpec().base_image
LIMIT_S = 10.0
LOOP = "while :; do sleep 0.1; done"
# Notes the process started last.
PLUGIN = 'mkdir -p "$NOTES/plugins"; touch "$NOTES/plugins/$!"'
# Knows no image but the base; `build` keeps a copy of its context, and then does what the test says.
DOCKER = """#!/bin/sh
echo "$*" >> "$NOTES/calls"
case "$1 $2" in
  "image inspect") [ "$5" = "$BASE" ] || [ -e "$NOTES/made/$5" ];;
  "buildx version") exit 1;;
  "image prune") if [ -e "$NOTES/unruly" ]; then echo "the engine went away" >&2; exit 1; fi;;
  "build --network")
    for context; do :; done
    cp -r "$context" "$NOTES/context-$(grep -c '^build ' "$NOTES/calls")"
    tag=$5; mkdir -p "$NOTES/made"
    echo "Step 1/9"
    echo $$ > "$NOTES/building"
    BUILD
    touch "$NOTES/made/$tag";;
esac
"""


class Engine:
    """A docker client that notes what it is asked."""

    def __init__(self, directory: Path, build: str) -> None:
        self.notes = directory / "notes"
        self.notes.mkdir()
        binaries = directory / "bin"
        binaries.mkdir()
        self.path = binaries
        script = binaries / "docker"
        script.write_text(DOCKER.replace("BUILD", build))
        script.chmod(0o755)

    @property
    def calls(self) -> list[str]:
        """The commands so far."""
        return (self.notes / "calls").read_text().splitlines()

    @property
    def building(self) -> int | None:
        """The process of the build under way, or of the last one."""
        text = (self.notes / "building").read_text() if (self.notes / "building").exists() else ""
        return int(text) if text.strip() else None

    @property
    def plugins(self) -> list[int]:
        """Processes that builds have started beside their own."""
        return [int(path.name) for path in self.notes.glob("plugins/*")]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAYCHAOS_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def engine_that(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Engine]:
    """Makes an engine whose builds run a piece of shell."""

    def make(build: str) -> Engine:
        engine = Engine(tmp_path, build)
        monkeypatch.setenv("PATH", f"{engine.path}:/usr/bin:/bin")
        monkeypatch.setenv("NOTES", str(engine.notes))
        monkeypatch.setenv("BASE", BASE)
        return engine

    return make


async def build(lines: list[str] | None = None) -> str:
    said = [] if lines is None else lines
    return await image.build(ray_version="9.9.9", base_image=BASE, on_line=said.append, use_wheelhouse=False)


def left(directory: Path, pattern: str) -> list[Path]:
    """What lies there."""
    return list(directory.glob(pattern))


def runs(pid: int | str | None) -> bool:
    """Whether there is such a process, and it has not ended."""
    assert pid is not None
    return state_of(int(pid)) not in ("", "Z", "X")


async def until(condition: Callable[[], object], what: str) -> None:
    deadline_s = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline_s, f"after {LIMIT_S:g} s: not {what}"
        await asyncio.sleep(0.02)


def copied(dockerfile: str) -> list[str]:
    """What the COPY instructions take from the context."""
    lines = re.findall(r"^COPY (?!--from)(.+)$", dockerfile, re.MULTILINE)
    return [source for line in lines for source in line.split()[:-1]]


async def test_the_runtime_and_the_code_are_built_apart_and_only_once(
    engine_that: Callable[[str], Engine], home: Path
) -> None:
    engine = engine_that("true")
    lines: list[str] = []
    tag = await build(lines)
    assert tag == image.image_tag("9.9.9", base_image=BASE)
    assert lines.count("Step 1/9") == 2
    runtime, code = (call for call in engine.calls if call.startswith("build "))
    assert "--build-arg RAY_VERSION=9.9.9" in runtime
    assert "--force-rm" in runtime
    assert f"--tag {tag} " in code
    for number, sources in (
        (1, ["compose/requirements.txt", "compose/clock.c"]),
        (2, ["chaos", "faults", "workloads"]),
    ):
        context = engine.notes / f"context-{number}"
        asked = copied((context / "Dockerfile").read_text())
        assert [source for source in sources if (context / source).exists()] == sources
        assert all(list(context.glob(source)) or source.endswith("wheelhouse*") for source in asked)
    named = re.search(r"--tag (raychaos-runtime:\S+)", runtime)
    assert named is not None
    assert (engine.notes / "context-2" / "Dockerfile").read_text().startswith(f"FROM {named[1]}\n")
    assert (engine.notes / "context-2" / "chaos" / "cloud" / "server.py").is_file()
    assert not left(home, "image-context-*")
    before = len(engine.calls)
    assert await build() == tag
    assert not [call for call in engine.calls[before:] if call.startswith("build ")]


async def test_a_build_that_fails_tells_its_last_lines(engine_that: Callable[[str], Engine], home: Path) -> None:
    engine_that("echo 'no such package'; exit 3")
    with pytest.raises(ClusterError, match=r"exit code 3\); its last lines:\nStep 1/9\nno such package"):
        await build()
    assert not left(home, "image-context-*")


@pytest.mark.parametrize(
    ("script", "patience_s"),
    [
        pytest.param("exec sleep 600", 5.0, id="polite"),
        pytest.param("trap '' INT TERM; while :; do sleep 0.1; done", 0.3, id="deaf"),
        pytest.param(f"set -m; sleep 600 & {PLUGIN}; exec sleep 600", 5.0, id="plugin"),
        pytest.param(f"set -m; sh -c \"trap '' TERM; {LOOP}\" & {PLUGIN}; exec sleep 600", 0.3, id="deaf plugin"),
        pytest.param(f"{LOOP} & {PLUGIN}; exit 1", 5.0, id="orphan that holds the output"),
    ],
)
async def test_a_cancelled_build_ends_at_once_and_leaves_nothing(
    engine_that: Callable[[str], Engine], home: Path, monkeypatch: pytest.MonkeyPatch, script: str, patience_s: float
) -> None:
    monkeypatch.setattr(compose_command, "_LEAVE_LIMIT_S", patience_s)
    engine = engine_that(script)
    building = asyncio.create_task(build())
    await until(lambda: engine.building and ("plugin" not in script or engine.plugins), "building")
    began_s = time.monotonic()
    building.cancel()
    with pytest.raises(asyncio.CancelledError):
        await building
    assert time.monotonic() - began_s < 3.0
    assert not runs(engine.building)
    assert not [pid for pid in engine.plugins if runs(pid)]
    assert not left(home, "image-context-*")
    assert engine.calls[-1].startswith("image prune --force --filter label=raychaos.image=1")


async def test_a_build_that_takes_too_long_ends_with_all_it_started(
    engine_that: Callable[[str], Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_that(f"set -m; sleep 600 & {PLUGIN}; exec sleep 600")
    monkeypatch.setattr(image, "_BUILD_LIMIT_S", 1.0)
    with pytest.raises(ClusterError, match=r"`docker build` did not end within 1 s:\nStep 1/9"):
        await build()
    assert len(engine.plugins) == 1
    assert not [pid for pid in engine.plugins if runs(pid)]


async def test_tidying_that_fails_hides_nothing(engine_that: Callable[[str], Engine]) -> None:
    engine = engine_that('[ ! -e "$NOTES/broken" ] || exit 3; while [ -e "$NOTES/slow" ]; do sleep 0.05; done')
    untidy = "`docker image prune` failed, and may have left layers: the engine went away"
    (engine.notes / "unruly").touch()
    (engine.notes / "broken").touch()
    with pytest.raises(ExceptionGroup) as both:
        await build()
    first, second = both.value.exceptions
    assert "failed (exit code 3)" in str(first)
    assert str(second) == untidy
    (engine.notes / "broken").unlink()
    (engine.notes / "slow").touch()
    (engine.notes / "building").unlink()
    lines: list[str] = []
    building = asyncio.create_task(build(lines))
    await until(lambda: engine.building, "building")
    building.cancel()
    with pytest.raises(asyncio.CancelledError):
        await building
    assert lines[-1] == f"not tidied: {untidy}"
    (engine.notes / "slow").unlink()
    lines.clear()
    assert await build(lines) == image.image_tag("9.9.9", base_image=BASE), "the image is there all the same"
    assert lines[-1] == f"not tidied: {untidy}"


async def test_a_cancelled_download_ends_at_once_and_leaves_no_wheels(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pip = tmp_path / "pip"
    pip.write_text('#!/bin/sh\ntouch "$3/half.whl"\necho $$\nexec sleep 600\n')
    pip.chmod(0o755)
    monkeypatch.setattr(image, "_pip_command", lambda: [str(pip)])
    lines: list[str] = []
    filling = asyncio.create_task(image.fill_wheelhouse("9.9.9", on_line=lines.append))
    await until(lambda: lines, "downloading")
    assert len(left(home, "wheelhouse/*/half.whl")) == 1
    filling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await filling
    assert not runs(lines[0])
    assert not left(home, "wheelhouse/*")


async def test_a_wheelhouse_is_kept_whole_and_found_again(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pip = tmp_path / "pip"
    pip.write_text('#!/bin/sh\ntouch "$3/whole.whl"\n')
    pip.chmod(0o755)
    monkeypatch.setattr(image, "_pip_command", lambda: [str(pip)])
    houses = [await image.fill_wheelhouse(f"9.9.{number}", on_line=lambda _: None) for number in range(4)]
    assert [house.exists() for house in houses] == [False, False, True, True]
    assert [path.name for path in houses[-1].iterdir()] == ["whole.whl"]
    pip.write_text("#!/bin/sh\nexit 1\n")
    assert await image.fill_wheelhouse("9.9.3", on_line=lambda _: None) == houses[-1]


async def test_one_build_at_a_time(engine_that: Callable[[str], Engine]) -> None:
    engine = engine_that('while [ ! -e "$NOTES/go" ]; do sleep 0.05; done')
    lines: list[str] = []
    first = asyncio.create_task(build())
    await until(lambda: engine.building, "building")
    second = asyncio.create_task(build(lines))
    await until(lambda: lines, "waiting")
    assert lines == ["waiting for another raychaos that is building an image"]
    (engine.notes / "go").touch()
    assert await asyncio.wait_for(first, LIMIT_S) == await asyncio.wait_for(second, LIMIT_S)
    assert len([call for call in engine.calls if call.startswith("build ")]) == 2


# -- plain `docker compose up` --------------------------------------------------------------------------------


def test_a_checkout_holds_what_the_image_is_made_of() -> None:
    service = yaml.safe_load((ROOT / "compose" / "compose.yaml").read_text())["services"]["cloud"]
    context = (ROOT / "compose" / service["build"]["context"]).resolve()
    assert context == ROOT
    dockerfile = (context / service["build"]["dockerfile"]).read_text()
    let_in = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for source in copied(dockerfile):
        name = source.rstrip("/*")
        assert name in let_in, f"{name} is kept out of the build by .dockerignore"
        assert (ROOT / name).exists() or name == "compose/wheelhouse"
    declared = set(re.findall(r"^ARG (\w+)", dockerfile, re.MULTILINE))
    assert {name for name in service["build"]["args"] if name.isupper()} <= declared


def test_defaults_are_told_once_and_agree() -> None:
    dockerfile = (ROOT / "compose" / "Dockerfile").read_text()
    defaults = dict(re.findall(r"^ARG (\w+)=(.*)$", dockerfile, re.MULTILINE))
    assert defaults["BASE_IMAGE"] == BASE
    assert defaults["TORCH_VERSION"] == image.TORCH_VERSION
    assert f"ray=={defaults['RAY_VERSION']}\n" in (ROOT / ".constraints.txt").read_text()
