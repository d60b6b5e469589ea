"""The table of VAEs: a row for each posterior and its settings, both units, and runs that are not comparable."""

import json
from pathlib import Path
from typing import Any

import pytest

from lightning_flows.errors import DataError
from lightning_flows.reporting.tables import find_runs, table_vae
from tests.reporting.runs import RUNTIME, vae_model, write_curve

FREY = {"class_path": "lightning_flows.data.FreyFacesDataModule", "init_args": {"path": "data/freyfaces.npz"}}
DIGITS = {"class_path": "lightning_flows.data.DigitsDataModule", "init_args": {"binarization": "fixed"}}


@pytest.fixture
def write(write_run):
    """Write a tested run of a VAE; return its folder."""

    def write(name: str, posterior: str, bound: float, *, data: Any = FREY, unit: str = "bpd", **options: Any) -> Path:
        arguments = {key: options.pop(key) for key in [*options] if key in ("basis", "num_flows", "amortize_basis")}
        nll = {"bpd": "test/nll_bpd", "nll": "test/nll_nats"}[unit]
        values = {"test/loss": bound, f"test/{unit}": bound, nll: bound - 0.25, "test/kl": bound / 10}
        metrics = {**values, "test/importance_samples": 5.0}
        model = options.pop("model", None) or vae_model(posterior, **arguments)
        return write_run(name, model=model, data=data, metrics=metrics, **options)

    return write


def test_rows_and_columns(write, tmp_path):
    for seed, bound in enumerate((4.5, 4.7)):
        write(f"a{seed}", "DiagonalPosterior", bound, seed=seed, num_parameters_of={"encoder": 7, "posterior": 0})
    run = write("b", "PlanarPosterior", 4.4, num_flows=4, num_parameters_of={"posterior": 5}, runtime=RUNTIME)
    write_curve(run, {4: 0.0, 29: 1.0, 34: 2.0}, tag="epoch")
    write_curve(run, {29: 4.4}, tag="val/loss", suffix="-loss")
    header, rows, note = table_vae(find_runs(tmp_path))
    assert header == [
        "posterior", "runs", "−ELBO (bits per dimension)", "NLL", "KL", "parameters", "of the posterior",
        "seconds per epoch",
    ]  # fmt: skip
    assert rows == [
        ["diagonal", "2", "4.600 ± 0.141", "4.350 ± 0.141", "0.460 ± 0.014", "1234567", "0", "–"],
        ["planar", "1", "4.400", "4.150", "0.440", "1234567", "5", "30.0"],  # 15 steps per epoch, of 2 seconds
    ]
    assert "104 test images of FreyFacesDataModule (freyfaces.npz)" in note
    assert "NLL from 5 importance samples per image" in note
    assert note.endswith("planar 4.40 ± 0.06, IAF 4.47 ± 0.05, best Sylvester 4.45 ± 0.04 bits.")


@pytest.mark.parametrize(
    ("other", "seconds"),
    [
        ({"device": "H100"}, ["–", "–"]),
        ({"compiled": True}, ["–", "–"]),
        ({"train_step_seconds": 3.0}, ["30.0", "45.0"]),
    ],
)
def test_seconds_of_different_hardware_are_left_out(other, seconds, write, tmp_path):
    for name, posterior, runtime in (("a", "DiagonalPosterior", RUNTIME), ("b", "PlanarPosterior", RUNTIME | other)):
        run = write(name, posterior, 4.4, runtime=runtime)
        write_curve(run, {29: 1.0}, tag="epoch")
        write_curve(run, {29: 4.4}, tag="val/loss", suffix="-loss")
    assert [row[-1] for row in table_vae(find_runs(tmp_path)).rows] == seconds


def test_binary_images_are_in_nats(write, tmp_path):
    write("a", "IAFPosterior", 80.123, data=DIGITS, unit="nll")
    header, rows, note = table_vae(find_runs(tmp_path))
    assert header[2] == "−ELBO (nats)"
    assert rows == [["IAF", "1", "80.12", "79.87", "8.01", "1234567", "–", "–"]]
    assert "van den Berg" not in note


def test_each_posterior_and_setting_has_a_row(write, tmp_path):
    kinds = [
        ("MyPosterior", {"num_flows": 2}, "My"),
        ("GeneralizedSylvesterPosterior", {"amortize_basis": True}, "generalized Sylvester, amortized basis"),
        ("GeneralizedSylvesterPosterior", {"amortize_basis": False}, "generalized Sylvester"),
        ("SylvesterPosterior", {"basis": "triangular"}, "Sylvester, triangular"),
        ("SylvesterPosterior", {"basis": "householder"}, "Sylvester, Householder"),
        ("SylvesterPosterior", {"basis": "orthogonal"}, "Sylvester, orthogonal"),
        ("IAFPosterior", {}, "IAF"),
        ("PlanarPosterior", {"num_flows": 16}, "planar, num_flows=16"),
        ("PlanarPosterior", {"num_flows": 4}, "planar, num_flows=4"),
        ("DiagonalPosterior", {}, "diagonal"),
    ]
    for i, (posterior, arguments, _) in enumerate(kinds):
        write(str(i), posterior, 4.0 + i / 100, num_parameters=1000 + arguments.get("num_flows", 0), **arguments)
    rows = table_vae(find_runs(tmp_path)).rows
    assert [row[0] for row in rows] == [name for _, _, name in reversed(kinds)]
    assert {row[0]: row[2] for row in rows} == {name: f"{4 + i / 100:.3f}" for i, (*_, name) in enumerate(kinds)}


def test_a_seed_counts_once(write, tmp_path):
    write("old", "PlanarPosterior", 9.0, time=1.0)
    write("new", "PlanarPosterior", 4.0, time=2.0)
    assert table_vae(find_runs(tmp_path)).rows[0][1:3] == ["1", "4.000"]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"data": DIGITS, "unit": "nll"}, r"data\.class_path: .*FreyFaces.*, but .*Digits"),
        ({"data": {**FREY, "init_args": {"path": "other.npz"}}}, r"data\.init_args\.path: data/freyfaces\.npz, but"),
        ({"model": vae_model("PlanarPosterior", latent_size=8)}, r"latent_size: 64, but .* 8"),
        ({"model": vae_model("PlanarPosterior", sizes={"width": 8})}, r"sizes\.width: 32, but .* 8"),
        ({"trainer": {"max_epochs": 9}}, r"max_epochs: 4, but .* 9"),
        ({"num_items": 7}, r"test\.num_items: 104, but .* 7"),
    ],
)
def test_other_experiments_are_refused(write, tmp_path, other, message):
    write("a", "DiagonalPosterior", 4.5)
    write("b", "PlanarPosterior", 4.4, **other)
    with pytest.raises(DataError, match=rf"may only differ in eval_chunk_size, posterior, the seed; .*{message}"):
        table_vae(find_runs(tmp_path))


def test_a_likelihood_that_some_runs_lack(write, tmp_path):
    run = write("a", "PlanarPosterior", 4.4)
    record = json.loads((run / "tests.jsonl").read_text())
    del record["metrics"]["test/nll_bpd"]
    (run / "tests.jsonl").write_text(json.dumps(record))
    assert table_vae(find_runs(tmp_path)).rows[0][3] == "–"


def test_runs_of_flows_are_skipped(write, write_run, tmp_path):
    write_run("flow")
    with pytest.raises(DataError, match="no run belongs to the table: none has a posterior and a test/kl"):
        table_vae(find_runs(tmp_path))
    write("vae", "PlanarPosterior", 4.4)
    assert len(table_vae(find_runs(tmp_path)).rows) == 1
