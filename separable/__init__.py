"""Separable neural architectures: functions of many coordinates from functions of one coordinate each."""

from separable.fitting import FitReport, fit
from separable.inversion import Inversion, invert
from separable.layers import SeparableLayer

__all__ = ["FitReport", "Inversion", "SeparableLayer", "fit", "invert"]
