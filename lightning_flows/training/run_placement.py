"""Where a training run puts its files, and what it resumes: derived from the config, before anything is built."""

import importlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_info

from lightning_flows.errors import OutputError, UsageError
from lightning_flows.training.run_folder import LAST, RunFolder, newest

SHARED = "LIGHTNING_FLOWS_RUN"
"""Environment variable with which the first process of a run passes its folder to the processes it starts."""

RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "NODE_RANK", "GROUP_RANK")
CHECKPOINT = "lightning.pytorch.callbacks.ModelCheckpoint"
TENSORBOARD = "lightning.pytorch.loggers.TensorBoardLogger"


class Placement:
    """The folder of a run, which belongs to the first process, and the checkpoint that it resumes, if any.

    With a logger that writes files (TensorBoard or CSV) the folder is ``save_dir/name/version``. Other loggers share
    their ``save_dir`` among runs. With these, or without a logger, the folder is ``ROOT/NAME/version_N``: ROOT is
    ``save_dir``, ``default_root_dir`` or ``runs``, and NAME the logger's name or project, or ``flow``. The config is
    modified so that all files go there.

    Args:
        config: config of ``fit``.
    Raises: UsageError or OutputError if the folder belongs to another run, or ``last`` cannot be resolved.
    """

    def __init__(self, config: Namespace) -> None:
        self.config, self.trainer = config, config.trainer
        self.folder: Path | None = None
        self.run: RunFolder | None = None
        self.resumed: Path | None = None
        resumes = config.ckpt_path == "last"
        if resumes:
            config.ckpt_path = None
        if self.trainer.logger is True:
            root = str(self.trainer.default_root_dir or "runs")
            init = Namespace(save_dir=root, name="flow", version=None, default_hp_metric=False)
            self.trainer.logger = Namespace(class_path=TENSORBOARD, init_args=init)
        self.writers = [logger for logger in _listed(self.trainer.logger) if _is(logger, TensorBoardLogger, CSVLogger)]
        self.keepers = [one for one in _listed(self.trainer.callbacks) if _is(one, ModelCheckpoint)]
        self._expand_paths()
        parents = [_parent(logger.init_args) for logger in self.writers] or [self._parent_without_writer()]
        if self.trainer.fast_dev_run or any("://" in str(parent) for parent in parents):
            if resumes:
                raise UsageError(
                    "ckpt_path=last resumes a run from a folder of this host, and neither fast_dev_run nor a save_dir "
                    "with a URL has one: give --ckpt_path FILE"
                )
            return
        version = self.writers[0].init_args.get("version") if self.writers else None
        name = f"version_{version}" if isinstance(version, int) else version or None
        if not is_first_process():
            self._follow(parents[0], name, resumes)
        else:
            self._lead(parents, name, resumes)

    def _expand_paths(self) -> None:
        """Put paths for ``~`` and ``$NAME``, which only some of Lightning's parts know."""
        sections = [self.trainer, *(one.init_args for one in self.keepers)]
        sections += [one.init_args for one in _listed(self.trainer.logger) if _is(one, Logger)]
        for section in sections:
            for key in ("default_root_dir", "save_dir", "dirpath"):
                if isinstance(path := section.get(key), str):
                    section[key] = os.path.expanduser(os.path.expandvars(path))

    def _lead(self, parents: list[Path], name: str | None, resumes: bool) -> None:
        folder = self._find(parents[0], name) if resumes else None
        if folder is not None:
            self.run = RunFolder(folder)
            self.run.acquire()
        else:
            self._check_checkpoints()
            self.run = RunFolder.create(parents[0], name, beside=parents[1:])
        self._place(self.run.path)
        os.environ[SHARED] = str(self.run.path)

    def _follow(self, parent: Path, name: str | None, resumes: bool) -> None:
        """Use the folder of the first process, if that started this one; otherwise it is requested later."""
        if resumes:
            self._find(parent, name)
        if shared := os.environ.get(SHARED):
            self._place(Path(shared))

    def _find(self, parent: Path, name: str | None) -> Path | None:
        """The folder to resume in; None if there is nothing to resume."""
        for keeper in self._given():
            last = Path(keeper.init_args.dirpath) / LAST.name
            if last.is_file():
                self._resume(last)
                return None
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

    def _place(self, folder: Path) -> None:
        self.folder = folder
        for logger in self.writers:
            logger.init_args.version = folder.name
        if not self.writers:
            self.trainer.default_root_dir = str(folder)
            if not self.keepers and self.trainer.enable_checkpointing is not False:  # Lightning's saves elsewhere
                self.keepers = [Namespace(class_path=CHECKPOINT, init_args=Namespace())]
                self.trainer.callbacks = [*_listed(self.trainer.callbacks), *self.keepers]
        for keeper in self.keepers:
            if not keeper.init_args.get("dirpath"):
                keeper.init_args.dirpath = str(folder / LAST.parent)
        if self.resumed:
            for logger in self.writers:
                if _is(logger, CSVLogger):
                    _keep_curves(_parent(logger.init_args) / folder.name / "metrics.csv")

    def _given(self) -> list[Namespace]:
        """Checkpoint callbacks with a ``dirpath`` set by the user."""
        return [keeper for keeper in self.keepers if keeper.init_args.get("dirpath")]

    def _check_checkpoints(self) -> None:
        for keeper in self._given():
            folder = Path(keeper.init_args.dirpath)
            if self.resumed is None and any(folder.glob("*.ckpt")):
                raise OutputError(
                    f"{folder} holds checkpoints of another run, which are kept: give another dirpath, or resume by "
                    "--ckpt_path=last"
                )

    def _parent_without_writer(self) -> Path:
        loggers = [one for one in _listed(self.trainer.logger) if isinstance(one, Namespace) and "init_args" in one]

        def first(*keys: str, default: str) -> str:
            found = (logger.init_args.get(key) for logger in loggers for key in keys)
            return next((str(value) for value in found if value), default)

        root = first("save_dir", "dir", default=str(self.trainer.default_root_dir or "runs"))
        return Path(root) / first("name", "project", "experiment_name", default="flow").replace("/", "_")

    def release(self, state: str) -> None:
        """Release the folder and record the ``state`` of the run."""
        if self.run is not None:
            self.run.release(state)
            os.environ.pop(SHARED, None)


