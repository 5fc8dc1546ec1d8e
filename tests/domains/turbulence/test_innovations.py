"""Head B: the code of innovations, the model of tokens, and both in a forecaster that is trained and kept."""

import dataclasses
import itertools

import numpy as np
import pytest
import scipy.fft
import torch

from domains.turbulence import training_data
from domains.turbulence.descent import DescentConfig
from domains.turbulence.deterministic_forecaster import DeterministicConfig
from domains.turbulence.forecaster import FlowDescription
from domains.turbulence.frame_statistics import FrameStatistics
from domains.turbulence.held_spectrum import gains, hold_spectrum
from domains.turbulence.innovation_codec import InnovationCodec
from domains.turbulence.innovation_forecaster import InnovationConfig, InnovationForecaster
from domains.turbulence.innovation_network import InnovationNetwork, InnovationNetworkConfig
from domains.turbulence.modes import mean_square, to_modes, to_points
from domains.turbulence.networks import SeparableNetwork
from domains.turbulence.noise_forecaster import NoiseForecasterConfig
from domains.turbulence.readers import read_flow
from domains.turbulence.saved import load_forecaster
from domains.turbulence.scores import spectrum_of
from domains.turbulence.train_innovations import InnovationTrainConfig, train_innovations
from separable.training import RunFolder

TINY = InnovationNetworkConfig(
    width=16, layers=1, heads=2, features=3, channels=4, products=3, blocks=1, rank=4, seed_dim=4, knots=4
)


def innovations(count, modes, seed=0):
    """Random fields of a steep spectrum whose size is different from field to field: heavy tails, no mean."""
    generator = torch.Generator().manual_seed(seed)
    white = to_modes(torch.randn(count, *(2 * m + 1 for m in modes), generator=generator), modes)
    p = torch.arange(modes[-1] + 1)
    squared = p**2
    if len(modes) == 2:
        squared = p[:, None] ** 2 + torch.fft.fftfreq(2 * modes[0] + 1, 1 / (2 * modes[0] + 1)) ** 2
    size = torch.rand(count, *[1] * len(modes), generator=generator) + 0.2
    found = white * torch.exp(-0.5 * squared**0.5) * size
    found.flatten(1)[:, 0] = 0
    return found


@pytest.fixture(autouse=True)
def few_starts(monkeypatch):
    """Looks at the held-out samples, which are not what is tested, take most of the time."""
    monkeypatch.setattr(training_data, "_STARTS", 2)
    monkeypatch.setattr(training_data, "_MEMBERS", 2)
    monkeypatch.setattr(training_data, "_LEADS", 1)


@pytest.fixture(scope="module")
def flow():
    return read_flow("datasets/kolmogorov_flow/sample.h5", scan=False)


@pytest.fixture(scope="module")
def core(flow):
    config = DeterministicConfig(SeparableNetwork(channels=4, products=3, blocks=1)).completed(flow)
    made = config.made(FlowDescription.of(flow), FrameStatistics(0.0, 3.0, 0.5), torch.Generator().manual_seed(0))
    for parameter in made.network.parameters():  # an untrained one gives persistence
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    return made


def fitted(modes=(4, 4), patch=3, bins=16, count=400, kept=0):
    codec = InnovationCodec(modes, patch, bins, kept)
    codec.fit(innovations(count, modes), torch.Generator().manual_seed(3))
    return codec


