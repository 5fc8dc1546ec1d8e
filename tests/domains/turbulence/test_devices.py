"""Turbulence on a GPU, or a pretended one: nothing mixes devices, results are where they belong and as on the CPU."""

import copy
import dataclasses
import functools

import numpy as np
import pytest
import torch

from domains.turbulence import descent, held_spectrum, held_spread, train_innovations, training_data
from domains.turbulence.baselines.climatology import Climatology
from domains.turbulence.baselines.coarse_solver import CoarseSolver
from domains.turbulence.baselines.fourier_operator import FourierNetwork
from domains.turbulence.baselines.noisy_forecaster import NoisyConfig
from domains.turbulence.baselines.persistence import Persistence
from domains.turbulence.baselines.residual_draws import ResidualDraws
from domains.turbulence.baselines.u_net import UNetNetwork
from domains.turbulence.compressible import CompressibleFlow
from domains.turbulence.descent import DescentConfig
from domains.turbulence.deterministic_forecaster import DeterministicConfig
from domains.turbulence.diagnostics import budgets, curl, energy, palinstrophy, power_spectrum, velocity
from domains.turbulence.flows import DecayingTurbulence, KolmogorovFlow, KuramotoSivashinsky, StochasticTurbulence
from domains.turbulence.forecaster import FlowDescription
from domains.turbulence.frame_statistics import FrameStatistics
from domains.turbulence.grid import Grid
from domains.turbulence.held_spectrum import hold_spectrum
from domains.turbulence.held_spread import hold_spread
from domains.turbulence.innovation_forecaster import InnovationConfig, InnovationForecaster
from domains.turbulence.innovation_network import InnovationNetworkConfig
from domains.turbulence.modes import to_modes
from domains.turbulence.networks import SeparableNetwork
from domains.turbulence.noise_forecaster import NoiseForecasterConfig
from domains.turbulence.readers import read_flow
from domains.turbulence.saved import load_forecaster
from domains.turbulence.scores import long_run, score_forecasts
from domains.turbulence.simulate import Stepper, simulate
from domains.turbulence.symmetries import all_shifts
from domains.turbulence.token_forecaster import TokenConfig, TokenForecaster
from domains.turbulence.train import TrainConfig, train
from domains.turbulence.train_innovations import InnovationTrainConfig
from domains.turbulence.train_tokens import TokenTrainConfig, train_tokens
from separable.training import RunFolder, learning_curve
from tests.pretended_device import assert_as_on_the_cpu, some_device

GRID = (16, 24)
BOX = FlowDescription("w", "w", {"field": "1", "length": "1", "time": "1"}, 0.2, GRID, (2 * torch.pi, 2 * torch.pi))
STATISTICS = FrameStatistics(0.1, 2.0, 0.5, -3.0, 3.0)
TINY = InnovationNetworkConfig(
    width=16, layers=1, heads=2, features=3, channels=4, products=3, blocks=1, rank=4, seed_dim=4, knots=4
)
SEPARABLE = SeparableNetwork(channels=6, products=4, blocks=2, modes=(5, 5))
HEAD_A = NoiseForecasterConfig(channels=6, products=4, blocks=2, modes=(5, 5), inner=(3, 3), waves=((2, 0),))
CODES = InnovationConfig(TINY, levels=2, patch=4, bins=8, modes=(3, 3), waves=((2, 0),))
TOKENS = TokenConfig(patch=8, digits=3, levels=5, coder_width=6, width=16, layers=1, heads=2, rank=3, seed_dim=4)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def unlike_the_start(network):
    """Numbers that are not zero, so that what is compared depends on all of them."""
    for place, parameter in enumerate(network.parameters()):
        parameter.data += 0.05 * normal(*parameter.shape, seed=place)


def of(config):
    forecaster = config.made(BOX, STATISTICS, torch.Generator().manual_seed(0))
    unlike_the_start(forecaster.network)
    return forecaster


