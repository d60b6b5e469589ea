import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer

from lightning_flows.app.cli import main, run
from lightning_flows.data import GraphMoGDataModule
from lightning_flows.errors import NonFiniteError, ShapeError, UsageError
from lightning_flows.functional.graphs import Graph
from lightning_flows.modules import GraphCouplingFlow, GraphNormalizingFlow, SetAutoregressiveFlow, load_model

SIZES = {"width": 8, "num_blocks": 1, "num_heads": 2}
KINDS = {
    "coupling": lambda shape: GraphCouplingFlow(shape, num_steps=2, width=8, depth=1),
    "gnf": lambda shape: GraphNormalizingFlow(shape, exponential=False, num_steps=1, **SIZES),
    "exponential": lambda shape: GraphNormalizingFlow(shape, num_steps=1, **SIZES),
    "set": lambda shape: SetAutoregressiveFlow(shape, components=3, **SIZES),
}
TINY = [
    "--model.width=8", "--data.batch_size=8", "--data.eval_batch_size=64", "--data.steps_per_epoch=3",
    "--data.num_val=64", "--data.num_test=100", "--trainer.max_epochs=2", "--trainer.enable_progress_bar=false",
]  # fmt: skip


def batch(**options):
    data = GraphMoGDataModule(batch_size=16, num_val=8, num_test=50, **options)
    data.setup("test")
    return next(iter(data.test_dataloader()))


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_has_a_gradient_for_each_parameter(kind):
    module = KINDS[kind]((4, 2))
    module.log = lambda *args, **kwargs: None
    loss = module.train().training_step(batch(), 0)
    loss.backward()
    assert loss > 1
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())


@pytest.mark.parametrize("kind", ["gnf", "exponential", "set"])
def test_graphs_of_different_size_and_incomplete_ones(kind):
    adjacency = [[0, 1, 0, 1], [1, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0]]
    items = batch(sizes=[2, 4], adjacency=adjacency)
    module = KINDS[kind]((4, 2)).eval()
    nll = module._nll(items, "testing")
    assert nll.shape == items["index"].shape
    changed = dict(items, nodes=torch.where(items["mask"][..., None], items["nodes"], 7.0))
    torch.testing.assert_close(module._nll(changed, "testing"), nll)


def test_a_flow_of_one_vector_takes_no_padding():
    with pytest.raises(ShapeError, match="expected graphs of one size"):
        KINDS["coupling"]((4, 2)).training_step(batch(sizes=[2, 4]), 0)


@pytest.mark.parametrize("kind", KINDS)
def test_images_are_no_graphs(kind):
    with pytest.raises(ShapeError, match=r"expected graphs of shape \(N, F\); got \(3, 8, 8\)"):
        KINDS[kind]((3, 8, 8))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_heads": 0}, "at least one head"),
        ({"width": 9, "num_heads": 2}, "a width that the heads divide"),
        ({"max_neighbors": 0}, "max_neighbors of at least 1"),
        ({"node_map": "mixture", "components": 0}, "at least one component"),
    ],
)
def test_sizes_that_make_no_net(options, message):
    with pytest.raises(UsageError, match=message):
        GraphNormalizingFlow((4, 2), **options)


@pytest.mark.parametrize("options", [{"warmup_steps": -1}, {"num_test_samples": -1}])
def test_numbers_that_make_no_sense_are_refused(options):
    with pytest.raises(UsageError, match="expected warmup_steps and num_test_samples of at least 0; got"):
        GraphCouplingFlow((4, 2), **options)


def test_a_first_batch_of_one_graph_leaves_densities_within_reason():
    module = GraphCouplingFlow((4, 2), num_steps=3, width=8)
    nodes = 5 * torch.randn(65, 4, 2)
    module.train()
    module(nodes[:1])
    assert module.eval()(nodes[1:]).min() > -1e4


@pytest.mark.parametrize("kind", [GraphCouplingFlow, GraphNormalizingFlow, SetAutoregressiveFlow])
def test_a_flow_of_no_step(kind):
    with pytest.raises(UsageError, match="expected num_steps of at least 1; got 0"):
        kind((4, 2), num_steps=0)


def test_nll_is_that_of_a_node():
    module = KINDS["set"]((4, 2)).eval()
    items = batch()
    expected = -module(items["nodes"]) / 4
    torch.testing.assert_close(module._nll(items, "testing"), expected)
    assert torch.equal(module.predict_step(items, 0)["nll"], expected)


@pytest.mark.parametrize("kind", ["gnf", "set"])
def test_nodes_that_are_padding_are_not_counted(kind):
    """An NLL, a gap and a prediction of each graph are those of its own nodes."""
    module, items = KINDS[kind]((4, 2)).eval(), batch(sizes=[1, 2, 4])
    log_prob, nodes = module(items["nodes"], Graph(None, items["mask"])).detach(), items["mask"].sum(1)
    assert set(nodes.tolist()) == {1, 2, 4}
    found = module.predict_step(items, 0)
    torch.testing.assert_close(found["nll"], -log_prob / nodes)
    torch.testing.assert_close(found["log_likelihood"], log_prob)
    gap = (items["true_log_prob"] - log_prob) / nodes
    for step, prefix in ((module.validation_step, "val"), (module.test_step, "test")):
        step(items, 0)
        nll = getattr(module, f"{prefix}_nll").compute().item()
        assert nll == pytest.approx((-log_prob / nodes).mean().item(), rel=1e-5)
        assert getattr(module, f"{prefix}_gap").compute().item() == pytest.approx(gap.mean().item(), rel=1e-4)
    assert module.test_gap_error.compute().item() == pytest.approx((gap.std() / len(gap) ** 0.5).item(), rel=1e-4)


