"""Proper scores of ensembles, and whether an ensemble's spread can be believed."""

from separable.distributions.bootstrap import BootstrapInterval, bootstrap_interval
from separable.distributions.crps import crps
from separable.distributions.energy_score import energy_score
from separable.distributions.interval_coverage import interval_coverage
from separable.distributions.rank_histogram import RankHistogram, rank_histogram
from separable.distributions.spread_skill import SpreadSkill, spread_skill
from separable.distributions.variogram_score import grid_variogram_score, variogram_score

__all__ = [
    # proper scores, smaller is better
    "crps",
    "energy_score",
    "grid_variogram_score",
    "variogram_score",
    # calibration
    "RankHistogram",
    "SpreadSkill",
    "interval_coverage",
    "rank_histogram",
    "spread_skill",
    # how sure
    "BootstrapInterval",
    "bootstrap_interval",
]