def without_place(config: Namespace) -> Namespace:
    """A copy of the config that starts another run: without version and checkpoint."""
    config = config.clone()
    config.ckpt_path = None
    for logger in _listed(config.trainer.logger):
        if _is(logger, TensorBoardLogger, CSVLogger) and "version" in logger.init_args:
            logger.init_args.version = None
    return config


def is_first_process() -> bool:
    """Whether this is the first process of its run, from the launcher's environment: no process group exists yet."""
    return all(os.environ.get(key) in (None, "", "0") for key in RANKS)


def _parent(init: Namespace) -> Path:
    return Path(str(init.save_dir)) / (init.get("name") or "")


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value] if value else []


def _is(component: Any, *kinds: type) -> bool:
    """Whether a section of the config describes an instance of ``kinds``; the parser has already imported its class."""
    if not isinstance(component, Namespace) or "class_path" not in component or "init_args" not in component:
        return False
    module, _, name = component.class_path.rpartition(".")
    kind = getattr(importlib.import_module(module), name, None)
    return isinstance(kind, type) and issubclass(kind, kinds)


def _keep_curves(file: Path) -> None:
    """Rename a CSV file that its logger would otherwise overwrite."""
    if file.is_file():
        names: Iterator[Path] = (file.with_name(f"{file.stem}_{i}.csv") for i in range(10_000))
        kept = next(path for path in names if not path.exists())
        file.rename(kept)
        rank_zero_info(f"the curves so far are kept in {kept}")
