"""The trainer behind the subcommands fit, validate, test and predict."""

from pathlib import Path
from typing import Any

from lightning.pytorch import LightningDataModule, LightningModule, Trainer

from lightning_flows.callbacks import PredictionWriter


class FlowTrainer(Trainer):
    """Lightning's Trainer, whose ``predict`` writes a table."""

    def predict(  # type: ignore[override]
        self,
        model: LightningModule | None = None,
        datamodule: LightningDataModule | None = None,
        ckpt_path: str | Path | None = None,
        out: str = "predictions.csv",
    ) -> Any:
        """Score pictures: a CSV with the log-likelihood and bits per dimension of each.

        Args:
            model: the flow.
            datamodule: the pictures.
            ckpt_path: checkpoint of a trained model.
            out: CSV file to write; an existing one is kept and refused.
        """
        self.callbacks.append(PredictionWriter(out))  # type: ignore[attr-defined]
        super().predict(model, datamodule=datamodule, ckpt_path=ckpt_path, return_predictions=False, weights_only=True)
        print(f"scores: {out}")
