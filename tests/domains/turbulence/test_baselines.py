"""Networks of the baselines against their formulas, and every forecaster that is compared: saved, trained, run."""

import dataclasses
import json
import math
from contextlib import nullcontext

import numpy as np
import pytest
import torch
import xarray

from domains.turbulence.baselines.climatology import Climatology, draws
from domains.turbulence.baselines.coarse_solver import CoarseSolver
from domains.turbulence.baselines.fourier_operator import FourierNetwork
from domains.turbulence.baselines.noisy_forecaster import NoisyConfig, NoisyForecaster
from domains.turbulence.baselines.persistence import Persistence
from domains.turbulence.baselines.residual_draws import ResidualDraws
from domains.turbulence.baselines.u_net import UNetNetwork
from domains.turbulence.deterministic_forecaster import DeterministicConfig, DeterministicForecaster
from domains.turbulence.flows import KolmogorovFlow, StochasticTurbulence
from domains.turbulence.forecaster import FlowDescription
from domains.turbulence.frame_statistics import FrameStatistics
from domains.turbulence.grid import Grid, resample
from domains.turbulence.initial_conditions import random_vorticity
from domains.turbulence.learned_forecaster import wave_fields
from domains.turbulence.networks import SeparableNetwork
from domains.turbulence.readers import read_flow
from domains.turbulence.saved import load_forecaster
from domains.turbulence.simulate import simulate
from domains.turbulence.symmetries import all_shifts, no_symmetries
from domains.turbulence.train import TrainConfig, train, window_loss
from domains.turbulence.training_data import split
from separable.files import read_json
from separable.training import RunFolder

ONE = {"field": "1", "length": "1", "time": "1"}
FLOW = FlowDescription("w", "w", ONE, 1.0, (8, 12), (2 * math.pi, 2 * math.pi))
LINE = FlowDescription("u", "u", ONE, 1.0, (16,), (2 * math.pi,))
NETWORKS = (SeparableNetwork(4, 2, 1, modes=(2, 3)), FourierNetwork(4, 2, 2), UNetNetwork(4, 2))


@pytest.fixture(scope="module")
def sample():
    return read_flow("datasets/kolmogorov_flow/sample.h5", scan=False)


