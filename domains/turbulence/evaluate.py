"""An evaluation of a forecaster: scores on trajectories that it has not seen, its own climate, pictures, a report."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from domains.turbulence.animation import animate_forecast
from domains.turbulence.baselines.climatology import Climatology
from domains.turbulence.baselines.persistence import Persistence
from domains.turbulence.evaluation_pictures import draw_maps, draw_ranks, draw_scores, draw_spectra
from domains.turbulence.forecaster import Forecaster, flow_of
from domains.turbulence.readers import FlowData
from domains.turbulence.scores import LongRun, Scores, long_run, score_forecasts, spectrum_of
from domains.turbulence.symmetries import no_symmetries, symmetries_of
from separable.training import Report, RunFolder

_SHOWN = (1, 2, 5, 10, 20, 50, 100)  # leads of tables and pictures
_CLIMATE = 2000  # frames that the climate is drawn from, at most


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """How a forecaster is evaluated.

    Attributes:
        members: of each ensemble; 24 and more bound an interval of 90 %.
        leads: frames that are forecast, fewer where the samples are shorter.
        starts: of each trajectory, evenly over its frames.
        steps: of the long run; 0 for none.
        seed: of the ensembles.
    """

    members: int = 8
    leads: int = 20
    starts: int = 2
    steps: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.members, self.leads, self.starts) < 1 or self.steps < 0:
            raise ValueError(
                "members, leads, starts, steps: expected numbers above 0, and 0 or more steps, got "
                f"{self.members}, {self.leads}, {self.starts}, {self.steps}"
            )


@dataclasses.dataclass(frozen=True)
class Starts:
    """Where forecasts start, and what came.

    Attributes:
        past: ``(S, H, *grid)``, frames that are known.
        future: ``(S, L, *grid)``, those that came.
        trajectories: S integers, which sample a start is from.
    """

    past: torch.Tensor
    future: torch.Tensor
    trajectories: tuple[int, ...]

    @classmethod
    def of(cls, forecaster: Forecaster, data: FlowData, samples: Sequence[int], config: EvaluateConfig) -> Starts:
        """Those of an evaluation, evenly over each of some samples; see `evaluate`."""
        forecaster.check(data)
        frames = data.fields.shape[1]
        leads = min(config.leads, frames - forecaster.history)
        if leads < 1:
            raise ValueError(f"data: expected more than {forecaster.history} frames, got {frames}")
        windows = data.windows(forecaster.history, leads, samples=samples)
        places = np.unique(np.linspace(0, windows.per_sample - 1, config.starts).round().astype(int))
        chosen = [sample * windows.per_sample + int(place) for sample in range(len(samples)) for place in places]
        past, future = (torch.stack(part) for part in zip(*(windows[index] for index in chosen), strict=True))
        return cls(past, future, tuple(samples[index // windows.per_sample] for index in chosen))

    @property
    def one_each(self) -> torch.Tensor:
        """What is known at the first start of each sample, ``(samples, H, *grid)``."""
        return self.past[:: len(self.trajectories) // len(set(self.trajectories))]

    def cut(self, leads: int) -> Starts:
        """The same with fewer frames that came."""
        return dataclasses.replace(self, future=self.future[:, :leads])


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What came out.

    Attributes:
        scores: of the forecaster, of persistence and of the climate, by name.
        climate: of the long run, if there was one.
        scale: standard deviation of the flow, in its units.
        truth_spectrum: ``(L, K)``, of what came.
        wave_numbers: ``(K,)`` of the spectra, 1 / length.
    """

    scores: dict[str, Scores]
    climate: LongRun | None
    scale: float
    truth_spectrum: torch.Tensor
    wave_numbers: torch.Tensor

    @property
    def leads(self) -> tuple[int, ...]:
        """Those that tables and pictures show."""
        most = self.scores["forecast"].crps.shape[1]
        return tuple(lead for lead in _SHOWN if lead <= most)

    def rows(self) -> list[dict[str, Any]]:
        """Scores at some leads, with intervals of 95 % over trajectories."""
        found = self.scores["forecast"]
        rows = []
        for lead in self.leads:
            row: dict[str, Any] = {"lead": lead}
            for name, label in (("crps", "CRPS"), ("energy", "energy score"), ("variogram", "variogram score")):
                row[label] = _told(found, name, lead)
            row["RMSE of the mean"] = float(found.error[:, lead - 1].mean().sqrt())
            if found.members > 1:
                row["spread/skill"] = _told(found, "spread_over_skill", lead)
                row["90 % coverage"] = _told(found, "coverage", lead)
            for name in ("persistence", "climate"):
                row[f"CRPS of {name}"] = float(self.scores[name].crps[:, lead - 1].mean())
            rows.append(row)
        return rows


