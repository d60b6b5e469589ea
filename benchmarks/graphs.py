"""Cost of the graph convolution exponential in a training step: ``python benchmarks/graphs.py``.

Flows of model/gnf.yaml on complete graphs of MoG-4, MoG-9 and MoG-16 alternate: without the exponential, with its
closed form, and with its power series. A step consists of forward, backward and the optimizer step.
"""

import argparse
from collections.abc import Callable
from functools import partial

import torch
from models import build
from timing import compare, train_step

from lightning_flows.distributions.graph_mixture import graph_mixture
from lightning_flows.transforms import GraphExponential


def training_step(exponential: bool, closed_form: bool, data: torch.Tensor) -> Callable[[], object]:
    """One step of a graph normalizing flow."""
    module = build("model/gnf.yaml", event_shape=data.shape[1:], exponential=exponential).train()
    for layer in module.modules():
        if isinstance(layer, GraphExponential):
            layer.closed_form = closed_form
    return partial(train_step, module, torch.optim.Adam(module.parameters(), lr=1e-6, foreach=True), data)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=51)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    for name in ("mog4", "mog9", "mog16"):
        data = graph_mixture(name).sample(arguments.batch)
        print(f"{name}; batch {arguments.batch}; one thread; {arguments.repeats} rounds")
        functions = {
            "without": training_step(False, True, data),
            "closed form": training_step(True, True, data),
            "series": training_step(True, False, data),
        }
        compare(name, functions, arguments.repeats)


if __name__ == "__main__":
    main()
