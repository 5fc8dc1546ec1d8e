"""Training in closed form: alternating least squares and Gauss-Newton, in float64."""

from separable.fitting.fit import fit
from separable.fitting.report import FitReport, Step

__all__ = ["FitReport", "Step", "fit"]