def _told(scores: Scores, name: str, lead: int) -> str:
    interval = scores.interval(name)
    estimate, low, high = (float(part[lead - 1]) for part in (interval.estimate, interval.low, interval.high))
    return f"{estimate:.3f}" if math.isnan(low) else f"{estimate:.3f} ({low:.3f} to {high:.3f})"


def evaluate(
    forecaster: Forecaster,
    data: FlowData,
    samples: Sequence[int],
    config: EvaluateConfig | None = None,
    *,
    ensemble: bool = True,
    progress: bool = True,
) -> Evaluation:
    """Scores on some samples.

    Args:
        forecaster: any.
        data: of the flow that it forecasts.
        samples: that it has not learned from.
        config: of the evaluation.
        ensemble: whether its members differ; otherwise one is made.
        progress: whether to show bars.

    Raises:
        ValueError: the data are of another flow, or too short.
    """
    config = config or EvaluateConfig()
    starts, reference = Starts.of(forecaster, data, samples, config), reference_of(data)
    scores = scored(forecaster, data, starts, reference, config, ensemble=ensemble, progress=progress)
    climate = None
    if config.steps:
        climate = long_run(forecaster, starts.one_each, reference, config.steps, seed=config.seed, progress=progress)
    wave_numbers, spectrum = spectrum_of(starts.future, data.grid)
    return Evaluation(scores, climate, float(reference.double().std()), spectrum.mean(0), wave_numbers)


def scored(
    forecaster: Forecaster,
    data: FlowData,
    starts: Starts,
    reference: torch.Tensor,
    config: EvaluateConfig,
    *,
    ensemble: bool = True,
    progress: bool = False,
) -> dict[str, Scores]:
    """Scores of a forecaster, of persistence and of the climate, by name.

    Args:
        forecaster: any.
        data: of the flow that it forecasts.
        starts: of its forecasts.
        reference: frames of the flow, see `reference_of`.
        config: of the evaluation.
        ensemble: whether its members differ; otherwise one is made.
        progress: whether to show a bar.
    """
    scale = float(reference.double().std())
    flow, grid = flow_of(data), data.grid
    symmetries = no_symmetries(grid.shape) if flow is None else symmetries_of(flow, grid)
    description = forecaster.description
    compared: dict[str, tuple[Forecaster, int]] = {
        "forecast": (forecaster, config.members if ensemble else 1),
        "persistence": (Persistence(description), 1),
        "climate": (Climatology(description, reference, symmetries), config.members),
    }
    return {
        name: score_forecasts(
            one,
            starts.past[:, -one.history :],
            starts.future,
            scale,
            members=members,
            trajectories=starts.trajectories,
            seed=config.seed,
            progress=progress and name == "forecast",
        )
        for name, (one, members) in compared.items()
    }


