import torch
import torch.nn.functional as F

from lightning_flows.reporting.figures.convolution import EDGE_FILTER, equivalent_matrices, feature_maps
from tests.reporting.figures.digest import digest


def wave() -> torch.Tensor:
    i = torch.arange(12, dtype=torch.float64)
    return torch.sin(i[:, None] * 0.7 + i * 0.3) / 2


def test_matrix_is_that_of_the_convolution() -> None:
    data = equivalent_matrices()
    expected = F.conv2d(data.signal[None, None], data.kernel[None, None], padding=1)[0, 0]
    torch.testing.assert_close(data.convolved, expected)
    torch.testing.assert_close(data.matrix @ data.signal.flatten(), expected.flatten())
    torch.testing.assert_close(data.exponential, torch.linalg.matrix_exp(data.matrix))
    torch.testing.assert_close(data.exponential.logdet(), data.matrix.trace())


def test_reverse_undoes_forward_and_maps_add_up() -> None:
    data = feature_maps(wave(), num_terms=20)
    torch.testing.assert_close(data.reverse[-1], wave())
    torch.testing.assert_close(data.forward[:-1].sum(0), data.forward[-1])
    torch.testing.assert_close(data.reverse[:-1].sum(0), data.reverse[-1])
    term = F.conv2d(wave()[None, None], torch.tensor(EDGE_FILTER, dtype=torch.float64)[None, None], padding=(0, 1))
    torch.testing.assert_close(data.forward[1], term[0, 0])


def test_data_stay_what_they_are() -> None:
    assert digest(equivalent_matrices()) == "de78cf1e4bd47526"
    assert digest(feature_maps(wave())) == "0407643dbf49fb8e"
