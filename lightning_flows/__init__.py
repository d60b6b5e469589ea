"""Normalizing flows with convolution exponentials and generalized Sylvester transforms, in PyTorch and Lightning.

The most common names are exported here, and loaded on first use:

>>> import lightning_flows
>>> lightning_flows.ResidualFlow.__module__
'lightning_flows.flows.residual'
"""

from importlib import import_module
from typing import Any

__version__ = "0.10.1"

EXPORTS = {
    "dequantization": "DequantizedFlow UniformDequantization VariationalDequantization",
    "distributions": "DiagonalGaussian",
    "flows": (
        "AutoregressiveFlow ConvSylvesterFlow CouplingFlow Flow GlowFlow GraphCouplingFlow GraphFlow "
        "GraphNormalizingFlow ImageFlow MultiScaleFlow PixelAutoregressiveFlow ResidualFlow "
        "SetAutoregressiveFlow SylvesterVectorFlow"
    ),
    "functional.bits": "bits_per_dim",
    "functional.graphs": "Graph",
    "modules": "FlowModule GraphFlowModule ImageFlowModule VectorFlowModule load_flow load_model",
    "transforms": (
        "ActNorm AffineCoupling Compose Conv1x1 ConvExponential ConvSylvester GeneralizedSylvester "
        "GraphExponential Invert ResidualBlock Transform"
    ),
}
"""Names that this package exports, by the module or subpackage that has them."""

__all__ = ["__version__", *sorted(name for names in EXPORTS.values() for name in names.split())]


def __getattr__(name: str) -> Any:
    for home, names in EXPORTS.items():
        if name in names.split():
            return getattr(import_module(f"{__name__}.{home}"), name)
        if name == home.partition(".")[0]:
            return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *(home.partition(".")[0] for home in EXPORTS)})
