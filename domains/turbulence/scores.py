"""How good forecasts are: proper scores and calibration by lead, and the statistics of long runs.

Scores are in units of the standard deviation of the flow. They are kept for each start, with the trajectory that it is
from, so that intervals can be had by drawing trajectories again: starts of one trajectory resemble each other
(`separable.distributions.bootstrap_interval`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.stats
import torch
from torch import Tensor
from tqdm import tqdm

from domains.turbulence.diagnostics import energy, energy_spectrum, power_spectrum
from domains.turbulence.forecaster import Forecaster
from domains.turbulence.grid import Grid
from separable.distributions import (
    BootstrapInterval,
    bootstrap_interval,
    crps,
    energy_score,
    grid_variogram_score,
    interval_coverage,
    rank_histogram,
)

_VALUES = 200_000  # of fields, at most, that distributions are compared with
_EVERY = 10  # steps between two frames of a long run that are measured; neighbours tell the same


@dataclass(frozen=True)
class Scores:
    """Scores by start and lead, ``(S, L)`` float64 each; smaller is better where it is a score.

    Attributes:
        trajectories: ``(S,)`` integers, which trajectory a start is from.
        members: of the ensembles.
        crps: fair; of one member the absolute error. Mean over points.
        energy: the fair energy score over all points, divided by the root of their number.
        variogram: of order 1/2 over distances of 1, 2, 4, .. points along both axes; fair.
        error: mean square of truth less ensemble mean.
        variance: mean over points of the members' variance, over M - 1; zero of one member.
        coverage: share of points inside the central interval of 90 %; NaN of one member.
        ranks: ``(S, L, M + 1)``, how often the truth had each rank among the members.
        spectrum: ``(S, L, K)``, energy by wave number, mean over members.
    """

    trajectories: Tensor
    members: int
    crps: Tensor
    energy: Tensor
    variogram: Tensor
    error: Tensor
    variance: Tensor
    coverage: Tensor
    ranks: Tensor
    spectrum: Tensor

    def by_trajectory(self, name: str) -> Tensor:
        """Means over the starts of each trajectory, ``(T, L)``."""
        values: Tensor = getattr(self, name)
        return torch.stack([values[self.trajectories == t].mean(0) for t in self.trajectories.unique()])

    def spread_over_skill(self, values: Tensor | None = None) -> Tensor:
        """Spread over skill by lead ``(L,)``, corrected for the number of members: 1 if calibrated.

        Args:
            values: ``(T, L, 2)``, variance and error, such as a bootstrap draws again; by default all of them.
        """
        drawn = self.variance_and_error if values is None else values
        variance, error = drawn.mean(0).unbind(-1)
        return ((self.members + 1) / self.members * variance / error).sqrt()

    @property
    def variance_and_error(self) -> Tensor:
        """By trajectory, ``(T, L, 2)``."""
        return torch.stack([self.by_trajectory("variance"), self.by_trajectory("error")], -1)

    def interval(self, name: str) -> BootstrapInterval:
        """The mean by lead of a score, or ``"spread_over_skill"``, with its interval of 95 % over trajectories.

        Of one trajectory no interval can be had: its ends are NaN.
        """
        ratio = name == "spread_over_skill"
        values = self.variance_and_error if ratio else self.by_trajectory(name)
        statistic = self.spread_over_skill if ratio else _mean
        if len(values) > 1:
            return bootstrap_interval(values, statistic)
        estimate = statistic(values)
        return BootstrapInterval(estimate, torch.full_like(estimate, torch.nan), torch.full_like(estimate, torch.nan))


def _mean(values: Tensor) -> Tensor:
    return values.mean(0)


def score_forecasts(
    forecaster: Forecaster,
    past: Tensor,
    future: Tensor,
    scale: float,
    *,
    members: int = 8,
    trajectories: Sequence[int] | None = None,
    seed: int = 0,
    together: int = 64,
    proper: bool = True,
    progress: bool = False,
) -> Scores:
    """Scores of ensembles from many starts.

    Args:
        forecaster: any.
        past: ``(S, H, *grid)``, in the flow's units.
        future: what came, ``(S, L, *grid)``.
        scale: standard deviation of the flow.
        members: of each ensemble; 1 for a forecaster without noise.
        trajectories: which one each start is from; by default each is from another.
        seed: of the ensembles.
        together: members advanced at once.
        proper: whether the proper scores are wanted, which take longer than calibration; otherwise they are NaN.
        progress: whether to show a bar.

    Raises:
        ValueError: shapes do not fit.
        FloatingPointError: a member is no longer finite.
    """
    starts, leads = future.shape[:2]
    grid = Grid(tuple(future.shape[2:]), forecaster.description.lengths)
    axes = tuple(range(-grid.dimensions, 0))
    numbers = torch.arange(starts) if trajectories is None else torch.as_tensor(trajectories)
    if len(numbers) != starts or len(past) != starts:
        raise ValueError(f"past, trajectories: expected {starts} as in future, got {len(past)} and {len(numbers)}")
    kind: Literal["fair", "ensemble"] = "fair" if members > 1 else "ensemble"
    found: dict[str, list[Tensor]] = {name: [] for name in list(Scores.__dataclass_fields__)[2:]}
    frames = forecaster.rollout(past, members, seed=seed, together=together)
    for lead in tqdm(range(leads), unit="lead", disable=not progress):
        ensemble = next(frames).movedim(1, 0).double() / scale
        truth = future[:, lead].double() / scale
        if proper:
            score = energy_score(ensemble, truth, axes=axes, estimator=kind)
            found["crps"].append(crps(ensemble, truth, estimator=kind).mean(axes))
            found["energy"].append(score / math.prod(grid.shape) ** 0.5)
            found["variogram"].append(grid_variogram_score(ensemble, truth, axes=axes, estimator=kind))
        else:
            for name in ("crps", "energy", "variogram"):
                found[name].append(truth.new_full((starts,), torch.nan))
        found["error"].append((ensemble.mean(0) - truth).square().mean(axes))
        if members > 1:
            found["variance"].append(ensemble.var(0).mean(axes))
            found["coverage"].append(interval_coverage(ensemble, truth, 0.9, over=axes).double())
            found["ranks"].append(rank_histogram(ensemble, truth, over=axes).counts.double())
        else:
            found["variance"].append(truth.new_zeros(starts))
            found["coverage"].append(truth.new_full((starts,), torch.nan))
            found["ranks"].append(truth.new_full((starts, 2), torch.nan))
        found["spectrum"].append(spectrum_of(ensemble * scale, grid)[1].mean(0))
    return Scores(numbers, members, **{name: torch.stack(values, 1) for name, values in found.items()})


def spectrum_of(fields: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Wave numbers ``(K,)`` that a solver resolves, and energy ``(..., K)``; variance in one dimension."""
    k, spectrum = (energy_spectrum if grid.dimensions == 2 else power_spectrum)(fields, grid)
    highest = min(m * 2 * math.pi / length for m, length in zip(grid.modes, grid.lengths, strict=True))
    kept = k <= highest * (1 + 1e-9)
    return k[kept], spectrum[..., kept]


