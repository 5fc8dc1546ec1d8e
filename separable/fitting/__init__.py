"""Training in closed form, in float64: alternating least squares, Gauss-Newton, and growth of a structure."""

from separable.fitting.condition import condition
from separable.fitting.fit import fit
from separable.fitting.grown import Grown, GrowthReport
from separable.fitting.growth import grow
from separable.fitting.posterior import ConditionReport, Posterior
from separable.fitting.report import FitReport, Step

__all__ = ["ConditionReport", "FitReport", "Grown", "GrowthReport", "Posterior", "Step", "condition", "fit", "grow"]
