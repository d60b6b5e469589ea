"""Tests of ``benchmark``."""

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_flows.app.bench import Bench
from lightning_flows.app.cli import main
from lightning_flows.errors import UsageError
from lightning_flows.modules.compiled import CompiledTerms
from lightning_flows.training.signals import Interrupted

GRAPHS = ["--config=model/gnf.yaml", "--config=data/mog.yaml", "--model.flow.num_steps=1", "--model.flow.net.width=8"]


def measured(capsys: pytest.CaptureFixture[str], *args: str) -> dict[str, Any]:
    main(["benchmark", *args, "--json", "--device=cpu", "--rounds=2"])
    return json.loads(capsys.readouterr().out)


def refused(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    with pytest.raises(SystemExit) as exit_info:
        main(["benchmark", *args])
    assert exit_info.value.code in (1, 2)
    return capsys.readouterr().err.splitlines()[-2 if exit_info.value.code == 2 else -1]


def test_a_config_without_its_data(capsys: pytest.CaptureFixture[str], tiny: list[str]) -> None:
    found = measured(capsys, *tiny, "--data=CIFAR10DataModule", "--data.root=nowhere", "--only=[bf16]")
    assert {"eager", "bf16"} < set(found)  # the first is what others are compared with
    assert found["batch_size"] == 8
    assert found["eager"]["items_per_second"] == pytest.approx(8 / found["eager"]["step_seconds"])
    assert found["eager"]["sample_seconds_per_item"] > 0
    assert found["bf16"]["memory_bytes"] < found["eager"]["memory_bytes"]


def test_a_table_names_what_is_skipped(capsys: pytest.CaptureFixture[str], tiny: list[str]) -> None:
    main(["benchmark", *tiny, "--batch_size=3", "--only=[tf32]", "--device=cpu", "--rounds=1"])
    out = capsys.readouterr().out
    assert "| tf32 | cpu has no TensorFloat-32 | – |" in out
    assert "ConvSylvesterFlow of 0.0" in out
    assert "batch 3 of (3, 32, 32)" in out


def test_progress_is_shown_and_complete(
    capsys: pytest.CaptureFixture[str], tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightning_flows.progress.SECONDS", 0.0)
    main(["benchmark", *tiny, "--only=[bf16]", "--rounds=2", "--device=cpu"])
    assert re.search(r"measuring: 83 %.*\nmeasuring: 100 %\n", capsys.readouterr().err)


def test_graphs(capsys: pytest.CaptureFixture[str]) -> None:
    assert measured(capsys, *GRAPHS, "--only=[eager]")["eager"]["memory_bytes"] > 0


def test_a_checkpoint(capsys: pytest.CaptureFixture[str], trained: Path) -> None:
    assert measured(capsys, f"--ckpt_path={trained}", "--only=[eager]")["batch_size"] == 8


def test_an_interrupted_benchmark_shows_what_it_has(
    capsys: pytest.CaptureFixture[str], tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, seconds = iter(range(100)), Bench.seconds

    def interrupted(bench: Bench, function: Any) -> float:
        if next(calls) == 6:  # two for the estimate, two to warm up, one step and one sample
            raise Interrupted(2)
        return seconds(bench, function)

    monkeypatch.setattr(Bench, "seconds", interrupted)
    with pytest.raises(Interrupted):
        main(["benchmark", *tiny, "--only=[bf16]", "--device=cpu"])
    out = capsys.readouterr().out
    assert "| eager |" in out
    assert "| bf16 |" not in out


def test_a_cpu_takes_fewer_items_than_a_large_batch(
    capsys: pytest.CaptureFixture[str], tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightning_flows.app.commands.benchmark.SECONDS_ON_CPU", 1e-6)
    main(["benchmark", *tiny, "--only=[eager]", "--device=cpu", "--rounds=1"])
    captured = capsys.readouterr()
    assert "batch 1 of" in captured.out
    assert "batch size reduced from 8 to 1" in captured.err


def test_bad_input(capsys: pytest.CaptureFixture[str], tiny: list[str]) -> None:
    error = partial(refused, capsys)
    assert error() == "error: benchmark needs a config or a checkpoint: pass --config csf.yaml, or --ckpt_path FILE"
    assert error(*tiny, "--only=[fast]").startswith("error: --only fast is not a variant: choose among eager")
    assert error(*tiny, "--rounds=0").startswith("error: --rounds 0 is not allowed")
    assert error(*tiny, "--device=tpu").startswith("error: --device tpu is not available")
    assert "GiB: use a smaller --batch_size" in error(*tiny, "--batch_size=100000000", "--device=cpu")


def test_compile_is_skipped_with_the_reason_where_there_is_no_compiler(
    capsys: pytest.CaptureFixture[str], tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(compiled: CompiledTerms, device: torch.device) -> None:
        raise UsageError("torch.compile does not work here: install g++")

    monkeypatch.setattr(CompiledTerms, "check", fails)
    skipped = measured(capsys, *tiny, "--only=[compile]")["skipped"]
    assert skipped == {"compile": "torch.compile does not work here: install g++"}


def test_a_compiled_loss_is_measured(
    capsys: pytest.CaptureFixture[str], tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightning_flows.app.commands.benchmark.CompiledTerms", partial(CompiledTerms, "eager"))
    found = measured(capsys, *tiny, "--only=[compile,recompute]")
    assert found["compile"]["step_seconds"] > 0
    assert found["compile"]["sample_seconds_per_item"] is None
    assert found["recompute"]["memory_bytes"] < found["eager"]["memory_bytes"] / 4
    again = measured(capsys, *tiny, "--model.recompute=true", "--only=[recompute]")
    for name in ("eager", "recompute"):  # whatever the config says
        assert again[name]["memory_bytes"] == pytest.approx(found[name]["memory_bytes"], rel=0.1)


def out_of_memory(*args: object, **kwargs: object) -> None:
    raise torch.OutOfMemoryError


def test_what_fits_is_shown_if_eager_runs_out_of_memory(
    capsys: pytest.CaptureFixture[str], tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    warm_up = Bench.warm_up

    def of_recompute(self: Bench, variant: Any) -> None:
        with variant.context():
            if not self.module.model.recompute:
                out_of_memory()
        warm_up(self, variant)

    monkeypatch.setattr(Bench, "warm_up", of_recompute)
    main(["benchmark", *tiny, "--only=[recompute]", "--batch_size=2", "--rounds=1", "--device=cpu"])
    out = capsys.readouterr().out
    assert re.search(r"\| recompute \| \d+\.\d \| \d+\.\d \| – \|", out)
    assert "| eager | out of memory |" in out


def test_steps_are_shown_if_sampling_or_one_of_them_runs_out_of_memory(
    capsys: pytest.CaptureFixture[str], tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Bench, "sample", out_of_memory)
    options = [*tiny, "--only=[recompute]", "--batch_size=2"]
    found = measured(capsys, *options)
    assert found["eager"]["sample_seconds_per_item"] is None
    assert found["skipped"] == {"sampling": "out of memory"}
    step = Bench.step

    def of_first_turns(self: Bench, variant: Any, turn: int) -> Any:
        return step(self, variant, turn) if turn < 2 else out_of_memory()

    monkeypatch.setattr(Bench, "step", of_first_turns)
    found = measured(capsys, *options)
    assert found["skipped"]["eager"] == "out of memory"
