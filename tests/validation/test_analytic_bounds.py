"""Bounds on the conductivity against a table computed elsewhere from the closed formulas, contrast 10."""

import csv
from pathlib import Path

import pytest

from domains.microstructure.bounds import hashin_shtrikman_conductivity, wiener

TABLE = Path(__file__).parents[3] / "shared" / "data" / "microstructure" / "analytic_bounds_contrast10.csv"


@pytest.mark.validation
def test_bounds_are_those_of_the_table() -> None:
    if not TABLE.exists():
        pytest.skip(f"the table is not there: {TABLE}")
    with TABLE.open() as file:
        rows = list(csv.DictReader(file))
    assert rows
    for row in rows:
        f, k = float(row["phase2_fraction"]), (float(row["k1"]), float(row["k2"]))
        simple, sharp = wiener((1 - f, f), k), hashin_shtrikman_conductivity((1 - f, f), k, int(row["dim"]))
        for found, name in ((simple, "wiener"), (sharp, "hs")):
            # the table's fraction is rounded to six places
            assert found.lower == pytest.approx(float(row[f"{name}_lower"]), abs=2e-5)
            assert found.upper == pytest.approx(float(row[f"{name}_upper"]), abs=2e-5)