def test_schedule_ends_at_zero():
    module = KINDS["gnf"]((4, 2))
    module._trainer = SimpleNamespace(estimated_stepping_batches=1000)
    factors = [module.learning_rate_factor(step) for step in (0, 49, 500, 1000)]
    expected = [0.01, 0.5 * 0.5 * (1 + math.cos(math.pi * 0.049)), 0.5, 0.0]
    assert factors == pytest.approx(expected, abs=1e-9)


def test_nan_features_are_named():
    items = batch()
    items["nodes"][0, 0, 0] = torch.nan
    with pytest.raises(NonFiniteError, match=r"expected finite log-probabilities in training.*GraphActNorm"):
        KINDS["gnf"]((4, 2)).eval()._nll(items, "training")


def test_callbacks_for_images_are_refused_before_training(tmp_path, capsys):
    options = ["--model=SetAutoregressiveFlow", "--data=GraphMoGDataModule", "--data.num_val=8"]
    with pytest.raises(SystemExit):
        main(["fit", *options, f"--trainer.logger.init_args.save_dir={tmp_path}", "--trainer.accelerator=cpu"])
    assert "ModelCheckpoint monitors val/bpd, which SetAutoregressiveFlow does not log" in capsys.readouterr().err


def test_no_entropy_of_graphs_of_several_sizes():
    module = KINDS["set"]((4, 2))
    trainer = Trainer(logger=False, enable_progress_bar=False, enable_model_summary=False, accelerator="cpu")
    trainer.test(module, GraphMoGDataModule(sizes=[2, 4], num_test=50), verbose=False)
    assert {"test/nll", "test/gap"} <= trainer.callback_metrics.keys()
    assert not {"test/entropy", "test/nll_from_gap", "test/valid_share"} & trainer.callback_metrics.keys()


def test_train_test_predict_and_sample_through_the_command_line(tmp_path, capsys):
    options = [f"--trainer.logger.init_args.save_dir={tmp_path}", "--model.num_blocks=1", "--model.components=3"]
    main(["fit", "--config=table4/mog4_set_autoregressive.yaml", *TINY, *options])
    folder = tmp_path / "table4/version_0"
    assert (folder / "samples/epoch_0001.png").stat().st_size > 10_000
    best = folder / "checkpoints/best.ckpt"
    metrics = run(["test", f"--ckpt_path={best}", "--model.num_test_samples=32"]).trainer.callback_metrics
    assert metrics["test/entropy"].item() == pytest.approx(3.6324, abs=1e-4)
    assert metrics["test/gap"] > 3 * metrics["test/gap_standard_error"] > 0
    assert metrics["test/nll_from_gap"].item() == pytest.approx((metrics["test/entropy"] + metrics["test/gap"]).item())
    assert abs(metrics["test/nll"] - metrics["test/nll_from_gap"]) < 0.3  # 100 graphs
    assert 0 <= metrics["test/valid_share"] < 0.5
    main(["predict", f"--ckpt_path={best}", f"--out={tmp_path}/scores.csv"])
    header, *rows = (tmp_path / "scores.csv").read_text().splitlines()
    assert header == "index,name,log_likelihood,nll"
    assert len(rows) == 100
    main(["sample", f"--ckpt_path={best}", f"--out={tmp_path}/graphs.png", "--num=5", "--npy=true"])
    assert (tmp_path / "graphs.png").is_file()
    assert "5 samples" in capsys.readouterr().out
    assert load_model(best).sample(3).shape == (3, 4, 2)


@pytest.mark.parametrize("kind", ["exponential", "set"])
def test_samples_of_incomplete_graphs_go_back_to_their_noise(kind):
    module = KINDS[kind]((3, 2)).eval()
    path, mask = torch.tensor([[0.0, 1, 0], [1, 0, 1], [0, 1, 0]]), torch.tensor([[True] * 3, [True, True, False]])
    graph = Graph(path * (mask[:, :, None] & mask[:, None, :]), mask)
    samples = module.sample(2, graph=graph, generator=torch.Generator().manual_seed(1))
    assert torch.equal(samples[1, 2], torch.zeros(2))
    noise = torch.randn(2, 3, 2, generator=torch.Generator().manual_seed(1)) * mask[..., None]
    torch.testing.assert_close(module.model.encode(samples, graph)[0], noise, rtol=0, atol=1e-4)


def test_samples_have_the_sizes_of_the_training(tmp_path):
    options = [f"--trainer.logger.init_args.save_dir={tmp_path}", "--data.sizes=[1,3]", "--model.num_blocks=1"]
    main(["fit", "--config=table4/mog4_gnf_exponential.yaml", *TINY, *options])
    checkpoint = tmp_path / "table4/version_0/checkpoints/best.ckpt"
    main(["sample", f"--ckpt_path={checkpoint}", f"--out={tmp_path}/graphs.png", "--num=40", "--npy=true"])
    there = ~np.isnan(np.load(tmp_path / "graphs.npy")).any(-1)
    assert set(there.sum(1)) == {1, 3}
    assert there[:, 0].all()
    assert (tmp_path / "graphs.png").is_file()
