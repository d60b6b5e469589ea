"""The figures of the command ``figure``, by name: their inputs from a checkpoint and data, and how to draw them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.fabric.utilities import move_data_to_device
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import avg_pool2d
from torch.utils.data import default_collate

from lightning_flows.app.commands.options import check_fits, device_named
from lightning_flows.app.commands.trained import (
    load_graph_flow,
    load_image_flow,
    load_image_model,
    load_images,
    load_mixture,
    load_planar_flow,
    load_rows,
)
from lightning_flows.data import FashionMNISTDataModule
from lightning_flows.data.datasets import ImageDataset, constant_images, images_as, noise_images, sample_photo
from lightning_flows.data.datasets.binarization import DynamicImages
from lightning_flows.errors import CheckpointError, DataError
from lightning_flows.functional.streams import stream
from lightning_flows.modules import FlowModule, ImageFlowModule, VAEModule, load_model
from lightning_flows.progress import progress
from lightning_flows.reporting.figures import convolution, density, graphs, outliers, series
from lightning_flows.reporting.figures import images as image_figures
from lightning_flows.transforms import ConvExponential

SAMPLES_AT_ONCE = {1: 1024, 2: 64, 3: 64}  # by the number of axes of an event


@dataclass(frozen=True)
class Request:
    """A figure's name and the options for it; see :func:`lightning_flows.app.commands.figure.figure`."""

    name: str
    ckpt_path: str | None = None
    images: str | None = None
    num: int | None = None
    temperature: float = 1.0
    seed: int = 0
    fashion_mnist: str | None = None
    outliers: str | None = None
    device: str | None = None
    model: str | None = None
    data: str | None = None
    data_options: dict[str, Any] = field(default_factory=dict)

    @property
    def target(self) -> torch.device:
        """Device of the model."""
        return device_named(self.device)

    def generator(self, purpose: str, device: torch.device | str = "cpu") -> torch.Generator:
        """A generator for the seed, with a different stream for each purpose."""
        return stream(self.seed, purpose, device=device)


def _series_terms(request: Request) -> Figure:
    kernels = series.random_kernels(seed=request.seed)
    if request.ckpt_path is not None:
        model = load_model(request.ckpt_path, request.model)
        kernels = [layer.kernel() for layer in model.modules() if isinstance(layer, ConvExponential)]
        if not kernels:
            raise CheckpointError(
                f"the flow of {request.ckpt_path} has no convolution exponentials: omit --ckpt_path to draw those "
                "of random kernels"
            )
    return series.series_terms_figure(series.series_terms(kernels, seed=request.seed))


def _photo() -> Tensor:
    """A grayscale photograph ``(96, 96)`` with values in a range of 1 around 0."""
    gray = sample_photo("china.jpg").double().mean(0)
    return avg_pool2d(gray[None, :384, 128:512], 4)[0] / 255 - 0.5


def _samples(request: Request) -> Figure:
    model = _image_model(request)
    return image_figures.samples_figure(model.pixels(_draw(model, request, 64)))


def _interpolation(request: Request) -> Figure:
    model, num = _image_model(request), request.num or 6
    dataset = _dataset(request, model, "test")
    chosen = _choose(torch.arange(len(dataset)), 2 * num, request).tolist()
    if len(chosen) < 2:
        raise DataError(f"an interpolation needs at least two test images, not {len(chosen)}: pass more with --images")
    half = len(chosen) // 2
    pairs = [default_collate([dataset[i] for i in part]) for part in (chosen[:half], chosen[half : 2 * half])]
    first, second = (move_data_to_device(batch, request.target) for batch in pairs)
    path = image_figures.interpolate(model, first, second, progress=partial(progress, unit="step", desc="decoding"))
    return image_figures.interpolation_figure(path)


def _nearest(request: Request) -> Figure:
    model = _image_model(request)
    found = _dataset(request, model, "train")
    # images that are drawn anew in each epoch are compared by the probabilities of their pixels
    levels = found.num_levels if isinstance(found, DynamicImages) else None
    training = model.pixels(found.images) if levels is None else _gray(found.images, levels)
    samples = model.pixels(_draw(model, request, 6))
    return image_figures.neighbors_figure(image_figures.nearest_images(samples, training, min(5, len(training))))


def _gray(images: Tensor, num_levels: int) -> Tensor:
    """Levels 0 to ``num_levels - 1`` as uint8 up to 255."""
    return (images * (255 / (num_levels - 1))).round().to(torch.uint8)


