"""What a resumed fit loads from a hostile checkpoint besides weights."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_flows.app.cli import run
from lightning_flows.checkpoints.training import guard_optimizers
from lightning_flows.errors import CheckpointError


@pytest.fixture(scope="module")
def states(trained: Path) -> dict[str, Any]:
    return torch.load(trained.with_name("last.ckpt"), weights_only=True)


def resume(tiny: list[str], whole: dict[str, Any], folder: Path, *options: str) -> Any:
    torch.save(whole, folder / "a.ckpt")
    save = f"--trainer.logger.init_args.save_dir={folder}"
    return run(["fit", *tiny, save, "--trainer.max_epochs=2", f"--ckpt_path={folder / 'a.ckpt'}", *options])


def moments(whole: dict[str, Any]) -> dict[str, Any]:
    return whole["optimizer_states"][0]["state"][3]


HARM = {
    "a exp_avg of shape": lambda w: moments(w).update(exp_avg=torch.zeros(1)),
    "a exp_avg_sq of shape": lambda w: moments(w).update(exp_avg_sq=torch.zeros(10**6)),
    "a step that is not a number": lambda w: moments(w).update(step=torch.zeros(1000)),
    "no exp_avg, as if from another optimizer": lambda w: moments(w).pop("exp_avg"),
    "a exp_avg of torch.int64": lambda w: moments(w).update(exp_avg=torch.zeros_like(moments(w)["exp_avg"]).long()),
    "share memory": lambda w: moments(w).update(exp_avg=torch.zeros(1).expand(moments(w)["exp_avg"].shape)),
    "a exp_avg_sq with gaps": lambda w: moments(w).update(
        exp_avg_sq=torch.zeros((*moments(w)["exp_avg_sq"].shape, 2))[..., 0]
    ),
    "groups of another size": lambda w: w["optimizer_states"][0]["param_groups"][0]["params"].pop(),
    "groups of parameters for 1": lambda w: w["optimizer_states"][0]["param_groups"].append({"params": []}),
    "states of parameters that do not exist": lambda w: w["optimizer_states"][0]["state"].update({999: moments(w)}),
    "2 optimizers, but the model 1": lambda w: w["optimizer_states"].append(w["optimizer_states"][0]),
    "state of WarmupExponential is malformed": lambda w: w["lr_schedulers"][0].update(step="x"),
    "loops are malformed": lambda w: w["loops"]["fit_loop"].pop("epoch_progress"),
    "only contains weights": lambda w: w.pop("optimizer_states"),
}


@pytest.mark.parametrize("message", HARM)
def test_a_mismatched_state_never_reaches_the_optimizer(
    message: str, states: dict[str, Any], tiny: list[str], tmp_path: Path
) -> None:
    whole = copy.deepcopy(states)
    HARM[message](whole)
    with pytest.raises(CheckpointError, match=message) as info:
        resume(tiny, whole, tmp_path)
    assert "\n" not in str(info.value)


def test_adamax_does_not_resume_from_adam(states: dict[str, Any], tiny: list[str], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"optimizer is Adam, but this run's is Adamax: use --optimizer Adam"):
        resume(tiny, states, tmp_path, "--optimizer=Adamax")


def test_a_schedule_does_not_resume_without_one(states: dict[str, Any], tiny: list[str], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"lr_scheduler is WarmupExponential, but this run's is null: use"):
        resume(tiny, states, tmp_path, "--lr_scheduler=null")


def test_new_betas_override_the_saved_ones(states: dict[str, Any], tiny: list[str], tmp_path: Path) -> None:
    trainer = resume(tiny, states, tmp_path, "--optimizer.betas=[0.5,0.6]", "--optimizer.eps=1e-3").trainer
    (group,) = trainer.optimizers[0].param_groups
    assert (tuple(group["betas"]), group["eps"]) == ((0.5, 0.6), 1e-3)


def test_a_checkpoint_of_an_older_torch_resumes(states: dict[str, Any], tiny: list[str], tmp_path: Path) -> None:
    """It lacks options and flags that torch has added since."""
    whole = copy.deepcopy(states)
    (group,) = whole["optimizer_states"][0]["param_groups"]
    missing = {"decoupled_weight_decay", "maximize"} & group.keys()
    for key in missing:
        del group[key]
    whole["lr_schedulers"] = [{k: v for k, v in whole["lr_schedulers"][0].items() if type(v) is not bool}]
    trainer = resume(tiny, whole, tmp_path).trainer
    assert trainer.current_epoch == 2
    assert missing <= trainer.optimizers[0].param_groups[0].keys()


@pytest.mark.parametrize("key", ["lr", "betas"])
def test_an_option_that_each_torch_writes_is_needed(
    key: str, states: dict[str, Any], tiny: list[str], tmp_path: Path
) -> None:
    whole = copy.deepcopy(states)
    del whole["optimizer_states"][0]["param_groups"][0][key]
    with pytest.raises(CheckpointError, match="groups of another size or with other options"):
        resume(tiny, whole, tmp_path)


def test_paths_that_lead_out_of_the_run_s_folder_are_dropped(tiny: list[str], tmp_path: Path) -> None:
    options = [*tiny, f"--trainer.logger.init_args.save_dir={tmp_path}"]
    run(["fit", *options])
    last, victim = tmp_path / "demo/version_0/checkpoints/last.ckpt", tmp_path / "victim"
    victim.mkdir()
    (victim / "precious").write_text("x")
    out = f"{last.parent}/../../../victim"
    whole = torch.load(last, weights_only=True)
    (state,) = (each for key, each in whole["callbacks"].items() if key.startswith("ModelCheckpoint"))
    state.update(last_model_path=out, best_model_path=out, kth_best_model_path=out)
    state["best_k_models"] = {out: state["best_model_score"], str(victim): state["best_model_score"]}
    torch.save(whole, last)
    trainer = run(["fit", *options, "--ckpt_path=last", "--trainer.max_epochs=2"]).trainer
    assert (victim / "precious").is_file()
    callback = trainer.checkpoint_callback
    assert isinstance(callback, ModelCheckpoint)
    known = [callback.last_model_path, callback.best_model_path, *callback.best_k_models]
    assert all(Path(path).parent == last.parent for path in known if path)


def test_a_renamed_run_finds_its_best_checkpoint(tiny: list[str], tmp_path: Path) -> None:
    run(["fit", *tiny, f"--trainer.logger.init_args.save_dir={tmp_path / 'a'}"])
    (tmp_path / "a").rename(tmp_path / "b")
    options = [f"--trainer.logger.init_args.save_dir={tmp_path / 'b'}", "--optimizer.lr=1e-9"]
    trainer = run(["fit", *tiny, *options, "--ckpt_path=last", "--trainer.max_epochs=2"]).trainer
    callback = trainer.checkpoint_callback
    assert Path(callback.best_model_path) == tmp_path / "b/demo/version_0/checkpoints/best.ckpt"
    assert not (tmp_path / "a").exists()


DENSE = {
    kind.__name__: kind
    for kind in vars(torch.optim).values()
    if isinstance(kind, type) and kind.__name__ not in ("Optimizer", "SparseAdam")
}


@pytest.mark.parametrize("name", DENSE)
def test_the_state_of_any_optimizer_of_torch_is_loaded(name: str) -> None:
    weight = torch.nn.Parameter(torch.randn(3, 4))
    saved, loading = (DENSE[name]([weight]) for _ in range(2))
    weight.grad = torch.randn(3, 4)
    saved.step(lambda: weight.square().sum())
    guard_optimizers([loading], override=True)
    loading.load_state_dict(saved.state_dict())
    assert len(loading.state) == len(saved.state)
