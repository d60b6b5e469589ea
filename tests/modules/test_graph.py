from functools import partial

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer

from lightning_flows.app.cli import main, run
from lightning_flows.checkpoints import describe
from lightning_flows.data import GraphMoGDataModule
from lightning_flows.errors import ConvergenceError, DataError, NonFiniteError, ShapeError, UsageError
from lightning_flows.flows import GraphCouplingFlow, GraphNormalizingFlow, SetAutoregressiveFlow
from lightning_flows.functional.graphs import Graph
from lightning_flows.modules import GraphFlowModule, load_model
from tests.small_modules import GRAPH, graph_module, trainer

COUPLING = {"flow": GraphCouplingFlow, "num_steps": 2, "width": 8, "depth": 1}
KINDS = {
    "coupling": lambda: graph_module(**COUPLING),
    "gnf": lambda: graph_module(exponential=False),
    "exponential": graph_module,
    "set": lambda: graph_module(flow=SetAutoregressiveFlow, components=3, **GRAPH),
}


def items(**options):
    data = GraphMoGDataModule(batch_size=16, num_val=8, num_test=50, **options)
    data.setup("test")
    return next(iter(data.test_dataloader()))


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_has_a_gradient_for_each_parameter(kind):
    module, batch = KINDS[kind](), items()
    found = module.train().training_step(batch, 0)
    found["loss"].backward()
    assert found["loss"] > 1
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())
    assert set(found["terms"]) == {"latents", "log_det"}
    expected = module.loss_of(sum(found["terms"].values()), batch).mean()
    torch.testing.assert_close(found["loss"].detach(), expected)


@pytest.mark.parametrize("kind", ["gnf", "exponential", "set"])
def test_padding_is_ignored_in_training(kind):
    adjacency = [[0, 1, 0, 1], [1, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0]]
    batch, module = items(sizes=[2, 4], adjacency=adjacency), KINDS[kind]().eval()
    changed = dict(batch, nodes=torch.where(batch["mask"][..., None], batch["nodes"], 7.0))
    torch.testing.assert_close(module.log_prob(changed), module.log_prob(batch))
    values, exists = module.values(batch)
    assert torch.equal(exists, batch["mask"][..., None].expand_as(values))
    back, _ = module.decode_reported(module.encode(batch), batch)
    torch.testing.assert_close(back[exists], values[exists], rtol=0, atol=1e-3)


def test_the_coupling_flow_refuses_padding():
    with pytest.raises(ShapeError, match="expected graphs of one size"):
        KINDS["coupling"]().training_step(items(sizes=[2, 4]), 0)


def test_images_are_refused_as_graphs():
    with pytest.raises(ShapeError, match=r"expected graphs of shape \(N, F\); got \(3, 8, 8\)"):
        graph_module((3, 8, 8))


def test_invalid_numbers_are_refused():
    with pytest.raises(UsageError, match="expected num_test_samples of at least 0; got -1"):
        graph_module(num_test_samples=-1)


def test_a_first_batch_of_one_graph_keeps_densities_reasonable():
    module = graph_module(flow=GraphCouplingFlow, num_steps=3, width=8)
    nodes = 5 * torch.randn(65, 4, 2)
    module.train()
    module(nodes[:1])
    assert module.eval()(nodes[1:]).min() > -1e4


@pytest.mark.parametrize("sizes", [None, [1, 2, 4]])
def test_losses_gaps_and_predictions_are_per_node_that_exists(sizes):
    module, batch = KINDS["set"]().eval(), items(sizes=sizes)
    log_prob = module(batch["nodes"], Graph(None, batch.get("mask"))).detach()
    nodes = batch["mask"].sum(1) if sizes else torch.full_like(log_prob, 4)
    assert len(set(nodes.tolist())) == len(sizes or [4])
    found = module.predict_step(batch, 0)
    torch.testing.assert_close(found["nll"], -log_prob / nodes)
    torch.testing.assert_close(found["log_likelihood"], log_prob)
    gap = (batch["true_log_prob"] - log_prob) / nodes
    for step, prefix in ((module.validation_step, "val"), (module.test_step, "test")):
        step(batch, 0)
        loss = getattr(module, f"{prefix}_loss").compute()[0].item()
        assert loss == pytest.approx((-log_prob / nodes).mean().item(), rel=1e-5)
        mean, error = (value.item() for value in getattr(module, f"{prefix}_gap").compute())
        assert mean == pytest.approx(gap.mean().item(), rel=1e-4)
        assert error == pytest.approx(gap.std().item() / len(gap) ** 0.5, rel=1e-4)


