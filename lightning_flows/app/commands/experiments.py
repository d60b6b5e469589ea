"""The runs behind the paper's tables: configs and options at the paper's size, and the ones that reduce it."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from lightning_flows.app.commands.sizes import GLOW, SIZES, small_glow, small_pixels, small_residual, small_test


class Small(NamedTuple):
    """Configs and options of ``fit`` on small images, and options of ``test``."""

    layers: Sequence[str]
    test: Sequence[str] = ()


class Experiment(NamedTuple):
    """A run: configs and options of ``fit``, and those that reduce it to minutes on two CPU cores, if any.

    Args:
        layers: configs and options.
        reduced: those that reduce it.
        test: options of ``test``.
        small: those that reduce it to small images, by size, with equal parameters in all rows of a table.
        family: name of the experiment whose learning rate it takes; empty for its own.
    """

    layers: Sequence[str]
    reduced: Sequence[str] = ()
    test: Sequence[str] = ()
    small: Mapping[str, Small] = {}
    family: str = ""


GROWTH = {"conv1x1": 72, "emerging": 71, "woodbury": 70, "conv_exponential": 70}
"""Growth of the reduced dense nets of Table 1, which gives every model about as many parameters as conv1x1."""
ONES = {"csf": "sylvester", "coupling": "coupling", "residual": "residual", "residual_equal_memory": "residual"}
STEPS = {"residual_equal_memory": (8, 2)}
"""Steps per level, at the paper's size and reduced, that need about as much memory as the other models."""


def _residual(kind: str, noise: str, *options: str) -> Experiment:
    """A run of Table 2, or with ``options`` an ablation of Table 3."""
    variational = noise == "variational"
    layers = [f"model/{ONES[kind]}.yaml", "data/cifar10.yaml", *options]
    layers[1:1] = ["dequantization/variational.yaml"] if variational else []
    reduced = ["size/cpu_variational.yaml" if variational else "size/cpu.yaml"]
    if ONES[kind] == "residual":  # each draw would compute the series again; the paper reports no likelihood either
        reduced.append("--model.num_importance_samples=0")
    for steps, target in zip(STEPS.get(kind, ()), (layers, reduced), strict=False):
        target.append(f"--model.flow.steps_per_level={steps}")
    row = next((option.rpartition("=")[2] for option in options if not option.endswith("=none")), kind)
    small = {size: Small(small_residual(row, noise, size), small_test(row, size)) for size in SIZES}
    return Experiment(layers, reduced, small=small, family=f"{ONES[kind].replace('sylvester', 'csf')}_uniform")


TABLE4 = {
    "coupling": ["model/graph_coupling.yaml", "data/mog.yaml", "--data.batch_size=256"],
    "gnf": ["model/gnf.yaml", "data/mog.yaml", "--model.flow.exponential=false"],
    "gnf_exponential": ["model/gnf.yaml", "data/mog.yaml"],
    "set_autoregressive": ["model/set_autoregressive.yaml", "data/mog.yaml"],
}
RING = ["--data.batch_size=128", "--optimizer.lr=2e-3", "--trainer.max_epochs=30"]
LONGER = {
    "mog16_coupling": ["--trainer.max_epochs=12"],
    "mog_ring_gnf": RING,  # runs differ most here: larger batches and more steps
    "mog_ring_gnf_exponential": RING,
    "mog_ring_set_autoregressive": ["--trainer.max_epochs=20"],
}

FASHION = [
    "--data=FashionMNISTDataModule", "--data.pad=false", "--data.augment=false", "--data.binarization=fixed",
    "--trainer.limit_train_batches=100", "--trainer.limit_val_batches=10", "--trainer.max_epochs=40",
    "--model.num_importance_samples=50",
]  # fmt: skip
"""Data of the reduced VAEs, 10,000 images per epoch."""
POSTERIORS: dict[str, tuple[str, Sequence[str], Sequence[str]]] = {
    "diagonal": ("DiagonalPosterior", [], []),
    "planar": ("PlanarPosterior", ["num_flows=16"], ["num_flows=40"]),
    "iaf": ("IAFPosterior", ["num_flows=16", "width=1280"], ["num_flows=4", "width=120"]),
    "orthogonal": ("SylvesterPosterior", ["num_flows=16", "columns=32"], ["num_flows=4", "columns=11"]),
    "householder": (
        "SylvesterPosterior",
        ["basis=householder", "num_flows=16", "num_reflections=8"],
        ["num_flows=4", "num_reflections=4"],
    ),
    "triangular": ("SylvesterPosterior", ["basis=triangular", "num_flows=16"], ["num_flows=4"]),
    "generalized": ("GeneralizedSylvesterPosterior", ["num_flows=16", "width=1280"], ["num_flows=4", "width=104"]),
    "amortized": (
        "GeneralizedSylvesterPosterior",
        ["amortize_basis=true", "num_flows=16", "width=1280"],
        ["num_flows=4", "num_reflections=4", "width=92"],
    ),
}
"""Posteriors of VAEs: class, options of the published size, and those that give each 79,000 to 96,000 parameters."""


def _vae(posterior: str, size: Sequence[str], reduced: Sequence[str]) -> Experiment:
    def options(values: Sequence[str]) -> list[str]:
        return [f"--model.posterior.{value}" for value in values]

    layers = ["vae/freyfaces.yaml", f"--model.posterior={posterior}", *options(size)]
    return Experiment(layers, ["size/vae_small.yaml", *FASHION, *options(reduced)])


EXPERIMENTS: dict[int | str, dict[str, Experiment]] = {
    1: {
        kind: Experiment(
            [f"table1/{kind}.yaml"],
            ["size/cpu_glow.yaml", f"--model.flow.net.growth={growth}", f"--model.dequantization.net.growth={growth}"],
            small={size: Small(small_glow(3, kind, size)) for size in SIZES},
        )
        for kind, growth in GROWTH.items()
    },
    2: {f"{kind}_{noise}": _residual(kind, noise) for noise in ("uniform", "variational") for kind in ONES},
    3: {
        "csf_variational": _residual("csf", "variational"),
        **{
            name: _residual("csf", "variational", f"--model.flow.ablation={name}")._replace(family="")
            for name in ("no_autoregressive", "no_basis")
        },
    },
    4: {
        (name := f"{data}_{model}"): Experiment([*layers, f"--data.mixture={data}", *LONGER.get(name, [])])
        for data in ("mog4", "mog9", "mog16", "mog_ring")
        for model, layers in TABLE4.items()
    },
    "vae": {f"vae_{name}": _vae(*posterior) for name, posterior in POSTERIORS.items()},
}
"""Runs of each table by name."""

POINTWISE: dict[str, Experiment] = {
    f"{kind}_pointwise": Experiment(
        [f"table1/{kind}.yaml"], small={size: Small(small_glow(1, kind, size)) for size in SIZES}
    )
    for kind in GLOW[1]
}
"""Table 1 with nets that see single pixels, so that only the mixing layers see neighbors; on small images."""

OWN: dict[str, Experiment] = {
    "pixels_uniform": Experiment(
        ["model/pixels.yaml", "data/cifar10.yaml"],
        small={size: Small(small_pixels(size)) for size in SIZES},
    )
}
"""A flow that is not in the paper, next to those of Table 2; on small images."""
