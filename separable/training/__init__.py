"""The record of a run: its folder and its report."""

from separable.training.report import Report
from separable.training.run_folder import RunFolder, environment

__all__ = ["Report", "RunFolder", "environment"]