def _outliers(request: Request) -> Figure:
    model, num = _image_flow(request), request.num or 1000
    shape, others = model.event_shape, {}
    built_in = ("in distribution", "Fashion-MNIST", "constant", "noise")
    check_fits(num, shape, "--num")
    if request.fashion_mnist is not None:
        fashion = FashionMNISTDataModule(request.fashion_mnist)
        fashion.prepare_data()
        fashion.setup("test")
        others["Fashion-MNIST"] = images_as(_choose(fashion.dataset("test").images, num, request), shape)
    if request.outliers is not None:
        own = load_images(str(request.ckpt_path), model, request.outliers, options={"skip_broken": True})
        own.setup("predict")
        name = Path(request.outliers).resolve().stem or "images"
        name += " (--outliers)" if name in built_in else ""
        others[name] = _choose(own.dataset("predict").images, num, request)
    training = _choose(_dataset(request, model, "train").images, num, request)
    sets = {
        "in distribution": _choose(_dataset(request, model, "test").images, num, request),
        **others,
        "constant": constant_images(num, shape, request.seed),
        "noise": noise_images(num, shape, request.seed),
    }
    scored = progress([("training", training), *sets.items()], unit="set", desc="scoring")
    (_, of_training), *found = [
        (name, outliers.image_bits(model.model, images, seed=request.seed)) for name, images in scored
    ]
    bits, typical = dict(found), float(of_training.flow.mean())
    data = outliers.Outliers(bits.pop("in distribution"), bits, typical)
    print(f"mean of training images: {typical:.3f} bits per dimension\n\n{outliers.outlier_table(data).markdown()}\n")
    return outliers.outliers_figure(data)


def _graphs(request: Request) -> Figure:
    model = load_graph_flow(request.ckpt_path, "the figure graphs", request.model).to(request.target)
    num = request.num or 256
    check_fits(num, model.event_shape, "--num")
    data = load_mixture(str(request.ckpt_path), request.data, request.data_options).sample(
        num, generator=request.generator("graphs")
    )
    samples = _draw(model, request, 256)
    return graphs.graph_figure(data, samples, lambda x: model(x.to(request.target)))


def _image_model(request: Request) -> ImageFlowModule | VAEModule:
    return load_image_model(request.ckpt_path, f"the figure {request.name}", request.model).to(request.target)


def _density(request: Request) -> Figure:
    model = load_planar_flow(request.ckpt_path, "the figure density", request.model).to(request.target)
    data = load_rows(str(request.ckpt_path), request.num or 3000, request.data, request.data_options)
    return density.density_figure(data, _draw(model, request, 3000), lambda x: model(x.to(request.target)))


def _image_flow(request: Request) -> ImageFlowModule:
    return load_image_flow(request.ckpt_path, f"the figure {request.name}", request.model).to(request.target)


def _dataset(request: Request, model: ImageFlowModule | VAEModule, split: Literal["train", "test"]) -> ImageDataset:
    """All images of a split, without augmentation."""
    data = load_images(str(request.ckpt_path), model, request.images, request.data, request.data_options)
    data.prepare_data()
    found: ImageDataset = data.load(split)
    return found


def _choose(images: Tensor, num: int, request: Request) -> Tensor:
    """Choose ``num`` of the images at random, or all of them if there are fewer."""
    return images[torch.randperm(len(images), generator=request.generator("choice"))[:num]]


def _draw(model: FlowModule, request: Request, default: int) -> Tensor:
    """Samples of a flow, on the host."""
    generator, num = request.generator("samples", request.target), request.num or default
    check_fits(num, model.event_shape, "--num")
    drawn = []
    with progress(total=num, unit="sample", desc="sampling") as counted:
        at_once = SAMPLES_AT_ONCE[len(model.event_shape)]
        for start in range(0, num, at_once):
            count = min(at_once, num - start)
            drawn.append(model.sample(count, temperature=request.temperature, generator=generator).cpu())
            counted.update(count)
    return torch.cat(drawn)


DRAWINGS: dict[str, Callable[[Request], Figure]] = {
    "exponential_matrix": lambda r: convolution.exponential_matrix_figure(convolution.equivalent_matrices(seed=r.seed)),
    "convolution_matrix": lambda r: convolution.convolution_matrix_figure(convolution.equivalent_matrices(seed=r.seed)),
    "feature_maps": lambda r: convolution.feature_maps_figure(convolution.feature_maps(_photo())),
    "series_terms": _series_terms,
    "samples": _samples,
    "interpolation": _interpolation,
    "nearest": _nearest,
    "outliers": _outliers,
    "graphs": _graphs,
    "density": _density,
}
