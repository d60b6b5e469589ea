"""Small modules that train quickly, for all tests."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.demos.boring_classes import BoringModel
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_flows.dequantization import UniformDequantization, VariationalDequantization
from lightning_flows.flows import AutoregressiveFlow, ConvSylvesterFlow, GraphNormalizingFlow
from lightning_flows.modules import GraphFlowModule, ImageFlowModule, VAEModule, VectorFlowModule, WarmupExponential
from lightning_flows.nets import AttentionSizes, DenseSizes
from lightning_flows.nets.gated_conv import GatedConvSizes
from lightning_flows.posteriors import GeneralizedSylvesterPosterior

DENSE = DenseSizes(width=8, depth=1, growth=8)
SYLVESTER = {"num_levels": 2, "steps_per_level": 1, "hidden_channels": 12, "split": DENSE}
GRAPH = {"num_steps": 1, "net": AttentionSizes(8, 1, 2)}
SMALL_VARIATIONAL = partial(VariationalDequantization, num_steps=1, net=DENSE, context=DenseSizes(2, 1, 2))
OF_MODULE = (
    "optimizer",
    "lr_scheduler",
    "lr_interval",
    "recompute",
    "num_importance_samples",
    "importance_error",
    "eval_chunk_size",
)


def image_module(
    event_shape: Sequence[int] = (1, 8, 8),
    flow: Any = ConvSylvesterFlow,
    dequantization: Any = UniformDequantization,
    *,
    kind: type[ImageFlowModule] = ImageFlowModule,
    lr: float = 1e-3,
    **options: Any,
) -> Any:
    """A module of images; options are those of the module and of the flow, by default of a small Sylvester flow."""
    own = {name: options.pop(name) for name in OF_MODULE if name in options}
    own.setdefault("optimizer", partial(torch.optim.Adam, lr=lr, betas=(0.9, 0.99), eps=1e-7))
    own.setdefault("lr_scheduler", partial(WarmupExponential, warmup_epochs=1))
    sizes = SYLVESTER | options if flow is ConvSylvesterFlow else options
    return kind(event_shape, partial(flow, **sizes), dequantization, **own)


def graph_module(
    event_shape: Sequence[int] = (4, 2),
    flow: Any = GraphNormalizingFlow,
    *,
    num_test_samples: int = 2048,
    **options: Any,
) -> GraphFlowModule:
    """A module of graphs, by default of a small graph normalizing flow."""
    sizes = GRAPH | options if flow is GraphNormalizingFlow else options
    return GraphFlowModule(event_shape, partial(flow, **sizes), num_test_samples=num_test_samples)


def vector_module(
    flow: Any = AutoregressiveFlow, event_shape: Sequence[int] = (3,), **options: Any
) -> VectorFlowModule:
    """A module of vectors of three values, by default of a small autoregressive flow."""
    return VectorFlowModule((3,), partial(flow, **{"width": 8} | options))


def vae_module(event_shape: Sequence[int] = (1, 8, 8), num_levels: int = 256, **options: Any) -> VAEModule:
    """A small VAE with two generalized Sylvester layers."""
    sizes = GatedConvSizes(width=2, features=6, hidden=4)
    posterior = partial(GeneralizedSylvesterPosterior, num_flows=2, width=8)
    return VAEModule(event_shape, num_levels, posterior, **{"latent_size": 3, "sizes": sizes} | options)


class Stripes(LightningDataModule):
    """Always the same 16 striped images, in batches of 8."""

    def __init__(self) -> None:
        super().__init__()
        rows = torch.arange(16, dtype=torch.uint8)[:, None, None, None] * 8
        self.images = (rows + torch.arange(8, dtype=torch.uint8)[:, None]).expand(16, 1, 8, 8).contiguous()

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        images = [{"image": image, "index": torch.tensor(i)} for i, image in enumerate(self.images)]
        return DataLoader(images, batch_size=8)  # type: ignore[arg-type]

    val_dataloader = test_dataloader = predict_dataloader = train_dataloader


class Seen(BoringModel):
    """Keeps the indices of the items that it sees in each stage."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, list[int]] = {"train": [], "val": [], "test": [], "predict": []}

    def step(self, stage: str, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        self.seen[stage] += batch["index"].tolist()
        return {"loss": self.layer(torch.ones(1, 32)).sum()}

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.step("train", batch)

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        self.step("val", batch)

    def test_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        self.step("test", batch)

    def predict_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.step("predict", batch)


def trainer(folder: Path, **options: Any) -> Trainer:
    """Lightning's trainer, for one quiet epoch on the CPU."""
    defaults = {"max_epochs": 1, "logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    defaults |= {"accelerator": "cpu", "default_root_dir": folder, "gradient_clip_val": 1.0}
    return Trainer(**defaults | options)
