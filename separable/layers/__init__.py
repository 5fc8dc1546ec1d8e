"""Torch modules built from atoms and interactions."""

from separable.layers.coordinates import LearnedCoordinates
from separable.layers.separable_layer import SeparableLayer

__all__ = ["LearnedCoordinates", "SeparableLayer"]
