"""The pages for people: links lead somewhere, commands parse, Python runs, and every subcommand has its section."""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from lightning_flows.app import cli
from lightning_flows.app.cli import FlowCLI, run
from lightning_flows.app.configs import CONFIG_DIR, load_config
from tests.markdown import ROOT, Block, Page
from tests.test_configs import OVERLAYS, RUNNABLE

PAGES = [ROOT / "README.md"]
PAGES += [path for folder in ("docs", "docker", "benchmarks") for path in sorted((ROOT / folder).rglob("*.md"))]
PAGES = [Page(path) for path in PAGES]
EACH = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.path.relative_to(ROOT)))

SUBCOMMANDS = {*FlowCLI.subcommands(), *cli.PLAIN_COMMANDS}
CHECKPOINT = re.compile(r"FILE|BEST|JPEG|DEMO|\S+\.ckpt")
STAND_INS = {"N": "1", "K": "1", "E": "1", "…": "uniform", "NAME": "samples"}
"""Values in place of those that a page leaves open."""


def commands() -> Iterator[tuple[Page, tuple[str, ...]]]:
    """Subcommands with their arguments, each once, and the page that shows them."""
    seen = set()
    for page in PAGES:
        for words in page.commands:
            if "lightning_flows" in words:
                words = words[words.index("lightning_flows") + 1 :]
            if words and words[0] in SUBCOMMANDS and tuple(words) not in seen:
                seen.add(tuple(words))
                yield page, tuple(words)


COMMANDS = list(commands())


def test_a_page_is_read_as_github_reads_it() -> None:
    page = Page(
        Path(), "# A `B_c`: d\n## A\n# A\n[x](y.md#z) ![](p.png) [w](https://a.b)\n```bash\n# no\nls  # x\n```\n"
    )
    assert page.anchors == {"a-b_c-d", "a", "a-1"}
    assert page.links == ["y.md#z", "p.png"]
    assert page.blocks == [Block("bash", "# no\nls  # x\n")]
    assert page.commands == [["ls"]]


@EACH
def test_links_lead_to_files_and_headings(page: Page) -> None:
    for link in set(page.links):
        name, _, anchor = link.partition("#")
        target = page.path.parent / name if name else page.path
        assert target.exists(), link
        assert target.resolve().is_relative_to(ROOT), link
        if anchor:
            assert anchor in Page(target).anchors, link


def test_every_page_is_linked_from_the_readme() -> None:
    linked = {(ROOT / link.partition("#")[0]).resolve() for link in PAGES[0].links}
    missing = {page.path for page in PAGES[1:] if page.path.parent == ROOT / "docs"} - linked
    assert not missing


@EACH
def test_lines_are_short(page: Page) -> None:
    """Tables, and code that has a line for itself, aside."""
    for line in page.text.splitlines():
        assert len(line) <= 140 or line.startswith(("|", "$$")), line


def test_there_are_commands_of_every_kind() -> None:
    assert {words[0] for _, words in COMMANDS} == SUBCOMMANDS


