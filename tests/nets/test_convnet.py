import torch

from lightning_flows.nets import ConvNet


def test_the_context_is_appended_to_the_input_and_the_net_starts_at_zero() -> None:
    net = ConvNet(2, 3, hidden_channels=4, context_channels=1).double()
    x, context = torch.randn(2, 2, 4, 4).double(), torch.randn(2, 1, 4, 4).double()
    assert not net(x, context).any()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_()
    together = torch.cat([x, context], dim=1)
    for layer in net:
        together = layer(together)
    torch.testing.assert_close(net(x, context), together, rtol=0, atol=1e-12)
