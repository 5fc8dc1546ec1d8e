"""Run folders and saved models, read: what they are, side by side, as a page, and what a run would cost."""

from separable.records.comparison import Comparison, compare_runs
from separable.records.cost import Cost, cost_of_steps, cost_of_training, peak_memory, trial_seconds
from separable.records.kinds import LIBRARY_KINDS, RUN, FolderKind
from separable.records.record import RunRecord, find_runs, read_run
from separable.records.run_report import write_run_report

__all__ = [
    "Comparison",
    "Cost",
    "FolderKind",
    "LIBRARY_KINDS",
    "RUN",
    "RunRecord",
    "compare_runs",
    "cost_of_steps",
    "cost_of_training",
    "find_runs",
    "peak_memory",
    "read_run",
    "trial_seconds",
    "write_run_report",
]
