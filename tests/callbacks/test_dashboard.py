import re
from pathlib import Path

from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import plugin_data_pb2

from lightning_flows.callbacks import Dashboard, RuntimeMonitor
from lightning_flows.callbacks.dashboard import LAYOUT
from tests.callbacks.test_monitors import events, fit, monitors


def test_the_bound_comes_first(tmp_path: Path) -> None:
    fit(tmp_path, "sylvester", [Dashboard()], max_epochs=1)
    (event,) = events(tmp_path).Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(event.tensor_proto.string_val[0])
    assert [category.title for category in layout.category] == list(LAYOUT)
    assert layout.category[0].chart[0].title == "bound, train and validation"
    assert list(layout.category[0].chart[0].multiline.tag) == ["^(train|val)/(bpd|nll)$"]


def test_no_chart_stays_empty(tmp_path: Path) -> None:
    titles = {}
    for kind in ("sylvester", "graph"):
        callbacks = [*monitors(), RuntimeMonitor(skip_steps=0, num_samples=2)]
        fit(tmp_path / kind, kind, callbacks, max_epochs=1)
        found = events(tmp_path / kind)
        layout = layout_pb2.Layout.FromString(found.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0])
        charts = [chart for category in layout.category for chart in category.chart]
        for chart in charts:
            patterns = chart.multiline.tag
            assert any(re.match(p, tag) for p in patterns for tag in found.Tags()["scalars"]), chart.title
        titles[kind] = {chart.title for chart in charts}
    assert titles["sylvester"] ^ titles["graph"] == {"gap to the exact density", "iterations"}


def test_hyper_parameters_with_the_metric(tmp_path: Path) -> None:
    for kind, metric, name in (("sylvester", "val/bpd", "steps_per_level"), ("graph", "val/nll", "mixture")):
        fit(tmp_path / kind, kind, [Dashboard()], max_epochs=1)
        found = events(tmp_path / kind)
        experiment, start = [
            plugin_data_pb2.HParamsPluginData.FromString(found.SummaryMetadata(tag).plugin_data.content)
            for tag in ("_hparams_/experiment", "_hparams_/session_start_info")
        ]
        assert [info.name.tag for info in experiment.experiment.metric_infos] == [metric]
        assert name in start.session_start_info.hparams
        assert start.session_start_info.hparams["learning_rate"].number_value == 1e-3
        assert len(found.Scalars(metric)) == 1  # what validation logged alone
