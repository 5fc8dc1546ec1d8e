"""Flows against exact solutions, conservation laws, symmetries, and independent slow formulations."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from domains.turbulence.diagnostics import budgets, energy, energy_spectrum, enstrophy
from domains.turbulence.flows import (
    DecayingTurbulence,
    KolmogorovFlow,
    KuramotoSivashinsky,
    StochasticTurbulence,
    flow_from_settings,
    flow_to_settings,
)
from domains.turbulence.grid import Grid, resample
from domains.turbulence.initial_conditions import random_vorticity, random_waves, taylor_green
from domains.turbulence.simulate import Stepper, simulate

GRID = Grid((32, 48), (2 * math.pi, 3 * math.pi))
CPU = torch.device("cpu")


def last(flow, grid, start, time, step):
    return simulate(flow, grid, start, [time], step=step).fields[:, 0]


@pytest.mark.parametrize("modes", [(1, 1), (2, 3)])
def test_taylor_green_vortices_decay_exactly(modes):
    flow = DecayingTurbulence(viscosity=0.03, drag=0.05)
    start = taylor_green(GRID, modes, amplitude=2.0)
    squared = modes[0] ** 2 + (modes[1] * 2 / 3) ** 2
    found = simulate(flow, GRID, start, [0.0, 0.7, 2.0], step=0.1)
    for fields, time in zip(found.fields[0], found.times, strict=True):
        exact = start * math.exp(-(0.03 * squared + 0.05) * float(time))
        assert float((fields - exact).abs().max()) < 1e-12


def test_the_laminar_kolmogorov_flow_is_a_fixed_point():
    flow, grid = KolmogorovFlow(viscosity=0.2, drag=0.1), Grid((32, 32))
    k = flow.forcing_mode
    laminar = -k * torch.cos(k * grid.axes()["y"])[:, None].expand(32, 32) / (0.2 * k**2 + 0.1)
    assert torch.allclose(last(flow, grid, laminar, 3.0, 0.5)[0], laminar, atol=1e-13)


def slow_tendency(flow, grid, vorticity):
    """-(u, v) . grad w + force, in advective form on a grid three times as fine, then cut back: nothing to alias."""
    n_y, n_x = grid.shape
    fine = (3 * n_y, 3 * n_x)
    k_x = 2j * np.pi / grid.lengths[1] * np.fft.fftfreq(n_x, 1 / n_x)
    k_y = 2j * np.pi / grid.lengths[0] * np.fft.fftfreq(n_y, 1 / n_y)[:, None]
    modes = np.fft.fft2(vorticity.numpy())
    laplacian = k_x**2 + k_y**2
    laplacian[0, 0] = 1
    stream = -modes / laplacian
    parts = [resample(torch.from_numpy(np.fft.ifft2(m).real), fine) for m in (k_y * stream, -k_x * stream)]
    slopes = [resample(torch.from_numpy(np.fft.ifft2(m).real), fine) for m in (k_x * modes, k_y * modes)]
    product = -(parts[0] * slopes[0] + parts[1] * slopes[1])
    tendency = resample(product, grid.shape)
    if isinstance(flow, KolmogorovFlow):
        k = 2 * math.pi * flow.forcing_mode / grid.lengths[0]
        tendency = tendency - flow.forcing_amplitude * k * torch.cos(k * grid.axes()["y"])[:, None]
    return grid.fields(grid.coefficients(tendency))


@pytest.mark.parametrize("flow", [KolmogorovFlow(forcing_mode=3, forcing_amplitude=0.7), DecayingTurbulence()])
def test_the_tendency_is_that_of_the_advective_form(flow):
    start = GRID.fields(GRID.coefficients(random_vorticity(GRID, [0], peak=8.0, energy=2.0)))
    found = GRID.fields(flow.nonlinear(GRID, torch.float64, CPU)(GRID.coefficients(start)))[0]
    exact = slow_tendency(flow, GRID, start[0])
    assert float((found - exact).abs().max()) < 1e-11 * float(exact.abs().max())


@pytest.fixture(scope="module")
def turbulent():
    """A Kolmogorov flow that has forgotten its start."""
    flow, grid = KolmogorovFlow(), Grid((48, 48))
    return flow, grid, last(flow, grid, flow.random_start(grid, [0]), 15.0, 0.025)


def test_time_stepping_is_of_order_four_on_a_turbulent_field(turbulent):
    flow, grid, start = turbulent
    exact = last(flow, grid, start, 0.5, 0.5 / 320)
    errors = [float((last(flow, grid, start, 0.5, 0.5 / n) - exact).abs().max()) for n in (20, 40, 80)]
    orders = [math.log2(a / b) for a, b in itertools.pairwise(errors)]
    assert errors[-1] < 1e-5
    assert all(3.7 < order < 4.6 for order in orders)


def test_space_converges_faster_than_any_power():
    flow = DecayingTurbulence(viscosity=0.05)
    fields = {}
    for n in (24, 36, 54, 81, 120):
        grid = Grid((n, n))
        start = random_vorticity(grid, [3], peak=2.0)
        fields[n] = resample(last(flow, grid, start, 0.5, 0.02), (24, 24))
    errors = [float((fields[n] - fields[120]).abs().max()) for n in (24, 36, 54, 81)]
    rates = [math.log(a / b) / math.log(1.5) for a, b in itertools.pairwise(errors)]
    assert errors[-1] < 1e-9
    assert rates[0] < rates[1] < rates[2]
    assert rates[2] > 10


def test_energy_and_enstrophy_are_conserved_to_the_order_without_viscosity():
    flow, grid = DecayingTurbulence(viscosity=0.0), Grid((32, 32))
    start = random_vorticity(grid, [0, 1], peak=3.0)
    start = grid.fields(grid.coefficients(start))
    for measure in (energy, enstrophy):
        before = measure(start, grid)
        drifts = [
            float((measure(last(flow, grid, start, 1.0, h), grid) / before - 1).abs().max()) for h in (0.04, 0.02)
        ]
        assert drifts[1] < 1e-6
        assert math.log2(drifts[0] / drifts[1]) > 4  # one order more than the solution has


def test_a_shifted_start_gives_a_shifted_flow(turbulent):
    flow, grid, start = turbulent
    rows = grid.shape[0] // flow.forcing_mode  # one wave of the force
    for shift in ((0, 7), (rows, 0), (2 * rows, 5)):
        moved = last(flow, grid, start.roll(shift, (1, 2)), 0.5, 0.025)
        assert torch.allclose(moved, last(flow, grid, start, 0.5, 0.025).roll(shift, (1, 2)), atol=1e-9)


def test_shift_and_reflect_is_a_symmetry_of_kolmogorov_flow(turbulent):
    """(x, y) -> (-x, y + half a wave of the force), w -> -w; and a half turn, w -> w (Chandler and Kerswell 2013)."""
    flow, grid, start = turbulent
    half = grid.shape[0] // (2 * flow.forcing_mode)

    def reflected(fields):
        return -fields.flip(2).roll((half, 1), (1, 2))

    def turned(fields):
        return fields.flip((1, 2)).roll((1, 1), (1, 2))

    for symmetry in (reflected, turned):
        found = last(flow, grid, symmetry(start), 0.5, 0.025)
        assert torch.allclose(found, symmetry(last(flow, grid, start, 0.5, 0.025)), atol=1e-9)


def test_a_mean_flow_only_carries_the_vorticity_along():
    grid, time = Grid((32, 32)), 0.5
    start = random_vorticity(grid, [4], peak=2.0)
    still = last(DecayingTurbulence(viscosity=0.01), grid, start, time, 0.005)
    # the box's 32 points in 2 pi; 4 points along x and -2 along y in the time
    speed = (4 * 2 * math.pi / 32 / time, -2 * 2 * math.pi / 32 / time)
    carried = last(DecayingTurbulence(viscosity=0.01, mean_flow=speed), grid, start, time, 0.005)
    assert torch.allclose(carried, still.roll((-2, 4), (1, 2)), atol=1e-6)


@pytest.mark.parametrize("flow", [KolmogorovFlow(), DecayingTurbulence(viscosity=1e-5, order=2, drag=0.1)])
def test_budgets_are_what_energy_and_enstrophy_do(flow):
    grid = Grid((32, 32))
    start = random_vorticity(grid, [5], peak=4.0)
    before, now, after = simulate(flow, grid, start, [0.2, 0.201, 0.202], step=0.001).fields[0]
    for budget, measure in zip(budgets(flow, now, grid), (energy, enstrophy), strict=True):
        slope = float(measure(after, grid) - measure(before, grid)) / 0.002
        assert float(budget.rate) == pytest.approx(slope, rel=1e-5)


def test_kuramoto_sivashinsky_is_the_equation_integrated_by_others():
    """In Fourier space with scipy's stiff integrator: all terms written anew from du/dt = - u u_x - u_xx - u_xxxx."""
    flow, grid = KuramotoSivashinsky(), Grid((64,), (32.0,))
    start = random_waves(grid, [0], modes=6)
    n, kept = 64, 21
    k = 2 * np.pi / 32.0 * np.arange(n // 2 + 1)
    keep = np.arange(n // 2 + 1) <= kept

    def slope(t, packed):
        modes = packed[: n // 2 + 1] + 1j * packed[n // 2 + 1 :]
        u, u_x = np.fft.irfft(modes, n), np.fft.irfft(1j * k * modes, n)
        change = (np.fft.rfft(-u * u_x) + (k**2 - k**4) * modes) * keep
        return np.concatenate([change.real, change.imag])

    modes = np.fft.rfft(start[0].numpy()) * keep
    packed = np.concatenate([modes.real, modes.imag])
    solved = solve_ivp(slope, (0, 10), packed, method="LSODA", rtol=1e-10, atol=1e-10).y[:, -1]
    exact = np.fft.irfft(solved[: n // 2 + 1] + 1j * solved[n // 2 + 1 :], n)
    found = last(flow, grid, start, 10.0, 0.02)[0].numpy()
    assert np.abs(found - exact).max() < 1e-6 * np.abs(exact).max()


def test_kuramoto_sivashinsky_keeps_its_mean_and_is_of_order_four():
    flow, grid = KuramotoSivashinsky(), Grid((96,), (60.0,))
    start = last(flow, grid, random_waves(grid, [1]), 60.0, 0.1)
    assert float(start.mean().abs()) < 1e-12
    assert 0.5 < float(start.std()) < 3  # it neither decays nor grows
    exact = last(flow, grid, start, 4.0, 0.0025)
    errors = [float((last(flow, grid, start, 4.0, h) - exact).abs().max()) for h in (0.1, 0.05, 0.025)]
    orders = [math.log2(a / b) for a, b in itertools.pairwise(errors)]
    # Stiffness holds the order back until the step is short; it grows towards 4.
    assert 3.2 < orders[0] < orders[1] < 4.5
    assert errors[0] < 1e-4


@pytest.mark.parametrize("flow", [KolmogorovFlow(drag=0.2), DecayingTurbulence(mean_flow=(1.0, 0.0))])
def test_settings_come_back(flow):
    assert flow_from_settings(flow_to_settings(flow)) == flow
    with pytest.raises(ValueError):
        flow_from_settings({"kind": "Cheese"})


@pytest.mark.parametrize(
    "make",
    [
        lambda: KolmogorovFlow(viscosity=-1.0),
        lambda: KolmogorovFlow(drag=math.nan),
        lambda: KolmogorovFlow(forcing_mode=0),
        lambda: KolmogorovFlow(forcing_amplitude=math.nan),
        lambda: DecayingTurbulence(mean_flow=(0.0, math.inf)),
        lambda: DecayingTurbulence(order=0),
        lambda: DecayingTurbulence(viscosity=math.inf),
        lambda: StochasticTurbulence(energy_rate=-0.1),
        lambda: StochasticTurbulence(forcing_bandwidth=0.0),
        lambda: KuramotoSivashinsky(hyperdiffusion=0.0),
        lambda: KolmogorovFlow(forcing_mode=12).source(Grid((32, 32))),
        lambda: KolmogorovFlow().source(Grid((32,))),
        lambda: StochasticTurbulence(forcing_wave_number=10.0).forcing(Grid((32, 32))),
        lambda: StochasticTurbulence(forcing_wave_number=3.3, forcing_bandwidth=0.01).forcing(Grid((32, 32))),
        lambda: Stepper(KuramotoSivashinsky(), Grid((32, 32)), 0.1),
    ],
)
def test_what_makes_no_sense_is_refused(make):
    with pytest.raises(ValueError):
        make()


@pytest.mark.parametrize("flow", [KolmogorovFlow(), DecayingTurbulence(), StochasticTurbulence()])
def test_a_grid_of_another_dimension_is_named(flow):
    with pytest.raises(ValueError, match=r"2 dimension\(s\).*\(32,\)"):
        flow.linear(Grid((32,)))


def test_a_random_start_is_the_same_on_every_grid_that_holds_it():
    """Mode 24 of the longer side is six waves over the shorter one, of which even the coarser grid holds ten."""
    flow, box = DecayingTurbulence(start_mode=24), (8 * math.pi, 2 * math.pi)
    coarse, fine = (flow.random_start(Grid(shape, box), [0]) for shape in ((128, 32), (256, 64)))
    spectrum = energy_spectrum(fine, Grid((256, 64), box))[1][0]
    assert 21 <= int(spectrum.argmax()) + 1 <= 27
    own = Grid((128, 32), box)
    shared = own.fields(own.coefficients(fine[:, ::2, ::2]))
    spectra = [energy_spectrum(field, own)[1][0, :20] for field in (coarse, shared)]
    torch.testing.assert_close(spectra[0] / spectra[0].sum(), spectra[1] / spectra[1].sum(), rtol=0.2, atol=1e-3)
