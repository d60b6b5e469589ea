"""``demo``: train a small flow on photographs, test it and print what to look at next."""

import time


def demo(fit_config: str = "demo.yaml") -> None:
    """Train a small flow on crops of two photographs, test it and draw samples.

    Args:
        fit_config: config for fit.
    """
    from lightning_flows.app.cli import run  # the command line imports this module
    from lightning_flows.app.commands.sample import sample
    from lightning_flows.callbacks.base import run_folder
    from lightning_flows.data.datasets import png_bits_per_dim, webp_bits_per_dim

    start = time.perf_counter()
    trainer = run(["fit", "--config", fit_config]).trainer
    minutes = (time.perf_counter() - start) / 60
    folder, checkpoint = run_folder(trainer), trainer.checkpoint_callbacks[0].best_model_path
    testing = run(["test", "--ckpt_path", checkpoint])
    metrics = testing.trainer.callback_metrics
    images = testing.datamodule.dataset("test").images
    grid = sample(checkpoint, out=str(folder / "samples.png"), scale=4)
    print(
        f"""
The flow was trained in {minutes:.1f} minutes. On {len(images)} test images, in bits per dimension:
  this flow       {metrics["test/bpd"]:.3f} ± {metrics["test/bpd_standard_error"]:.3f}
  lossless PNG    {png_bits_per_dim(images):.3f}
  lossless WebP   {webp_bits_per_dim(images):.3f}

samples:      {grid}
checkpoint:   {checkpoint}
TensorBoard:  tensorboard --logdir {folder.parent}"""
    )
