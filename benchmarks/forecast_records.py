"""Records 1 to 4 of the area turbulence and their pictures, from the scores that the cells of the study left."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from benchmarks import forecast_cells as cells
from benchmarks import record
from benchmarks.forecast_climate import climate_of_the_test
from benchmarks.forecast_tables import Found, against, mean, ratio, seeds_apart, table, told
from benchmarks.trial import RESULTS
from separable.distributions import BootstrapInterval, bootstrap_interval

COMPARED = {
    "best deterministic": ("FNO", "FNO of our size", "U-Net", "persistence"),  # learned or free
    "the solver": ("half resolution",),
    "noisy FNO": ("noisy FNO",),
    "FNO + residuals": ("FNO + residuals",),
}
SHOWN = (1, 5, 10, 20, 50)
COLOURS = dict(
    zip(
        cells.NAMES,
        ("C0", "C4", "C3", "C6", "C1", "C5", "lightblue", "C8", "C9", "tan", "C2", "0.6", "0.2", "C7"),
        strict=False,
    )
)


def gathered() -> Found:
    """Scores of all cells that are there."""
    found: Found = {}
    for name in cells.NAMES:
        if not (rows := left_by(name, cells.seeds_of(name))):
            continue
        found[name] = rows
        if (endured := cells.place(name, 0) / "endured.json").exists():
            found[name][0] |= json.loads(endured.read_text())
    return found


def left_by(name: str, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """What the cells of a model that are there have left: their scores, and the climate of those with long runs."""
    paths = [cells.place(name, seed) / "scores.json" for seed in seeds]
    paths = [path for path in paths if path.exists()]
    rows: list[dict[str, Any]] = [json.loads(path.read_text()) for path in paths]
    for path, row in zip(paths, rows, strict=True):
        if (climate := path.with_name("climate.json")).exists():
            row["climate"] = json.loads(climate.read_text())
    return rows


def _whole(seed: int) -> bool:
    """Whether every model has this seed, or needs none."""
    return all((cells.place(name, seed) / "scores.json").exists() for name in cells.NAMES if name not in cells.FREE)


def write_records(command: str) -> None:
    """Every record whose cells are there."""
    found = gathered()
    half = cells.MINUTES / 2
    minutes = (
        f"{cells.MINUTES:g} minutes of one core for each model (A: {cells.HELD_SPREAD:g} of them to hold the spread; "
        f"{half:g} for the core, then as many for B, {cells.HELD:g} of them to hold the spectrum)"
    )
    setup = (
        "Kolmogorov flow (viscosity 0.01, drag 0.1, force at k = 4) on 64 x 64 points, frames one unit of time apart; "
        f"{minutes}; CRPS and energy score (over the root of the points) in standard deviations, fair, 8 members"
    )
    common: dict[str, Any] = {"command": command, "seeds": [seed for seed in cells.SEEDS if _whole(seed)]}
    if "A" in found and {"FNO", "climatology"} <= found.keys():
        ratios, holds = against(found, "A", COMPARED)
        small = found["A"][0]["parameters"] <= found["FNO"][0]["parameters"] / 10
        record.write(
            "turbulence",
            "1",
            claim=f"Head A's ensembles are sharper than those of every baseline. {setup}",
            measured=ratios,
            target="ratios of CRPS and energy score as in column 'at most'; a tenth of the FNO's parameters at most",
            holds=holds and small,
            baselines=table(found, SHOWN),
            spread=f"intervals of 95 % by bootstrap over test trajectories; {seeds_apart(found, cells.NAMES)}. "
            f"Settings tried: {_tried()}",
            **common,
        )
        _picture("1", draw_crps(found))
    if "A" in found:
        _calibration(found, common, setup)
        _climate(found, common, setup)
    if {"B", "core + residuals"} <= found.keys():
        _innovations(found, common, setup)


def _tried() -> str:
    parts = []
    for name in cells.CHOICES:
        rows = [dict(row) for row in cells.chosen(name)[1]]
        tried = [(row.pop("setting"), *row.values()) for row in rows]
        told = [
            f"{', '.join(f'{k} {v:g}' for k, v in setting.items())}: {one:.3f} and {five:.3f}"
            for setting, one, five in tried
        ]
        parts.append(f"{name}, at leads 1 and 5 ({'; '.join(told)})")
    for name, settings in cells.SETTINGS.items():
        if len(settings) > 1:
            tried = [f"{row['setting']}: {row['CRPS at lead 1']:.3f}" for row in cells.tuned(name)[1]]
            parts.append(f"{name} ({'; '.join(tried)})")
    return ". ".join(parts)


def _calibration(found: Found, common: dict[str, Any], setup: str) -> None:
    rows, holds = [], True
    for name in (n for n in ("A", "B", "noisy FNO", "FNO + residuals", "core + residuals") if n in found):
        ratios, coverage = calibration(found[name])
        inside = bool(((ratios.estimate - 1).abs() <= 0.08).all() and ((coverage.estimate - 0.9).abs() <= 0.03).all())
        if name == "A":
            holds = inside
        row: dict[str, Any] = {
            "model": name,
            "spread/skill, least": float(ratios.estimate.min()),
            "greatest": float(ratios.estimate.max()),
            "90 % coverage, least": float(coverage.estimate.min()),
            "greatest ": float(coverage.estimate.max()),
        }
        for lead in (1, 5, 10, 20):
            row[f"spread/skill {lead}"], row[f"coverage {lead}"] = told(ratios, lead), told(coverage, lead)
        rows.append(row)
    each = [calibration([row])[0].estimate for row in found["A"]]
    apart = ", ".join(f"{float(ratios.min()):.3f} to {float(ratios.max()):.3f}" for ratios in each)
    record.write(
        "turbulence",
        "2",
        claim=f"The spread of head A's ensembles says how wrong they are, at leads 1 to 20. {setup}; here 24 members, "
        "as fewer than 19 do not bound 90 %",
        measured=rows[:1],
        target="at every lead spread/skill between 0.92 and 1.08 and coverage of the 90 % interval from 0.87 to 0.93",
        holds=holds,
        baselines=rows[1:],
        spread="means over seeds; intervals of 95 % by bootstrap over test trajectories. Least and greatest "
        f"spread/skill of A's seeds, one by one: {apart}; {seeds_apart(found, ('A',))}",
        **common,
    )
    _picture("2", draw_calibration(found))


def calibration(rows: list[dict[str, Any]]) -> tuple[BootstrapInterval, BootstrapInterval]:
    """Spread over skill, corrected for the number of members, and coverage, by lead."""
    many = [row["many"] for row in rows]
    variance, error, coverage = (mean(many, key) for key in ("variance", "error", "coverage"))
    members = 24

    def spread_over_skill(drawn: torch.Tensor) -> torch.Tensor:
        both = drawn.mean(0)
        return ((members + 1) / members * both[:, 0] / both[:, 1]).sqrt()

    return bootstrap_interval(torch.stack([variance, error], -1), spread_over_skill), bootstrap_interval(coverage)


def _climate(found: Found, common: dict[str, Any], setup: str) -> None:
    rows = []
    for name, content in found.items():
        if _weighed(content):
            runs = [row["climate"] for row in content]
            rows.append(
                {
                    "model": name,
                    "spectrum error (decades)": float(np.mean([run["spectrum error"] for run in runs])),
                    "of steps 100 to 500": _settled(content),
                    "large, middle, small scales": " ".join(
                        f"{np.mean([run['by band'][band] for run in runs]):.3f}" for band in runs[0]["by band"]
                    ),
                    "energy": float(np.mean([run["energy"] for run in runs])),
                    "enstrophy": float(np.mean([run["enstrophy"] for run in runs])),
                    "distribution (% of a deviation)": 100 * float(np.mean([run["distribution"] for run in runs])),
                    "lost in 500 steps": f"{sum(run['lost'] for run in runs)} of {sum(run['runs'] for run in runs)}",
                    "lost of 100 in 2,000 steps": next((row["lost"] for row in content if "lost" in row), "-"),
                }
            )
    own = climate_of_the_test()
    missing = [name for name in ("A", "B") if name in found and "lost" not in found[name][0]]
    unknown = f" Not run: 2,000 steps of {' and '.join(missing)}." if missing else ""
    ours = {row["model"]: row for row in rows}
    holds = all(
        row["spectrum error (decades)"] <= (0.04 if name == "A" else 0.02)
        and abs(row["energy"] - 1) <= 0.02
        and abs(row["enstrophy"] - 1) <= 0.02
        and row["distribution (% of a deviation)"] <= 2
        and row["lost of 100 in 2,000 steps"] == 0
        for name, row in ours.items()
        if name in ("A", "B")
    )
    record.write(
        "turbulence",
        "3",
        claim="Left alone for 500 steps our forecasts keep the flow's spectrum, energy, enstrophy and distribution. "
        + setup,
        measured=[row for row in rows if row["model"] in ("A", "B")],
        target="spectrum error at most 0.04 decades over all resolved wave numbers (B 0.02); energy, enstrophy and the "
        "one-point distribution within 2 % (the distance of distributions over the deviation); no run lost",
        holds=holds and "B" in ours,
        baselines=[row for row in rows if row["model"] not in ("A", "B")],
        spread=f"means over seeds; spectrum errors of each: A {_each(found['A'])}"
        + (f", B {_each(found['B'])}" if "B" in found else "")
        + ". The frames of the test trajectories alone, against all frames: spectrum "
        f"{own['spectrum error']:.3f} decades, energy {own['energy']:.3f}, enstrophy {own['enstrophy']:.3f}, "
        f"distribution {100 * own['distribution']:.1f} %.{unknown}",
        **common,
    )
    _picture("3", draw_climate(found))


def by_start(rows: list[dict[str, Any]]) -> torch.Tensor | None:
    """Spectra over the truth ``(S, seeds, K)``, of steps 100 to 500 after every start.

    They are four times as many frames as those of the last fifth, which record 3 tells. None where they are not there,
    or where a run was lost.
    """
    runs = [row.get("climate", {}) for row in rows]
    if not all("spectra" in run for run in runs):
        return None
    spectra = torch.tensor([run["spectra"] for run in runs], dtype=torch.float64)
    over = (spectra / torch.tensor(runs[0]["truth"], dtype=torch.float64)).movedim(0, 1)
    return over if bool(over.isfinite().all()) else None


def decades(over: torch.Tensor) -> torch.Tensor:
    """Spectrum error of the runs from some starts ``(S, ..., seeds, K)``, mean over seeds."""
    return over.mean(0).log10().abs().mean((-1, -2))


def _weighed(rows: list[dict[str, Any]]) -> bool:
    """Whether every seed has had its long runs."""
    return all("climate" in row for row in rows)


def _settled(rows: list[dict[str, Any]]) -> str:
    """Spectrum error of steps 100 to 500 with its interval."""
    over = by_start(rows)
    return "-" if over is None else _between(bootstrap_interval(over, decades), 4)


def _between(interval: BootstrapInterval, digits: int) -> str:
    estimate, low, high = (f"{float(part):.{digits}f}" for part in (interval.estimate, interval.low, interval.high))
    return f"{estimate} ({low} to {high})"


def _innovations(found: Found, common: dict[str, Any], setup: str) -> None:
    crps = ratio(mean(found["B"], "crps"), mean(found["core + residuals"], "crps"))
    names = ("B", "core + residuals", cells.HELD_DRAWS)
    # Some thousandths of a decade are what chance makes of the last fifth of 64 runs; four times as many frames tell.
    over = {name: by_start(found[name]) for name in names if name in found and _weighed(found[name])}
    there = {name: spectra for name, spectra in over.items() if spectra is not None}
    rows = [row for row in table(found, SHOWN) if row["model"] in ("core", *over)]
    for row in rows:
        if row["model"] in over:
            row["spectrum error, steps 100 to 500"] = _settled(found[row["model"]])
            row["of each seed after 500 steps"] = _each(found[row["model"]])
    measured = {"CRPS at lead 1": told(crps, 1), "at lead 5": told(crps, 5)}
    holds = float(crps.estimate[4]) <= 0.97
    if {"B", "core + residuals"} <= there.keys():
        both = torch.stack([there["B"], there["core + residuals"]], 1)
        interval = bootstrap_interval(both, lambda drawn: decades(drawn)[0] / decades(drawn)[1])
        measured["spectrum error, steps 100 to 500"] = _between(interval, 2)
        holds &= float(interval.estimate) <= 0.7
    last = [float(np.mean([row["climate"]["spectrum error"] for row in found[name]])) for name in names[:2]]
    measured["the last hundred steps alone"] = f"{last[0] / last[1]:.2f}"
    record.write(
        "turbulence",
        "4",
        claim=f"Innovations that know the state are better than residuals drawn at random, on the same core. {setup}",
        measured=measured,
        target="ratio of head B to random residual draws: spectrum error at most 0.7, CRPS at lead 5 at most 0.97",
        holds=holds and len(there) > 1,
        baselines=rows,
        spread="intervals of 95 % by bootstrap over test trajectories, spectra in decades. Head B's runs say how large "
        "its innovations are; draws that are held so too are a row of their own. " + seeds_apart(found, names, 5),
        **common,
    )


def _each(rows: list[dict[str, Any]]) -> str:
    """Spectrum errors of the seeds."""
    return ", ".join(f"{row['climate']['spectrum error']:.4f}" for row in rows)


def _picture(item: str, figure: Any) -> None:
    figure.savefig(RESULTS / f"turbulence-{item}.png", dpi=100, bbox_inches="tight")


def draw_crps(found: Found) -> Any:
    """CRPS by lead of every model."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(11, 4), layout="constrained", width_ratios=[2, 1])
    for name, rows in found.items():
        interval = bootstrap_interval(mean(rows, "crps"))
        lead = np.arange(1, len(interval.estimate) + 1)
        for axis in axes:
            axis.plot(
                lead,
                interval.estimate.numpy(),
                color=COLOURS[name],
                label=name,
                linewidth=2 if name in ("A", "B") else 1.2,
            )
            axis.fill_between(
                lead, interval.low.numpy(), interval.high.numpy(), color=COLOURS[name], alpha=0.15, linewidth=0
            )
    axes[0].set(title="all leads", xlabel="lead (frames)", ylabel="CRPS (standard deviations)", ylim=(0, 1))
    axes[1].set(title="the first ten", xlabel="lead (frames)", xlim=(1, 10), ylim=(0, 0.7))
    axes[0].legend(fontsize=8, ncols=2)
    return figure


