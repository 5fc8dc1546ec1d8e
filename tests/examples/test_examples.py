"""Every example runs as a user would run it; trainings that take a number of steps are cut short.

`tests/validation` runs them at their default sizes.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("[0-9]*.py"))

FEWER_STEPS = {
    "40_waypoints": ["4000"],
    "51_forecast_a_flow": ["20"],
    "52_innovations_as_tokens": ["20", "2"],
    "60_language_model": ["30"],
    "61_distillation": ["60", "15"],
    "62_instructions": ["30"],
    "63_reversal": ["100"],
}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs(example: Path, tmp_path: Path) -> None:
    run(example, tmp_path, *FEWER_STEPS.get(example.stem, ()))


def test_the_examples_that_are_cut_short_are_there() -> None:
    assert FEWER_STEPS.keys() <= {example.stem for example in EXAMPLES}


def run(example: Path, folder: Path, *arguments: str) -> None:
    """In a folder of its own; nothing may fail or warn, and something has to be told."""
    environment = {**os.environ, "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "error", str(example), *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip()
