"""Derive from the config, before anything is built, where a run writes its files and what it resumes."""

import importlib
import itertools
import os
from pathlib import Path
from typing import IO, Any

import fsspec
from jsonargparse import Namespace
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_info

from lightning_flows.errors import OutputError, UsageError
from lightning_flows.files import check_writable
from lightning_flows.functional.nested import listed
from lightning_flows.training.run_folder import (
    LAST,
    RunFolder,
    is_unsaved,
    locked,
    newest,
    run_of_checkpoints,
    set_aside,
)
from lightning_flows.training.signals import is_first_process

SHARED = "LIGHTNING_FLOWS_RUN"
"""Environment variable that passes the run's folder from the first process to the processes it starts."""

CHECKPOINT = "lightning.pytorch.callbacks.ModelCheckpoint"
TENSORBOARD = "lightning.pytorch.loggers.TensorBoardLogger"


class Placement:
    """The folder of a run, which belongs to the first process, and the checkpoint that it resumes, if any.

    With a logger that writes files (TensorBoard or CSV) the folder is ``save_dir/name/version``. Other loggers share
    their ``save_dir`` among runs. With these, or without a logger, the folder is ``ROOT/NAME/version_N``: ROOT is
    ``save_dir``, ``default_root_dir`` or ``runs``, and NAME the logger's name or project, or ``flow``. The config is
    modified so that all files go there. If checkpoints have their own ``dirpath``, they stay there, and the run's
    record contains it.

    Args:
        config: config of ``fit``.
    Raises: UsageError or OutputError if the folder belongs to another run, or ``last`` cannot be resolved.
    """

    def __init__(self, config: Namespace) -> None:
        self.config, self.trainer = config, config.trainer
        self.folder: Path | None = None
        self.run: RunFolder | None = None
        self.resumed: Path | None = None
        self.locks: list[IO[str]] = []
        resumes = config.ckpt_path == "last"
        if resumes:
            config.ckpt_path = None
        self.keepers = [one for one in listed(self.trainer.callbacks) if _is(one, ModelCheckpoint)]
        loggers = [one for one in listed(self.trainer.logger) if _is(one, Logger)]
        _expand_paths(self.trainer, *(one.init_args for one in (*self.keepers, *loggers)))
        if self.trainer.logger is True:
            root = str(self.trainer.default_root_dir or "runs")
            init = Namespace(save_dir=root, name="flow", version=None, default_hp_metric=False)
            self.trainer.logger = Namespace(class_path=TENSORBOARD, init_args=init)
        self.writers = [logger for logger in listed(self.trainer.logger) if _is(logger, TensorBoardLogger, CSVLogger)]
        given = [path for keeper in self.keepers if (path := keeper.init_args.get("dirpath"))]
        self.elsewhere = [Path(path) for path in given if not _is_url(str(path))]
        parents = [_parent(logger.init_args) for logger in self.writers]
        parents = parents or [_shared_parent(self.trainer, [logger.init_args for logger in loggers])]
        if self.trainer.fast_dev_run or any(map(_is_url, parents)):
            if resumes:
                raise UsageError(
                    "ckpt_path=last resumes a run from a local folder, but neither fast_dev_run nor a save_dir with a "
                    "URL has one: pass --ckpt_path FILE"
                )
            return
        version = self.writers[0].init_args.get("version") if self.writers else None
        if isinstance(version, str) and (version == ".." or Path(version).name != version):
            raise UsageError(f"the version of a logger is the name of a folder, without slashes; got {version!r}")
        name = f"version_{version}" if isinstance(version, int) else version or None
        folder = self._find(Path(parents[0]), name) if resumes else None
        if is_first_process():
            self._own(folder, [Path(parent) for parent in parents], name, resumes=resumes)
        elif shared := os.environ.get(SHARED):  # the first process started this one; otherwise it is asked for later
            self._place(Path(shared))

    def _find(self, parent: Path, name: str | None) -> Path | None:
        """Find the folder to resume in; None if there is nothing to resume, or only checkpoints elsewhere."""
        for checkpoints in self.elsewhere:
            if (checkpoints / LAST.name).is_file():
                self._resume(checkpoints / LAST.name)
                return run_of_checkpoints(checkpoints, parent)
        if name is not None:
            folder = parent / name if (parent / name / LAST).is_file() else None
        else:
            folder, remarks = newest(parent)
            for remark in remarks:
                rank_zero_info(remark)
        if folder is None:
            rank_zero_info(f"no earlier run in {parent / (name or '')}: starting the first")
        else:
            self._resume(folder / LAST)
        return folder

    def _resume(self, last: Path) -> None:
        rank_zero_info(f"resuming {last}")
        self.resumed, self.config.ckpt_path = last, str(last)

    def _own(self, folder: Path | None, parents: list[Path], name: str | None, *, resumes: bool) -> None:
        if folder is not None:
            self.run = RunFolder(folder)
            self.run.acquire()
            self._lock_elsewhere(self.run)
        else:
            for checkpoints in self.elsewhere:
                if self.resumed is None and any(checkpoints.glob("*.ckpt")):
                    advice = ", or resume with --ckpt_path=last" if (checkpoints / LAST.name).is_file() else ""
                    raise OutputError(
                        f"{checkpoints} contains checkpoints of another run: choose another dirpath{advice}"
                    )
            if resumes and self.resumed is None and name is not None and is_unsaved(parents[0] / name):
                for kept in {parent / name for parent in parents if (parent / name).is_dir()}:
                    rank_zero_info(f"{kept} has no checkpoint to resume from: its files are kept in {set_aside(kept)}")
            self.run = RunFolder.create(parents[0], name, others=parents[1:])
            self._lock_elsewhere(self.run)
            for checkpoints in self.elsewhere[:1]:
                self.run.note("running", checkpoints)
        self._place(self.run.path)
        os.environ[SHARED] = str(self.run.path)

    def _lock_elsewhere(self, run: RunFolder) -> None:
        """Own the folders of checkpoints outside of the run's: another run may not have written any there yet."""
        inside = run.path.resolve()
        folders = {each.resolve(): each for each in self.elsewhere}
        try:
            for path, shown in folders.items():
                if inside not in (path, *path.parents):
                    check_writable(shown)
                    self.locks.append(locked(shown, "choose another dirpath"))
        except OutputError:
            self._unlock()
            run.release("failed", trained=False)
            run.drop()
            raise

    def _unlock(self) -> None:
        while self.locks:
            self.locks.pop().close()

    def _place(self, folder: Path) -> None:
        self.folder = folder
        for logger in self.writers:
            logger.init_args.version = folder.name
            curves = Path(_parent(logger.init_args)) / folder.name / "metrics.csv"
            if (
                self.run and self.resumed and _is(logger, CSVLogger) and curves.is_file()
            ):  # its logger would overwrite it
                numbered = (curves.with_name(f"metrics_{i}.csv") for i in itertools.count())
                kept = curves.rename(next(path for path in numbered if not path.exists()))
                rank_zero_info(f"earlier curves are kept in {kept}")
        if not self.writers:
            self.trainer.default_root_dir = str(folder)
            if not self.keepers and self.trainer.enable_checkpointing is not False:  # Lightning's saves elsewhere
                self.keepers = [Namespace(class_path=CHECKPOINT, init_args=Namespace())]
                self.trainer.callbacks = [*listed(self.trainer.callbacks), *self.keepers]
        for keeper in self.keepers:
            if not keeper.init_args.get("dirpath"):
                keeper.init_args.dirpath = str(folder / LAST.parent)

    def release(self, state: str, *, trained: bool = True) -> None:
        """Release the folders and record the ``state`` of the run, unless it resumed another and has not trained."""
        self._unlock()
        if self.run is not None:
            self.run.release(state, trained=trained)
            os.environ.pop(SHARED, None)