def test_nan_features_are_named():
    batch = items()
    batch["nodes"][0, 0, 0] = torch.nan
    with pytest.raises(NonFiniteError, match=r"expected finite log-probabilities in training.*GraphActNorm"):
        KINDS["gnf"]().eval().training_step(batch, 0)


def test_a_drawing_shows_the_nodes_of_samples():
    module = graph_module()
    image = module.draw(torch.tensor([[[0.0, 0.0]] * 4, [[1.0, 1.0]] * 4]))
    assert (image.dtype, image.shape) == (torch.uint8, (3, 400, 400))
    assert 0.5 < (image == 255).float().mean() < 0.995


QUIET = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False}


def test_a_checkpoint_restores_the_flow(tmp_path):
    data = GraphMoGDataModule(batch_size=8, steps_per_epoch=3, num_val=64, num_test=100)
    trainer = Trainer(**QUIET, max_epochs=2, default_root_dir=tmp_path, enable_checkpointing=False)
    module = GraphFlowModule(None, GraphNormalizingFlow((4, 2), **GRAPH), num_test_samples=32)
    trainer.fit(module, datamodule=data)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    (results,) = trainer.test(module, datamodule=data, verbose=False)
    assert results["test/nll"] == results["test/loss"]
    assert results["test/nll_from_gap"] == pytest.approx(results["test/entropy"] + results["test/gap"])
    assert 0 <= results["test/valid_share"] <= 1
    loaded = load_model(tmp_path / "a.ckpt")
    generators = [torch.Generator().manual_seed(0) for _ in range(2)]
    samples = [each.sample(5, generator=g) for each, g in zip((module.eval(), loaded), generators, strict=True)]
    assert np.array_equal(*samples)


def test_flows_are_passed_as_partials():
    assert GraphFlowModule((9, 2), partial(SetAutoregressiveFlow, **GRAPH)).event_shape == (9, 2)


def test_graphs_of_several_sizes_have_no_entropy():
    trainer = Trainer(**QUIET)
    trainer.test(KINDS["set"](), GraphMoGDataModule(sizes=[2, 4], num_test=50), verbose=False)
    assert {"test/nll", "test/gap"} <= trainer.callback_metrics.keys()
    assert not {"test/entropy", "test/nll_from_gap", "test/valid_share"} & trainer.callback_metrics.keys()


@pytest.mark.parametrize("kind", ["exponential", "set"])
def test_samples_of_incomplete_graphs_encode_to_their_noise(kind):
    flows = {"exponential": GraphNormalizingFlow, "set": SetAutoregressiveFlow}
    module = graph_module((3, 2), flows[kind], **GRAPH).eval()
    path, mask = torch.tensor([[0.0, 1, 0], [1, 0, 1], [0, 1, 0]]), torch.tensor([[True] * 3, [True, True, False]])
    graph = Graph(path * (mask[:, :, None] & mask[:, None, :]), mask)
    samples = module.sample(2, graph=graph, generator=torch.Generator().manual_seed(1))
    assert torch.equal(samples[1, 2], torch.zeros(2))
    noise = torch.randn(2, 3, 2, generator=torch.Generator().manual_seed(1)) * mask[..., None]
    torch.testing.assert_close(module.model.encode(samples, graph)[0], noise, rtol=0, atol=1e-4)


TINY = [
    "--data.batch_size=8", "--data.eval_batch_size=64", "--data.steps_per_epoch=3", "--data.num_val=64",
    "--data.num_test=100", "--trainer.max_epochs=2", "--trainer.enable_progress_bar=false",
]  # fmt: skip