def head_b():
    core = of(DeterministicConfig(SEPARABLE, waves=((2, 0),)))
    forecaster = InnovationForecaster(core, CODES, torch.Generator().manual_seed(1))
    forecaster.fit(to_modes(0.1 * normal(40, *GRID), CODES.modes), torch.Generator().manual_seed(2))
    unlike_the_start(forecaster.network)
    return forecaster


def tokens():
    return TokenForecaster(TOKENS, BOX, 0.1, 2.0, torch.Generator().manual_seed(0))


def residuals():
    return ResidualDraws(of(DeterministicConfig(SEPARABLE, waves=())), normal(5, *GRID, seed=3), all_shifts(GRID))


FORECASTERS = {
    "head A": lambda: of(HEAD_A),
    "head A by a vector": lambda: of(dataclasses.replace(HEAD_A, noise_vector=3, rounds=2)),
    "head B": head_b,
    "tokens": tokens,
    "deterministic": lambda: of(DeterministicConfig(SEPARABLE, waves=((2, 0),), history=2)),
    "Fourier": lambda: of(DeterministicConfig(FourierNetwork(channels=4, modes=3), waves=((2, 0),))),
    "U-Net": lambda: of(DeterministicConfig(UNetNetwork(channels=4, levels=2), waves=())),
    "noisy": lambda: of(NoisyConfig(FourierNetwork(channels=4, modes=3), waves=((2, 0),), noise_vector=2)),
    "noisy late": lambda: of(NoisyConfig(FourierNetwork(channels=4, modes=3), waves=(), noise_late=True)),
    "residuals": residuals,
    "persistence": lambda: Persistence(BOX),
    "climatology": lambda: Climatology(BOX, normal(5, *GRID), all_shifts(GRID)),
    "coarse": lambda: CoarseSolver(BOX, StochasticTurbulence(forcing_wave_number=2.0), (12, 12), step=0.05),
}

