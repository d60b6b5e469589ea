"""Control what a config may import: installed packages and the user's own modules, but nothing from a run folder.

While a config is parsed and its classes are instantiated, :func:`vetted_imports` checks the file of every module before
it is executed. See ``docs/security.md`` for what is trusted.
"""

import difflib
import os
import re
import site
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from lightning_flows.errors import RefusedImportError

PACKAGE = Path(__file__).resolve().parent
RUN_FILES = ("config.yaml", "hparams.yaml", "tests.jsonl", "run.json", "runtime.json", "curves.jsonl")
RECORDS = ("tests.jsonl", "run.json", "runtime.json")
SECTIONS = re.compile(r"--(model|data|trainer|optimizer|lr_scheduler)\b")
DOTTED = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)+")


def is_run_folder(folder: Path, marks: Sequence[str] = (*RUN_FILES, "checkpoints")) -> bool:
    """Whether a folder contains a file that a run writes."""
    try:
        if any((folder / name).exists() for name in marks):
            return True
        return marks != RECORDS and next(folder.glob("events.out.tfevents*"), None) is not None
    except OSError:
        return False


def named_modules(args: Sequence[str]) -> set[str]:
    """Return the modules of class paths on the command line itself, in any option; configs are ignored.

    >>> sorted(named_modules(["fit", "--config=a.b.C", "--model=x.y.Flow", "--trainer.callbacks+", "z.Callback"]))
    ['x.y', 'z']
    """
    modules, option = set(), ""
    for arg in args:
        name, equals, value = arg.partition("=")
        if arg.startswith("-"):
            option = name
        value = value if equals and option == name else arg
        if SECTIONS.match(option) and value != option:
            modules |= {path.rpartition(".")[0] for path in _class_paths(value)}
    return modules


@contextmanager
def vetted_imports(args: Sequence[str]) -> Iterator["VettingFinder"]:
    """Vet every import; class paths in ``args``, the command line, are permitted by the user."""
    finder = VettingFinder(args)
    sys.meta_path.insert(0, finder)
    try:
        yield finder
    finally:
        sys.meta_path.remove(finder)


class VettingFinder(MetaPathFinder):
    """Delegates to the other finders, and refuses modules in a run folder or in folders that are not packages.

    Args:
        args: command line; modules of its class paths, and their submodules, may be imported from anywhere.
    """

    def __init__(self, args: Sequence[str]) -> None:
        self.permitted = named_modules(args)
        self.refused: str | None = None
        """Message for the user once a module was refused or failed, since parsers reword the error."""
        self._depth = 0  # number of the user's modules in execution, which may import anything

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Raise RefusedImportError if the module may not be imported."""
        if self._depth:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        spec = next((spec for finder in others if (spec := finder.find_spec(fullname, path, target)) is not None), None)
        if spec is None or not spec.has_location or spec.origin is None:
            return spec
        file = Path(spec.origin).absolute()
        if _is_installed(file):
            return spec
        below = any(fullname == name or fullname.startswith(f"{name}.") for name in self.permitted)
        above = any(name.startswith(f"{fullname}.") for name in self.permitted)  # packages that contain one
        if not (below or above) and (reason := _reason(fullname, file)):
            self.refused = (
                f"{fullname} is not imported: its file {_short(file)} is in {reason}. If you trust it, pass its class "
                "on the command line (--model, --data, --trainer.callbacks+=…), or move it to a package, a folder with "
                "__init__.py, outside of runs"
            )
            raise RefusedImportError(self.refused, name=fullname)
        self._watch(spec.loader)
        return spec

    def _watch(self, loader: Any) -> None:
        execute: Callable[[ModuleType], None] | None = getattr(loader, "exec_module", None)
        if execute is None:
            return

        def watched(module: ModuleType) -> None:
            self._depth += 1
            try:
                execute(module)
            except Exception as error:
                self.refused = f"{module.__name__} cannot be imported: {_located(error)}"
                raise RefusedImportError(self.refused, name=module.__name__) from error
            finally:
                self._depth -= 1

        loader.exec_module = watched


def _reason(fullname: str, file: Path) -> str | None:
    """Return why one of the user's modules may not be imported; None if it may."""
    levels = fullname.count(".") + 1 + (file.stem == "__init__")  # up to its entry of sys.path
    for each in {file, file.resolve()}:
        for i, folder in enumerate(each.parents):
            # farther up, a project may have its own config.yaml
            marks = (*RUN_FILES, "checkpoints") if i < levels else RECORDS
            if is_run_folder(folder if folder.is_dir() else folder.parent, marks):  # of a zip file, its folder
                return f"a run folder, {_short(folder)}"
    parents = fullname.split(".")[:-1]
    for i in range(1, len(parents) + 1):
        package = sys.modules.get(".".join(parents[:i]))
        if package is not None and getattr(package, "__file__", None) is None:
            return f"{'/'.join(parents[:i])}, a folder without __init__.py"
    return None


def _is_installed(file: Path) -> bool:
    paths = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    paths |= {*site.getsitepackages(), site.getusersitepackages(), str(PACKAGE)}
    return any(file.is_relative_to(form) for path in paths if path for form in (Path(path), Path(path).resolve()))


def _located(error: Exception) -> str:
    """An error in a line, with the last place in the user's own files."""
    places = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        places.append((error.filename, error.lineno))
    own = [place for place in places if os.path.isfile(place[0]) and not _is_installed(Path(place[0]).absolute())]
    place = f" in {_short(Path(own[-1][0]).absolute())}, line {own[-1][1]}" if own else ""
    return f"{type(error).__name__}{place}: {error.msg if isinstance(error, SyntaxError) else error}"


def why_missing(path: str) -> str:
    """Return why the class at a path does not exist, and what to do."""
    module, _, name = path.rpartition(".")
    if path.endswith(".py"):
        return f"{path} is a file: pass the path of a class in it, such as {Path(path).stem}.MyFlow"
    if module in sys.modules:
        known = [each for each, value in vars(sys.modules[module]).items() if isinstance(value, type)]
        close = difflib.get_close_matches(name, known, 1)
        return f"{module} has no class {name}{f'; did you mean {close[0]}?' if close else ''}"
    if not module:
        return f"{path} is not the path of a class: pass its module and its name, such as my_flows.MyFlow"
    where = "in the working directory or on PYTHONPATH"
    if not {"", os.getcwd()} & set(sys.path):
        where = "on PYTHONPATH; only `python -m lightning_flows` also searches the working directory"
    return f"there is no module {module}: it is neither installed nor {where}"


def _class_paths(value: str) -> list[str]:
    """Return the dotted paths in a value: itself, or its strings if it is JSON or YAML; none for a file name."""
    if DOTTED.fullmatch(value):
        return [] if os.path.isfile(value) else [value]
    return DOTTED.findall(value) if value.lstrip().startswith(("{", "[", '"')) else []


def _short(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) and path != here else str(path)