def test_patches_are_an_orthonormal_cosine_transform_of_white_points():
    codec, given = fitted((7, 4), patch=5), innovations(6, (7, 4), seed=9)
    patches = codec.patches(given, torch.Generator().manual_seed(0)).double()
    assert codec.grid == (15, 10)
    assert patches.shape == (6, 6, 25)
    # The modes of unit weight, at points, from numpy; on 10 points along x there is one more mode, which is filled.
    c = np.where(codec.deviation > 0, given / codec.deviation.clamp(min=1e-9), 0).astype(np.complex128)
    full = np.zeros((6, 15, 6), np.complex128)
    full[..., :5] = c.swapaxes(-1, -2)
    points = np.fft.irfft2(full, s=(15, 10), norm="forward") / 150**0.5
    cut = codec.from_patches(patches.float())
    np.testing.assert_allclose(cut, given, atol=1e-6)
    whole = torch.zeros(6, 15, 10, dtype=torch.float64)
    for place in range(6):
        j, i = divmod(place, 2)
        coefficients = np.zeros((6, 25))
        order = sorted(range(25), key=lambda n: n // 5 + n % 5)
        coefficients[:, order] = patches[:, place]
        block = scipy.fft.idctn(coefficients.reshape(6, 5, 5), axes=(1, 2), norm="ortho")
        whole[:, 5 * j : 5 * j + 5, 5 * i : 5 * i + 5] = torch.from_numpy(block)
    there = (codec.deviation > 0).numpy()
    found = np.fft.rfft2(whole.numpy(), norm="forward").swapaxes(-1, -2)[:, :5]
    np.testing.assert_allclose(found * there, np.fft.rfft2(points, norm="forward").swapaxes(-1, -2)[:, :5], atol=1e-6)


def test_points_are_white_whatever_the_patch():
    for modes, patch in (((4, 4), 3), ((4, 4), 4), ((5,), 4)):
        codec = fitted(modes, patch, count=3000)
        values = codec.patches(innovations(3000, modes), torch.Generator().manual_seed(5)).flatten(1).double()
        covariance = values.T @ values / len(values)
        assert float((covariance - torch.eye(len(covariance))).abs().max()) < 0.15
        assert float(covariance.diagonal().mean()) == pytest.approx(1.0, abs=0.02)


def test_the_error_of_a_round_trip_falls_with_the_number_of_bins():
    given, errors = innovations(200, (4, 4), seed=4), []
    for bins in (4, 16, 64, 256):
        codec = fitted(bins=bins, count=2000)
        codes = codec.encode(given)
        assert int(codes.min()) >= 0
        assert int(codes.max()) < bins
        back = codec.decode(codes, torch.full((200, 9, 9), 0.5))
        errors.append(float((mean_square(back - given, 2).mean() / mean_square(given, 2).mean()).sqrt()))
    # Of a bounded distribution it would fall as 1 / bins; here the outermost bins, which are wide, hold the most of it.
    assert all(b < 0.75 * a for a, b in itertools.pairwise(errors))
    assert errors[-1] < 0.06


@pytest.mark.parametrize("bins", [8, 10, 24])
def test_codes_are_equally_likely_and_random_codes_have_the_distribution_and_the_spectrum(bins):
    codec, given = fitted(bins=bins, count=4000, kept=5), innovations(4000, (4, 4))
    codes = codec.encode(given, torch.Generator().manual_seed(3))
    assert codes.shape == (4000, 9, 5)
    counts = torch.stack([torch.bincount(codes[..., k].flatten(), minlength=bins) for k in range(5)])
    np.testing.assert_allclose(counts / counts.sum(1, keepdim=True), 1 / bins, rtol=2e-3)
    generator = torch.Generator().manual_seed(8)
    drawn = torch.randint(bins, (4000, 9, 5), generator=generator)
    made = codec.decode(drawn, torch.rand(4000, 9, 9, generator=generator))
    power = made.abs().square().mean(0) / given.abs().square().mean(0).clamp(min=1e-12)
    there = codec.deviation > 0
    assert not bool(there.flatten()[0])
    assert float((power[there] - 1).abs().max()) < 0.12
    assert float((made.flatten(1)[:, 0]).abs().max()) == 0
    # Tails too: the values of patches have the same quantiles, of coded coefficients and of the others.
    shares = torch.tensor([0.001, 0.05, 0.3, 0.5, 0.9, 0.999])
    for k in (0, 8):
        found, wanted = (codec.patches(c)[..., k].flatten().quantile(shares) for c in (made, given))
        np.testing.assert_allclose(found, wanted, atol=0.05, rtol=0.1)


def test_a_shift_by_a_patch_moves_the_codes():
    codec, given = fitted(), innovations(5, (4, 4), seed=2)
    codec.deviation[codec.deviation == 0] = 1.0  # nothing is filled in
    fields = to_points(given, (9, 9))
    moved = to_modes(fields.roll((3, -6), (1, 2)), (4, 4))
    codes = codec.encode(given).reshape(5, 3, 3, 9)
    again = codec.encode(moved).reshape(5, 3, 3, 9)
    assert float((codes.roll((1, -2), (1, 2)) == again).float().mean()) > 0.999  # but for ties of rounding


def random_network(codec, inputs=2):
    network = InnovationNetwork(TINY, inputs, codec.modes, codec, torch.Generator().manual_seed(0))
    network.head.tilt.data.normal_(std=0.1, generator=torch.Generator().manual_seed(1))
    return network


@torch.no_grad()
def test_what_comes_first_does_not_depend_on_what_comes_later():
    codec = fitted()
    network, generator = random_network(codec), torch.Generator().manual_seed(0)
    state = torch.randn(2, 2, 5, 9, dtype=torch.complex64, generator=generator)
    codes = torch.randint(16, (2, 9, 9), generator=generator)
    before = network(state, codes)
    np.testing.assert_allclose(before.exp().sum(-1), 1.0, rtol=1e-5)
    for patch, k in ((0, 0), (4, 3), (8, 8)):
        changed = codes.clone()
        changed[:, patch, k] = (changed[:, patch, k] + 8) % 16
        different = (network(state, changed) - before).abs().amax((0, 3)).flatten() > 1e-6
        first = 9 * patch + k
        assert not bool(different[: first + 1].any())
        assert patch == 8 or bool(different[first + 1 :].any())
    other = network(state + 1.0, codes)
    assert float((other - before).abs().amax((0, 2, 3)).min()) > 1e-6  # every patch looks at the state


@torch.no_grad()
def test_samples_have_the_probabilities_of_the_model():
    codec = fitted(patch=5, bins=8)
    network = random_network(codec)
    state = torch.randn(1, 2, 5, 9, dtype=torch.complex64, generator=torch.Generator().manual_seed(2))
    uniform = torch.rand(64, 4, 25, generator=torch.Generator().manual_seed(3))
    codes = network.sample(state.expand(64, -1, -1, -1), uniform)
    probabilities = network(state.expand(64, -1, -1, -1), codes).exp()
    # A code is the one whose cumulative probability passes the number drawn, given all codes before.
    above = probabilities.cumsum(-1).gather(-1, codes[..., None])[..., 0]
    below = above - probabilities.gather(-1, codes[..., None])[..., 0]
    assert bool(((below <= uniform + 1e-5) & (uniform <= above + 1e-5)).all())
    assert float((probabilities - 1 / 8).abs().max()) > 0.02


def test_an_untrained_forecaster_draws_innovations_of_the_right_spectrum(core):
    config = InnovationConfig(TINY, patch=3, bins=8, modes=(10, 10), waves=((4, 0),))
    forecaster = InnovationForecaster(core, config, torch.Generator().manual_seed(0))
    examples = innovations(500, (10, 10))
    forecaster.fit(examples)
    start = 3 * to_points(innovations(1, (10, 10), seed=5), (32, 32))
    members = next(forecaster.rollout(start[:, None], 400, seed=1))[0]
    mean = core.advance(start[:, None], [])
    found = to_modes((members - mean) / core.scale, (10, 10))
    ratio = mean_square(found, 2).mean() / mean_square(examples, 2).mean()
    assert float(ratio) == pytest.approx(1.0, rel=0.05)
    same = next(forecaster.rollout(start[:, None], 3, seed=1))[0]
    np.testing.assert_allclose(same, members[:3], atol=1e-4)
    noisy = NoiseForecasterConfig(modes=(10, 10)).made(core.description, FrameStatistics(0.0, 1.0, 0.5))
    with pytest.raises(ValueError, match="without noise"):
        InnovationForecaster(noisy, config)


def test_long_runs_get_the_spectrum_of_the_flow(core, flow, monkeypatch):
    # A core that keeps 0.7 of every mode has the energy d^2 / (1 - 0.49) in the end; d starts at half of what is right.
    monkeypatch.setattr(core, "advance", lambda frames, generators: 0.7 * frames[:, -1])
    modes = (10, 10)
    forecaster = InnovationForecaster(core, InnovationConfig(TINY, patch=7, bins=8, modes=modes, waves=()))
    windows = flow.windows(1, 1)
    frames = torch.stack([windows[place][1][0] for place in range(len(windows))])
    forecaster.fit(0.5 * 0.51**0.5 * forecaster.standardised(frames))
    grid, starts = flow.grid, torch.stack([windows[place][0] for place in range(0, len(windows), 4)])

    def ratios():
        held = starts
        generators = [np.random.default_rng(run) for run in range(len(held))]
        for _ in range(20):
            held = forecaster.advance(held, generators)[:, None]
        return (spectrum_of(held[:, 0], grid)[1].mean(0) / spectrum_of(frames, grid)[1].mean(0))[: modes[0]].numpy()

    np.testing.assert_allclose(ratios(), 0.25, rtol=0.4)
    hold_spectrum(forecaster, flow.windows(1, 10), 48, progress=False)
    found = ratios()
    np.testing.assert_allclose(found[3:], 1.0, atol=0.12)
    np.testing.assert_allclose(found, 1.0, atol=0.4)  # few modes, of few runs
    with pytest.raises(ValueError, match="gains"):
        forecaster.resize(torch.ones(3, 3))


def test_runs_are_set_beside_the_frames_that_truly_followed():
    # Lively starts are lively in truth and in the run: what is left of chance is what the two do not share.
    rng = np.random.default_rng(0)
    shared, own = (torch.from_numpy(size * rng.standard_normal((64, 12))) for size in (0.3, 0.01))
    flow = torch.linspace(1.0, 2.0, 12, dtype=torch.float64)
    missing = torch.linspace(1.0, 0.9, 12, dtype=torch.float64)
    found = gains(flow, flow * missing * (1 + shared + own), flow * (1 + shared))
    np.testing.assert_allclose(found[6:], missing[6:] ** -0.5, atol=4e-3)
    alone = gains(flow, flow * missing * (1 + shared + own), flow.expand(64, 12))
    assert float((alone[6:] - missing[6:] ** -0.5).abs().max()) > 1.5e-2  # without them


SMALL = InnovationTrainConfig(
    InnovationConfig(TINY, levels=2, patch=7, bins=8),
    DescentConfig(steps=12, batch=3, rate=1e-2),
    examples=60,
    spectrum_steps=6,
    spectrum_runs=3,
)


def tensors(forecaster):
    return {**forecaster.network.state_dict(), **forecaster.codecs.state_dict()}


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one.keys() | other.keys())