def reference_of(data: FlowData) -> torch.Tensor:
    """Frames of all samples, or some drawn alike every time, ``(F, *grid)``: what the flow is like at any time."""
    samples, frames = data.fields.shape[:2]
    whole = samples * frames
    places = np.arange(whole)
    if whole > _CLIMATE:  # drawn, for every k-th frame may be the first of its sample
        places = np.sort(np.random.default_rng(0).choice(whole, _CLIMATE, replace=False))
    found = torch.empty(len(places), *data.fields.shape[2:], dtype=torch.float32)
    for row, place in enumerate(places.tolist()):
        sample, frame = divmod(place, frames)
        found[row] = torch.from_numpy(np.asarray(data.fields.read(sample, frame, frame + 1), dtype=np.float32))[0]
    return found


def evaluation_report(
    forecaster: Forecaster,
    data: FlowData,
    samples: Sequence[int],
    run: RunFolder,
    config: EvaluateConfig | None = None,
    *,
    ensemble: bool = True,
    progress: bool = True,
) -> Path:
    """Evaluate and leave measurements, pictures, a moving picture and ``report.html`` in a run folder.

    Args:
        forecaster: any.
        data: of the flow that it forecasts.
        samples: that it has not learned from.
        run: the folder.
        config: of the evaluation.
        ensemble: whether its members differ.
        progress: whether to show bars.

    Returns:
        The report.
    """
    import matplotlib

    matplotlib.use("Agg")
    config = config or EvaluateConfig()
    found = evaluate(forecaster, data, samples, config, ensemble=ensemble, progress=progress)
    leads, own, description = found.leads, found.scores["forecast"], forecaster.description
    kind = type(forecaster).__name__
    report = Report(
        f"Forecasts of {description.long_name}",
        f"{kind}, {len(own.trajectories)} starts from {len(samples)} trajectories that it has not seen, {own.members} "
        f"members each, frames {description.time_step:g} apart. Scores are fair, in units of the standard deviation "
        f"{found.scale:.4g}, and smaller is better. Intervals hold with 95 % over trajectories.",
    )
    report.section("Scores")
    rows = found.rows()
    report.table(rows)
    for row in rows:
        run.log(**row)
    report.picture(run.figure("scores", draw_scores(found.scores)), "Scores by lead")
    past, truth = _one(data, samples[0], forecaster.history, len(found.truth_spectrum))
    shown = forecaster.forecast(past, max(own.members, 2), len(truth), seed=config.seed)[description.variable].values
    report.section("One forecast")
    report.picture(run.figure("maps", draw_maps(truth, shown, leads, description)), "Fields by lead")
    film = run.path / "figures" / "forecast.gif"
    animate_forecast(np.concatenate([past[-1:], truth]), shown, description, film)
    report.picture(film, "The same in motion")
    if own.members > 1:
        report.section("Ranks of the truth among the members")
        few = leads[:: max(1, len(leads) // 4)][:5]
        report.picture(run.figure("ranks", draw_ranks(own, few)), "Rank histograms")
        report.text("Even bars say that the truth looks like one more member; a U says too little spread.", note=True)
    report.section("Spectra")
    spectra = draw_spectra(own, found.wave_numbers, found.truth_spectrum, leads, found.climate)
    report.picture(run.figure("spectra", spectra), "Spectra")
    if found.climate is not None:
        climate = found.climate
        told = {
            "steps": climate.steps,
            "spectrum error (decades)": climate.spectrum_error,
            **{f"{band} scales": error for band, error in climate.by_band().items()},
            "energy": climate.energy,
            "enstrophy": climate.enstrophy,
            "distribution (% of a deviation)": 100 * climate.distribution,
            "lost": climate.lost,
        }
        report.table([told])
        report.text(
            "After a long run, the last fifth of it, over all frames of the file; energy and enstrophy are ratios, the "
            "distance of the distributions of values at points is that of Wasserstein.",
            note=True,
        )
        run.log(**told)
    return run.write("report.html", report.html())


def _one(data: FlowData, sample: int, history: int, leads: int) -> tuple[Any, Any]:
    """The first frames of a sample and what came, as arrays."""
    frames = data.fields.read(sample, 0, history + leads)
    both = np.asarray(frames, dtype=np.float32)
    return both[:history], both[history:]
