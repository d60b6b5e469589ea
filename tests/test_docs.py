"""Pages of documentation: links work, commands parse, Python code runs, and named files exist."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from lightning_flows.app.cli import run
from lightning_flows.app.commands import COMMANDS as PLAIN_COMMANDS
from lightning_flows.app.commands import TRAINER_COMMANDS
from lightning_flows.app.configs import CONFIG_DIR
from tests.markdown import PAGES, ROOT, Page
from tests.parsing import parsed

README = PAGES[0]
EACH = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.path.relative_to(ROOT)))
SUBCOMMANDS = {*TRAINER_COMMANDS, *PLAIN_COMMANDS}
CHECKPOINT = re.compile(r"FILE|BEST|JPEG|DEMO|\S+\.ckpt")
PLACEHOLDERS = {"N": "1", "K": "1", "E": "1", "NAME": "samples", "…": "uniform"}
OWN_CONFIGS = {"config.yaml", "hparams.yaml", "mine.yaml", "docker/compose.yaml"}
"""YAML files that are not packaged configs: those of a run, a reader and the containers."""


def commands() -> Iterator[tuple[Page, tuple[str, ...]]]:
    """Each command line once, from its subcommand on, with its page; test_docs_pages.py runs worked examples."""
    seen = set()
    for page in PAGES:
        if page.is_worked_example:
            continue
        for words in page.commands:
            if "lightning_flows" in words:
                words = words[words.index("lightning_flows") + 1 :]
            if words and words[0] in SUBCOMMANDS and tuple(words) not in seen:
                seen.add(tuple(words))
                yield page, tuple(words)


COMMANDS = list(commands())


@EACH
def test_links(page: Page) -> None:
    for link in set(page.links):
        name, _, anchor = link.partition("#")
        target = page.path.parent / name if name else page.path
        assert target.exists(), link
        assert not anchor or anchor in Page(target).anchors, link


def test_every_page_is_linked_from_the_readme() -> None:
    linked = {(ROOT / link.partition("#")[0]).resolve() for link in README.links}
    assert {page.path for page in PAGES[1:]} <= linked


@EACH
def test_line_length(page: Page) -> None:
    for line in page.text.splitlines():
        assert len(line) <= 140 or line.startswith(("|", "$$")), line


def test_every_subcommand_is_shown() -> None:
    assert {words[0] for _, words in COMMANDS} == SUBCOMMANDS


@pytest.mark.parametrize(
    ("page", "words"), COMMANDS, ids=[f"{page.path.name}: {' '.join(words)}" for page, words in COMMANDS]
)
def test_command_parses(
    page: Page, words: tuple[str, ...], trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for config in page.code("yaml"):
        Path("mine.yaml").write_text(config)
    for code in page.code("python"):
        if name := re.match(r"# (\w+\.py)\n", code):
            Path(name[1]).write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    args = [words[0]]
    for word in words[1:]:
        option, equals, value = word.rpartition("=")
        if CHECKPOINT.fullmatch(value):
            value = "demo.yaml" if args[-1] == "--config" else str(trained)
        if re.match(r"--data\.(init_args\.)?root=", word) and any(str(trained) in arg for arg in args):
            args.append("--data=ImageFolderDataModule")  # like the checkpoint on that page
        if word.startswith("--data.path=") and any(str(trained) in arg for arg in args):
            args.append("--data=TableDataModule")
        args.append(option + equals + PLACEHOLDERS.get(value, value))
    if any(arg.endswith("help") for arg in args):
        with pytest.raises(SystemExit, match="0"):
            run(args)
    else:
        assert parsed(args, monkeypatch)


@EACH
def test_make_targets_exist(page: Page) -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
    for words in page.commands + [code.split() for code in page.inline]:
        assert words[0] != "make" or words[1] in targets, words


@EACH
def test_options_of_benchmarks_exist(page: Page) -> None:
    for words in page.commands:
        for script in [word for word in words if re.match(r"benchmarks/\w+\.py", word)]:
            own = words[: words.index("--")] if "--" in words else words  # the rest is passed on to `fit`
            options = [word.partition("=")[0] for word in own if word.startswith("--")]
            assert all(f'"{option}"' in (ROOT / script).read_text() for option in options), words


@EACH
def test_named_files_exist(page: Page) -> None:
    """Paths in inline code that begin with a folder of the repository, and names of configs."""
    folders = "|".join(path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith("."))
    configs = {str(path.relative_to(CONFIG_DIR)) for path in CONFIG_DIR.rglob("*.yaml")} | OWN_CONFIGS
    written = {code.partition("\n")[0].removeprefix("# ") for code in page.code("python") + page.code("yaml")}
    configs |= {path.removeprefix("configs/") for path in written}
    for code in page.inline + [" ".join(words) for words in page.commands]:
        for path in re.findall(rf"(?:^|(?<= ))(?:{folders})/[\w./-]*(?=$|[ :])", code):
            assert path.startswith(("runs/", "data/")) or (ROOT / path).exists() or path in written, path
        for name in re.findall(r"[\w./-]+\.yaml", code):
            assert name.removeprefix("configs/") in configs or (page.path.parent / name).is_file(), name


def test_error_messages_in_the_docs_match_the_code() -> None:
    (page,) = (page for page in PAGES if page.path.name == "own-images.md")
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "lightning_flows").rglob("*.py"))
    code = re.sub(r'"\n\s*f?"', "", code)  # implicit concatenation
    messages = re.findall(r"^\| `(.*?)` \|", page.sections["If it does not work"], re.M)
    assert messages
    for message in messages:
        for text in re.split(r"…|\d+$", message):
            assert text.strip() in code, text


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if page.code("python") and not page.is_worked_example],
    ids=lambda page: page.path.name,
)
def test_python_runs(page: Page, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of a page, in order, in one namespace; test_docs_pages.py runs those that name a file."""
    monkeypatch.chdir(tmp_path)
    Path("runs/demo").mkdir(parents=True)
    Path("runs/demo/version_0").symlink_to(trained.parents[1])
    namespace: dict[str, object] = {"__name__": "page"}
    for code in page.code("python"):
        exec(compile(code, str(page.path), "exec"), namespace)
