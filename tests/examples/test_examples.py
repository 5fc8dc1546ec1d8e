"""Every example runs as a user would run it; those that take sizes are given small ones.

`tests/validation` runs them at their default sizes.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.examples.forked import run_forked

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("[0-9]*.py"))

SMALL = {
    "30_thermal_history": ["3"],
    "32_design_a_cell": ["200"],
    "33_sketch_to_stress": ["", "60", "100"],
    "40_waypoints": ["1024"],
    "42_offline": [str(ROOT / "datasets" / "waypoint_flights" / "sample.h5"), "100"],
    "51_forecast_a_flow": ["20"],
    "52_innovations_as_tokens": ["20", "2", "4"],
    "60_language_model": ["30"],
    "61_distillation": ["60", "15"],
    "62_instructions": ["30"],
    "63_reversal": ["100"],
}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs(example: Path, tmp_path: Path) -> None:
    code, told = run_forked(example, tmp_path, *SMALL.get(example.stem, ()))
    assert code == 0, told
    assert told.strip()


def test_the_examples_that_are_made_small_are_there() -> None:
    assert SMALL.keys() <= {example.stem for example in EXAMPLES}


def run(example: Path, folder: Path, *arguments: str) -> None:
    """In a folder of its own; nothing may fail or warn, and something has to be told."""
    environment = {**os.environ, "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "error", str(example), *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip()
