"""Training with ``fit --compile=true``, through the command line."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters

from lightning_flows.app.cli import run
from lightning_flows.app.commands.sample import sample
from lightning_flows.errors import UsageError

COMPILE = "--compile=aot_eager"  # does not generate code, which would take minutes
BEST = "checkpoints/best.ckpt"


@pytest.fixture(autouse=True)
def _no_earlier_graphs() -> None:
    torch.compiler.reset()
    counters.clear()


def weights(folder: Path) -> dict[str, Tensor]:
    return torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["state_dict"]


def fit(folder: Path, options: list[str], *more: str) -> int:
    """Train in a folder, and return the number of compiled graphs, with one that checks the compiler."""
    before = counters["stats"].get("unique_graphs", 0)
    run(["fit", *options, f"--trainer.logger.init_args.save_dir={folder}", *more])
    return counters["stats"].get("unique_graphs", 0) - before


def test_compiled_and_eager_runs_resume_each_other(tiny: list[str], tmp_path: Path) -> None:
    again = ["--ckpt_path=last", "--trainer.max_epochs=2"]
    graphs = {}
    for name, first, second in (("eager", [], []), ("first", [COMPILE], []), ("second", [], [COMPILE])):
        graphs[name] = fit(tmp_path / name, tiny, *first), fit(tmp_path / name, tiny, *second, *again)
    assert graphs == {"eager": (0, 0), "first": (2, 0), "second": (0, 2)}
    expected = weights(tmp_path / "eager/demo/version_0")
    for name in ("first", "second"):
        found = weights(tmp_path / name / "demo/version_0")
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            torch.testing.assert_close(found[key], value, rtol=1e-4, atol=1e-5, msg=key)


def test_checkpoints_and_configs_of_compiled_runs_are_those_of_any_run(tiny: list[str], tmp_path: Path) -> None:
    assert fit(tmp_path, [*tiny, "--trainer.precision=bf16-mixed"], COMPILE) == 2
    folder = tmp_path / "demo/version_0"
    assert "compile: aot_eager" in (folder / "config.yaml").read_text()
    options = [f"--config={folder / 'config.yaml'}", f"--ckpt_path={folder / BEST}", "--trainer.limit_test_batches=1"]
    tested = run(["test", *options])
    assert tested.trainer.callback_metrics["test/bpd"] > 0
    assert tested.model.compiled_terms is None
    assert sample(str(folder / BEST), str(tmp_path / "a.png"), num=1).is_file()


def test_only_fit_compiles() -> None:
    for command in ("validate", "test", "predict"):
        with pytest.raises(UsageError, match=f"--compile has no effect on {command}: it is an option of fit"):
            run([command, "--ckpt_path=a.ckpt", "--compile"])


def test_an_unknown_backend_is_refused_before_training(tiny: list[str], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"foo is not a backend of torch\.compile: use --compile=true"):
        fit(tmp_path, tiny, "--compile=foo")
    assert not list(tmp_path.rglob("*.ckpt"))
