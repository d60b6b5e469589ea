import dataclasses
import enum
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from lightning_flows.checkpoints.plain import check_describable, construct, describe, plain
from lightning_flows.errors import CheckpointError, UsageError


class Color(enum.Enum):
    RED = 1
    BLUE = "b"


class Pair(NamedTuple):
    a: int
    b: float


@dataclasses.dataclass
class Options:
    x: int = 1
    sizes: tuple[int, int] = (1, 2)
    where: Path = Path("a")


class Kinds:
    """Takes one value of each type."""

    def __init__(
        self,
        path: Path = Path("x"),
        maybe: Path | None = None,
        color: Color = Color.RED,
        pair: Pair | None = None,
        options: Options | None = None,
        numbers: set[int] | None = None,
        day: date | None = None,
        moment: datetime | None = None,
        duration: timedelta | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | None = None,
        rate: float = 1.0,
        paths: list[Path] | None = None,
        named: dict[str, list[Color]] | None = None,
        size: tuple[int, ...] = (),
        anything: Any = None,
    ) -> None:
        self.hparams = {key: value for key, value in locals().items() if key != "self"}


VALUES = {
    "path": Path("a/b"),
    "maybe": Path("c"),
    "color": Color.BLUE,
    "pair": Pair(3, 4.0),
    "options": Options(3, (4, 5), Path("d")),
    "numbers": {1, 2},
    "day": date(2021, 2, 3),
    "moment": datetime(2021, 2, 3, 4, 5),
    "duration": timedelta(days=2, seconds=3),
    "dtype": torch.bfloat16,
    "device": torch.device("cpu"),
    "rate": np.float64(0.5),
    "paths": [Path("a"), Path("b")],
    "named": {"a": [Color.RED]},
    "size": torch.Size([1, 2]),
    "anything": {"a": [1, None, True]},
}


@pytest.mark.parametrize("name", VALUES)
def test_arguments_are_restored_from_a_checkpoint(name: str, tmp_path: Path) -> None:
    made = Kinds(**{name: VALUES[name]})
    check_describable(made, "data")
    torch.save(describe(made)["init_args"], tmp_path / "a")
    again = construct(Kinds, torch.load(tmp_path / "a", weights_only=True))
    assert again.hparams[name] == VALUES[name]
    assert isinstance(again.hparams[name], tuple if name == "size" else float if name == "rate" else type(VALUES[name]))


@pytest.mark.parametrize("value", [Path("a"), torch.nn.Linear(1, 1), lambda: 0, {1, 2}, np.zeros(3), torch.zeros(2)])
def test_values_that_would_be_lost_are_refused_by_name(value: Any) -> None:
    with pytest.raises(UsageError, match=r"data\.anything is of .*annotate anything with its type"):
        check_describable(Kinds(anything=value), "data")


def test_arguments_that_a_subclass_passes_to_its_base_are_not_recorded() -> None:
    class Narrow(Kinds):
        def __init__(self, depth: int = 2) -> None:
            super().__init__(path=Path("fixed"))
            self.hparams["depth"] = depth

    assert describe(Narrow())["init_args"] == {"depth": 2}
    assert construct(Narrow, {"depth": 3}).hparams["depth"] == 3


def test_arguments_that_do_not_fit_are_reported_on_one_line() -> None:
    for arguments in ({"rate": "fast"}, {"unknown": 1}, {"color": "GREEN"}, {"numbers": "x"}):
        with pytest.raises(CheckpointError, match="do not fit Kinds") as info:
            construct(Kinds, arguments)
        assert "\n" not in str(info.value)


def test_plain_values_are_unchanged() -> None:
    assert plain({"a": [1, 2.5, "x", None, True]}) == {"a": [1, 2.5, "x", None, True]}
