"""Batches, precision, times, and what is said when a flow runs away."""

import math

import pytest
import torch

from domains.turbulence.flows import DecayingTurbulence, KolmogorovFlow, KuramotoSivashinsky, StochasticTurbulence
from domains.turbulence.grid import Grid
from domains.turbulence.initial_conditions import random_vorticity
from domains.turbulence.simulate import COURANT_LIMIT, simulate

GRID = Grid((24, 32))
FLOW = KolmogorovFlow()


@pytest.mark.parametrize(
    ("flow", "grid"),
    [
        (FLOW, GRID),
        (DecayingTurbulence(), GRID),
        (StochasticTurbulence(), GRID),
        (KuramotoSivashinsky(), Grid((48,), (30.0,))),
    ],
)
def test_a_batch_is_its_samples(flow, grid):
    start = flow.random_start(grid, range(40))
    batch = simulate(flow, grid, start, [0.0, 0.5, 1.0], step=0.05).fields
    for sample in (0, 17, 39):
        alone = simulate(flow, grid, start[sample], [0.0, 0.5, 1.0], step=0.05, seeds=[sample]).fields[0]
        assert torch.allclose(batch[sample], alone, atol=1e-11)


@pytest.mark.parametrize(("flow", "grid"), [(FLOW, GRID), (KuramotoSivashinsky(), Grid((48,), (30.0,)))])
def test_single_precision_is_near_double(flow, grid):
    start = flow.random_start(grid, range(3))
    double = simulate(flow, grid, start, [2.0], step=0.05).fields
    single = simulate(flow, grid, start.float(), [2.0], step=0.05).fields
    assert single.dtype == torch.float32
    assert float((single - double).abs().max()) < 1e-4 * float(double.abs().max())


def test_times_are_met_whatever_the_step():
    start = FLOW.random_start(GRID, [0])
    whole = simulate(FLOW, GRID, start, [0.35, 1.0], step=0.01).fields
    uneven = simulate(FLOW, GRID, start, [0.35, 0.351, 1.0], step=0.009).fields[:, [0, 2]]
    assert torch.allclose(whole, uneven, atol=1e-5)
    chosen = simulate(FLOW, GRID, start, [0.35, 1.0])
    assert torch.allclose(whole, chosen.fields, atol=5e-2)
    assert 0 < chosen.step < 0.35
    # 0.35 by steps of at most 0.03 are 12, 0.65 are 22; an interval is one step where the limit is longer.
    assert simulate(FLOW, GRID, start, [0.35, 1.0], step=0.03).step == pytest.approx(0.65 / 22)
    assert simulate(FLOW, GRID, start, [0.02], step=0.1).to_xarray().attrs["step"] == pytest.approx(0.02)


def test_times_too_close_for_a_step_are_made_up_for():
    """Frames less than a millionth of a step apart are each other's, but not all the first one's."""
    start = FLOW.random_start(GRID, [0])
    close = torch.linspace(0, 2e-3, 4001, dtype=torch.float64).tolist()
    found = simulate(FLOW, GRID, start, close, step=1.0).fields[:, -1]
    once = simulate(FLOW, GRID, start, [2e-3], step=1.0).fields[:, 0]
    assert float((once - start).abs().max()) > 1e-5
    assert torch.allclose(found, once, atol=1e-2 * float((once - start).abs().max()))


def test_the_first_frame_is_the_start_without_what_the_grid_does_not_keep():
    start = FLOW.random_start(GRID, [0]) + 0.1 * torch.randn(1, *GRID.shape, dtype=torch.float64)
    found = simulate(FLOW, GRID, start, [0.0]).fields[:, 0]
    assert torch.allclose(found, GRID.fields(GRID.coefficients(start)))


def test_too_long_a_step_is_told_with_sample_time_and_a_step_that_works():
    start = random_vorticity(GRID, [0, 1], energy=0.01)
    start[1] *= 30
    with pytest.raises(FloatingPointError) as raised:
        simulate(DecayingTurbulence(), GRID, start, [5.0], step=0.2)
    assert "sample 1" in str(raised.value)
    assert f"{COURANT_LIMIT:g}" in str(raised.value)
    advised = float(str(raised.value).split("at most ")[1].split(" ")[0])
    simulate(DecayingTurbulence(), GRID, start, [5.0], step=advised)


def test_a_flow_that_runs_away_is_told():
    start = torch.full((2, *GRID.shape), 0.0, dtype=torch.float64)
    start[0] = random_vorticity(GRID, [0])[0]
    start[1, 0, 0] = math.nan
    with pytest.raises(FloatingPointError, match="sample 1"):
        simulate(FLOW, GRID, start, [1.0], step=0.02)
    wild = KuramotoSivashinsky(anti_diffusion=1e3)  # grows faster than anything damps within a step
    grid = Grid((48,), (30.0,))
    with pytest.raises(FloatingPointError):
        simulate(wild, grid, wild.random_start(grid, [0]), [100.0], step=0.5)


def test_datasets_carry_axes_units_and_parameters():
    found = simulate(FLOW, GRID, FLOW.random_start(GRID, [0, 1]), [0.0, 0.1], step=0.05)
    dataset = found.to_xarray({"time": "s"})
    assert dict(dataset.sizes) == {"sample": 2, "time": 2, "y": 24, "x": 32}
    assert dataset.vorticity.dims == ("sample", "time", "y", "x")
    assert dataset.time.attrs["units"] == "s"
    with pytest.raises(ValueError, match="vorticity"):
        found.to_xarray({"vorticity": "1/s"})
    assert dataset.attrs["flow_viscosity"] == FLOW.viscosity
    assert float(dataset.x[1]) == pytest.approx(2 * math.pi / 32)


@pytest.mark.parametrize(
    ("initial", "times", "options"),
    [
        (torch.zeros(1, 8, 8), [1.0], {}),
        (torch.zeros(2, 1, 24, 32), [1.0], {}),
        (torch.zeros(0, 24, 32), [1.0], {}),
        (torch.zeros(1, 24, 32, dtype=torch.float16), [1.0], {}),
        (torch.zeros(1, 24, 32), [], {}),
        (torch.zeros(1, 24, 32), [1.0, 1.0], {}),
        (torch.zeros(1, 24, 32), [-1.0], {}),
        (torch.zeros(1, 24, 32), [1.0], {"step": 0.0}),
        (torch.zeros(1, 24, 32), [1.0], {"step": math.nan}),
        (torch.zeros(1, 24, 32), [1.0], {"seeds": [1, 2]}),
    ],
)
def test_what_does_not_fit_is_refused(initial, times, options):
    with pytest.raises(ValueError):
        simulate(FLOW, GRID, initial, times, **options)
    with pytest.raises(ValueError):
        simulate(KuramotoSivashinsky(), GRID, torch.zeros(1, 24, 32), [1.0])


def test_results_can_be_used_where_gradients_are_taken():
    found = simulate(FLOW, GRID, FLOW.random_start(GRID, [0]), [0.1], step=0.05).fields
    weight = torch.ones(1, dtype=torch.float64, requires_grad=True)
    ((weight * found) ** 2).sum().backward()
    assert float(weight.grad) > 0
