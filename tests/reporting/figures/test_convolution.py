import torch
import torch.nn.functional as F

from lightning_flows.reporting.figures.convolution import (
    EDGE_FILTER,
    convolution_matrix_figure,
    equivalent_matrices,
    exponential_matrix_figure,
    feature_maps,
    feature_maps_figure,
)


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


def test_the_inverse_recovers_the_image_and_maps_add_up() -> None:
    data = feature_maps(wave(), num_terms=20)
    torch.testing.assert_close(data.inverse[-1], wave())
    torch.testing.assert_close(data.forward[:-1].sum(0), data.forward[-1])
    torch.testing.assert_close(data.inverse[:-1].sum(0), data.inverse[-1])
    term = F.conv2d(wave()[None, None], torch.tensor(EDGE_FILTER, dtype=torch.float64)[None, None], padding=(0, 1))
    torch.testing.assert_close(data.forward[1], term[0, 0])


def test_the_signal_depends_on_the_seed() -> None:
    assert torch.equal(equivalent_matrices(seed=3).signal, equivalent_matrices(seed=3).signal)
    assert not torch.equal(equivalent_matrices(seed=3).signal, equivalent_matrices(seed=4).signal)
    assert equivalent_matrices().signal.abs().max() <= 1


def test_figure_1_shows_both_matrices_each_on_its_own_scale() -> None:
    data = equivalent_matrices()
    for axes, values in zip(exponential_matrix_figure(data).axes, (data.matrix, data.exponential), strict=False):
        (image,) = axes.images
        assert image.get_array().tolist() == values.tolist()
        assert image.get_clim()[1] == values.abs().max()


def test_figure_2_is_one_equation() -> None:
    """Names are at one height, and maps do not overlap."""
    data = equivalent_matrices()
    axes, _ = convolution_matrix_figure(data).axes
    shown = [image.get_array().shape for image in axes.images]
    assert shown == [(3, 3), (5, 5), (5, 5), (25, 25), (25, 1), (25, 1)]
    edges = [edge for image in axes.images for edge in image.get_extent()[:2]]
    assert edges == sorted(edges)
    names = [text for text in axes.texts if text.get_verticalalignment() == "bottom"]
    assert len(names) == 6
    assert len({text.get_position()[1] for text in names}) == 1


def test_figure_3_shows_each_map_with_its_largest_value() -> None:
    data = feature_maps(wave())
    axes = feature_maps_figure(data).axes
    assert len(axes) == 14
    for each, values in zip(axes, [*data.forward, *data.inverse], strict=True):
        assert each.images[0].get_clim()[1] == values.abs().max()
        assert each.get_xlabel() == f"±{values.abs().max().item():.2g}"
    assert axes[2].get_title() == r"$m\,{\star}^2\,x\,/\,2!$"
