import copy
import pickle

import pytest
from torch import nn

from lightning_flows.flows import GraphCouplingFlow
from lightning_flows.functional.recorded import Recorded


class Scaled(Recorded, nn.Module):
    def __init__(self, size: int, *, scale: float = 2.0, **options: bool) -> None:
        super().__init__()
        self.scale = scale


def test_arguments_are_recorded_by_name_with_defaults_and_options():
    assert Scaled(3, bias=True).init_args == {"size": 3, "scale": 2.0, "bias": True}
    assert GraphCouplingFlow((2, 2), width=4).init_args == {
        "event_shape": (2, 2),
        "num_steps": 8,
        "width": 4,
        "depth": 2,
    }


def test_copies_and_pickles_keep_the_arguments():
    module = Scaled(3, scale=1.0)
    for other in (copy.deepcopy(module), copy.copy(module), pickle.loads(pickle.dumps(module))):
        assert (other.init_args, other.scale) == ({"size": 3, "scale": 1.0}, 1.0)


def test_wrong_arguments_raise_the_constructor_s_error():
    with pytest.raises(TypeError, match=r"__init__\(\) missing 1 required positional argument: 'size'"):
        Scaled()
