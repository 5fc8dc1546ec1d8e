"""Training in closed form, in float64: alternating least squares, Gauss-Newton, and growth of a structure."""

from separable.fitting.fit import fit
from separable.fitting.grown import Grown, GrowthReport
from separable.fitting.growth import grow
from separable.fitting.report import FitReport, Step

__all__ = ["FitReport", "Grown", "GrowthReport", "Step", "fit", "grow"]
