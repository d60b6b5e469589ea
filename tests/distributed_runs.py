"""Train and test on several processes; run by test_distributed.py in a process that has not used torch before it forks.

Usage: python -m tests.distributed_runs FOLDER. Writes FOLDER/D/RANK.pt, the state of each rank after training on D
processes, with recomputation on two and, where torch can, compiled on four; the same of a VAE in FOLDER/vae, and of
averaged weights in FOLDER/average; FOLDER/D.txt, how many bytes the steps broadcast; and FOLDER/tests.json, the test
results of one model on each number of processes, with a record of each in FOLDER.
"""

import json
import sys
from pathlib import Path

import torch
from lightning.pytorch import Callback, Trainer, callbacks, seed_everything
from torch import distributed

from lightning_flows.app.default_trainer import default_trainer
from lightning_flows.data import GraphMoGDataModule, ImageDataModule
from lightning_flows.data.datasets import ImageDataset
from lightning_flows.modules import GraphFlowModule, ImageFlowModule, VAEModule
from lightning_flows.modules.compiled import CompiledTerms
from tests.small_modules import SMALL_VARIATIONAL, graph_module, image_module, vae_module
from tests.versions import COMPILES, HAS_AVERAGES

GLOBAL_BATCH, STEPS = 8, 20


class Noise(ImageDataModule):
    """Random images: 24 training steps, and 37 test images, a prime number."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return 1, 8, 8

    def load_split(self, split: str) -> ImageDataset:
        num = 24 * GLOBAL_BATCH if split == "train" else 37
        images = torch.randint(256, (num, 1, 8, 8), generator=torch.Generator().manual_seed(num), dtype=torch.uint8)
        return ImageDataset(images, torch.zeros(num), names=[str(i) for i in range(num)])


class Keep(Callback):
    """Write the state of each rank, after an average has replaced the weights."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_fit_end(self, trainer, pl_module) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        torch.save(pl_module.state_dict(), self.folder / f"{trainer.global_rank}.pt")


class Broadcasts(Callback):
    """Write how many bytes DistributedDataParallel broadcast within the training steps of the first rank."""

    def __init__(self, file: Path) -> None:
        self.file, self.num_bytes = file, 0

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        self.broadcast = distributed._broadcast_coalesced
        distributed._broadcast_coalesced = self.count

    def count(self, group, tensors, *args) -> None:
        self.num_bytes += sum(tensor.nbytes for tensor in tensors)
        self.broadcast(group, tensors, *args)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        distributed._broadcast_coalesced = self.broadcast

    def on_train_end(self, trainer, pl_module) -> None:
        if trainer.is_global_zero:
            self.file.write_text(str(self.num_bytes))


def image_flow(**options: bool) -> ImageFlowModule:
    """A module with everything that could differ between ranks: actnorm, spectral norms, variational noise."""
    seed_everything(0, verbose=False)
    return image_module(dequantization=SMALL_VARIATIONAL, steps_per_level=2, num_importance_samples=8, **options)


def graph_flow() -> GraphFlowModule:
    seed_everything(0, verbose=False)
    return graph_module(num_steps=2, num_test_samples=0)


def vae() -> VAEModule:
    seed_everything(0, verbose=False)
    return vae_module(kl_warmup_epochs=2, num_importance_samples=8)


def trainer(devices: int, *own: Callback, **options) -> Trainer:
    return default_trainer(
        accelerator="cpu",
        devices=devices,
        strategy="ddp_fork" if devices > 1 else "auto",
        callbacks=list(own),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )


def main(folder: Path) -> None:
    for devices in (1, 2, 4):
        watching = [Keep(folder / str(devices)), Broadcasts(folder / f"{devices}.txt")]
        run = trainer(devices, *watching, max_steps=STEPS, gradient_clip_val=1.0, precision="64-true")
        module = image_flow(recompute=devices == 2)
        module.compiled_terms = CompiledTerms("aot_eager") if devices == 4 and COMPILES else None
        run.fit(module, Noise(batch_size=GLOBAL_BATCH // devices, eval_batch_size=5))
        if devices == 1:
            run.save_checkpoint(folder / "checkpoints/last.ckpt")
        if devices < 4:
            run = trainer(devices, Keep(folder / "vae" / str(devices)), max_steps=STEPS, precision="64-true")
            run.fit(vae(), Noise(batch_size=GLOBAL_BATCH // devices, eval_batch_size=5))
        if devices < 4 and HAS_AVERAGES:
            average = callbacks.EMAWeightAveraging(decay=0.95)
            kept = Keep(folder / "average" / str(devices))
            run = trainer(devices, average, kept, max_steps=STEPS, gradient_clip_val=1.0, precision="64-true")
            run.fit(image_flow(), Noise(batch_size=GLOBAL_BATCH // devices, eval_batch_size=5))
    results = {}
    for devices in (1, 2, 3, 4):
        trained = image_flow()
        trained.load_state_dict(torch.load(folder / "1/0.pt", weights_only=True))
        (images,) = trainer(devices).test(
            trained, Noise(batch_size=5), ckpt_path=folder / "checkpoints/last.ckpt", verbose=False
        )
        graphs = GraphMoGDataModule(mixture="mog4", num_test=37, eval_batch_size=5)
        (of_graphs,) = trainer(devices).test(graph_flow(), graphs, verbose=False)
        of_vae = vae()
        of_vae.load_state_dict(torch.load(folder / "vae/1/0.pt", weights_only=True))
        (of_vaes,) = trainer(devices).test(of_vae, Noise(batch_size=5), verbose=False)
        results[devices] = images | {f"graphs/{key}": value for key, value in of_graphs.items()}
        results[devices] |= {f"vae/{key}": value for key, value in of_vaes.items()}
    (folder / "tests.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
