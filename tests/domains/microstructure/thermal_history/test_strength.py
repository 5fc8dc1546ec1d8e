"""The rule of strength, on a history made of straight lines."""

import dataclasses

import numpy as np
import pytest

from domains.microstructure import thermal_history as th


def test_the_cooling_rate_is_that_of_the_last_solidification() -> None:
    time = np.arange(1, 401) * 0.01
    temperature = np.interp(time, [0, 1, 2, 2.5, 3.5, 4], [300, 1800, 500, 1700, 1200, 300])
    history = th.History(time, 0.01, temperature[:, None], 0.0, 0.0, 0.0)
    rate, solid = th.solidification(history)
    assert rate[0] == pytest.approx(500.0, rel=1e-6)
    assert solid[0] == pytest.approx(2.5 + (1700 - 1533) / 500, rel=1e-6)
    rule = th.StrengthRule()
    warm = (1173 - 873) * (0.5 / 900) * np.array([1.0])
    expected = 200 + 2000 * (80 * 500**-0.33) ** -0.5 + 200 * (1 - np.exp(-warm / 40.0))
    np.testing.assert_allclose(rule(history), expected, rtol=1e-3)
    with pytest.raises(ValueError):
        th.solidification(dataclasses.replace(history, temperature=temperature[:110, None]))
    with pytest.raises(ValueError):
        th.solidification(dataclasses.replace(history, temperature=np.full((400, 1), 900.0)))


def test_a_point_may_end_exactly_at_the_solidus() -> None:
    metal = th.INCONEL_718
    temperature = np.linspace(metal.liquidus + 1, metal.solidus, 50)  # 0.01 s apart
    history = th.History(0.01 * np.arange(1, 51), 0.01, temperature[:, None], 0.0, 0.0, 0.0)
    rate, solid = th.solidification(history)
    assert rate[0] == pytest.approx((metal.liquidus + 1 - metal.solidus) / 0.49)
    assert solid[0] == pytest.approx(0.5)
