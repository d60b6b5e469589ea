"""``demo``: train a small flow on photographs, test it and print what to look at next."""

import time


def demo(fit_config: str = "demo.yaml") -> None:
    """Train a small flow on crops of two photographs, test it and draw samples.

    Args:
        fit_config: config for fit; of images, the result is next to the sizes of lossless image files.
    """
    from lightning_flows.app.cli import run  # the command line imports this module
    from lightning_flows.app.commands.sample import sample
    from lightning_flows.callbacks.base import run_folder
    from lightning_flows.data import ImageDataModule
    from lightning_flows.data.datasets import png_bits_per_dim, webp_bits_per_dim
    from lightning_flows.reporting.report.experiments import unit_of
    from lightning_flows.reporting.tables.runs import read_run

    start = time.perf_counter()
    trainer = run(["fit", "--config", fit_config]).trainer
    minutes = (time.perf_counter() - start) / 60
    folder, checkpoint = run_folder(trainer), trainer.checkpoint_callbacks[0].best_model_path
    testing = run(["test", "--ckpt_path", checkpoint])
    metrics, data = testing.trainer.callback_metrics, testing.datamodule
    unit = testing.model.unit
    full_unit = unit_of(read_run(folder), unit)
    results = {"this flow": f"{metrics[f'test/{unit}']:.3f} ± {metrics[f'test/{unit}_standard_error']:.3f}"}
    if of_images := isinstance(data, ImageDataModule) and unit == "bpd":
        images = data.dataset("test").images
        sizes = {"PNG": png_bits_per_dim(images), "WebP": webp_bits_per_dim(images)}
        results |= {f"lossless {kind}": f"{bits:.3f}" for kind, bits in sizes.items()}
    grid = sample(checkpoint, out=str(folder / "samples.png"), scale=4 if of_images else 1)
    lines = "\n".join(f"  {label:<15} {value}" for label, value in results.items())
    print(
        f"""
The flow was trained in {minutes:.1f} minutes. On {data.num_items("test")} test items, in {full_unit}:
{lines}

samples:      {grid}
checkpoint:   {checkpoint}
TensorBoard:  tensorboard --logdir {folder.parent}"""
    )
