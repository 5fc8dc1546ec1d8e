"""Item 7: the a-posteriori error estimate beside the true error, in every case above where the truth is known.

Reads the records that the other galerkin benchmarks wrote (run them first; `python -m benchmarks` does, in this order)
and compares. The estimate is made by the solver without knowledge of the truth.
"""

import json
import math
from typing import Any

from benchmarks import record
from benchmarks.trial import RESULTS


def pairs() -> list[tuple[str, float, float]]:
    """Name, true relative error and estimate of each case on record."""
    found: list[tuple[str, float, float]] = []

    def content(item: str) -> Any:
        # a trial by itself compares committed records
        places = (place / f"galerkin-{item}.json" for place in (RESULTS, record.COMMITTED))
        path = next((place for place in places if place.exists()), None)
        return json.loads(path.read_text())["measured"] if path else []

    for row in content("1"):
        for degree in (2, 3, 5):
            name = f"Poisson, {row['degrees of freedom']} numbers, degree {degree}"
            found.append((name, row[f"degree {degree}"] ** 0.5, row[f"degree {degree}, estimated"] ** 0.5))
    for row in content("1b"):
        if "estimate" in row:
            found.append((f"Poisson, {row['basis']}", row["error at the finest"], row["estimate"]))
    for row in content("1c"):
        found.append((f"Poisson, {row['case']}", row["relative L2 error"], row["estimate"]))
    for row in content("2"):
        found.append((f"reaction-diffusion, d = {row['d']}", row["relative L2 error"], row["estimate"]))
    for item, name in (("3", "Burgers"), ("3b", "Burgers over a decade of viscosities"), ("6", "Klein-Gordon")):
        if row := content(item):
            found.append((name, row["relative L2 error"], row["estimate"]))
    for row in content("3c"):
        found.append((f"inviscid Burgers to t = {row['end of time']}", row["relative L2 error"], row["estimate"]))
    if row := content("4"):
        found.append(("advection-diffusion, six coordinates", row["relative error"], row["estimate"]))
    if row := content("5"):
        name = "powder bed, against finite differences (median of 20 points)"
        found.append((name, row["median"], row["error estimate over all coordinates"]))
    return found


def main() -> None:
    """Compare and record."""
    rows = [
        {"case": name, "true relative error": error, "estimate": estimate, "estimate / error": estimate / error}
        for name, error, estimate in pairs()
    ]
    # at rounding (below 1e-12) there is nothing left to estimate
    told = [r for r in rows if float(str(r["true relative error"])) > 1e-12]
    ratios = [float(str(r["estimate / error"])) for r in told]
    outside = [r for r, ratio in zip(told, ratios, strict=True) if not 0.1 <= ratio <= 10]
    record.write(
        "galerkin",
        "7",
        claim=(
            f"The error estimate against the true error in {len(told)} cases: ratio from {min(ratios):.2f} to "
            f"{max(ratios):.2f}, {len(outside)} outside a factor of 10"
        ),
        measured=rows,
        target="within a factor of 10 of the true error in every case where it is known and above rounding (1e-12)",
        holds=not outside and all(math.isfinite(r) for r in ratios),
        baselines="none",
        command="python -m benchmarks.galerkin_trust",
        seeds=[0],
        spread="as of the cases",
    )


if __name__ == "__main__":
    main()
