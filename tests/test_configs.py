"""Every config runs through the command line."""

from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_flows.app.cli import run
from lightning_flows.app.commands.experiments import EXPERIMENTS, Experiment
from lightning_flows.app.configs import CONFIG_DIR, find_configs, load_configs
from lightning_flows.checkpoints import construct
from lightning_flows.checkpoints.classes import find_class
from lightning_flows.modules import ImageFlowModule
from tests.parsing import Parsed

CONFIGS = sorted(str(path.relative_to(CONFIG_DIR)) for path in CONFIG_DIR.rglob("*.yaml"))
OVERLAYS = ["ddp4.yaml", "multinode.yaml"]
ELSEWHERE = ["table.yaml"]  # in tests/app/test_tables.py
SIZES = ("width=8", "depth=1", "growth=8")
VARIATIONAL = ["--model.dequantization.num_steps=1", *(f"--model.dequantization.net.{size}" for size in SIZES)]
FAMILY = ["--model.flow.hidden_channels=12", *(f"--model.flow.split.{size}" for size in SIZES)]
GLOW = [*(f"--model.flow.net.{size}" for size in SIZES), *VARIATIONAL]
VAE = [f"--model.{size}" for size in ("latent_size=4", "sizes.width=2", "sizes.features=8", "sizes.hidden=4")]
PHOTOS, MIXED = "data/sample_photos.yaml", ["size/cpu_glow.yaml", *GLOW]
SMALL_NOISE = ["size/cpu_variational.yaml", *FAMILY, *VARIATIONAL]
RUNS = {
    "demo": ["demo.yaml", *FAMILY],
    "csf": ["csf.yaml", *FAMILY],
    "csf_small": ["csf_small.yaml", *FAMILY],
    "reference": ["reference.yaml", *FAMILY],
    "coupling": ["model/coupling.yaml", PHOTOS, "size/cpu.yaml", *FAMILY],
    "residual": ["model/residual.yaml", PHOTOS, *FAMILY],
    "variational": [
        "model/sylvester.yaml",
        "dequantization/variational.yaml",
        "size/cpu_variational.yaml",
        *FAMILY,
        *VARIATIONAL,
    ],
    "glow": ["model/glow.yaml", PHOTOS, *GLOW],
    "pixels": [
        "model/pixels.yaml",
        PHOTOS,
        "--data.downsample=4",
        "--model.flow.sizes.width=8",
        "--model.flow.sizes.num_blocks=1",
    ],
    "small": [
        "model/coupling.yaml",
        "data/cifar10.yaml",
        "size/small16.yaml",
        "--trainer.check_val_every_n_epoch=1",
        *FAMILY,
    ],
    **{f"vae_{name}": [f"vae/{name}.yaml", *VAE] for name in ("freyfaces", "static_mnist", "omniglot", "digits")},
    "vae_caltech": ["vae/caltech.yaml", "--model.posterior=IAFPosterior", "--model.posterior.width=4", *VAE],
    "vae_fashion_mnist": ["vae/fashion_mnist.yaml", *VAE],
    "moons": ["moons.yaml", "--model.flow.width=8"],
    **{kind: [f"table1/{kind}.yaml", *MIXED] for kind in EXPERIMENTS[1]},
    **{
        kind: [f"model/{kind}.yaml", "data/mog.yaml", f"--model.flow.{width}=8"]
        for kind, width in {"graph_coupling": "width", "gnf": "net.width", "set_autoregressive": "net.width"}.items()
    },
}
"""Small training runs: configs, in order of precedence, and options."""
DENSITIES = ("GraphMoGDataModule", "ToyDataModule")
"""Data drawn from known densities."""
QUIET = ["--trainer.max_epochs=1", "--trainer.limit_train_batches=2", "--trainer.enable_progress_bar=false"]
QUIET += ["--trainer.accelerator=cpu", "--trainer.limit_val_batches=1"]
SMALL_BATCHES = ["--data.num_workers=0", "--data.batch_size=8"]
IMAGES = ["--model.flow.steps_per_level=1", *SMALL_BATCHES]
DRAWN = ["--data.batch_size=4", "--data.steps_per_epoch=2", "--data.num_val=8", "--data.num_test=8"]