def spectrum_error(found: Tensor, wanted: Tensor) -> Tensor:
    """Decades that a spectrum ``(..., K)`` is off, by wave number: ``|log10(found / wanted)|``."""
    return (found / wanted).log10().abs()


@dataclass(frozen=True)
class LongRun:
    """What a forecaster's own climate is like, compared with frames of the flow.

    Attributes:
        steps: of the run.
        lost: runs of which a field was no longer finite, or whose enstrophy (variance) left the range from a third to
            three times that of the flow, at any step.
        wave_numbers: ``(K,)``.
        spectrum: ``(K,)`` over the last part of the run.
        spectra: ``(T, R, K)``, of each run, those from one start beside each other, after every tenth step of the whole
            run; NaN of one that is lost.
        truth_spectrum: ``(K,)``, of the flow.
        energy: over that of the flow; NaN in one dimension and where the field is no vorticity.
        enstrophy: over that of the flow; of a field that is no vorticity the mean square about the flow's mean.
        distribution: distance (Wasserstein, order 1) of the distributions of values at points, in units of the standard
            deviation.
        by_step: enstrophy over that of the flow after every step, ``(steps,)``.

    Where all runs are lost the numbers are NaN.
    """

    steps: int
    lost: int
    wave_numbers: Tensor
    spectrum: Tensor
    spectra: Tensor
    truth_spectrum: Tensor
    energy: float
    enstrophy: float
    distribution: float
    by_step: Tensor

    @property
    def spectrum_error(self) -> float:
        """Decades, mean over all resolved wave numbers."""
        return float(spectrum_error(self.spectrum, self.truth_spectrum).mean())

    def by_band(self) -> dict[str, float]:
        """Decades in three bands of equal width in log k; a band without a wave number is left out."""
        error, k = spectrum_error(self.spectrum, self.truth_spectrum), self.wave_numbers.log()
        edges = torch.linspace(float(k[0]), float(k[-1]), 4).tolist()
        place = torch.bucketize(k, torch.tensor(edges[1:-1], dtype=k.dtype, device=k.device))
        names = ("large", "middle", "small")
        return {name: float(error[place == band].mean()) for band, name in enumerate(names) if (place == band).any()}


