"""Sampling against a slow numpy rule."""

import numpy as np
import pytest
import torch

from separable.sequence.sampling import cut, sample


def kept_slowly(logits, top_k, top_p):
    """Indices that stay: the k most probable, of these the fewest that add to p."""
    order = sorted(range(len(logits)), key=lambda i: -logits[i])
    order = order[:top_k] if top_k else order
    weights = np.exp(np.array([logits[i] for i in order]))
    weights /= weights.sum()
    kept, total = [], 0.0
    for index, weight in zip(order, weights, strict=True):
        kept.append(index)
        total += weight
        if total >= top_p:
            break
    return set(kept)


@pytest.mark.parametrize("top_k", [0, 1, 7, 40, 100])
@pytest.mark.parametrize("top_p", [1e-6, 0.3, 0.9, 1.0])
def test_cut_against_the_slow_rule(top_k, top_p):
    logits = 2 * torch.randn(20, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(top_k))
    found = cut(logits, top_k, top_p)
    for row, whole in zip(found, logits, strict=True):
        stays = torch.isfinite(row)
        assert set(stays.nonzero()[:, 0].tolist()) == kept_slowly(whole.tolist(), top_k, top_p)
        assert torch.equal(row[stays], whole[stays])


def test_frequencies_follow_temperature():
    logits = torch.tensor([[0.0, 1.0, 2.0, 9.0]]).expand(40_000, 4)
    logits = logits.clone()
    logits[:, 3] = -torch.inf  # a token that a model excludes is never drawn
    drawn = sample(logits, temperature=0.5, generator=torch.Generator().manual_seed(0))
    expected = np.exp([0.0, 2.0, 4.0])
    expected /= expected.sum()
    counts = np.bincount(drawn.numpy(), minlength=4) / len(drawn)
    np.testing.assert_allclose(counts[:3], expected, atol=5 * 0.5 / 200)
    assert counts[3] == 0


def test_temperature_zero_takes_the_greatest():
    logits = torch.randn(5, 11, generator=torch.Generator().manual_seed(1))
    assert torch.equal(sample(logits, temperature=0.0), logits.argmax(-1))
    assert torch.equal(sample(logits, top_p=1e-9), logits.argmax(-1))


@pytest.mark.parametrize(
    "wrong", [{"temperature": -1.0}, {"temperature": float("nan")}, {"top_k": -1}, {"top_p": 0.0}, {"top_p": 1.1}]
)
def test_settings_are_checked(wrong):
    with pytest.raises(ValueError):
        sample(torch.zeros(1, 3), **wrong)


@pytest.mark.parametrize("temperature", [1e-30, 1e-40, 1e-50])
def test_the_least_temperature_takes_the_most_probable(temperature):
    logits = torch.tensor([[0.1, 3.0, 0.2], [2.0, -torch.inf, 1.9]])
    assert sample(logits, temperature=temperature).tolist() == [1, 0]