def draw_calibration(found: Found) -> Any:
    """Spread over skill, coverage and ranks."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(13, 3.8), layout="constrained")
    axes[0].axhspan(0.92, 1.08, color="0.9")
    axes[1].axhspan(0.87, 0.93, color="0.9")
    for name, rows in found.items():
        if "many" not in rows[0] or name == "climatology":
            continue
        ratios, coverage = (interval.estimate.numpy() for interval in calibration(rows))
        lead = np.arange(1, len(ratios) + 1)
        axes[0].plot(lead, ratios, color=COLOURS[name], label=name)
        axes[1].plot(lead, coverage, color=COLOURS[name])
        ranks = np.sum([np.array(row["ranks"])[4] for row in rows], 0)
        axes[2].step(np.arange(len(ranks)), ranks / ranks.sum() * len(ranks), where="mid", color=COLOURS[name])
    axes[2].axhline(1, color="0.8", zorder=0)
    axes[0].set(title="spread / skill", xlabel="lead (frames)", ylim=(0, 1.5))
    axes[1].set(title="coverage of the 90 % interval", xlabel="lead (frames)", ylim=(0.3, 1))
    axes[2].set(title="ranks of the truth at lead 5, over even", xlabel="members below", ylim=(0, None))
    axes[0].legend(fontsize=8)
    return figure


def draw_climate(found: Found) -> Any:
    """Spectra after 500 steps, their ratio to the truth, and enstrophy on the way."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(13, 3.8), layout="constrained")
    for name, rows in found.items():
        if not _weighed(rows):
            continue
        runs = [row["climate"] for row in rows]
        k, truth = np.array(runs[0]["wave numbers"]), np.array(runs[0]["truth"])
        if name == "A":
            axes[0].loglog(k, truth, "k", linewidth=2.5, label="the flow")
        spectrum = np.mean([run["spectrum"] for run in runs], 0)
        axes[0].loglog(k, spectrum, color=COLOURS[name], label=name)
        axes[1].semilogx(k, spectrum / truth, color=COLOURS[name])
        steps = 10 * np.arange(len(runs[0]["enstrophy by step"])) + 1
        axes[2].plot(steps, np.mean([run["enstrophy by step"] for run in runs], 0), color=COLOURS[name])
    for axis in axes[1:]:
        axis.axhspan(0.98, 1.02, color="0.9", zorder=0)
        axis.set_ylim(0.5, 1.5)
    axes[0].set(title="energy by wave number after 500 steps", xlabel="k")
    axes[1].set(title="over that of the flow", xlabel="k")
    axes[2].set(title="enstrophy over that of the flow", xlabel="step")
    axes[0].legend(fontsize=8)
    return figure