def long_run(
    forecaster: Forecaster,
    past: Tensor,
    reference: Tensor,
    steps: int,
    *,
    members: int = 1,
    last: float = 0.2,
    seed: int = 0,
    together: int = 64,
    progress: bool = False,
) -> LongRun:
    """Let a forecaster run on its own and compare the last part with the flow, without the runs that are lost.

    Args:
        forecaster: any.
        past: ``(S, H, *grid)``.
        reference: many frames of the flow, ``(F, *grid)``.
        steps: of the run.
        members: runs from each start.
        last: share of the steps that is compared, every tenth frame of it.
        seed: of the ensembles.
        together: members advanced at once.
        progress: whether to show a bar.
    """
    about = forecaster.description
    grid, vorticity = Grid(tuple(past.shape[2:]), about.lengths), about.variable == "vorticity"
    level = _level(reference, vorticity)
    truth_enstrophy = float(_enstrophy(reference, grid, level).mean())
    generators = [np.random.default_rng((seed, s, j)) for s in range(len(past)) for j in range(members)]
    first = past.float().repeat_interleave(members, 0)
    held, lost = first, torch.zeros(len(first), dtype=torch.bool, device=first.device)
    kept, spectra, by_step = [], [], []
    measured = steps - max(1, round(last * steps))
    for step in tqdm(range(1, steps + 1), unit="step", disable=not progress):
        parts = range(0, len(held), together)
        fields = torch.cat([forecaster.advance(held[p : p + together], generators[p : p + together]) for p in parts])
        held = torch.cat([held[:, 1:], fields[:, None]], 1)
        ratio = _enstrophy(fields, grid, level) / truth_enstrophy
        lost |= ~((ratio > 1 / 3) & (ratio < 3))
        held[lost] = first[lost]  # what becomes of them is of no interest, but must not end the others
        by_step.append(ratio[~lost].mean())
        if (steps - step) % _EVERY == 0:
            spectra.append(spectrum_of(held[:, -1], grid)[1])
            if step > measured:
                kept.append(fields)
    # Runs that are lost in the last part itself are left out with all their frames.
    found = compared(torch.cat([fields[~lost] for fields in kept]), reference, about.lengths, vorticity)
    each = torch.stack(spectra).masked_fill(lost[:, None], torch.nan)
    return dataclasses.replace(found, steps=steps, lost=int(lost.sum()), spectra=each, by_step=torch.stack(by_step))


def compared(fields: Tensor, reference: Tensor, lengths: tuple[float, ...], vorticity: bool = True) -> LongRun:
    """Any fields ``(F, *grid)`` of a flow compared with frames of it ``(R, *grid)``, as a long run of no steps.

    Every field counts as a run of its own, of one step. Only the vorticity of a plane flow tells its energy.
    """
    grid = Grid(tuple(fields.shape[1:]), lengths)
    k, truth_spectrum = spectrum_of(reference, grid)
    nan, alive, energetic = float("nan"), len(fields) > 0, vorticity and grid.dimensions == 2
    level, spread = _level(reference, vorticity), float(reference.double().std())
    spectra = spectrum_of(fields, grid)[1] if alive else truth_spectrum[:0]
    return LongRun(
        0,
        0,
        k,
        spectra.mean(0),
        spectra[None],
        truth_spectrum.mean(0),
        float(energy(fields, grid).mean() / energy(reference, grid).mean()) if energetic and alive else nan,
        float(_enstrophy(fields, grid, level).mean() / _enstrophy(reference, grid, level).mean()) if alive else nan,
        float(scipy.stats.wasserstein_distance(_some(fields), _some(reference)) / spread) if alive else nan,
        torch.zeros(0),
    )


def _level(reference: Tensor, vorticity: bool) -> float:
    """Of the flow: its mean, but for vorticity, which has none in a periodic box."""
    return 0.0 if vorticity else float(reference.double().mean())


def _enstrophy(fields: Tensor, grid: Grid, level: float) -> Tensor:
    """Half the mean square about a level, ``(...)``."""
    return 0.5 * (fields.double() - level).square().mean(tuple(range(-grid.dimensions, 0)))


def _some(fields: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Values at points, evenly taken; of a prime stride, so that not the same points of every frame are."""
    values = fields.flatten()
    stride = max(1, len(values) // _VALUES) | 1
    return values[::stride].double().numpy(force=True)
