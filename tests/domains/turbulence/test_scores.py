"""Scores of forecasts whose right value is known, and the climate of forecasters that have a known one."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from domains.turbulence.baselines.persistence import Persistence
from domains.turbulence.diagnostics import energy, energy_spectrum
from domains.turbulence.forecaster import FlowDescription, Forecaster
from domains.turbulence.grid import Grid
from domains.turbulence.scores import long_run, score_forecasts, spectrum_of

ONE = {"field": "1", "length": "1", "time": "1"}
FLOW = FlowDescription("vorticity", "vorticity", ONE, 1.0, (12, 12), (2 * math.pi, 2 * math.pi))
LINE = FlowDescription("u", "u", ONE, 1.0, (24,), (2 * math.pi,))


class White(Forecaster):
    """White noise of a given deviation, whatever came before."""

    def __init__(self, deviation, description=FLOW):
        self.description, self.history, self.deviation = description, 1, deviation

    def advance(self, frames, generators):
        drawn = [g.standard_normal(tuple(frames.shape[2:])) for g in generators]
        return self.deviation * torch.from_numpy(np.stack(drawn)).float()


def white(*shape, seed=0):
    return torch.randn(*shape, 12, 12, generator=torch.Generator().manual_seed(seed))


def test_an_ensemble_from_the_distribution_of_the_truth_is_calibrated():
    found = score_forecasts(
        White(1.0), white(40, 1), white(40, 2), 1.0, members=20, trajectories=[s // 2 for s in range(40)]
    )
    # CRPS of N(0, 1) for a draw of it is 1 / sqrt(pi); the energy score of n points half their distance, sqrt(2 n) / 2
    assert found.interval("crps").estimate.tolist() == pytest.approx([1 / math.pi**0.5] * 2, rel=0.03)
    assert found.interval("energy").estimate.tolist() == pytest.approx([0.5**0.5] * 2, rel=0.02)
    assert found.interval("coverage").estimate.tolist() == pytest.approx([0.9] * 2, abs=0.02)
    assert found.interval("spread_over_skill").estimate.tolist() == pytest.approx([1.0] * 2, abs=0.03)
    assert found.error.mean().item() == pytest.approx(1 + 1 / 20, rel=0.05)
    assert found.variance.mean().item() == pytest.approx(1.0, rel=0.03)
    shares = found.ranks.sum((0, 1)) / found.ranks.sum()
    assert shares.tolist() == pytest.approx([1 / 21] * 21, rel=0.2)
    assert found.by_trajectory("crps").shape == (20, 2)
    assert found.by_trajectory("crps")[3, 1].item() == pytest.approx(found.crps[6:8, 1].mean().item())
    interval = found.interval("crps")
    assert bool((interval.low < interval.estimate).all() and (interval.estimate < interval.high).all())


def test_too_little_spread_shows():
    found = score_forecasts(White(0.5), white(20, 1), white(20, 1), 1.0, members=20)
    assert found.spread_over_skill().item() == pytest.approx(((21 / 20) * 0.25 / (1 + 0.25 / 20)) ** 0.5, rel=0.05)
    assert found.coverage.mean().item() < 0.65


def test_one_member_is_scored_by_its_absolute_error():
    past, future = white(3, 1), white(3, 2, seed=1)
    found = score_forecasts(Persistence(FLOW), past, future, 2.0, members=1)
    error = ((past - future) / 2).double()
    torch.testing.assert_close(found.crps, error.abs().mean((2, 3)))
    torch.testing.assert_close(found.energy, error.square().mean((2, 3)).sqrt())
    torch.testing.assert_close(found.error, error.square().mean((2, 3)))
    assert bool(found.coverage.isnan().all())
    with pytest.raises(ValueError, match="trajectories"):
        score_forecasts(Persistence(FLOW), past, future, 2.0, members=1, trajectories=[0])


def test_spectra_hold_what_a_solver_resolves():
    grid = Grid((12, 12), FLOW.lengths)
    fields = white(5).double()
    k, spectrum = spectrum_of(fields, grid)
    assert k.tolist() == [1.0, 2.0, 3.0]
    torch.testing.assert_close(spectrum, energy_spectrum(fields, grid)[1][:, :3])
    waves = torch.cos(3 * Grid((24,), LINE.lengths).axes()["x"])
    k, spectrum = spectrum_of(waves, Grid((24,), LINE.lengths))
    assert k.tolist() == [float(n) for n in range(1, 8)]
    assert spectrum.argmax().item() == 2


def test_the_climate_of_a_long_run():
    reference = white(400)
    grid = Grid((12, 12), FLOW.lengths)
    found = long_run(White(1.1), white(20, 1, seed=1), reference, 200)
    assert found.lost == 0
    assert found.enstrophy == pytest.approx(1.21, rel=0.02)
    assert found.energy == pytest.approx(1.21, rel=0.05)
    assert found.spectrum_error == pytest.approx(math.log10(1.21), abs=0.015)
    bands = dataclasses.replace(
        found,
        wave_numbers=torch.arange(1.0, 28.0),
        spectrum=torch.tensor([10.0] * 3 + [1.0] * 6 + [0.1] * 18),  # k to 3, to 9 and to 27
        truth_spectrum=torch.tensor([1.0] * 9 + [10.0] * 18),
    )
    assert bands.by_band() == pytest.approx({"large": 1.0, "middle": 0.0, "small": 2.0}, abs=1e-6)
    assert bands.spectrum_error == pytest.approx((3 * 1.0 + 18 * 2.0) / 27)
    few = dataclasses.replace(
        found,
        wave_numbers=torch.tensor([1.0, 2.0]),  # none between 2^(1/3) and 2^(2/3)
        spectrum=torch.tensor([10.0, 1.0]),
        truth_spectrum=torch.tensor([1.0, 100.0]),
    )
    assert few.by_band() == pytest.approx({"large": 1.0, "small": 2.0}, abs=1e-6)
    # Between N(0, 1) and N(0, s) the distance is |s - 1| E|z|.
    assert found.distribution == pytest.approx(0.1 * (2 / math.pi) ** 0.5, rel=0.1)
    assert found.by_step.shape == (200,)
    assert found.spectra.shape == (20, 20, 3)  # after every tenth step, of every run
    torch.testing.assert_close(found.spectra[-4:].mean((0, 1)), found.spectrum)  # over the last fifth
    first = np.random.default_rng((0, 7, 0)).standard_normal((10, 12, 12))[9]  # the tenth step of the eighth run
    wanted = energy_spectrum(1.1 * torch.from_numpy(first), grid)[1][:3]
    torch.testing.assert_close(found.spectra[0, 7], wanted, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.truth_spectrum, energy_spectrum(reference, grid)[1][:, :3].mean(0))
    assert float(energy(reference, grid).mean()) > 0


def test_the_level_of_a_field_is_no_part_of_its_climate():
    density = dataclasses.replace(FLOW, variable="density")
    reference = 5 + 0.1 * white(400)

    class Dense(White):
        def advance(self, frames, generators):
            return 5 + super().advance(frames, generators)

    quiet = long_run(Dense(0.11, density), 5 + 0.1 * white(20, 1, seed=1), reference, 100)
    assert quiet.lost == 0
    assert quiet.enstrophy == pytest.approx(1.21, rel=0.03)
    assert math.isnan(quiet.energy)  # which only vorticity tells
    assert long_run(Dense(0.5, density), 5 + 0.1 * white(20, 1, seed=1), reference, 10).lost == 20


def test_runs_that_leave_are_lost_and_the_others_go_on():
    class Unstable(White):
        def advance(self, frames, generators):
            size = torch.where(frames[:, -1, 0, 0] > 1.5, torch.nan, 1.0)  # such a frame is followed by none
            return super().advance(frames, generators) * size[:, None, None]

    past = torch.zeros(10, 1, 12, 12)
    past[:3] = 2.0
    found = long_run(Unstable(0.1), past, 0.1 * white(100), 1)
    assert found.lost == 3
    assert found.spectra.isnan().all(-1)[0].tolist() == [True] * 3 + [False] * 7
    assert found.enstrophy == pytest.approx(1.0, rel=0.2)
    gone = long_run(White(9.0), past, white(10), 20)
    assert gone.lost == 10
    assert math.isnan(gone.enstrophy)

    class Growing(White):
        """The first run has 2.5 times the variance of the others after one step, and more than three times later."""

        def __init__(self):
            super().__init__(1.0)
            self.steps = 0

        def advance(self, frames, generators):
            self.steps += 1
            size = torch.ones(len(frames))
            size[0] += 1.5 * self.steps
            return super().advance(frames, generators) * size.sqrt()[:, None, None]

    found = long_run(Growing(), white(30, 1, seed=1), white(400), 11, last=1.0)
    assert found.lost == 1
    drawn = [np.random.default_rng((0, s, 0)).standard_normal((11, 12, 12))[[0, 10]] for s in range(1, 30)]
    wanted = np.square(drawn).mean() / float(white(400).square().mean())  # steps 1 and 11 of all runs but the first
    assert found.enstrophy == pytest.approx(wanted, rel=1e-5)


def test_one_dimension():
    generator = torch.Generator().manual_seed(0)
    past, future, reference = (torch.randn(s, n, 24, generator=generator) for s, n in ((4, 1), (4, 3), (50, 1)))
    found = score_forecasts(White(1.0, LINE), past, future, 1.0, members=4)
    assert found.spectrum.shape == (4, 3, 7)
    climate = long_run(White(1.0, LINE), past, reference[:, 0], 400)
    assert math.isnan(climate.energy)
    assert climate.enstrophy == pytest.approx(1.0, rel=0.2)
