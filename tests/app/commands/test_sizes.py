"""All rows of a table have equal parameters on small images."""

from collections.abc import Mapping

import pytest
import torch

from benchmarks.models import build, settings
from lightning_flows.app.commands.experiments import EXPERIMENTS, OWN, POINTWISE, Experiment
from lightning_flows.app.commands.sizes import SIZES
from lightning_flows.app.commands.small import resized

TABLES = {"1": EXPERIMENTS[1], "1 pointwise": POINTWISE, "2": EXPERIMENTS[2] | OWN, "3": EXPERIMENTS[3]}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("experiments", TABLES.values(), ids=TABLES)
def test_the_rows_of_a_table_have_equal_parameters(experiments: Mapping[str, Experiment], size: str) -> None:
    """In Table 2, rows with uniform and with variational dequantization alike."""
    counts = {}
    for name, each in resized(experiments, size).items():
        with torch.device("meta"):
            module = build(*each.layers, event_shape=(3, *map(int, size.split("x"))))
        counts[name] = sum(parameter.numel() for parameter in module.parameters())
    assert len(counts) >= 3
    assert max(counts.values()) < 1.02 * min(counts.values()), counts


@pytest.mark.parametrize("size", SIZES)
def test_the_last_steps_of_each_row_are_validated(size: str) -> None:
    """Of 8,000 training images, as in the archive of the tables in the docs."""
    for name, each in resized(EXPERIMENTS[2] | OWN, size).items():
        config = settings(*each.layers)
        epoch = 8000 // config["data"]["init_args"]["batch_size"]
        trainer = config["trainer"]
        assert trainer["max_steps"] % (epoch * trainer["check_val_every_n_epoch"]) == 0, name


def test_residual_flows_have_coefficient_0_98_and_exact_tests_where_the_dimension_allows() -> None:
    small = resized(EXPERIMENTS[2], "8x8")["residual_uniform"]
    assert "--model.flow.exact_dims=192" in small.test
    flow = build(*small.layers, event_shape=(3, 8, 8)).model.flow
    assert flow.init_args["max_norm"] == 0.98
    assert resized(EXPERIMENTS[2], "16x16")["residual_uniform"].test == ["--model.flow.eval_probes=4"]
    assert not resized(EXPERIMENTS[2], "8x8")["csf_uniform"].test


def test_nets_of_pointwise_rows_see_single_pixels() -> None:
    for name, each in resized(POINTWISE, "8x8").items():
        with torch.device("meta"):
            module = build(*each.layers, event_shape=(3, 8, 8))
        found: dict[str, set[tuple[int, ...]]] = {"flow": set(), "dequantization": set()}
        for key, parameter in module.model.named_parameters():
            if parameter.ndim == 4 and (".net." in key or ".context" in key):
                found[key.partition(".")[0]].add(tuple(parameter.shape[2:]))
        squeezed = (2, 2)  # of a square that becomes one pixel of the next level
        assert found == {"flow": {(1, 1)}, "dequantization": {(1, 1), squeezed}}, name
