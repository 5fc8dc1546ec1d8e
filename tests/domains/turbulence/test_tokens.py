"""Frames as tokens: rounding to levels, a distribution over digits, two stages that are resumed and kept."""

import dataclasses
import functools

import numpy as np
import pytest
import torch

from domains.turbulence import training_data
from domains.turbulence.descent import DescentConfig
from domains.turbulence.digit_head import DigitHead
from domains.turbulence.finite_scalar import FiniteScalarAutoencoder
from domains.turbulence.forecaster import FlowDescription
from domains.turbulence.readers import read_flow
from domains.turbulence.saved import load_forecaster
from domains.turbulence.token_forecaster import TokenConfig, TokenForecaster, TokenModel
from domains.turbulence.train_tokens import TokenTrainConfig, train_tokens
from separable.training import RunFolder

TINY = TokenConfig(digits=3, levels=5, coder_width=6, width=16, layers=1, heads=2, rank=3, seed_dim=4)


@pytest.fixture(autouse=True)
def few_starts(monkeypatch):
    """Looks at the held-out samples, which are not what is tested, take most of the time."""
    monkeypatch.setattr(training_data, "_STARTS", 2)
    monkeypatch.setattr(training_data, "_MEMBERS", 2)
    monkeypatch.setattr(training_data, "_LEADS", 1)


@pytest.fixture(scope="module")
def flow():
    return read_flow("datasets/kolmogorov_flow/sample.h5", scan=False)


