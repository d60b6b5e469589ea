"""Cost of the graph convolution exponential in a training step: ``python benchmarks/graphs.py``.

Graph normalizing flows of configs/table4 on complete graphs of MoG-4, MoG-9 and MoG-16 take turns: without the
exponential, with its closed form, and with its power series. A step is forward, backward and the optimiser's step.
"""

import argparse
from collections.abc import Callable

import torch
from timing import compare

from lightning_flows.app.configs import load_config
from lightning_flows.distributions.graph_mixture import graph_mixture
from lightning_flows.modules import GraphNormalizingFlow
from lightning_flows.transforms import GraphExponential


def training_step(exponential: bool, closed_form: bool, data: torch.Tensor) -> Callable[[], object]:
    """One step of a flow from configs/table4."""
    options = load_config("table4/gnf.yaml")["model"]["init_args"] | {"exponential": exponential, "learning_rate": 1e-6}
    flow = GraphNormalizingFlow(data.shape[1:], **options).train()
    for module in flow.modules():
        if isinstance(module, GraphExponential):
            module.closed_form = closed_form
    optimizer = flow.build_optimizer()

    def step() -> None:
        optimizer.zero_grad()
        (-flow(data)).mean().backward()
        optimizer.step()

    return step


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