def test_train_test_predict_and_sample_through_the_command_line(tmp_path, capsys):
    options = [f"--trainer.logger.init_args.save_dir={tmp_path}", "--data.sizes=[1,3]"]
    options += ["--model.flow.net.width=8", "--model.flow.net.num_blocks=1"]
    main(["fit", "--config=model/gnf.yaml", "--config=data/mog.yaml", *TINY, *options])
    folder = tmp_path / "gnf/version_0"
    assert (folder / "samples/epoch_0001.png").stat().st_size > 5_000
    best = folder / "checkpoints/best.ckpt"
    assert run(["test", f"--ckpt_path={best}"]).trainer.callback_metrics["test/gap"] > 0
    main(["predict", f"--ckpt_path={best}", f"--out={tmp_path}/scores.csv"])
    header, *rows = (tmp_path / "scores.csv").read_text().splitlines()
    assert header == "index,name,log_likelihood,nll,typicality,p_likelihood,p_typicality"
    assert len(rows) == 100
    main(["sample", f"--ckpt_path={best}", f"--out={tmp_path}/graphs.png", "--num=40", "--npy=true"])
    assert "40 samples" in capsys.readouterr().out
    there = ~np.isnan(np.load(tmp_path / "graphs.npy")).any(-1)
    assert set(there.sum(1)) == {1, 3}  # the sizes in training
    assert (tmp_path / "graphs.png").is_file()


def test_recomputation_does_not_change_losses_and_records_say_so(tmp_path) -> None:
    losses = []
    for recompute in (False, True):
        torch.manual_seed(0)
        module = GraphFlowModule((4, 2), partial(GraphNormalizingFlow, **GRAPH), recompute=recompute)
        assert module.model.recompute == recompute
        assert describe(module)["init_args"]["recompute"] == recompute
        losses.append([])
        run = trainer(tmp_path, max_epochs=2, limit_val_batches=0)
        module.on_train_batch_end = lambda outputs, *_: losses[-1].append(outputs["loss"].item())
        run.fit(module, GraphMoGDataModule(mixture="mog4", steps_per_epoch=3))
    assert len(losses[0]) == 6
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)


def test_a_graph_without_nodes_is_refused_by_its_index() -> None:
    batch = items(sizes=[1, 2, 4])
    batch["mask"][2] = False
    module = KINDS["set"]()
    for step in (module.training_step, module.validation_step, module.test_step, module.predict_step):
        with pytest.raises(DataError, match=rf"the graph with index {int(batch['index'][2])} has no nodes in its mask"):
            step(batch, 0)


def test_samples_that_do_not_converge_do_not_lose_the_other_results(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **options: object) -> None:
        raise ConvergenceError("no convergence", 1.0)

    module = graph_module()
    monkeypatch.setattr(module, "sample", fail)
    data = GraphMoGDataModule(num_test=50)
    with pytest.warns(UserWarning, match="no test/valid_share: no convergence"):
        (results,) = Trainer(**QUIET).test(module, data, verbose=False)
    assert {"test/nll", "test/gap"} <= results.keys()
    assert "test/valid_share" not in results


@pytest.mark.parametrize(("means", "is_exact"), [([[0.0, 0.0], [9.0, 0.0]], True), ([[0.0, 0.0], [1.0, 1.0]], False)])
def test_an_entropy_that_is_not_exact_has_a_standard_error(means: list[list[float]], is_exact: bool) -> None:
    data = GraphMoGDataModule(mixture=None, means=means, num_test=50)
    (results,) = Trainer(**QUIET).test(graph_module((2, 2), num_test_samples=0), data, verbose=False)
    assert results.get("test/entropy_standard_error", 0.0) == pytest.approx(data.graph_mixture.entropy_per_node()[1])
    assert ("test/entropy_standard_error" not in results) == is_exact


def test_nodes_of_one_feature_are_drawn() -> None:
    image = graph_module((4, 1), GraphCouplingFlow, num_steps=1, width=8).draw(torch.randn(5, 4, 1))
    assert image.shape == (3, 400, 400)
