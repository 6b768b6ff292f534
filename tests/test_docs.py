"""What the documents say is so: commands parse and run, specs are read, links resolve, and everything is mentioned."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import pytest
from pydantic import BaseModel

import faults
import workloads
from chaos import checkers, cli, commands
from chaos.arguments import parser_for
from chaos.bounds import Bounds
from chaos.cluster_spec import ClusterSpec, NodeType
from chaos.fuzz.campaign import State
from chaos.fuzz.command import as_json
from chaos.fuzz.outcome import Outcome
from chaos.fuzz.trial import Wish
from chaos.kuberay import RunsOnKubeRay
from chaos.schedule import Frame
from chaos.signature import Signature
from chaos.spec import RunSpec, missing_on, parse
from chaos.store import RunDirectory
from tests.checkers.histories import Story
from tests.test_architecture import MODULES, RULES

ROOT = Path(__file__).parent.parent
DOCUMENTS = (ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md")))
CATALOGUE = cli.catalogue()
PARSER = parser_for(tuple(CATALOGUE.workloads))
SAVED_AS = re.compile(r"Save it as `([\w.-]+)`")
# Quick, and harmless on any machine.
EXECUTED = MappingProxyType({"doctor": 0, "schema": 0, "ps": 0, "check": 0, "report": 0})
GENERAL_FIELDS = frozenset(Frame.model_fields)


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@dataclass(frozen=True)
class Block:
    document: Path
    line: int
    language: str
    text: str

    @property
    def id(self) -> str:
        return f"{self.document.name}:{self.line}"


@dataclass(frozen=True)
class Command:
    document: Path
    line: int
    words: tuple[str, ...]

    @property
    def id(self) -> str:
        return f"{self.document.name}:{self.line}: {' '.join(self.words)}"


def blocks() -> Iterator[Block]:
    """All fenced blocks, with the line of their fence."""
    for document in DOCUMENTS:
        opened: tuple[int, str] | None = None
        body: list[str] = []
        for number, line in enumerate(document.read_text(encoding="utf-8").splitlines(), start=1):
            fence = re.fullmatch(r"```(\w*)", line.strip())
            if fence is None:
                body.append(line)
            elif opened is None:
                opened, body = (number, fence[1]), []
            else:
                yield Block(document, opened[0], opened[1], "\n".join(body) + "\n")
                opened = None
        assert opened is None, f"{document.name}: the fence of line {opened} is not closed"


def shell_lines(block: Block) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(block.text.splitlines(), start=block.line + 1):
        if block.language == "sh":
            yield number, line
        elif line.startswith("$ "):
            yield number, line.removeprefix("$ ")


def simple_commands(line: str) -> Iterator[tuple[str, ...]]:
    """The simple commands of a shell line; a loop's variable stands for 1."""
    lexer = shlex.shlex(re.sub(r"\$\w+", "1", line), posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for token in [*lexer, ";"]:
        if set(token) <= set(";&|()"):
            if words:
                yield tuple(words)
            words = []
        elif token not in ("do", "done"):
            words.append(token)


def commands_shown() -> Iterator[Command]:
    for block in BLOCKS:
        if block.language in ("sh", "console"):
            for number, line in shell_lines(block):
                for words in simple_commands(line):
                    told = words[: words.index(">")] if ">" in words else words
                    yield Command(block.document, number, told)


def commands_in_prose() -> Iterator[Command]:
    """`raychaos …` and `make …` in inline code, outside of fences."""
    for document in DOCUMENTS:
        fenced = False
        for number, line in enumerate(document.read_text(encoding="utf-8").splitlines(), start=1):
            fenced ^= line.strip().startswith("```")
            if not fenced:
                for code in re.findall(r"`((?:raychaos|make) [^`]+)`", line):
                    yield from (Command(document, number, words) for words in simple_commands(code))


BLOCKS = tuple(blocks())
SHOWN = tuple(commands_shown())
OURS = tuple(command for command in (*SHOWN, *commands_in_prose()) if Path(command.words[0]).name == "raychaos")
MADE = tuple(command for command in (*SHOWN, *commands_in_prose()) if command.words[0] == "make")
SPECS = tuple(block for block in BLOCKS if block.language == "yaml")


def test_the_documents_show_commands_and_specs() -> None:
    assert len(OURS) > 20
    assert len(MADE) >= 3
    assert len(SPECS) > 8
    assert {block.language for block in BLOCKS} <= {"sh", "console", "yaml", "python", "text", ""}


# -- commands -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", OURS, ids=lambda command: command.id)
def test_a_command_parses(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    if "--help" in command.words:
        with pytest.raises(SystemExit, match="0"):
            PARSER.parse_args(command.words[1:])
        assert capsys.readouterr().out
    else:
        assert PARSER.parse_args(command.words[1:]).command == command.words[1]


@pytest.mark.parametrize("command", MADE, ids=lambda command: command.id)
def test_a_make_target_exists(command: Command) -> None:
    makefile = text_of("Makefile")
    for word in command.words[1:]:
        name, equals, _ = word.partition("=")
        if equals:
            assert re.search(rf"^{name} \?=", makefile, re.MULTILINE), f"the Makefile has no variable {name}"
        else:
            assert re.search(rf"^{re.escape(name)}:", makefile, re.MULTILINE), f"the Makefile has no target {name}"


@pytest.mark.parametrize("command", SHOWN, ids=lambda command: command.id)
def test_a_shown_command_is_one_we_know(command: Command) -> None:
    known = ("raychaos", "make", "python3", ".", "pip", "docker", "echo", "for")
    assert Path(command.words[0]).name in known or command.words[0] == ".", "check it here, or do not show it"
    if command.words[:2] == ("docker", "compose"):
        files = [words for flag, words in zip(command.words, command.words[1:], strict=False) if flag == "-f"]
        assert all((ROOT / file).is_file() for file in files)


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory as a reader has it: the specs the documents say to save, and a recorded run as `runs/latest`."""
    for document in DOCUMENTS:
        saved = SAVED_AS.search(document.read_text(encoding="utf-8"))
        if saved is not None:
            before = [block for block in SPECS if block.document == document and block.line < _line_of(document, saved)]
            (tmp_path / saved[1]).write_text(before[-1].text)
    (tmp_path / "spec.yaml").write_text("")
    run = RunDirectory(tmp_path / "runs" / "20260101-000000-demo-0000")
    run.path.mkdir(parents=True)
    run.schedule.write_text("injections:\n  - {fault: kill_node, target: w1, at_s: 5}\n")
    golden = sorted((ROOT / "tests" / "golden").glob("*/history.jsonl"))
    story = "".join(f"{record.to_line()}\n" for record in Story().history())
    run.history.write_text(golden[0].read_text() if golden else story)
    (tmp_path / "runs" / "latest").symlink_to(run.path.name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _line_of(document: Path, found: re.Match[str]) -> int:
    return document.read_text(encoding="utf-8")[: found.start()].count("\n") + 1


@pytest.mark.parametrize(
    "command",
    [command for command in SHOWN if command.words[:2] in (("raychaos", "run"), ("raychaos", "up"))],
    ids=lambda command: command.id,
)
def test_a_run_shown_can_be_meant(command: Command, workplace: Path) -> None:
    options = PARSER.parse_args(command.words[1:])
    wish = commands.SpecWish(
        spec=options.spec,
        cluster=options.cluster,
        workload=getattr(options, "workload", None),
        schedule=getattr(options, "schedule", None),
        seed=getattr(options, "seed", None),
        overrides=tuple(options.set),
    )
    assert wish.resolve(CATALOGUE).deadline_s > 0


@pytest.mark.parametrize(
    "command",
    [command for command in SHOWN if command.words[0] == "raychaos" and command.words[1] in (*EXECUTED, "--help")],
    ids=lambda command: command.id,
)
def test_a_quick_command_runs(command: Command, workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(command.words[1:])
    printed = capsys.readouterr()
    verdicts = (cli.EXIT_PASS, cli.EXIT_FAIL, cli.EXIT_INCONCLUSIVE) if command.words[1] == "check" else (0,)
    assert end.value.code in verdicts, printed.err
    assert printed.out


@pytest.mark.parametrize(
    "command",
    [command for command in SHOWN if command.words[:2] in (("raychaos", "replay"), ("raychaos", "shrink"))],
    ids=lambda command: command.id,
)
def test_what_is_shown_to_be_run_again_is(
    command: Command, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if (workplace / command.words[2]).is_file():
        with pytest.raises(SystemExit) as end:
            cli.main(command.words[1:])
        assert end.value.code == (cli.EXIT_FAIL if command.words[1] == "replay" else cli.EXIT_PASS)
        assert "job_completes" in capsys.readouterr().out
    else:
        assert command.words[2] == "runs/latest"


def test_a_mistake_shown_is_answered_as_shown(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = next(block for block in BLOCKS if block.text.startswith("raychaos: error: tutorial.yaml"))
    spec = workplace / "tutorial.yaml"
    spec.write_text(spec.read_text().replace("max_workers:", "max_worker:"))
    with pytest.raises(SystemExit) as end:
        cli.main(["run", "tutorial.yaml"])
    assert end.value.code == cli.EXIT_USAGE
    assert capsys.readouterr().err.startswith(shown.text.partition("(allowed")[0])


# -- specs and links ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", SPECS, ids=lambda block: block.id)
def test_a_spec_is_read_and_its_cluster_can_do_it(block: Block) -> None:
    spec = parse(block.text, CATALOGUE, name=block.id)
    provider = spec.cluster.twin.provider
    assert not missing_on(spec, commands.cluster_class(spec.cluster.kind, provider=provider))
    assert spec.schedule.injections or spec.workload


def anchors(document: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", document.read_text(encoding="utf-8")):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        found = (document.parent / path).resolve() if path else document
        assert found.exists(), f"{document.name} links to {target}, which is not there"
        assert ROOT in found.parents, f"{document.name} links to {target}, outside of the repository"
        assert not anchor or anchor in anchors(found), f"{document.name} links to {target}: no such heading"


def test_the_picture_is_small() -> None:
    assert (ROOT / "docs" / "images" / "report.png").stat().st_size <= 300_000


# -- everything is mentioned ----------------------------------------------------------------------------------


def sections(name: str, level: int) -> dict[str, str]:
    """The text below each heading of a level, by heading."""
    parts = re.split(rf"^{'#' * level} (.+)$", text_of(name), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def rows(text: str) -> Iterator[list[str]]:
    """The cells of all table rows."""
    for line in text.splitlines():
        if line.startswith("|"):
            yield [cell.strip() for cell in line.strip("|").split("|")]


@pytest.mark.parametrize("name", sorted(faults.ALL))
def test_a_fault_is_documented(name: str) -> None:
    section = sections("docs/faults.md", 2)[name]
    for parameter in faults.ALL[name].model_fields:
        assert f"`{parameter}`" in section, f"docs/faults.md does not tell of {name}'s {parameter}"
    for word in ("How", "Effect probe", "Heal"):
        assert f"**{word}**" in section
    [told] = [row for row in rows(text_of("docs/faults.md")) if row[0].startswith(f"[`{name}`]")]
    able = [kind for kind, cluster in commands.CLUSTERS.items() if not faults.ALL[name].missing_capabilities(cluster)]
    if not able:  # what real clusters can do, the twin's own document says of it
        able = [commands.TWIN]
        provider = "kuberay" if RunsOnKubeRay in faults.ALL[name].needs else "cloud"
        assert not faults.ALL[name].missing_capabilities(commands.cluster_class(commands.TWIN, provider=provider))
    assert told[2].removeprefix("the ") == faults.ALL[name].acts_on
    assert told[3] == ("yes" if faults.ALL[name].lasts else "no")
    on_kuberay = "the [twin on KubeRay](twin.md#on-kuberay)"
    assert told[4] == (
        on_kuberay if RunsOnKubeRay in faults.ALL[name].needs else ", ".join(f"`{kind}`" for kind in able)
    )


@pytest.mark.parametrize("name", sorted(faults.ALL))
def test_the_readme_names_a_fault_and_whether_processes_can_have_it(name: str) -> None:
    [told] = [row for row in rows(text_of("README.md")) if len(row) == 3 and f"`{name}`" in row[1]]
    able = not faults.ALL[name].missing_capabilities(commands.CLUSTERS["local"])
    assert (told[2] == "yes" or (told[2].startswith("but for ") and f"`{name}`" not in told[2])) == able


@pytest.mark.parametrize("name", [checker.name for checker in checkers.ALL])
def test_a_checker_is_documented(name: str) -> None:
    assert name in sections("docs/checkers.md", 3)
    assert any(row[0] == f"`{name}`" for row in rows(text_of("README.md")))


def test_a_workload_is_documented() -> None:
    told = text_of("docs/spec.md")
    for name, kind in workloads.ALL.items():
        for word in (name, *kind.model_fields):
            assert f"`{word}`" in told, f"docs/spec.md does not tell of {name}'s {word}"


@pytest.mark.parametrize("kind", [RunSpec, ClusterSpec, NodeType, Frame], ids=lambda kind: kind.__name__)
def test_the_fields_of_a_spec_are_documented(kind: type[BaseModel]) -> None:
    for name in kind.model_fields:
        assert f"`{name}`" in text_of("docs/spec.md"), f"docs/spec.md does not tell of {kind.__name__}.{name}"


def test_the_defaults_told_are_the_defaults() -> None:
    kinds: tuple[type[BaseModel], ...] = (RunSpec, ClusterSpec, *workloads.ALL.values())
    known = {name: field.default for kind in kinds for name, field in kind.model_fields.items()}
    known |= {f"bounds.{name}": field.default for name, field in Bounds.model_fields.items()}
    compared = 0
    for row in [*rows(text_of("docs/spec.md")), *rows(text_of("docs/checkers.md"))]:
        names = re.findall(r"`([\w.]+)`", row[0])
        told = row[1 if names and names[0].startswith("bounds.") else min(2, len(row) - 1)].split(", ")
        if len(names) != len(told):
            continue
        for name, cell in zip(names, told, strict=True):
            default = known.get(name)
            if isinstance(default, (int, float, str)) and not isinstance(default, bool) and name != "min_workers":
                first = re.match(r"`?([\w.:-]+)", cell)
                if first is None or cell.startswith("the "):
                    continue
                same = first[1] == default if isinstance(default, str) else float(first[1]) == float(default)
                assert same, f"the documents say {name} is {cell} by default, it is {default}"
                compared += 1
    assert compared > 25


def test_commands_and_exit_codes_are_documented() -> None:
    parser = PARSER
    listed = next(action.choices for action in parser._actions if isinstance(action.choices, dict))
    told = "\n".join(" ".join(command.words) for command in OURS)
    assert [name for name in listed if f"raychaos {name}" not in told] == []
    codes = {value for name, value in vars(cli).items() if name.startswith("EXIT_") and isinstance(value, int)}
    section = sections("README.md", 2)["Exit codes"]
    assert {int(row[0]) for row in rows(section) if row[0].isdigit()} == codes


def test_what_a_campaign_says_is_documented() -> None:
    section = sections("docs/fuzzing.md", 2)["Campaigns"]
    failed = Outcome(number=0, judgement="fail", signature=Signature(property="no_overshoot"), spec="{}", summary="s")
    state = State()
    state.tally.take(failed, after_s=1.0)
    data = json.loads(as_json(state, Wish(cluster="sim", confirm_on="local", faults=(), workloads=())))
    (failure,) = data["failures"]
    names = {*data, *failure, *failure["local"], *failure["signature"]}
    assert [name for name in names if f"`{name}`" not in section] == []
    told = {int(row[0]) for row in rows(section) if row[0].isdigit()}
    assert told == {value for name, value in vars(cli).items() if name.startswith("EXIT_") and isinstance(value, int)}


def test_the_files_of_a_run_are_documented() -> None:
    section = sections("README.md", 2)["What a run directory holds"]
    told = {row[0].strip("`/") for row in rows(section)}
    names = [name for name, value in vars(RunDirectory).items() if isinstance(value, property) and name != "run_id"]
    files = {getattr(RunDirectory(Path("run")), name).name for name in names}
    assert files <= told


def test_every_module_is_on_the_map() -> None:
    told = set(re.findall(r"`([a-z_.]+)`", text_of("docs/whats-here.md")))
    assert sorted(set(MODULES) - told) == []
    gone = {name for name in told if name.startswith(("chaos.", "faults.", "workloads.")) and name not in MODULES}
    attributes = {"faults.ALL", "workloads.ALL", "chaos.checkers.ALL", "chaos.commands.CLUSTERS"}
    assert {name for name in gone if name not in attributes} == set()
    assert all(f"`{room}`" in sections("docs/whats-here.md", 2)["Who may import whom"] for room in RULES)


def test_every_dependency_has_its_reason() -> None:
    wanted = re.findall(r'^    "([A-Za-z0-9_-]+)[^"]*",', text_of("pyproject.toml"), re.MULTILINE)
    told = text_of("docs/dependencies.md")
    listed = [name for name in wanted if name not in _not_packages()]
    assert len(listed) > 15
    assert [name for name in listed if f"`{name}" not in told] == []


def _not_packages() -> set[str]:
    """Other lists of pyproject.toml with entries of the same shape."""
    others = re.findall(
        r"^(?:classifiers|ignore|markers|filterwarnings) = \[(.*?)^\]", text_of("pyproject.toml"), re.S | re.M
    )
    return set(re.findall(r'^    "([A-Za-z0-9_-]+)', "\n".join(others), re.MULTILINE))


def test_what_the_nightly_workflow_types_is_understood() -> None:
    text = text_of(".github/workflows/fuzz.yml")
    typed = re.sub(r"\$\{\{[^}]*budget[^}]*\}\}", "30m", text)
    typed = re.sub(r"\$\{\{[^}]*run_number[^}]*\}\}", "7", typed)
    command = re.search(r"\.venv/bin/(raychaos fuzz .*?)\n\s*- ", typed, re.DOTALL)
    assert command is not None
    options = PARSER.parse_args(shlex.split(command[1])[1:])
    assert (options.command, options.budget, options.seed) == ("fuzz", 1800.0, 7)