@pytest.mark.parametrize(
    ("page", "words"), COMMANDS, ids=[f"{page.path.name}: {' '.join(words)}" for page, words in COMMANDS]
)
def test_commands_parse(
    page: Page, words: tuple[str, ...], trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each up to where it would begin to work."""
    monkeypatch.chdir(tmp_path)
    for method in ("before_instantiate_classes", "instantiate_classes"):
        monkeypatch.setattr(FlowCLI, method, lambda self: None)
    monkeypatch.setattr(FlowCLI, "_run_subcommand", lambda self, subcommand: None)
    for config in [block.code for block in page.blocks if block.language == "yaml"]:
        Path("mine.yaml").write_text(config)
    args = [words[0]]
    for word in words[1:]:
        option, equals, value = word.rpartition("=")
        if args[-1] == "--config" and value == "FILE":
            value = "demo.yaml"
        elif args[-1] == "--ckpt_path" or option == "--ckpt_path":
            value = str(trained) if CHECKPOINT.fullmatch(value) else value
        if word.startswith("--data.init_args.root=") and any("--ckpt_path" in arg for arg in args):
            args.append("--data=ImageFolderDataModule")  # as in the run that the page has just made
        args.append(option + equals + STAND_INS.get(value, value))
    if any(arg.endswith("help") for arg in args):
        with pytest.raises(SystemExit, match="0"):
            run(args)
    else:
        assert run(args).config["subcommand"] == words[0]


@EACH
def test_make_targets_exist(page: Page) -> None:
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M)
    for words in page.commands + [code.split() for code in page.inline]:
        assert words[0] != "make" or words[1] in targets, words


@EACH
def test_benchmarks_know_their_options(page: Page) -> None:
    for words in page.commands:
        scripts = [word for word in words if word.startswith("benchmarks/")]
        options = [word.partition("=")[0] for word in words if word.startswith("--")]
        assert all(f'"{option}"' in (ROOT / scripts[0]).read_text() for option in options if scripts), words


@EACH
def test_files_that_are_named_exist(page: Page) -> None:
    """Code that is a path of the repository, without braces and stars."""
    folders = "|".join(path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith("."))
    for code in page.inline:
        for path in re.findall(rf"(?:^|(?<= ))(?:{folders})/[\w./-]*(?=$|[ :])", code):
            assert path.startswith("runs/") or (ROOT / path).exists(), path


@EACH
def test_configs_that_are_named_exist(page: Page) -> None:
    known = {str(path.relative_to(CONFIG_DIR)) for path in CONFIG_DIR.rglob("*.yaml")}
    own = {"config.yaml", "hparams.yaml", "mine.yaml", "docker/compose.yaml"}  # a run's, a reader's, of containers
    for code in page.inline + [" ".join(words) for words in page.commands]:
        for name in re.findall(r"[\w./-]+\.yaml", code):
            assert name.removeprefix("configs/") in known | own or (page.path.parent / name).is_file(), name


def test_the_readme_names_every_config() -> None:
    named: set[str] = set()
    for code in PAGES[0].inline:
        parts = [part.split(",") for part in re.split(r"[{}]", code)]
        named |= {"".join(choice) for choice in itertools.product(*parts)}
    assert {*RUNNABLE, *OVERLAYS} <= named


def test_messages_that_are_explained_are_those_of_the_code() -> None:
    (page,) = (page for page in PAGES if page.path.name == "own-images.md")
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "lightning_flows").rglob("*.py"))
    code = re.sub(r'"\n\s*f?"', "", code)  # of strings over several lines
    messages = re.findall(r"^\| `(.*?)` \|", page.sections["If it does not work"], re.M)
    assert len(messages) > 4
    for message in messages:
        for part in re.split(r"…|\d+$", message):
            assert part.strip() in code, part


@EACH
def test_run_folders_are_those_of_a_config(page: Page) -> None:
    names = {
        load_config(path).get("trainer", {}).get("logger", {}).get("init_args", {}).get("name")
        for path in CONFIG_DIR.rglob("*.yaml")
        if path.parent.name != "defaults"
    }
    for name in re.findall(r"runs/([a-z]\w*)/version_\d", page.text):
        assert name in names | {"mine"}, name


@EACH
def test_yaml_loads(page: Page) -> None:
    for block in page.blocks:
        if block.language == "yaml":
            assert isinstance(yaml.safe_load(block.code), dict)


@pytest.mark.parametrize(
    "page",
    [
        page
        for page in PAGES
        if any(block.language == "python" for block in page.blocks) and page.path.name != "add-a-transform.md"
    ],  # that page names a file for each block: see test_docs_pages.py
    ids=lambda page: page.path.name,
)
def test_python_runs(page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of a page one after the other, in one namespace; assertions are part of them."""
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "page"}
    for block in page.blocks:
        if block.language == "python":
            exec(compile(block.code, str(page.path), "exec"), namespace)