@pytest.mark.parametrize("levels", [4, 5])
def test_numbers_are_rounded_to_the_levels_with_the_gradient_of_what_is_rounded(levels):
    coder = FiniteScalarAutoencoder((8, 16), 4, 3, levels, width=5, generator=torch.Generator().manual_seed(0)).double()
    coder.to_digits.weight.data *= 8  # over all levels
    fields = torch.randn(20, 8, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    latent = coder.to_digits(coder.inward(torch.nn.functional.gelu(coder.cut(fields[:, None])))).detach().numpy()
    # Mentzer et al., appendix A
    half = (levels - 1) * 1.001 / 2
    offset = 0.5 if levels % 2 == 0 else 0.0
    bounded = np.tanh(latent + np.arctanh(offset / half)) * half - offset
    codes = coder.encode(fields)
    digits = np.round(bounded).astype(int) + levels // 2
    assert sorted(np.unique(digits)) == list(range(levels))
    assert (codes.numpy() == digits.reshape(20, 3, 8).swapaxes(1, 2)).all()
    found = coder.rounded(fields)
    np.testing.assert_allclose(found.detach(), np.round(bounded) / (levels // 2), atol=1e-12)
    np.testing.assert_allclose(coder.decode(codes).detach(), coder(fields).detach(), atol=1e-12)
    (slope,) = torch.autograd.grad(found.sum(), coder.to_digits.bias)
    straight = half * (1 - np.tanh(latent + np.arctanh(offset / half)) ** 2) / (levels // 2)
    np.testing.assert_allclose(slope, straight.sum((0, 2, 3)), rtol=1e-6)


@torch.no_grad()
def test_codes_of_a_shift_by_a_patch_are_shifted():
    coder = FiniteScalarAutoencoder((16, 16), 4, 3, 5, width=6, generator=torch.Generator().manual_seed(0))
    fields = torch.randn(2, 16, 16, generator=torch.Generator().manual_seed(1))
    codes, moved = (coder.encode(f).unflatten(1, (4, 4)) for f in (fields, fields.roll((4, -8), (1, 2))))
    assert float((codes.roll((1, -2), (1, 2)) == moved).float().mean()) > 0.99  # but for ties of rounding
    np.testing.assert_allclose(coder(fields).roll((4, -8), (1, 2)), coder(fields.roll((4, -8), (1, 2))), atol=1e-5)


@torch.no_grad()
def test_the_head_is_a_distribution_over_all_tokens_and_samples_it():
    head = DigitHead(6, digits=3, values=4, rank=5, polynomials=3, generator=torch.Generator().manual_seed(0)).double()
    hidden = torch.randn(1, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    tokens = torch.cartesian_prod(*[torch.arange(4)] * 3)
    assert torch.allclose(head(hidden.expand(64, 6), tokens).exp(), torch.full((64, 3, 4), 0.25).double())  # untrained
    head.tilt.normal_(std=0.3, generator=torch.Generator().manual_seed(2))
    share = head(hidden.expand(64, 6), tokens).gather(-1, tokens[..., None]).sum((1, 2)).exp()
    assert float(share.sum()) == pytest.approx(1.0, rel=1e-9)
    drawn = head.sample(hidden.expand(20000, 6), torch.rand(20000, 3, generator=torch.Generator().manual_seed(3)))
    counts = torch.bincount((drawn * torch.tensor([16, 4, 1])).sum(1), minlength=64) / 20000
    np.testing.assert_allclose(counts, share, atol=0.01)
    assert float((share - 1 / 64).abs().max()) > 0.02
    # by hand: digit 1 of a token, for one hidden state
    z = head.centres[tokens[27]]
    known = torch.cat([z[:1], torch.zeros(2), z[:1] ** 2 - 1, torch.zeros(2)]).double()
    t = (head.from_state[1] @ hidden[0]) * (1 + head.from_digits[1] @ known)
    expected = ((head.tilt[1] @ t) @ head.psi).softmax(-1)
    np.testing.assert_allclose(head(hidden, tokens[27][None])[0, 1].exp(), expected, rtol=1e-9)
    np.testing.assert_allclose((head.psi @ head.psi.T) / 4, np.eye(3), atol=1e-6)


@torch.no_grad()
def test_tokens_see_the_past_and_the_patches_before_them():
    model = TokenModel(dataclasses.replace(TINY, history=2), (2, 3), torch.Generator().manual_seed(0))
    model.head.tilt.normal_(std=0.3, generator=torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(2)
    past, codes = torch.randint(5, (2, 12, 3), generator=generator), torch.randint(5, (2, 6, 3), generator=generator)
    before = model(past, codes)
    changed = codes.clone()
    changed[:, 2, 1] = (changed[:, 2, 1] + 2) % 5
    different = (model(past, changed) - before).abs().amax((0, 3)).flatten() > 1e-6
    assert not bool(different[: 3 * 2 + 2].any())
    assert bool(different[3 * 3 :].any())
    other = past.clone()
    other[:, 11] = (other[:, 11] + 2) % 5
    assert float((model(other, codes) - before).abs()[:, 0].amax()) > 1e-6
    uniform = torch.rand(2, 6, 3, generator=generator)
    drawn = model.sample(past, uniform)
    shares = model(past, drawn).exp()
    above = shares.cumsum(-1).gather(-1, drawn[..., None])[..., 0]
    below = above - shares.gather(-1, drawn[..., None])[..., 0]
    assert bool(((below <= uniform + 1e-5) & (uniform <= above + 1e-5)).all())


def test_both_stages_are_resumed_to_the_same_bits_and_kept(flow, tmp_path, monkeypatch):
    short = DescentConfig(steps=10, batch=2)
    config = TokenTrainConfig(TINY, dataclasses.replace(short, steps=20, rate=5e-3), short)
    whole = train_tokens(flow, config, progress=False)
    calls = []

    def interrupted(self, frames, part):
        calls.append(1)
        if len(calls) in (14, 32):
            raise KeyboardInterrupt
        return part(self, frames)

    for name in ("coder_loss", "model_loss"):
        part = getattr(TokenForecaster, name)
        monkeypatch.setattr(TokenForecaster, name, functools.partialmethod(interrupted, part=part))
    run = RunFolder(tmp_path, dataclasses.asdict(config), 0)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            train_tokens(flow, config, run=run, progress=False)
    again = train_tokens(flow, config, run=run, progress=False)
    kept = load_forecaster(tmp_path)
    assert isinstance(kept, TokenForecaster)
    for other in (again, kept):
        for part in ("coder", "model"):
            one, two = (getattr(f, part).state_dict() for f in (whole, other))
            assert all(torch.equal(one[name], two[name]) for name in one.keys() | two.keys())
    frames = flow.fields[0, :1]
    found = [f.forecast(frames, members=2, steps=2, seed=3).vorticity.values for f in (whole, kept)]
    assert np.array_equal(*found)
    assert not np.array_equal(found[0][0], found[0][1])
    looks = RunFolder(tmp_path / "coder", config.coder, 0).metrics()
    coded = [row["scores"]["coder_error"] for row in looks if "scores" in row]
    assert coded[-1] < coded[0]
    assert "crps_1" in next(row["scores"] for row in run.metrics() if "scores" in row)


def test_refusals(flow):
    described = FlowDescription.of(flow)
    with pytest.raises(ValueError, match="patch"):
        TokenForecaster(dataclasses.replace(TINY, patch=5), described, 0.0, 1.0)
    with pytest.raises(ValueError, match="scale"):
        TokenForecaster(TINY, described, 0.0, 0.0)
    with pytest.raises(ValueError, match="history"):
        dataclasses.replace(TINY, history=0)
    with pytest.raises(ValueError, match="levels"):
        FiniteScalarAutoencoder((8, 8), 4, 3, 1)
    with pytest.raises(ValueError, match="polynomials"):
        DigitHead(4, 2, 4, polynomials=4)
    forecaster = TokenForecaster(TINY, described, 0.0, 1.0)
    with pytest.raises(ValueError, match="points"):
        forecaster.forecast(np.zeros((1, 16, 16), np.float32), members=1, steps=1)
    one = FlowDescription("u", "u", {"field": "1", "length": "1", "time": "1"}, 1.0, (16,), (1.0,))
    with pytest.raises(ValueError, match="patch"):  # one dimension
        TokenForecaster(TINY, one, 0.0, 1.0)
    walls = read_flow(np.random.default_rng(0).normal(size=(3, 5, 16, 16)), periodic=False)
    with pytest.raises(ValueError, match="periodic"):
        train_tokens(walls, TokenTrainConfig(TINY), progress=False)
