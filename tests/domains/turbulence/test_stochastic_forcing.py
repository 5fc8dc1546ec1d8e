"""Random forcing puts in the stated energy, whatever the step, and depends on seeds alone."""

import math

import numpy as np
import pytest
import torch

from domains.turbulence.diagnostics import budgets, energy, energy_spectrum, enstrophy
from domains.turbulence.flows import StochasticTurbulence
from domains.turbulence.grid import Grid
from domains.turbulence.simulate import Stepper, simulate

GRID = Grid((16, 18), (2 * math.pi, 2.25 * math.pi))
RING = {"forcing_wave_number": 3.0, "forcing_bandwidth": 2.0}


def within_error(values, exact):
    mean, error = float(values.mean()), float(values.std() / math.sqrt(len(values)))
    assert abs(mean - exact) < 3 * error
    assert error < 0.02 * exact


@pytest.mark.parametrize("step", [0.02, 0.1])
def test_energy_and_enstrophy_are_put_in_at_the_stated_rate(step):
    """With neither viscosity nor drag advection only moves what the forcing puts in."""
    flow = StochasticTurbulence(viscosity=0.0, drag=0.0, energy_rate=0.2, **RING)
    fields = simulate(flow, GRID, flow.random_start(GRID, range(500)), [1.0], step=step).fields[:, 0]
    of_energy, of_enstrophy = budgets(flow, fields[0], GRID)
    assert float(of_energy.injection) == pytest.approx(0.2)
    within_error(energy(fields, GRID), 0.2)
    within_error(enstrophy(fields, GRID), float(of_enstrophy.injection))


@pytest.mark.parametrize("step", [0.05, 1.0])
def test_weakly_forced_waves_have_the_exact_energy_at_any_step(step):
    """Without advection each mode is an Ornstein-Uhlenbeck process."""
    flow = StochasticTurbulence(viscosity=0.05, drag=0.3, energy_rate=1e-10, **RING)
    forcing, linear = flow.forcing(GRID), flow.linear(GRID)
    decay = -linear[forcing.first, forcing.second]
    weights = torch.full_like(decay, 2.0)
    squared = sum(k**2 for k in GRID.wave_numbers())[forcing.first, forcing.second]
    variance = forcing.amplitude**2 * (1 - torch.exp(-2 * decay * 2.0)) / (2 * decay)
    exact = float((0.5 * weights * variance / squared).sum())
    fields = simulate(flow, GRID, flow.random_start(GRID, range(400)), [2.0], step=step).fields[:, 0]
    within_error(energy(fields, GRID), exact)


def test_only_the_ring_is_forced_and_all_of_it_evenly():
    flow = StochasticTurbulence(viscosity=0.0, drag=0.0, energy_rate=1e-10, **RING)
    grid = Grid((24, 24))
    fields = simulate(flow, grid, flow.random_start(grid, range(300)), [0.1], step=0.1).fields[:, 0]
    k, spectrum = energy_spectrum(fields, grid)
    inside = (k >= 2) & (k <= 4)
    assert float(spectrum[:, ~inside].max()) < 1e-9 * float(spectrum.max())
    modes = grid.coefficients(fields).abs().pow(2).mean(0) / sum(w**2 for w in grid.wave_numbers()).clamp(min=1)
    ring = modes[modes > modes.max() / 100]
    assert float(ring.std() / ring.mean()) < 3 / math.sqrt(300)


def test_samples_depend_on_their_seed_alone_and_steps_may_be_taken_in_parts():
    flow, grid = StochasticTurbulence(), Grid((32, 32))
    start = flow.random_start(grid, range(3))
    together = simulate(flow, grid, start, [1.0, 2.0], step=0.02, seeds=[5, 6, 7]).fields
    alone = simulate(flow, grid, start[:1], [1.0, 2.0], step=0.02, seeds=[6]).fields
    assert torch.allclose(together[1], alone[0], atol=1e-12)
    assert float((together[0] - together[1]).abs().max()) > 0.1
    stepper, modes = Stepper(flow, grid, 0.02), grid.coefficients(start)
    once = stepper.advance(modes, 100, [np.random.default_rng(s) for s in (5, 6, 7)])
    generators = [np.random.default_rng(s) for s in (5, 6, 7)]
    twice = stepper.advance(stepper.advance(modes, 37, generators), 63, generators)
    assert torch.equal(once, twice)
    with pytest.raises(ValueError):
        stepper.advance(modes, 1, generators[:2])


def test_fields_stay_real():
    """The coefficients of the axis k_x = 0 must be conjugates, or they are not those of any real field."""
    flow, grid = StochasticTurbulence(**RING), Grid((16, 16))
    modes = Stepper(flow, grid, 0.05).advance(
        grid.coefficients(flow.random_start(grid, [0])), 20, [np.random.default_rng(0)]
    )
    assert torch.allclose(grid.coefficients(grid.fields(modes)), modes, atol=1e-14)
