import pytest
from torch.utils.tensorboard import SummaryWriter

from lightning_flows.errors import DataError
from lightning_flows.reporting.tables import find_runs, table2, table3
from tests.reporting.tables.test_table1 import RUNTIME, cells


def model(kind: str, *, dequantization: str = "uniform", equal_memory: bool = False, ablation: str | None = None):
    options = {"dequantization": dequantization, "steps_per_level": 4}
    options |= {"equal_memory": equal_memory} if kind == "ResidualFlow" else {}
    options |= {"ablation": ablation or "none", "net_coefficient": 1.5} if kind == "CSF" else {}
    return {"class_path": f"lightning_flows.modules.residual.{kind}", "init_args": options}


def log(folder, values):
    with SummaryWriter(folder) as writer:
        for step, value in enumerate(values):
            writer.add_scalar("val/bpd", value, 10 * step + 9)


def test_table_2(write_run, tmp_path):
    log(write_run("a", model=model("CSF"), bpd=3.0, runtime=RUNTIME), [5.0, 4.0, 3.0])
    log(write_run("b", model=model("CSF"), seed=1, bpd=3.2, runtime=RUNTIME), [5.0, 4.0, 3.0])
    log(
        write_run("c", model=model("CouplingFlow"), bpd=3.5, runtime=RUNTIME | {"train_step_seconds": 1.0}),
        [6.0, 5.5, 4.0],
    )
    write_run("d", model=model("ResidualFlow", equal_memory=True, dequantization="variational"), bpd=3.6)
    write_run("e", model=model("ResidualFlow", dequantization="variational"), bpd=3.4)
    write_run("f", model=model("CSF", ablation="no_autoregressive"), bpd=9.0)
    text = table2(find_runs(tmp_path))
    header, _, *rows = cells(text)
    assert all(len(row) == len(header) for row in rows)
    assert [row[:4] for row in rows] == [
        ["coupling", "uniform", "1", "3.500"],
        ["Convolutional Sylvester", "uniform", "2", "3.100 ± 0.141"],
        ["residual", "variational", "1", "3.400"],
        ["residual, equal memory", "variational", "1", "3.600"],
    ]
    assert rows[0][4:7] == ["3.38", "3.400", "3.35"]
    assert [row[-1] for row in rows] == ["30 s", "40 s", "–", "–"]  # steps 29 and 19 of 1 and 2 seconds
    assert "The validation bpd to reach is 4.000 (uniform)" in text


def test_table_3(write_run, tmp_path):
    for name, ablation in (("a", "none"), ("b", "no_autoregressive"), ("c", "no_basis")):
        write_run(name, model=model("CSF", ablation=ablation, dequantization="variational"))
    write_run("d", model=model("CouplingFlow"))
    _, _, *rows = cells(table3(find_runs(tmp_path)))
    assert [row[0] for row in rows] == ["Convolutional Sylvester", "without f_AR", "without basis"]
    assert rows[1][4] == "3.44"


def test_other_runs_are_refused(write_run, tmp_path):
    write_run("a")
    with pytest.raises(DataError, match="expected runs of csf, no_autoregressive, no_basis; got none"):
        table3(find_runs(tmp_path))
