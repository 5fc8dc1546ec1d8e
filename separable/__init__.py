"""Separable neural architectures: functions of many coordinates from functions of one coordinate each."""

from separable.fitting import FitReport, Grown, fit, grow
from separable.inversion import Inversion, invert
from separable.layers import SeparableLayer

__all__ = ["FitReport", "Grown", "Inversion", "SeparableLayer", "fit", "grow", "invert"]