def arguments(layers: list[str]) -> list[str]:
    return [layer if layer.startswith("--") else f"--config={layer}" for layer in layers]


def parsed(layers: list[str]) -> dict:
    return Parsed(find_configs(["fit", *arguments(layers)])).config.as_dict()


def test_every_config_is_run_here() -> None:
    layers = {layer for run in RUNS.values() for layer in run if not layer.startswith("--")}
    read = {value for layer in layers for value in find_configs([f"--config={layer}"])}
    names = layers | {str(Path(value[9:]).relative_to(CONFIG_DIR)) for value in read if value.endswith(".yaml")}
    assert names == {name for name in CONFIGS if not name.startswith("defaults/")} - {*OVERLAYS, *ELSEWHERE}


@pytest.mark.parametrize("name", CONFIGS)
def test_config_is_explained_in_its_first_line(name: str) -> None:
    assert (CONFIG_DIR / name).read_text().startswith("# ")


@pytest.mark.parametrize("name", RUNS)
def test_config_trains_and_tests(name: str, tmp_path: Path, image_tar: Path) -> None:
    layers = RUNS[name]
    data = load_configs(*(layer for layer in layers if not layer.startswith("--")))["data"]
    drawn = data["class_path"].endswith(DENSITIES)
    sizes = DRAWN if drawn else SMALL_BATCHES if name.startswith(("vae_", "pixels")) else IMAGES
    options = [*sizes, *QUIET, f"--trainer.logger.init_args.save_dir={tmp_path}"]
    if not (drawn or data["class_path"].endswith(("SamplePhotosDataModule", "DigitsDataModule"))):
        options += ["--data=ImageFolderDataModule", f"--data.init_args.root={image_tar}"]
    command = run(["fit", *arguments(layers), *options])
    trainer, loss = command.trainer, f"test/{command.model.unit}"
    assert trainer.global_step == 2
    best = trainer.checkpoint_callback.best_model_path
    graphs = ["--model.num_test_samples=8"] if "data/mog.yaml" in layers else []
    draws = graphs if drawn else ["--model.num_importance_samples=2"]
    metrics = run(["test", f"--ckpt_path={best}", *draws, "--trainer.limit_test_batches=1"]).trainer.callback_metrics
    assert metrics["test/loss"] == metrics[loss]
    assert metrics["test/gap" if drawn else loss] > 0


SIZES = {  # millions of parameters on 32x32 images: at the paper's size, and reduced
    "conv1x1": (57.2, 2.70), "emerging": (55.8, 2.70), "woodbury": (55.9, 2.70), "conv_exponential": (55.9, 2.70),
    "csf_uniform": (31.1, None), "csf_variational": (40.1, None),
}  # fmt: skip


@pytest.mark.parametrize("name", [name for table in (1, 2, 3) for name in EXPERIMENTS[table]])
def test_experiments_on_images_have_their_sizes(name: str) -> None:
    experiment: Experiment = next(EXPERIMENTS[table][name] for table in (1, 2, 3) if name in EXPERIMENTS[table])
    for reduced, expected in zip((False, True), SIZES.get(name, (None, None)), strict=True):
        config = parsed([*experiment.layers, *(experiment.reduced if reduced else [])])
        arguments = config["model"]["init_args"] | {"event_shape": (3, 32, 32)}
        draws = 0 if name.startswith("residual") else 10 if reduced else 1000
        assert arguments["num_importance_samples"] == draws
        assert config["data"]["class_path"].endswith("SamplePhotosDataModule" if reduced else "CIFAR10DataModule")
        with torch.device("meta"):
            module = construct(ImageFlowModule, {key: value for key, value in arguments.items() if key != "optimizer"})
        millions = sum(p.numel() for p in module.parameters()) / 1e6
        assert millions == pytest.approx(expected, rel=0.02) if expected else millions < (5 if reduced else 100)