def without_place(config: Namespace) -> Namespace:
    """Copy a config without version and checkpoint, so that it starts another run."""
    config = config.clone()
    config.ckpt_path = None
    for logger in listed(config.trainer.logger):
        if _is(logger, TensorBoardLogger, CSVLogger) and "version" in logger.init_args:
            logger.init_args.version = None
    return config


def _expand_paths(*sections: Namespace) -> None:
    """Expand ``~`` and ``$NAME``, which only some of Lightning's components do."""
    for section in sections:
        for key in ("default_root_dir", "save_dir", "dirpath"):
            if isinstance(path := section.get(key), str):
                section[key] = os.path.expanduser(os.path.expandvars(path))


def _parent(init: Namespace) -> str:
    return os.path.join(str(init.save_dir), init.get("name") or "")


def _shared_parent(trainer: Namespace, loggers: list[Namespace]) -> str:
    """Parent of the folders of runs whose loggers do not write files."""

    def first(*keys: str, default: str) -> str:
        found = (logger.get(key) for logger in loggers for key in keys)
        return next((str(value) for value in found if value), default)

    root = first("save_dir", "dir", default=str(trainer.default_root_dir or "runs"))
    return os.path.join(root, first("name", "project", "experiment_name", default="flow").replace("/", "_"))


def _is_url(path: str) -> bool:
    protocol, separator, _ = path.partition("://")
    if separator:
        try:
            fsspec.get_filesystem_class(protocol)
        except (ValueError, ImportError) as error:
            raise UsageError(f"{path} cannot be written to ({error}): choose another save_dir") from error
    return bool(separator)


def _is(component: Any, *kinds: type) -> bool:
    """Whether a section of the config describes an instance of ``kinds``; the parser has already imported its class."""
    if not isinstance(component, Namespace) or "class_path" not in component or "init_args" not in component:
        return False
    module, _, name = component.class_path.rpartition(".")
    kind = getattr(importlib.import_module(module), name, None)
    return isinstance(kind, type) and issubclass(kind, kinds)
