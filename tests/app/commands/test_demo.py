import re
from pathlib import Path

import pytest
import yaml

from lightning_flows.app.cli import main
from lightning_flows.app.configs import CONFIG_DIR


def test_demo_of_other_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = {"base": "moons.yaml", "trainer": {"max_steps": 2, "val_check_interval": 1}, "data": {"init_args": {}}}
    config["data"]["init_args"] |= {"num_val": 50, "steps_per_epoch": 2}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.chdir(tmp_path)
    main(["demo", "--fit_config=small.yaml"])
    text = capsys.readouterr().out
    assert re.search(r"On \d+ test items, in nats:\n  this flow       \d\.\d+ ± \d\.\d+\n\nsamples: ", text)
    assert "lossless" not in text
    assert Path(re.search(r"samples: +(.*)", text)[1]).is_file()


def test_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = yaml.safe_load((CONFIG_DIR / "demo.yaml").read_text())
    config["model"]["init_args"]["flow"]["init_args"] |= {"steps_per_level": 1, "hidden_channels": 12, "num_levels": 2}
    config["data"]["init_args"] |= {"batch_size": 8, "stride": 32}
    config["trainer"] |= {"max_epochs": 1, "limit_train_batches": 2}
    config["trainer"]["logger"]["init_args"]["save_dir"] = str(tmp_path)
    small = tmp_path / "small.yaml"
    small.write_text(yaml.safe_dump(config))
    main(["demo", f"--fit_config={small}"])
    text = capsys.readouterr().out
    png, webp = (float(re.search(rf"lossless {kind} +(\d\.\d+)", text)[1]) for kind in ("PNG", "WebP"))
    assert (png, webp) == (3.780, 3.116)
    assert re.search(r"this flow +\d\.\d+ ± 0\.\d+", text)
    for label in ("samples", "checkpoint"):
        assert Path(re.search(rf"{label}: +(.*)", text)[1]).is_file()
    assert f"tensorboard --logdir {tmp_path / 'demo'}" in text
