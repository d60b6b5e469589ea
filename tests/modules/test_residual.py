import math

import pytest
import torch
from lightning.pytorch import Trainer

from lightning_flows.functional.streams import stream, stream_seed
from lightning_flows.modules import CSF, CouplingFlow, ResidualFlow, load_model
from lightning_flows.modules.base import FlowModule
from lightning_flows.transforms import ResidualBlock
from tests.modules.test_base import Stripes, trainer
from tests.transforms.cases import perturb

SMALL = {
    "num_levels": 2, "steps_per_level": 1, "hidden_channels": 8, "split_width": 6, "split_depth": 1, "split_growth": 4,
    "dequantization_steps": 1, "context_channels": 2, "context_depth": 1, "context_growth": 2, "warmup_epochs": 1,
}  # fmt: skip
MODELS = {
    "csf": (CSF, {}),
    "no_autoregressive": (CSF, {"ablation": "no_autoregressive"}),
    "no_basis": (CSF, {"ablation": "no_basis"}),
    "coupling": (CouplingFlow, {}),
    "residual": (ResidualFlow, {}),
}


@pytest.mark.parametrize("dequantization", ["uniform", "variational"])
@pytest.mark.parametrize("name", MODELS)
def test_trains_tests_and_loads(name, dequantization, tmp_path):
    kind, options = MODELS[name]
    module: FlowModule = kind((1, 8, 8), dequantization=dequantization, num_importance_samples=2, **SMALL, **options)
    run: Trainer = trainer(tmp_path)
    run.fit(module, Stripes())
    (results,) = run.test(module, Stripes(), verbose=False)
    assert 0 < results["test/nll_bpd"] <= results["test/bpd"] < 12
    assert ("test/log_det_error_bpd" in results) == (name == "residual")
    run.save_checkpoint(tmp_path / "a.ckpt")
    loaded = load_model(tmp_path / "a.ckpt")
    assert type(loaded) is kind
    v = Stripes().images + 0.5
    with torch.no_grad():
        expected = module.eval().model.flow.log_prob(v)
        torch.testing.assert_close(loaded.model.flow.log_prob(v), expected, rtol=0, atol=0)


def test_equal_memory_is_half_the_steps():
    options = {**SMALL, "steps_per_level": 4}
    blocks = {
        equal: sum(
            isinstance(m, ResidualBlock) for m in ResidualFlow((1, 8, 8), equal_memory=equal, **options).modules()
        )
        for equal in (False, True)
    }
    assert blocks == {False: 8, True: 4}


@pytest.mark.parametrize("num_draws", [0, 1, 3])
@pytest.mark.parametrize("chunk_size", [1, 4, 5, 256])
def test_error_of_the_log_determinants_is_over_all_images_and_draws(chunk_size, num_draws):
    module = ResidualFlow(
        (3, 8, 8), eval_probes=3, num_importance_samples=num_draws, eval_chunk_size=chunk_size, **SMALL
    )
    perturb(module.model.flow, 256 * torch.rand(4, 3, 8, 8), noise=0.05)
    batch = {"image": torch.randint(0, 256, (6, 3, 8, 8), dtype=torch.uint8), "index": torch.arange(6)}
    batch["image"][0] = 3  # unlike the others
    module.test_step(batch, 0)
    blocks = [m for m in module.modules() if isinstance(m, ResidualBlock)]
    errors, remainders = [], []
    for x, index in zip(batch["image"], batch["index"].tolist(), strict=True):
        generator = stream(stream_seed(0, "evaluation noise", index), "dequantization")
        for _ in range(max(1, num_draws)):
            with torch.no_grad():
                module.model.elbo(x[None], generator=generator)
            reports = [block.log_det_report for block in blocks]
            errors.append(sum(float(report.error) ** 2 for report in reports) ** 0.5)
            remainders.append(sum(float(report.remainder) for report in reports))
    bits = 192 * math.log(2) * len(errors)
    assert module.test_log_det_error.compute().item() == pytest.approx(sum(errors) / bits, rel=1e-4)
    assert module.test_log_det_remainder.compute().item() == pytest.approx(sum(remainders) / bits, rel=1e-3)
    assert module.test_log_det_error.compute().dtype == torch.float64


def test_error_of_the_log_determinants_is_that_of_the_blocks(tmp_path):
    module = ResidualFlow((3, 8, 8), eval_probes=3, **SMALL)
    batch = {"image": torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8), "index": torch.arange(4)}
    module.training_step(batch, 0)
    module.eval().test_step(batch, 0)
    blocks = [
        layer for level in module.model.flow.levels for layer in level.transforms if hasattr(layer, "log_det_report")
    ]
    assert len(blocks) == 2
    variance = sum(block.log_det_report.error.square() for block in blocks)
    expected = variance.sqrt().mean() / (192 * torch.tensor(2.0).log())
    torch.testing.assert_close(module.test_log_det_error.compute().float(), expected)
    assert expected > 0


def test_variational_dequantization_adds_the_authors_number_of_parameters():
    """36.6 against 27.6 million that are not masked out."""
    counts = {}
    for dequantization in ("uniform", "variational"):
        with torch.device("meta"):
            module = CSF((3, 32, 32), dequantization=dequantization)
        counts[dequantization] = sum(p.numel() for p in module.parameters())
    assert counts["variational"] - counts["uniform"] == pytest.approx(9.0e6, rel=0.02)
