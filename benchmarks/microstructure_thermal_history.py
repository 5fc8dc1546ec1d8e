"""Claim 8: a KHRONOS of 240 coefficients from thermal history to strength, wall by wall, and back in under 50 ms.

Three simulated data sets of 12 walls and 135 points; while settings were developed only others were seen. Every model
predicts each wall from the other eleven, its settings chosen by least squared error over three groups of those eleven.
The baselines are those of ``domains.microstructure.thermal_history.baselines`` and, where it is installed, XGBoost. The
scatter of the strengths, 15 MPa, is the least error that any model can reach. The bar is on the time of an inversion;
who is most accurate is measured and said, whoever it is.

Finished walls are kept in ``runs/microstructure_thermal_history``, from where an interrupted run goes on; remove
the folder to measure afresh.
"""

import json
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import record
from benchmarks.trial import STUDIES, TRIAL, usual
from domains.microstructure import thermal_history as th
from domains.microstructure.thermal_history import baselines

ROOT = Path(__file__).parents[1]
RUN = ROOT / usual(Path("runs"), trial=STUDIES) / "microstructure_thermal_history"
SEEDS = usual((0, 3, 4), trial=(0,))
WALLS = usual(12, trial=3)
WANTED = usual(20, trial=3)  # strengths
RIDGES = usual((0.01, 0.03, 0.1), trial=(0.03, 0.1))
SIZES = usual(baselines.SIZES, trial=baselines.SIZES[1:2])  # of XGBoost's trees
SCATTER = 15.0


def models() -> dict[str, list[th.Model]]:
    """Every model at its candidate settings; those with trees and ridge also on the five windows that KHRONOS has."""
    found: dict[str, list[th.Model]] = {"KHRONOS": [partial(th.khronos, ridge=r) for r in RIDGES]}
    found |= baselines.candidates(few=TRIAL)
    try:
        from xgboost import XGBRegressor
    except ImportError:
        print("xgboost is not installed: it is left out")
        return found
    extreme = partial(XGBRegressor, subsample=0.5, learning_rate=0.1, n_jobs=1, random_state=0)
    makes = [partial(extreme, max_depth=d, n_estimators=n) for d, n in SIZES]
    return found | {"XGBoost": baselines.on_both(makes)}


def parameters(name: str) -> int | str:
    """Trained numbers of a model at its largest setting."""
    if name == "CNN":
        network = baselines.network(16)
        network(torch.zeros(1, 1, 36))
        return sum(p.numel() for p in network.parameters())
    return {"KHRONOS": 257, "ridge": "6 or 37"}.get(name, "up to 200 trees")


def validate(data: th.ThermalHistories, candidates: Sequence[th.Model], path: Path) -> dict[str, Any]:
    """Scores of one model on one data set, each wall kept as soon as it is done."""
    done: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    for wall in np.unique(data.wall).tolist():
        if wall not in done:
            started = time.process_time()
            predicted, chosen = th.leave_wall_out(data, candidates, only=[wall])
            done[wall] = {
                "predicted": predicted[data.wall == wall].tolist(),
                "chosen": chosen[0],
                "seconds": time.process_time() - started,
            }
            _keep(path, done)
    predicted = np.full(len(data), np.nan)
    for wall, part in done.items():
        predicted[data.wall == wall] = part["predicted"]
    determination, error, over_walls = th.scores(data, predicted)
    seconds = sum(part["seconds"] for part in done.values())
    return {"R2": determination, "error": error, "over_walls": over_walls, "seconds": seconds}


def inversions(data: th.ThermalHistories, ridge: float) -> dict[str, Any]:
    """Some strengths wanted of one data set: time and error by the KHRONOS; every fifth built by the heat solver."""
    inverter = th.Inverter(data, ridge)
    planner = th.Planner(data, inverter.windows)
    inverter(float(np.median(data.strength)))  # the first call also loads code
    times, said, built = [], [], []
    for number, target in enumerate(np.quantile(data.strength, np.linspace(0.05, 0.95, WANTED)).tolist()):
        started = time.perf_counter()
        history = inverter(target)
        times.append(1e3 * (time.perf_counter() - started))
        said.append(abs(inverter.strength(history) - target))
        if number % 5 == 2:
            wall = planner(history)
            built.append({"wanted": target, "strength": wall.strength, "gap": wall.gap})
    return {"milliseconds": times, "said": said, "built": built}