def test_residual_flows_of_equal_memory_have_half_the_steps() -> None:
    def steps(kind: str, reduced: bool) -> int:
        experiment = EXPERIMENTS[2][f"{kind}_uniform"]
        layers = [*experiment.layers, *(experiment.reduced if reduced else [])]
        return parsed(layers)["model"]["init_args"]["flow"]["init_args"]["steps_per_level"]

    found = {
        kind: [steps(kind, reduced) for reduced in (False, True)] for kind in ("residual", "residual_equal_memory")
    }
    assert found == {"residual": [16, 4], "residual_equal_memory": [8, 2]}


@pytest.mark.parametrize("name", EXPERIMENTS["vae"])
def test_posteriors_have_their_sizes(name: str) -> None:
    experiment = EXPERIMENTS["vae"][name]
    published, reduced = (parsed([*experiment.layers, *more]) for more in ([], experiment.reduced))
    arguments = published["model"]["init_args"]
    assert (arguments["latent_size"], arguments["sizes"]) == (64, None)
    assert arguments["posterior"].get("init_args", {}).get("num_flows", 16) == 16
    assert reduced["data"]["class_path"].endswith("FashionMNISTDataModule")
    arguments = reduced["model"]["init_args"]
    posterior, size = arguments["posterior"], arguments["latent_size"]
    given = {"latent_size": size, "context_features": arguments["sizes"]["features"]}
    with torch.device("meta"):
        module = construct(find_class(posterior["class_path"]), given | posterior.get("init_args", {}))
    count = sum(p.numel() for p in module.parameters())
    assert count == (0 if name == "vae_diagonal" else pytest.approx(87_000, rel=0.11))


def settings(value: Any) -> Any:
    """A config without its files, and with classes by short names."""
    if not isinstance(value, dict):
        return value
    plain = {key: settings(each) for key, each in value.items() if key != "config"}
    return plain | ({"class_path": value["class_path"].rpartition(".")[2]} if "class_path" in value else {})


def test_the_reference_has_the_defaults() -> None:
    given = {"model": "ImageFlowModule", "model.flow": "ConvSylvesterFlow", "data": "CIFAR10DataModule"}
    defaults = parsed([f"--{key}={value}" for key, value in given.items()])
    assert settings(parsed(["reference.yaml"])) == settings(defaults)


def test_the_papers_settings() -> None:
    table1, table2 = parsed(EXPERIMENTS[1]["emerging"].layers), parsed(EXPERIMENTS[2]["csf_variational"].layers)
    assert table1["optimizer"]["class_path"] == "torch.optim.Adamax"
    assert table2["optimizer"]["class_path"] == "torch.optim.Adam"
    for config, power, clip in ((table1, 1.0, None), (table2, 2.0, 1.0)):
        given = config["optimizer"]["init_args"]
        assert (given["lr"], tuple(given["betas"]), given["eps"]) == (1e-3, (0.9, 0.99), 1e-7)
        assert config["lr_scheduler"]["init_args"] | {"last_epoch": -1} == {
            "warmup_epochs": 10, "power": power, "decay": 0.995, "last_epoch": -1,
        }  # fmt: skip
        assert config["trainer"]["gradient_clip_val"] == clip
        assert (config["trainer"]["max_epochs"], config["data"]["init_args"]["batch_size"]) == (1000, 256)


@pytest.mark.parametrize("name", EXPERIMENTS[4])
def test_experiments_on_graphs(name: str) -> None:
    config = parsed(list(EXPERIMENTS[4][name].layers))
    flow = config["model"]["init_args"]["flow"]
    assert name.startswith(config["data"]["init_args"]["mixture"])
    assert flow["init_args"].get("exponential", False) == name.endswith("gnf_exponential")
    ring = "mog_ring_gnf" in name
    rate = 2e-3 if ring else 1e-3 if "coupling" in name else 3e-3
    batch_size = 256 if "coupling" in name else 128 if ring else 64
    assert (config["optimizer"]["init_args"]["lr"], config["data"]["init_args"]["batch_size"]) == (rate, batch_size)


@pytest.mark.parametrize("name", OVERLAYS)
def test_an_unresponsive_rank_ends_the_run_after_ten_minutes(name: str) -> None:
    strategy = parsed(["demo.yaml", name])["trainer"]["strategy"]
    assert str(strategy["init_args"]["timeout"]) == "0:10:00"
