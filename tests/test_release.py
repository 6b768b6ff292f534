"""Other releases of Ray: which may be asked for, and how one is fetched once, whole, by one process."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from chaos import cli, release
from chaos.errors import ClusterError, InvalidSpec
from chaos.home import home
from chaos.installed import ray_version
from chaos.release import Release, obtain, versions_of

OTHER = "2.54.1"


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYCHAOS_HOME", str(tmp_path / "home"))


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Stands for the package index; the versions that were fetched."""
    versions: list[str] = []

    def fetch(version: str, into: Path) -> None:
        versions.append(version)
        (into / "ray").mkdir()
        (into / "ray" / "__init__.py").write_text(f"__version__ = {version!r}\n")
        info = into / f"ray-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: ray\nVersion: {version}\n")
        (info / "RECORD").write_text(
            f"ray/__init__.py,sha256=x,{(into / 'ray' / '__init__.py').stat().st_size}\n../../bin/ray,sha256=x,7\n"
            f"ray-{version}.dist-info/RECORD,,\n"
        )

    monkeypatch.setattr(release, "_fetch", fetch)
    monkeypatch.setattr(release, "_TRY", "import ray")
    return versions


def test_versions_are_named_once_each_in_their_order() -> None:
    assert versions_of("2.54.1, 2.48.0,2.54.1") == ("2.54.1", "2.48.0")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (" , ", "--ray is empty"),
        ("latest", "give three numbers, such as 2.54.1"),
        ("2.54", "give three numbers"),
        ("2.43.0", "knows the autoscaler of Ray 2.44 to 2.60"),
        ("2.54.1,2.61.0", "--ray 2.61.0: .* or --try-ray"),
    ],
)
def test_versions_that_cannot_be_meant_are_refused(text: str, says: str) -> None:
    with pytest.raises(InvalidSpec, match=says):
        versions_of(text)


def test_a_version_outside_the_known_ones_can_be_tried() -> None:
    assert versions_of("2.43.0,3.0.0", try_any=True) == ("2.43.0", "3.0.0")


def test_the_installed_release_is_not_fetched(fetched: list[str]) -> None:
    assert obtain(ray_version(), pytest.fail) == Release(ray_version())
    assert not fetched


def test_a_release_is_fetched_once_and_is_what_a_process_gets(fetched: list[str]) -> None:
    told: list[str] = []
    got = obtain(OTHER, told.append)
    assert [line.split()[0] for line in told] == ["fetching", "trying", "Ray"]
    assert obtain(OTHER, pytest.fail) == got
    assert fetched == [OTHER]
    code = "import ray, chaos, importlib.metadata as m; print(ray.__version__, m.version('ray'), chaos.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=got.environment(), cwd="/", capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [OTHER, OTHER, str(Path(release.__file__).parent / "__init__.py")]


def test_one_that_is_not_whole_is_fetched_again(fetched: list[str]) -> None:
    path = obtain(OTHER, lambda _: None).path
    assert path is not None
    (path / "ray" / "__init__.py").write_text("")
    left = path.with_name(f"{path.name}.making-left")
    left.mkdir()
    assert obtain(OTHER, lambda _: None).path == path
    assert fetched == [OTHER, OTHER]
    assert not left.exists()


def test_one_that_does_not_work_is_not_kept(fetched: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(release, "_TRY", "import ray; import nothing_of_that_name")
    with pytest.raises(ClusterError, match=r"does not work with Ray 2\.54\.1 .*No module named 'nothing_of_that_name'"):
        obtain(OTHER, lambda _: None)
    assert [entry.suffix for entry in (home() / "releases").iterdir()] == [".lock"]


def test_many_that_want_one_at_once_have_it_fetched_once(fetched: list[str]) -> None:
    got: list[Release] = []
    threads = [threading.Thread(target=lambda: got.append(obtain(OTHER, lambda _: None))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert fetched == [OTHER]
    assert len(set(got)) == 1
    assert len(got) == 4


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (
            "ERROR: Could not find a version that satisfies ray==2.54.9 (from versions: 2.54.0, 2.54.1)",
            InvalidSpec,
            "--ray 2.54.9: there is no such release for this Python and machine; there are 2.54.0, 2.54.1",
        ),
        ("ERROR: connection refused\n", ClusterError, "cannot be fetched .*\nERROR: connection refused"),
        (
            "ERROR: Could not find a version that satisfies the requirement ray==2.54.9 (from versions: none)",
            ClusterError,
            "cannot be fetched",
        ),
    ],
)
def test_what_the_package_index_says_is_told(
    error: str, kind: type[Exception], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", error)

    monkeypatch.setattr(subprocess, "run", refuse)
    with pytest.raises(kind, match=f"(?s){says}"):
        obtain("2.54.9", lambda _: None)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--cluster", "local", "--ray", OTHER], "--ray is for the twin, --cluster sim: a local cluster runs the Ray"),
        (["--cluster", "sim", "--ray", "2.40.0"], "2.44 to 2.60"),
        (["--cluster", "sim", "--try-ray"], "--try-ray is about a release"),
        (["--cluster", "sim", "--ray", OTHER, "--keep"], "leave --name and --keep out"),
        (["--cluster", "sim", "--ray", OTHER, "--set", "cluster.autoscaler=v1"], "autoscaler v2"),
    ],
)
def test_what_cannot_be_meant_is_wrong_usage(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str], fetched: list[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main(["run", *arguments])
    assert left.value.code == cli.EXIT_USAGE
    assert says in capsys.readouterr().err
    assert not fetched
