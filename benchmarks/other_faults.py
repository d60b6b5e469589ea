"""The faults of docs/other-libraries.md, shown without lightning_flows: what each layer returns, and what it should."""

import torch
from torch import Tensor


def log_det_of(function: object, x: Tensor) -> float:
    """log|det J| of a map of one item."""
    jacobian = torch.autograd.functional.jacobian(function, x)
    return float(torch.linalg.slogdet(jacobian.reshape(x.numel(), x.numel())).logabsdet)


def freia() -> None:
    from FrEIA.modules import HaarDownsampling, LearnedElementwiseScaling

    layer = LearnedElementwiseScaling([(4,)], init_scale=1.0).double()
    torch.nn.init.constant_(layer.s, 0.5)
    z = torch.ones(1, 4, dtype=torch.float64)
    (_,), jac = layer([z], rev=True)
    expected = log_det_of(lambda value: layer([value], rev=True)[0][0], z)
    print(
        f"FrEIA LearnedElementwiseScaling, s = 0.5, 4 values, rev=True: jac {float(jac):.1f}, Jacobian {expected:.1f}"
    )

    haar, z = HaarDownsampling([(1, 2, 2)]), torch.ones(1, 4, 1, 1)
    haar([z], rev=True)
    print(f"FrEIA HaarDownsampling, rev=True, z = 1: afterwards z is {z.flatten().tolist()}")


def normflows() -> None:
    from normflows.flows import Permute, Planar

    x = torch.ones(2, 4, dtype=torch.float64)
    for layer in (Permute(4).double(), Planar((4,), act="leaky_relu").double()):
        z, log_det = layer(x)
        print(f"normflows {type(layer).__name__} in float64: z is {z.dtype}, log_det {log_det.dtype}")


def nflows() -> None:
    from nflows.transforms import LeakyReLU, NaiveLinear

    z, log_det = LeakyReLU()(-torch.ones(1, 4, dtype=torch.float64))
    print(f"nflows LeakyReLU in float64: z is {z.dtype}, log_det {log_det.dtype}")
    for name, call in (
        ("NaiveLinear(4)", lambda: NaiveLinear(4)),
        ("its inverse", lambda: NaiveLinear(4, orthogonal_initialization=False).inverse(torch.ones(1, 4))),
    ):
        try:
            call()
            print(f"nflows {name}: works")
        except RuntimeError as error:
            print(f"nflows {name}, torch {torch.__version__}: {str(error).partition('.')[0]}")


def zuko() -> None:
    from zuko.flows import UNAF

    for training in (True, False):
        torch.manual_seed(0)
        layer = UNAF(2, transforms=1, hidden_features=(8,)).transform.transforms[0].train(training)
        layer()(torch.ones(1, 2)).sum().backward()
        gradient = layer.univariate.integrand[0].weight.grad
        size = 0.0 if gradient is None else float(gradient.abs().max())
        print(
            f"zuko UNAF, {'train' if training else 'eval'} mode: largest gradient of the integrand's weights {size:.4f}"
        )


if __name__ == "__main__":
    for show in (freia, normflows, nflows, zuko):
        show()