FLOWS = {
    "Kolmogorov": (KolmogorovFlow(), Grid((16, 20))),
    "decaying": (DecayingTurbulence(order=2, drag=0.1), Grid((16, 20))),
    "carried": (DecayingTurbulence(mean_flow=(1.0, -0.5)), Grid((20, 16))),
    "stochastic": (StochasticTurbulence(forcing_wave_number=3.0), Grid((20, 16))),
    "Kuramoto": (KuramotoSivashinsky(), Grid((32,), (32.0,))),
}


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Looks at the held-out samples and runs at the end, short but there; pictures of numbers that left the device."""
    monkeypatch.setattr(learning_curve, "_picture", lambda *told: None)
    for module, values in (
        (training_data, {"_STARTS": 2, "_MEMBERS": 2, "_LEADS": 2}),
        (descent, {"_LOOKS": 1}),
        (held_spectrum, {"ROUNDS": 2}),
        (held_spread, {"ROUNDS": 2}),
    ):
        for name, value in values.items():
            monkeypatch.setattr(module, name, value)


@functools.cache
def flow():
    return read_flow("datasets/kolmogorov_flow/sample.h5", scan=False)


def assert_same_network(one, other):
    """Two networks on the CPU, to the rounding of operations that are put together otherwise on a GPU."""
    for name, value in one.state_dict().items():
        found = other.state_dict()[name]
        assert found.device.type == "cpu", name
        torch.testing.assert_close(found, value, rtol=1e-5, atol=1e-7, msg=lambda told, name=name: f"{name}: {told}")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", FLOWS)
def test_a_flow_is_solved_where_it_starts(name, dtype):
    equation, grid = FLOWS[name]
    start = equation.random_start(grid, [0, 1, 2]).to(dtype)
    expected = simulate(equation, grid, start, [0.0, 0.05, 0.2], seeds=[5, 6, 7]).fields
    with some_device() as device:
        found = simulate(equation, grid, start.to(device), [0.0, 0.05, 0.2], seeds=[5, 6, 7])
        assert (found.fields.device, found.times.device.type) == (device, "cpu")
        assert found.to_xarray().sizes["sample"] == 3
        assert_as_on_the_cpu(found.fields, expected)


@pytest.mark.parametrize("name", FLOWS)
def test_a_stepper_is_where_it_is_told_to_be(name):
    equation, grid = FLOWS[name]
    coefficients = grid.coefficients(equation.random_start(grid, [0, 1]))

    def after(device):
        generators = [np.random.default_rng(seed) for seed in (0, 1)]
        stepper = Stepper(equation, grid, 0.01, device=device)
        return stepper.advance(coefficients.to(device), 70, generators if equation.forcing(grid) else ())

    expected = after("cpu")
    with some_device() as device:
        found = after(device)
        assert found.device == device
        assert_as_on_the_cpu(found, expected)
        with pytest.raises(RuntimeError, match="same device"):  # a stepper of the CPU
            Stepper(equation, grid, 0.01).once(coefficients.to(device))


def test_compressible_flow_is_solved_where_it_starts():
    equation, grid = CompressibleFlow(waves=2), Grid((12, 8), (1.0, 1.0))
    start = equation.random_start(grid, [0, 1])
    expected = equation.solve(grid, start, [0.01, 0.03])
    with some_device() as device:
        found = equation.solve(grid, start.to(device), [0.01, 0.03])
        assert found.device == device
        assert_as_on_the_cpu(found, expected)


@pytest.mark.parametrize("name", ["Kolmogorov", "decaying", "stochastic"])
def test_diagnostics_are_where_the_fields_are(name):
    equation, grid = FLOWS[name]
    fields = normal(2, *grid.shape, seed=1).double()

    def told(fields):
        parts = [energy(fields, grid), palinstrophy(fields, grid), curl(*velocity(fields, grid).unbind(1), grid)]
        parts += power_spectrum(fields[:, 0], Grid(grid.shape[1:]))
        for budget in budgets(equation, fields, grid):
            parts += [budget.injection, budget.viscous, budget.drag]
        return parts

    expected = told(fields)
    with some_device() as device:
        for found, wanted in zip(told(fields.to(device)), expected, strict=True):
            assert found.device == device
            torch.testing.assert_close(found.cpu(), wanted)


def test_scores_are_where_the_frames_are():
    forecaster, past, future = of(HEAD_A), normal(2, 1, *GRID), normal(2, 2, *GRID, seed=1)

    def told(device):
        frames, came = past.to(device), future.to(device)
        scores = score_forecasts(forecaster.to(device), frames, came, 2.0, members=3)
        run = long_run(forecaster, frames, came.flatten(0, 1), 10, members=2)
        return scores, run

    expected, expected_run = told("cpu")
    with some_device() as device:
        found, run = told(device)
        for field in dataclasses.fields(found)[2:]:
            value, wanted = getattr(found, field.name), getattr(expected, field.name)
            assert value.device == device, field.name
            torch.testing.assert_close(value.cpu(), wanted)
        assert found.interval("crps").low.device == device
        assert (run.wave_numbers.device, run.lost) == (device, expected_run.lost)
        assert run.by_band() == pytest.approx(expected_run.by_band(), nan_ok=True)
        assert run.distribution == pytest.approx(expected_run.distribution, nan_ok=True)


@pytest.mark.parametrize("frames_there", [False, True])
@pytest.mark.parametrize("name", FORECASTERS)
def test_forecasts_are_those_of_the_cpu_and_lie_where_the_frames_are(name, frames_there):
    forecaster = FORECASTERS[name]()
    history = normal(2, forecaster.history, *GRID, seed=9)
    leads = forecaster.rollout(history, 3, seed=4)
    expected = [next(leads), next(leads)]
    with some_device() as device:
        assert forecaster.to(device) is forecaster
        given = history.to(device) if frames_there else history
        leads = forecaster.rollout(given, 3, seed=4)
        for wanted in expected:
            found = next(leads)
            assert found.device == given.device
            torch.testing.assert_close(found.cpu(), wanted)
        drawn = [np.random.default_rng(seed) for seed in range(len(given))]
        assert forecaster.advance(given, drawn).device == given.device
        told = forecaster.forecast(given, 3, 2, seed=4).w
        np.testing.assert_allclose(told[:, :, 1], expected[1], rtol=1e-5, atol=1e-5)
        assert forecaster.to("cpu") is forecaster
        torch.testing.assert_close(next(forecaster.rollout(history, 3, seed=4)), expected[0])


@pytest.mark.parametrize("name", ["head A", "head B", "tokens", "noisy"])
def test_a_forecaster_on_the_device_is_saved_as_on_the_cpu(name, tmp_path):
    forecaster = FORECASTERS[name]()
    with some_device() as device:
        forecaster.to(device).save(tmp_path)
    history = normal(1, 1, *GRID)
    expected = next(forecaster.to("cpu").rollout(history, 2))
    torch.testing.assert_close(next(load_forecaster(tmp_path).rollout(history, 2)), expected)


@pytest.mark.parametrize(
    ("model", "optimiser"),
    [
        (dataclasses.replace(HEAD_A, noise_vector=2), "soap"),
        (DeterministicConfig(SEPARABLE), "adamw"),
        (NoisyConfig(FourierNetwork(channels=4, modes=3)), "adamw"),
    ],
    ids=["head A", "deterministic", "noisy"],
)
def test_training_on_the_device_draws_the_numbers_of_the_cpu(model, optimiser, tmp_path):
    config = TrainConfig(
        model, steps=5, batch=2, optimiser=optimiser, rollout_from=0.6, alone_until=0.2, spread_windows=4
    )
    expected = train(flow(), config, progress=False)
    with some_device() as device:
        run = RunFolder(tmp_path / "run", config, config.seed)
        found = train(flow(), config, run=run, progress=False, device=device)
        assert found.device.type == "cpu"
        assert_same_network(expected.network, found.network)


def test_head_b_is_trained_on_the_device(tmp_path):
    core = train(flow(), TrainConfig(DeterministicConfig(SEPARABLE), steps=2, batch=2), progress=False)
    config = InnovationTrainConfig(
        CODES, DescentConfig(steps=3, batch=2, optimiser="soap"), examples=30, spectrum_steps=2, spectrum_runs=2
    )
    expected = train_innovations.train_innovations(copy.deepcopy(core), flow(), config, progress=False)
    with some_device() as device:
        run = RunFolder(tmp_path / "run", config, 0)
        found = train_innovations.train_innovations(core, flow(), config, run=run, progress=False, device=device)
        assert {found.device.type, found.core.device.type} == {"cpu"}
        assert_same_network(expected.codecs, found.codecs)
        assert_same_network(expected.network, found.network)


def test_tokens_are_trained_on_the_device(tmp_path):
    stage = DescentConfig(steps=3, batch=2)
    config = TokenTrainConfig(TOKENS, stage, stage)
    expected = train_tokens(flow(), config, progress=False)
    with some_device() as device:
        run = RunFolder(tmp_path / "run", config, 0)
        found = train_tokens(flow(), config, run=run, progress=False, device=device)
        assert found.device.type == "cpu"
        assert_same_network(expected.coder, found.coder)
        assert_same_network(expected.model, found.model)


@pytest.mark.parametrize("name", ["head B", "residuals"])
def test_a_spectrum_is_held_on_the_device(name):
    def held(device):
        forecaster = FORECASTERS[name]().to(device)
        windows = windows_of_noise(forecaster.history, 1)
        hold_spectrum(forecaster, windows, 2, progress=False)
        return next(forecaster.rollout(normal(1, forecaster.history, *GRID), 2)), forecaster

    expected, _ = held("cpu")
    with some_device() as device:
        found, _ = held(device)
        torch.testing.assert_close(found, expected)


def test_a_spread_is_held_on_the_device():
    def held(device):
        forecaster = of(HEAD_A).to(device)
        hold_spread(forecaster, windows_of_noise(1, 2), 4, progress=False)
        return forecaster.network.late_gains

    expected = held("cpu")
    with some_device() as device:
        found = held(device)
        assert found.device == device
        torch.testing.assert_close(found.cpu(), expected)
        assert float((found - 1).abs().max()) > 0.01


def windows_of_noise(history, leads):
    data = read_flow(normal(2, 6, *GRID, seed=11).numpy(), spacing=2 * np.pi / 16, time_step=0.2)
    return data.windows(history, leads, samples=range(2))
