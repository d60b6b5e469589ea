"""Bijections with their log-determinants; those of images, graphs and vectors are exported here too."""

from lightning_flows.functional.fixed_point import InverseReport
from lightning_flows.transforms import graph, image, vector
from lightning_flows.transforms.base import Transform
from lightning_flows.transforms.compose import Compose, Invert
from lightning_flows.transforms.graph import *  # noqa: F403
from lightning_flows.transforms.image import *  # noqa: F403
from lightning_flows.transforms.linear import LinearCompose, LinearTransform
from lightning_flows.transforms.pointwise import Affine, Bias, Sigmoid
from lightning_flows.transforms.reshape import Reshape
from lightning_flows.transforms.residual import LogDetReport, ResidualBlock
from lightning_flows.transforms.sylvester import GeneralizedSylvester
from lightning_flows.transforms.vector import *  # noqa: F403

__all__ = [
    "Affine",
    "Bias",
    "Compose",
    "GeneralizedSylvester",
    "InverseReport",
    "Invert",
    "LinearCompose",
    "LinearTransform",
    "LogDetReport",
    "Reshape",
    "ResidualBlock",
    "Sigmoid",
    "Transform",
]
__all__ += graph.__all__
__all__ += image.__all__
__all__ += vector.__all__
