"""The formulas with known answers, against the same formulas written once more by hand."""

import math

import pytest
import torch

from separable.problems import BOREHOLE, FRIEDMAN_1, OTL_CIRCUIT, sobol_g


def test_borehole_at_the_middle_of_its_ranges() -> None:
    rw, r, tu, hu, tl, hl, length, kw = middle = [(a + b) / 2 for a, b in BOREHOLE.ranges]
    log = math.log(r / rw)
    expected = 2 * math.pi * tu * (hu - hl) / (log * (1 + 2 * length * tu / (log * rw * rw * kw) + tu / tl))
    assert BOREHOLE(torch.tensor([middle], dtype=torch.float64)).item() == pytest.approx(expected, rel=1e-12)


def test_the_circuit_at_the_middle_of_its_ranges() -> None:
    rb1, rb2, rf, rc1, rc2, beta = middle = [(a + b) / 2 for a, b in OTL_CIRCUIT.ranges]
    base, gain = 12 * rb2 / (rb1 + rb2), beta * (rc2 + 9)
    expected = (base + 0.74) * gain / (gain + rf) + 11.35 * rf / (gain + rf) + 0.74 * rf * gain / ((gain + rf) * rc1)
    assert OTL_CIRCUIT(torch.tensor([middle], dtype=torch.float64)).item() == pytest.approx(expected, rel=1e-12)


def test_sobol_g_has_its_known_mean_and_variance() -> None:
    weights = (0.0, 1.0, 4.5)
    _, y = sobol_g(weights).sample(2**15, space_filling=True)
    variance = math.prod(1 + 1 / (3 * (1 + a) ** 2) for a in weights) - 1
    assert float(y.mean()) == pytest.approx(1.0, abs=1e-3)
    assert float(y.var()) == pytest.approx(variance, rel=1e-2)


def test_samples_lie_in_the_ranges_and_repeat_with_their_seed() -> None:
    for filling in (False, True):
        x, y = BOREHOLE.sample(256, seed=3, space_filling=filling)
        lower, upper = torch.tensor(BOREHOLE.ranges, dtype=torch.float64).unbind(1)
        assert bool(((x >= lower) & (x <= upper)).all())
        assert torch.equal(y, BOREHOLE.sample(256, seed=3, space_filling=filling)[1])
    with pytest.raises(ValueError):
        FRIEDMAN_1(torch.zeros(3, 2))


@pytest.mark.parametrize("weight", [-1.0, math.nan, math.inf])
def test_sobol_g_refuses_weights_without_a_value(weight: float) -> None:
    with pytest.raises(ValueError, match="sobol_g: weights"):
        sobol_g((0.0, weight))
