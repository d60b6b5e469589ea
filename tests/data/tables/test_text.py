"""Text: delimiters, headers and quotes are detected; each error names the line and the column."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_flows.data.tables import chosen_columns, open_table
from lightning_flows.data.tables import text as module
from lightning_flows.errors import DataError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "my.csv"


def read(path: Path, text: str | bytes, drop: tuple[str, ...] = (), **options) -> tuple[list[str], list[list[float]]]:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    table = open_table(path, **options)
    columns = chosen_columns(table, None, drop)
    return [table.names[i] for i in columns], table.read(columns).tolist()


TABLES = {
    "a,b\n1,2\n3,4\n": ["a", "b"],
    "a;b\n1;2\n3;4\n": ["a", "b"],
    "a\tb\n1\t2\n3\t4\n": ["a", "b"],
    "a|b\n1|2\n3|4\n": ["a", "b"],
    "  a   b\n1 2\n 3    4 \n": ["a", "b"],
    "# a b\n1 2\n3 4\n": ["a", "b"],
    "#a,b\n1,2\n3,4\n": ["a", "b"],
    "# a,b\n1,2\n3,4\n": ["a", "b"],
    "\ufeffa,b\r\n1,2\r\n3,4\r\n": ["a", "b"],
    "a,b\r1,2\r3,4\r": ["a", "b"],
    '"a","b"\n"1","2"\n"3","4"': ["a", "b"],
    '"a, b",c\n1,2\n3,4\n': ["a, b", "c"],
    "\n a , b \n\n1 , 2\n\n3,4\n\n": ["a", "b"],
    "1,2\n3,4\n": ["column_1", "column_2"],
    ",b\n1,2\n3,4\n": ["column_1", "b"],
    "1.0;2e0\n+3;0.4E1\n": ["column_1", "column_2"],
}


@pytest.mark.parametrize(("text", "names"), TABLES.items())
def test_what_is_read(text: str, names: list[str], file: Path) -> None:
    assert read(file, text) == (names, [[1.0, 2.0], [3.0, 4.0]])


def test_given_header_and_delimiter(file: Path) -> None:
    assert read(file, "2001,2002\n1,2\n", header=True) == (["2001", "2002"], [[1, 2]])
    assert read(file, "1 2,3\n4 5,6\n", delimiter=" ", drop=("column_2",)) == (["column_1"], [[1.0], [4.0]])
    with pytest.raises(DataError, match=r"expected a --data\.delimiter of one character; got ', '"):
        read(file, "1,2\n", delimiter=", ")


def test_a_single_column(file: Path) -> None:
    assert read(file, "x\n1\n2\n") == (["x"], [[1.0], [2.0]])
    assert read(file, "1\n2\n") == (["column_1"], [[1.0], [2.0]])


def test_columns_that_are_left_out_may_be_anything(file: Path) -> None:
    text = 'id,name,x\n1,a b,2\n,,3\n7,"é, with a comma",4\n8,\udcff,5\n'.encode(errors="surrogateescape")
    assert read(file, text, drop=("id", "name")) == (["x"], [[2.0], [3.0], [4.0], [5.0]])


def test_chosen_columns_are_in_the_order_given(file: Path) -> None:
    file.write_text("a,b,c\n1,2,3\n")
    table = open_table(file)
    assert table.read(chosen_columns(table, ["c", "a"], [])).tolist() == [[3.0, 1.0]]
    with pytest.raises(DataError, match=r"my\.csv has no column bb: did you mean b\?"):
        chosen_columns(table, ["bb"], [])
    with pytest.raises(DataError, match=r"my\.csv has no column label: it has a, b, c"):
        chosen_columns(table, None, ["label"])
    with pytest.raises(DataError, match="expected each column once; got a, a"):
        chosen_columns(table, ["a", "a"], [])
    with pytest.raises(DataError, match=r"no column of .*my\.csv is left"):
        chosen_columns(table, None, ["a", "b", "c"])


FAULTS = {
    "a,b\n1,2\n3,x\n": r"line 3, column 2 \(b\): 'x' is not a number: write one, or leave out the column with --data",
    "a,b\n1,2\n\n3,\n": r"line 4, column 2 \(b\): the value is missing: fill in a number, or leave out the column",
    "a,b\n1,2\nNA,3\n": r"line 3, column 1 \(a\): the value is missing",
    "a,b\n1,2\n3,nan\n": r"line 3, column 2 \(b\): the value is missing",
    "a,b\n1,-inf\n3,4\n": r"line 2, column 2 \(b\): the value is -infinite: replace it",
    "a,b\n1,1e39\n3,4\n": r"line 2, column 2 \(b\): the value 1e\+39 exceeds float32: rescale the column",
    "a;b\n1,5;2\n": r"line 2, column 1 \(a\): '1,5' is not a number: write a decimal point",
    "a,b\n1,2\n3\n": r"line 3: 1 fields, and the first line has 2: correct it",
    "a,b\n1,2\n3,4,5\n": r"line 3: 3 fields, and the first line has 2: correct it",
    "5.1,3,setosa\n4.9,3,setosa\n": r"line 1, column 3 \(column_3\): 'setosa' is not a number.*--data.drop=column_3",
    "my a,b\nx,2\n": r"'x' is not a number.*--data\.drop='my a'",
    "a,b,a\n1,2,3\n": "has several columns of the same name \\(a\\): rename all but one of each",
    "a,b\n": r"has a header, and no rows: add some, or pass --data\.header=false",
    "": "is empty",
    "\n \n": "is empty",
    "a,b\n1,1_0\n": "'1_0' is not a number",
    "a,b\n1,2 3\n": "'2 3' is not a number",
}


@pytest.mark.parametrize(("text", "message"), FAULTS.items())
@pytest.mark.parametrize("chunk", [1, 1000])
def test_faults_name_line_and_column(
    text: str, message: str, chunk: int, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK", chunk)
    with pytest.raises(DataError, match=message) as error:
        read(file, text)
    assert "\n" not in str(error.value)
    assert str(file) in str(error.value)


def test_faults_beside_columns_that_are_left_out(file: Path) -> None:
    with pytest.raises(DataError, match=r"line 3, column 2 \(x\): 'z' is not a number"):
        read(file, "name,x\na,1\nb,z\n", drop=("name",))
    with pytest.raises(DataError, match="line 3: 1 fields, and the first line has 2"):
        read(file, "name,x\na,1\nb\n", drop=("name",))
    with pytest.raises(DataError, match="line 3: 3 fields, and the first line has 2"):
        read(file, "name,x\na,1\nb,2,3\n", drop=("name",))


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_other_encodings(encoding: str, file: Path) -> None:
    with pytest.raises(DataError, match=r"is not text in UTF-8|are not UTF-8 text: save it as UTF-8"):
        read(file, "größe,b\n1,2\n".encode(encoding))


def test_a_million_columns_are_refused_at_once(file: Path) -> None:
    with pytest.raises(DataError, match="more than 1 MiB: use a table of at most 4,096 columns"):
        read(file, ",".join(["1.5"] * 1_000_000) + "\n")
    with pytest.raises(DataError, match="has 5,000 columns, and at most 4,096 are supported"):
        read(file, ",".join(["1"] * 5000) + "\n")
    with pytest.raises(DataError, match="has a line of more than 1 MiB"):
        read(file, "a,b\n1,2\n" + ",".join(["1.5"] * 1_000_000))


def test_values_of_many_chunks(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).standard_normal((1000, 3)).astype(np.float32)
    np.savetxt(file, values, fmt="%.9g", delimiter=",")
    monkeypatch.setattr(module, "CHUNK", 64)
    table = open_table(file)
    assert table.max_rows() >= 1000
    assert torch.equal(table.read([0, 1, 2]), torch.from_numpy(values))
    assert torch.equal(table.read([2, 0]), torch.from_numpy(values[:, [2, 0]]))


def test_lines_are_counted_over_blocks(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("a,b\n" + "1,2\n" * 50 + "3,4")
    table = open_table(file)
    monkeypatch.setattr(module, "MAX_LINE", 7)
    assert table.max_rows() == 52
    monkeypatch.setattr(module, "MAX_LINE", 3)
    with pytest.raises(DataError, match="has a line of more than"):
        table.max_rows()
