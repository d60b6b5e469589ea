"""Models from checkpoints."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from lightning_flows.checkpoints import construct, find_class, read_checkpoint
from lightning_flows.checkpoints.classes import Named
from lightning_flows.checkpoints.training import check_state_dict
from lightning_flows.errors import CheckpointError
from lightning_flows.modules.base import FlowModule


def load_model(path: str | Path, model: Named = None) -> FlowModule:
    """Rebuild the module of a checkpoint, in eval mode, on the host.

    Args:
        path: checkpoint.
        model: your own classes that the checkpoint names, or their paths: module, flow, dequantization. Classes from
            lightning_flows and torch.optim do not need to be named.

    Raises: CheckpointError if it cannot be read or names another class.

    >>> from tempfile import TemporaryDirectory
    >>> from lightning_flows.app.default_trainer import default_trainer
    >>> from lightning_flows.data import ToyDataModule
    >>> from lightning_flows.flows import AutoregressiveFlow
    >>> from lightning_flows.modules import VectorFlowModule
    >>> trainer = default_trainer(fast_dev_run=True, enable_model_summary=False)
    >>> trainer.fit(VectorFlowModule((2,), AutoregressiveFlow), ToyDataModule(num_val=16))
    >>> with TemporaryDirectory() as folder:
    ...     trainer.save_checkpoint(f"{folder}/moons.ckpt")
    ...     module = load_model(f"{folder}/moons.ckpt")
    >>> type(module).__name__, module.sample(5).shape
    ('VectorFlowModule', torch.Size([5, 2]))
    """
    checkpoint = read_checkpoint(path)
    with no_larger_than(checkpoint):
        module: FlowModule = load_component(checkpoint, "model", FlowModule, model)
    check_state_dict(module, checkpoint)
    module.load_state_dict(checkpoint["state_dict"])
    return module.eval()


def load_flow(path: str | Path, model: Named = None) -> nn.Module:
    """Rebuild the flow of a checkpoint, without its module: of images a ``DequantizedFlow``.

    For arguments and errors see :func:`load_model`.

    >>> from tempfile import TemporaryDirectory
    >>> from lightning_flows.app.default_trainer import default_trainer
    >>> from lightning_flows.data import ToyDataModule
    >>> from lightning_flows.flows import AutoregressiveFlow
    >>> from lightning_flows.modules import VectorFlowModule
    >>> trainer = default_trainer(fast_dev_run=True, enable_model_summary=False)
    >>> trainer.fit(VectorFlowModule((2,), AutoregressiveFlow), ToyDataModule(num_val=16))
    >>> with TemporaryDirectory() as folder:
    ...     trainer.save_checkpoint(f"{folder}/moons.ckpt")
    ...     flow = load_flow(f"{folder}/moons.ckpt")
    >>> samples, log_prob = flow.sample_and_log_prob(5)
    >>> samples.shape, log_prob.shape
    (torch.Size([5, 2]), torch.Size([5]))
    """
    return load_model(path, model).model


def load_component(checkpoint: dict[str, Any], section: str, base: type, named: Named = None) -> Any:
    """Rebuild the model or data of a checkpoint. Raises: CheckpointError if a class in it is not permitted."""
    config = checkpoint["lightning_flows"][section]
    find = partial(find_class, named=named, option=section)
    kind = find(config["class_path"])
    if not issubclass(kind, base):
        raise CheckpointError(
            f"the checkpoint names {config['class_path']}, which is not a {base.__name__}: use another checkpoint"
        )
    return construct(kind, config["init_args"], find)


@contextmanager
def no_larger_than(checkpoint: dict[str, Any]) -> Iterator[None]:
    """Raise as soon as a model that is built for a checkpoint is far larger than its weights.

    A parameter is counted before its values are drawn, and therefore before its memory is used.

    Raises: CheckpointError.
    """
    weights = [value for value in checkpoint["state_dict"].values() if isinstance(value, Tensor)]
    storages = {value.untyped_storage().data_ptr(): value.untyped_storage().nbytes() for value in weights}
    number, size = 100 + 4 * len(weights), 2**24 + 4 * sum(storages.values())

    def count(module: Any, name: str, parameter: Tensor | None) -> None:
        nonlocal number, size
        if parameter is not None:
            number, size = number - 1, size - parameter.numel() * parameter.element_size()
        if number < 0 or size < 0:
            raise CheckpointError(
                "the model is far larger than the weights in the checkpoint: omit the model's arguments to take "
                "them from there, or use a checkpoint written by fit"
            )

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()