def test_an_interrupted_training_ends_with_the_same_bits_and_is_kept(core, flow, tmp_path, monkeypatch):
    whole = train_innovations(core, flow, SMALL, progress=False)
    loss, calls = InnovationForecaster.loss, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 8:
            raise KeyboardInterrupt
        return loss(*arguments)

    monkeypatch.setattr(InnovationForecaster, "loss", interrupted)
    run = RunFolder(tmp_path, dataclasses.asdict(SMALL), 0)
    with pytest.raises(KeyboardInterrupt):
        train_innovations(core, flow, SMALL, run=run, progress=False)
    again = train_innovations(core, flow, SMALL, run=run, progress=False)
    assert 12 < len(calls) < 20
    assert same(tensors(whole), tensors(again))
    kept = load_forecaster(tmp_path)
    assert isinstance(kept, InnovationForecaster)
    assert same(tensors(whole), tensors(kept))
    frames = flow.fields[0, :1]
    assert np.array_equal(
        kept.forecast(frames, members=2, steps=2).vorticity, whole.forecast(frames, members=2, steps=2).vorticity
    )
    assert not same(tensors(whole), tensors(InnovationForecaster(core, whole.config)))


def test_it_learns_that_the_size_of_innovations_depends_on_the_state(tmp_path):
    # Frames of noise, each as large as the mean of the one before says: the state tells the size, nothing else does.
    rng = np.random.default_rng(0)
    strong = rng.random((40, 6)) < 0.5
    frames = (
        rng.normal(size=(40, 6, 16)) * np.where(np.roll(strong, 1, 1), 3.0, 0.3)[..., None] + 5.0 * strong[..., None]
    )
    data = read_flow(frames.astype(np.float32))
    base = DeterministicConfig(SeparableNetwork(channels=2, products=2, blocks=1)).completed(data)
    core = base.made(FlowDescription.of(data), FrameStatistics(2.5, 3.0, 1.0))
    settings = InnovationTrainConfig(
        InnovationConfig(TINY, levels=2, patch=4, bins=8),
        DescentConfig(steps=150, batch=16, rate=1e-2, symmetries="shifts"),
        spectrum_steps=0,
    )
    run = RunFolder(tmp_path, {}, 0)
    train_innovations(core, data, settings, run=run, progress=False)
    losses = [row["loss"] for row in run.metrics() if "loss" in row]
    assert abs(losses[0]) < 0.3
    assert losses[-1] < -0.15


