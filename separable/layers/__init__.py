"""Torch modules built from atoms and interactions."""

from separable.layers.convolution import SeparableConvolution
from separable.layers.coordinates import LearnedCoordinates
from separable.layers.depthwise import DepthwiseSeparableFilter
from separable.layers.embedding import SeparableEmbedding
from separable.layers.khronos import Khronos
from separable.layers.leviathan import LeviathanEmbedding
from separable.layers.linear import SeparableLinear
from separable.layers.separable_layer import SeparableLayer
from separable.layers.span import Span

__all__ = [
    # functions of many coordinates
    "LearnedCoordinates",
    "SeparableLayer",
    # published layers, to the letter
    "Khronos",
    "LeviathanEmbedding",
    "Span",
    # fields on a periodic grid
    "SeparableConvolution",
    "DepthwiseSeparableFilter",
    # torch.nn modules with their weight in factors
    "SeparableEmbedding",
    "SeparableLinear",
]
