"""A trial of the benchmarks: each at its least size, to see that it runs and that every record would be written.

With TRIAL=1 in the environment benchmarks take their least sizes, and all that they write - records, pictures,
RESULTS.md and what studies keep - goes below runs/trial, which may be removed. Its numbers say nothing.
"""

import os
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

TRIAL = bool(os.environ.get("TRIAL"))
HERE = Path(__file__).parent
RESULTS = HERE.parent / "runs/trial/results" if TRIAL else HERE / "results"  # records and their pictures
PAGE = HERE.parent / "runs/trial/RESULTS.md" if TRIAL else HERE.parent / "RESULTS.md"
STUDIES = Path("runs/trial/studies" if TRIAL else "runs/benchmarks")  # what long studies have finished
if TRIAL:
    RESULTS.mkdir(parents=True, exist_ok=True)


def usual(value: T, *, trial: T) -> T:
    """The usual size of a benchmark, or that of a trial.

    Example:
        >>> usual(20_000, trial=50)
        20000
    """
    return trial if TRIAL else value
