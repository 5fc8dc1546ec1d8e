"""Every input that gives a wanted output."""

from separable.inversion.invert import Inversion, invert

__all__ = ["Inversion", "invert"]