def measured(seed: int) -> dict[str, Any]:
    """Everything of one data set."""
    data = th.simulate(WALLS, seed, SCATTER)
    done: dict[str, Any] = {}
    for name, candidates in models().items():
        done[name] = validate(data, candidates, RUN / f"{seed}-{name.replace(' ', '-')}.json")
        print(seed, name, done[name], flush=True)
    path = RUN / f"{seed}-inversion.json"
    if not path.exists():
        _keep(path, inversions(data, 0.1))
    return done | {"inversion": json.loads(path.read_text())}


def _keep(path: Path, done: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(done, indent=1))
    temporary.replace(path)


def main() -> None:
    """Measure and record."""
    torch.set_num_threads(1)
    results = [measured(seed) for seed in SEEDS]
    rows = []
    for name in [k for k in results[0] if k != "inversion"]:
        each = [r[name] for r in results]
        rows.append(
            {
                "model": name,
                "parameters": parameters(name),
                "R2, mean of data sets": float(np.mean([e["R2"] for e in each])),
                "error (MPa), mean": float(np.mean([e["error"] for e in each])),
                "error of each data set": ", ".join(f"{e['error']:.1f}" for e in each),
                "spread over walls (MPa)": float(np.mean([e["over_walls"] for e in each])),
                "seconds, choosing included": float(np.mean([e["seconds"] for e in each])),
            }
        )
    ours, others = rows[0], rows[1:]
    times = np.concatenate([r["inversion"]["milliseconds"] for r in results])
    said = np.concatenate([r["inversion"]["said"] for r in results])
    built = [wall for r in results for wall in r["inversion"]["built"]]
    misses = np.array([abs(wall["strength"] - wall["wanted"]) for wall in built])
    inversion = {
        "wanted strengths": len(times),
        "milliseconds, median": float(np.median(times)),
        "median of each data set": ", ".join(f"{np.median(r['inversion']['milliseconds']):.0f}" for r in results),
        "milliseconds, greatest": float(times.max()),
        "error by the KHRONOS (MPa), greatest": float(said.max()),
        "walls built by the heat solver": len(misses),
        "error by the heat solver and rule (MPa), median": float(np.median(misses)),
        "error by the heat solver and rule (MPa), greatest": float(misses.max()),
    }
    median = inversion["milliseconds, median"]
    complete = all(np.isfinite(row["error (MPa), mean"]) for row in rows)
    record.write(
        "microstructure",
        "8",
        claim="Simulated Inconel 718 walls, thermal history to strength and back: a KHRONOS of 240 coefficients on "
        f"five windows of the histogram gives a history for a wanted strength in {median:.0f} ms (median). "
        + standing(rows),
        measured=[ours],
        target="median time of an inversion under 50 ms; leave-wall-out errors of KHRONOS, ridge, boosted trees and a "
        "small CNN side by side (no bar on who is best)",
        holds=complete and median < 50,
        baselines=others,
        command="python -m benchmarks microstructure_thermal_history",
        seeds=list(SEEDS),
        spread=f"errors of each data set in the table; the strengths scatter by {SCATTER:g} MPa, which no model can "
        f"predict; inversion: {'; '.join(f'{k} {record._text(v)}' for k, v in inversion.items())}",
    )


def standing(rows: Sequence[dict[str, Any]]) -> str:
    """Where the first model stands among the others by its mean error, in words."""
    error = rows[0]["error (MPa), mean"]
    gaps = {row["model"]: row["error (MPa), mean"] - error for row in rows[1:]}
    behind = [f"{name} by {-gap:.1f}" for name, gap in gaps.items() if gap < 0]
    ahead = [f"{name} by {gap:.1f}" for name, gap in gaps.items() if gap >= 0]
    place = "not the most accurate" if behind else "the most accurate"
    sides = [f"{word} {', '.join(names)}" for word, names in (("behind", behind), ("ahead of", ahead)) if names]
    return f"It is {place} on walls left out: error {error:.1f} MPa, {'; '.join(sides)} MPa"


if __name__ == "__main__":
    main()
