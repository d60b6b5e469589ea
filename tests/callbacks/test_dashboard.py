import re
from pathlib import Path

from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import plugin_data_pb2

from lightning_flows.callbacks import Dashboard, RuntimeMonitor, SampleGrid
from lightning_flows.callbacks.dashboard import LAYOUT
from tests.callbacks.test_monitors import events, fit, monitors


def charts(folder: Path) -> dict[str, str]:
    """Titles and patterns, as TensorBoard lays them out."""
    (event,) = events(folder).Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(event.tensor_proto.string_val[0])
    assert [category.title for category in layout.category] == list(LAYOUT)
    return {chart.title: chart.multiline.tag[0] for category in layout.category for chart in category.chart}


def test_the_loss_comes_first_and_no_chart_is_empty(tmp_path: Path) -> None:
    found = {}
    for kind in ("sylvester", "graph"):
        fit(tmp_path / kind, kind, [*monitors(), RuntimeMonitor(skip_steps=0), SampleGrid(num_samples=2)], max_epochs=1)
        found[kind] = charts(tmp_path / kind)
        assert next(iter(found[kind])) == "loss, training and validation"
        tags = events(tmp_path / kind).Tags()["scalars"]
        for title, pattern in found[kind].items():
            assert any(re.match(pattern, tag) for tag in tags), title
    assert found["sylvester"].keys() ^ found["graph"].keys() == {"gap to the exact density", "iterations"}


def test_a_run_without_validation_has_a_layout(tmp_path: Path) -> None:
    fit(tmp_path, "graph", [Dashboard()], max_epochs=1, limit_val_batches=0)
    assert "terms of the bound" in charts(tmp_path)


def test_hyperparameters_with_the_metric(tmp_path: Path) -> None:
    for kind, name in (("sylvester", "flow.steps_per_level"), ("graph", "mixture")):
        fit(tmp_path / kind, kind, [Dashboard()], max_epochs=1)
        found = events(tmp_path / kind)
        experiment, start = [
            plugin_data_pb2.HParamsPluginData.FromString(found.SummaryMetadata(tag).plugin_data.content)
            for tag in ("_hparams_/experiment", "_hparams_/session_start_info")
        ]
        assert [info.name.tag for info in experiment.experiment.metric_infos] == ["val/loss"]
        assert name in start.session_start_info.hparams
        assert start.session_start_info.hparams["optimizer.lr"].number_value == 1e-3
        assert len(found.Scalars("val/loss")) == 1  # only what validation logged