def test_refusals(core):
    for arguments, word in (
        (((4, 4), 0), "patch"),
        (((4, 4), 3, 1), "bins"),
        (((4, 4), 3, 8, 10), "kept"),
        (((4, 4, 4),), "modes"),
    ):
        with pytest.raises(ValueError, match=word):
            InnovationCodec(*arguments)
    codec = InnovationCodec((4, 4), 3, 8)
    with pytest.raises(ValueError, match="zero"):
        codec.fit(torch.zeros(3, 5, 9, dtype=torch.complex64))
    with pytest.raises(ValueError, match="coefficients"):
        codec.encode(torch.zeros(3, 9, 9))
    with pytest.raises(ValueError, match="codes"):
        codec.decode(torch.zeros(1, 9, 8, dtype=torch.long), torch.rand(1, 9, 9))
    with pytest.raises(ValueError, match="polynomials"):
        InnovationNetwork(dataclasses.replace(TINY, polynomials=8), 1, (4, 4), codec)
    with pytest.raises(ValueError, match="modes"):
        InnovationForecaster(core, InnovationConfig())
    walls = read_flow(np.zeros((3, 5, 32, 32), np.float32), periodic=False)
    with pytest.raises(ValueError, match="periodic"):
        InnovationConfig().completed(walls)
    with pytest.raises(ValueError, match="levels"):
        InnovationForecaster(core, InnovationConfig(modes=(10, 10), levels=5))
    for changes, word in (({"steps": -1}, "steps"), ({"batch": 0}, "batch"), ({"held_out": 1.0}, "held_out")):
        with pytest.raises(ValueError, match=word):
            DescentConfig(**changes)
    for name, least in (("examples", 2), ("spectrum_steps", 0), ("spectrum_runs", 2)):
        with pytest.raises(ValueError, match=name):
            InnovationTrainConfig(**{name: least - 1})