def stirred(network, generator):
    """Start values that do something: a new network gives zero."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)


def made(config, description=FLOW, seed=0):
    generator = torch.Generator().manual_seed(seed)
    forecaster = config.made(description, FrameStatistics(0.2, 1.5, 0.4), generator)
    stirred(forecaster.network, generator)
    return forecaster


def test_a_layer_of_the_fourier_operator_is_its_sums():
    generator = torch.Generator().manual_seed(0)
    network = FourierNetwork(channels=3, modes=2, layers=1).made(2, 1, 0, 2, generator).double()
    stirred(network, generator)
    fields = torch.randn(1, 2, 8, 12, dtype=torch.float64, generator=generator)
    found = network(fields)[0, 0].detach().numpy()
    p = {name: value.detach().numpy() for name, value in network.named_parameters()}
    v = np.einsum("ci,iyx->cyx", p["lift.weight"], fields[0].numpy()) + p["lift.bias"][:, None, None]
    matrices = p["layers.0.weight"][..., 0] + 1j * p["layers.0.weight"][..., 1]  # (modes, in, out), as v' = v R
    matrices = matrices.reshape(3, 5, 3, 3)
    y, x = np.arange(8) / 8 * 2 * np.pi, np.arange(12) / 12 * 2 * np.pi
    filtered = np.zeros((3, 8, 12))
    for kx in range(3):
        for place, ky in enumerate((0, 1, 2, -2, -1)):
            wave = np.exp(1j * (ky * y[:, None] + kx * x))
            coefficients = (v * wave.conj()).mean((1, 2)) @ matrices[kx, place]
            # A real field: modes with kx > 0 stand for those with kx < 0 too.
            filtered += (1 if kx == 0 else 2) * (coefficients[:, None, None] * wave).real
    v = np.einsum("dc,cyx->dyx", p["layers.0.bypass.weight"], v) + p["layers.0.bypass.bias"][:, None, None] + filtered
    gelu = np.vectorize(lambda a: a * 0.5 * (1 + math.erf(a / 2**0.5)))
    wide = gelu(np.einsum("dc,cyx->dyx", p["widen.weight"], v) + p["widen.bias"][:, None, None])
    expected = np.einsum("dc,cyx->dyx", p["read.weight"], wide)[0] + p["read.bias"]
    np.testing.assert_allclose(found, expected, atol=1e-10)


def test_the_fourier_operator_counts_a_matrix_for_every_mode():
    forecaster = DeterministicConfig(FourierNetwork(6, 3, 2), waves=((2, 0),)).made(
        FLOW, FrameStatistics(0.0, 1.0, 1.0)
    )
    layer = 2 * 36 * 4 * 7 + 36 + 6
    assert forecaster.n_parameters == (3 * 6 + 6) + 2 * layer + (6 * 12 + 12) + (12 + 1)


def test_rounds_of_the_fourier_operator_are_layers_with_the_same_numbers():
    generator = torch.Generator().manual_seed(0)
    twice = FourierNetwork(channels=3, modes=2, layers=2, rounds=2).made(2, 1, 0, 2, generator)
    stirred(twice, generator)
    unrolled = FourierNetwork(channels=3, modes=2, layers=4).made(2, 1, 0, 2, generator)
    state = dict(twice.state_dict())
    for name, value in twice.layers.state_dict().items():
        place, _, rest = name.partition(".")
        state[f"layers.{int(place) + 2}.{rest}"] = value
    unrolled.load_state_dict(state)
    fields = torch.randn(2, 2, 8, 8, generator=generator)
    torch.testing.assert_close(twice(fields), unrolled(fields))


def test_a_vector_scales_the_channels_of_the_fourier_operator():
    generator = torch.Generator().manual_seed(0)
    network = FourierNetwork(channels=3, modes=2, layers=2).made(2, 1, 4, 2, generator)
    stirred(network, generator)
    fields, z = torch.randn(2, 2, 8, 8, generator=generator), torch.randn(2, 4, generator=generator)
    assert not torch.allclose(network(fields, z), network(fields, 2 * z))
    with torch.no_grad():
        for layer in network.layers:
            layer.film.zero_()
    torch.testing.assert_close(network(fields, z), network(fields, 2 * z))


@pytest.mark.parametrize("network", [FourierNetwork(4, 2, 2), UNetNetwork(4, 3)])
def test_baselines_commute_with_shifts(network):
    generator = torch.Generator().manual_seed(0)
    built = network.made(1, 1, 0, 2, generator)
    stirred(built, generator)
    fields = torch.randn(1, 1, 8, 16, generator=generator)
    shift = (4, 8)  # multiples of the coarsest spacing of the U-Net
    torch.testing.assert_close(
        built(fields.roll(shift, (2, 3))), built(fields).roll(shift, (2, 3)), atol=1e-4, rtol=1e-4
    )


def test_a_u_net_sees_across_the_edge_of_the_box_and_refuses_odd_grids():
    generator = torch.Generator().manual_seed(0)
    network = UNetNetwork(4, 1).made(1, 1, 0, 1, generator)
    stirred(network, generator)
    line = torch.zeros(1, 1, 16)
    touched = line.clone()
    touched[..., 0] = 1.0
    assert bool((network(touched) - network(line))[..., -1].abs() > 1e-6)
    with pytest.raises(ValueError, match="multiples"):
        UNetNetwork(4, 3).made(1, 1, 0, 1)(torch.zeros(1, 1, 18))
    with pytest.raises(ValueError, match="condition"):
        UNetNetwork(4, 3).made(1, 1, 5, 1)


@pytest.mark.parametrize("network", NETWORKS)
def test_a_deterministic_forecast_adds_the_network_to_the_last_frame(network, tmp_path):
    config = DeterministicConfig(network, history=2, waves=((2, 0),))
    forecaster = made(config)
    past = torch.randn(3, 2, 8, 12, generator=torch.Generator().manual_seed(1))
    waves = wave_fields(((2, 0),), (8, 12)).expand(3, 2, 8, 12)
    expected = (past[:, -1] - 0.2) / 1.5 + 0.4 * forecaster.network(torch.cat([(past - 0.2) / 1.5, waves], 1))[:, 0]
    found = next(forecaster.rollout(past, 2))
    torch.testing.assert_close(found[:, 0], expected.detach() * 1.5 + 0.2, atol=1e-5, rtol=1e-5)
    assert torch.equal(found[:, 0], found[:, 1]) or torch.allclose(found[:, 0], found[:, 1], atol=1e-5)
    forecaster.save(tmp_path)
    again = load_forecaster(tmp_path)
    assert isinstance(again, DeterministicForecaster)
    assert again.config == config
    assert torch.equal(next(again.rollout(past, 2)), found)
    fresh = config.made(FLOW, FrameStatistics(0.2, 1.5, 0.4))
    torch.testing.assert_close(next(fresh.rollout(past, 1))[:, 0], past[:, -1])  # untrained: persistence


def test_a_noisy_forecast_depends_on_its_noise_and_is_saved(tmp_path):
    config = NoisyConfig(FourierNetwork(4, 2, 2), waves=(), noise_fields=1, noise_vector=3)
    forecaster = made(config)
    assert forecaster.noise_numbers == 3 + 8 * 12
    past = torch.randn(2, 1, 8, 12, generator=torch.Generator().manual_seed(1))
    found = next(forecaster.rollout(past, 3, seed=4))
    assert float((found[:, 0] - found[:, 1]).abs().max()) > 1e-2
    forecaster.save(tmp_path)
    again = load_forecaster(tmp_path)
    assert isinstance(again, NoisyForecaster)
    assert torch.equal(next(again.rollout(past, 3, seed=4)), found)
    written = tmp_path / "forecaster.json"
    settings = read_json(written, finite=False)
    del settings["config"]["noise_size"]  # as saved by versions whose fields went in as they were drawn
    written.write_text(json.dumps(settings))
    before = made(dataclasses.replace(config, noise_size=1.0))
    assert torch.equal(next(load_forecaster(tmp_path).rollout(past, 3, seed=4)), next(before.rollout(past, 3, seed=4)))
    fine = next(forecaster.rollout(resample(past, (16, 24)), 3, seed=4))
    assert fine.shape == (2, 3, 16, 24)
    with pytest.raises(ValueError, match="noise"):
        NoisyConfig(noise_fields=0, noise_vector=0)


@pytest.mark.parametrize(
    "network", [FourierNetwork(4, 2, 2), SeparableNetwork(4, 2, 2, modes=(3, 5))], ids=["fourier", "separable"]
)
@pytest.mark.parametrize("vector", [0, 3])
def test_late_noise_makes_members_of_one_past(network, vector, tmp_path):
    config = NoisyConfig(network, waves=(), noise_fields=2, noise_vector=vector, noise_late=True)
    forecaster = made(config)
    generator = torch.Generator().manual_seed(1)
    past, noise = (torch.randn(*shape, generator=generator) for shape in ((2, 1, 8, 12), (6, vector + 2 * 8 * 12)))
    with torch.no_grad():
        together = forecaster.step(past, noise)
        alone = torch.cat([forecaster.step(past[j % 2][None], noise[j][None]) for j in range(6)])
        silent = forecaster.step(past, torch.zeros(2, noise.shape[1]))
    torch.testing.assert_close(together, alone)
    assert float((together[:2] - silent).abs().max()) > 1e-3
    forecaster.save(tmp_path)
    torch.testing.assert_close(load_forecaster(tmp_path).step(past, noise).detach(), together, rtol=0, atol=0)


def test_a_u_net_takes_no_late_noise():
    with pytest.raises(ValueError, match="late"):
        made(NoisyConfig(UNetNetwork(4, 2), waves=(), noise_late=True))


def test_one_dimension():
    for network in (FourierNetwork(4, 3, 2), UNetNetwork(4, 2), SeparableNetwork(4, 2, 1, modes=(5,))):
        found = made(DeterministicConfig(network, waves=()), LINE).forecast(torch.randn(1, 16), members=1, steps=2)
        assert found.u.shape == (1, 2, 16)


def test_the_loss_without_noise_is_the_l2_norm_of_the_error_over_its_own_steps():
    forecaster = made(DeterministicConfig(FourierNetwork(4, 2, 1), waves=()))
    frames = torch.randn(3, 3, 8, 12, generator=torch.Generator().manual_seed(1))
    found = window_loss(forecaster, frames, torch.Generator())
    last, total = frames[:, :1], 0.0
    for lead in (1, 2):
        following = forecaster.advance(last, [np.random.default_rng(0)] * 3)
        total += float((((following - frames[:, lead]) / 1.5) ** 2).mean((1, 2)).sqrt().mean()) / 2
        last = following[:, None]
    assert found.item() == pytest.approx(total, rel=1e-4)


@pytest.mark.parametrize("model", [DeterministicConfig(FourierNetwork(8, 4, 2)), NoisyConfig(FourierNetwork(8, 4, 2))])
def test_the_same_loop_trains_them(model, sample, tmp_path):
    config = TrainConfig(model, steps=240, batch=4, rate=1e-2, rollout=1)
    run = RunFolder(tmp_path, {}, 0)
    forecaster = train(sample, config, run=run, progress=False)
    frames = sample.load(split(sample, 0.1)[1])
    persistence = float((frames[:, 1:] - frames[:, :-1]).abs().mean() / frames.std())
    looks = [row["scores"] for row in run.metrics() if "scores" in row]
    losses = [row["loss"] for row in run.metrics() if "loss" in row]
    assert looks[-1]["crps_1"] < 0.85 * persistence
    first = losses[: round(config.alone_until * len(losses))]  # later other scores are added to those of an ensemble
    assert np.mean(first[-5:]) < 0.9 * np.mean(first[:2])
    assert forecaster.config.waves == ((4, 0),)


def test_climatology_draws_frames_and_symmetries():
    frames = torch.arange(3.0)[:, None, None] + torch.zeros(3, 8, 12)
    found = next(Climatology(FLOW, frames, no_symmetries((8, 12))).rollout(torch.zeros(2, 1, 8, 12), 300))
    shares = torch.bincount(found[:, :, 0, 0].flatten().long()) / 600
    assert shares.tolist() == pytest.approx([1 / 3] * 3, abs=0.08)
    ramp = torch.arange(96.0).reshape(1, 8, 12)
    moved = draws(ramp, all_shifts((8, 12)), [np.random.default_rng(j) for j in range(50)])
    assert len(set(moved[:, 0, 0].tolist())) > 20
    assert bool((moved.flatten(1).sort(1).values == ramp.flatten()).all())
    with pytest.raises(ValueError, match="frames"):
        Climatology(FLOW, frames, no_symmetries((8, 8)))


def test_the_coarse_solver_is_the_solver_on_fewer_points():
    flow, box = KolmogorovFlow(viscosity=0.05), (2 * math.pi, 2 * math.pi)
    description = FlowDescription("w", "w", ONE, 0.1, (32, 32), box)
    start = flow.random_start(Grid((32, 32)), [0]).float()
    found = next(CoarseSolver(description, flow, (16, 16), step=0.02).rollout(start[:, None], 1))[:, 0]
    coarse = simulate(flow, Grid((16, 16)), resample(start, (16, 16)), [0.1], step=0.02).fields[:, 0]
    torch.testing.assert_close(found, resample(coarse, (32, 32)))
    whole = next(CoarseSolver(description, flow, (32, 32), step=0.02).rollout(start[:, None], 1))[:, 0]
    exact = simulate(flow, Grid((32, 32)), start, [0.1], step=0.02).fields[:, 0]
    torch.testing.assert_close(whole, exact)


def test_what_knows_the_force_of_a_flow_refuses_points_elsewhere():
    flow = KolmogorovFlow(forcing_mode=2)
    solver = CoarseSolver(FLOW, flow, (8, 8), step=0.05)
    around = ResidualDraws(solver, torch.zeros(1, 8, 12), no_symmetries((8, 12)))
    y, x = (2 * math.pi / n * np.arange(n) for n in FLOW.shape)
    for first, fits in ((math.pi, True), (math.pi / 2, False)):
        history = xarray.DataArray(np.zeros((1, 8, 12)), {"y": first + y, "x": 0.3 + x}, ("time", "y", "x"))
        for forecaster in (solver, around):
            with nullcontext() if fits else pytest.raises(ValueError, match="y = 0"):
                forecaster.forecast(history, members=1, steps=1)
        Persistence(FLOW).forecast(history, members=1, steps=1)


@pytest.mark.parametrize("step", [None, 0.05])
def test_a_member_of_the_coarse_solver_does_not_depend_on_the_others(step):
    description = FlowDescription("w", "w", ONE, 0.2, (16, 16), (2 * math.pi, 2 * math.pi))
    forecaster = CoarseSolver(description, StochasticTurbulence(forcing_wave_number=2.0), (12, 12), step)
    start = random_vorticity(Grid((16, 16)), [0, 1], peak=2.0)
    start[1] *= 4  # which needs shorter steps
    both, alone = (next(forecaster.rollout(start[:, None], 3, seed=1, together=n)) for n in (6, 1))
    torch.testing.assert_close(both, alone, atol=1e-4, rtol=1e-4)
    assert float((both[:, 0] - both[:, 1]).abs().max()) > 1e-2


def test_residuals_are_errors_of_training_windows(sample):
    base = Persistence(FlowDescription.of(sample))
    rows = split(sample, 0.25)[0]
    forecaster = ResidualDraws.of(base, sample, rows, no_symmetries((32, 32)), count=20)
    assert forecaster.residuals.shape == (20, 32, 32)
    frames = sample.load(rows)
    changes = (frames[:, 1:] - frames[:, :-1]).flatten(0, 1)
    apart = torch.cdist(forecaster.residuals.flatten(1).double(), changes.flatten(1).double()).min(1)
    assert float(apart.values.max()) < 1e-2  # each is the change between two neighbouring frames
    assert len(set(apart.indices.tolist())) == 20
    start = sample.load([7])[:, :1]
    members = next(forecaster.rollout(start, 5))[0]
    drawn = (
        torch.cdist((members - start[0]).flatten(1).double(), forecaster.residuals.flatten(1).double()).min(1).values
    )
    assert float(drawn.max()) < 1e-2
    with pytest.raises(ValueError, match="residuals"):
        ResidualDraws(base, torch.zeros(3, 8, 8), no_symmetries((32, 32)))


def test_residuals_follow_the_forecaster_inside_to_a_device():
    base = made(DeterministicConfig(NETWORKS[0], waves=()))
    forecaster = ResidualDraws(base, torch.zeros(3, 8, 12), no_symmetries((8, 12)))
    assert forecaster.to("meta") is forecaster
    assert {base.device.type, *(p.device.type for p in base.network.parameters())} == {"meta"}


def test_residuals_are_resized_mode_by_mode():
    base, x = Persistence(LINE), torch.arange(16) * 2 * math.pi / 16
    made = torch.stack([torch.cos(2 * x) + torch.sin(4 * x) + torch.cos(7 * x), 3 * torch.sin(2 * x)])
    forecaster = ResidualDraws(base, made.float(), no_symmetries((16,)))
    gains = torch.tensor([1.0, 1.0, 0.5, 1.0, 2.0, 1.0], dtype=torch.float64)
    forecaster.resize(gains)  # modes 0 to 5; 7 is none that a solver resolves
    wanted = torch.stack([0.5 * torch.cos(2 * x) + 2 * torch.sin(4 * x) + torch.cos(7 * x), 1.5 * torch.sin(2 * x)])
    torch.testing.assert_close(forecaster.residuals, wanted.float(), atol=1e-6, rtol=1e-5)
    for wrong in (torch.ones(5), -torch.ones(6), torch.full((6,), torch.nan)):
        with pytest.raises(ValueError, match="gains"):
            forecaster.resize(wrong)


def test_a_kind_that_is_not_known_is_refused(tmp_path):
    (tmp_path / "forecaster.json").write_text('{"kind": "Oracle"}')
    with pytest.raises(ValueError, match="Oracle"):
        load_forecaster(tmp_path)
