import pytest
import torch

from lightning_flows.functional.bits import bits_per_dim
from lightning_flows.nets.masked_conv import causal_mask, channel_mask


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 12])
@pytest.mark.parametrize("width", [1, 2, 5, 7, 12, 30])
@pytest.mark.parametrize("strict_at", [0, 2])
def test_a_chain_with_a_strict_end_is_strict(channels, width, strict_at):
    widths = [channels, width, width, channels]
    masks = [channel_mask(widths[i + 1], widths[i], strict=i == strict_at).float() for i in range(3)]
    reach = masks[2] @ masks[1] @ masks[0]
    assert not torch.triu(reach).any()


@pytest.mark.parametrize(("out_channels", "in_channels"), [(6, 2), (2, 6), (4, 4), (12, 48)])
def test_groups_as_the_authors_have_them(out_channels, in_channels):
    """Complete groups if one width divides the other: k outputs per input, or k inputs per output."""
    for strict in (False, True):
        mask = channel_mask(out_channels, in_channels, strict=strict)
        for o in range(out_channels):
            for i in range(in_channels):
                a, b = (
                    (o * in_channels // out_channels, i)
                    if out_channels >= in_channels
                    else (o, i * out_channels // in_channels)
                )
                assert mask[o, i].item() == (b < a if strict else b <= a)


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_causal_mask_looks_right_and_down(kernel_size):
    mask, center = causal_mask(3, 2, kernel_size=kernel_size, strict=True), kernel_size // 2
    assert mask.shape == (3, 2, center + 1, kernel_size)
    assert not mask[:, :, 0, :center].any()
    assert mask[:, :, 0, center + 1 :].all()
    assert mask[:, :, 1:].all()
    assert torch.equal(mask[:, :, 0, center], channel_mask(3, 2, strict=True))


@pytest.mark.parametrize("kernel_size", [0, 2, 4, 2.5, -1])
def test_even_kernels_are_refused(kernel_size):
    with pytest.raises(ValueError, match=f"expected an odd kernel size; got {kernel_size}"):
        causal_mask(1, 1, kernel_size=kernel_size, strict=True)


def test_bits_per_dim():
    log_prob = -3072 * torch.log(torch.tensor([256.0, 2.0], dtype=torch.float64))
    torch.testing.assert_close(bits_per_dim(log_prob, 3072), torch.tensor([8.0, 1.0], dtype=torch.float64))
    with pytest.raises(ValueError, match="expected a positive number of dimensions; got 0"):
        bits_per_dim(1.0, 0)
