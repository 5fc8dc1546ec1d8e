"""The baselines are what they say: ridge in closed form, a CNN that learns, settings on both kinds of input."""

from functools import partial

import numpy as np
import pytest

from domains.microstructure import thermal_history as th
from domains.microstructure.thermal_history import baselines


@pytest.fixture
def drawn() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(2)
    histogram = generator.gamma(2.0, 3.0, (70, 36))
    return histogram[:50], 800 + 40 * np.log(histogram[:50, 3] + 0.1), histogram[50:]


@pytest.mark.parametrize("on_windows", [False, True])
def test_ridge_in_closed_form(drawn: tuple[np.ndarray, np.ndarray, np.ndarray], on_windows: bool) -> None:
    from sklearn.linear_model import Ridge

    x, y, new = drawn
    found = baselines.regressor(x, y, new, make=partial(Ridge, 3.0), on_windows=on_windows)
    a, b = (th.Windows.of(x)(h) if on_windows else np.log(h + 0.1) for h in (x, new))
    a, b = ((part - a.mean(0)) / (a.std(0) + 1e-3) for part in (a, b))
    weights = np.linalg.solve(a.T @ a + 3.0 * np.eye(a.shape[1]), a.T @ (y - y.mean()))
    np.testing.assert_allclose(found, y.mean() + b @ weights)


def test_the_network_learns_and_repeats(drawn: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    x, y, _ = drawn
    seen = baselines.cnn(x, y, x)
    assert np.mean((seen - y) ** 2) < 0.2 * y.var()
    np.testing.assert_array_equal(baselines.cnn(x, y, x), seen)


def test_settings_come_on_all_ranges_and_on_windows() -> None:
    many, few = baselines.candidates(), baselines.candidates(few=True)
    assert {name: len(models) for name, models in many.items()} == {"ridge": 12, "boosted trees": 8, "CNN": 2}
    assert {name: len(models) for name, models in few.items()} == {"ridge": 12, "boosted trees": 2, "CNN": 1}


def test_a_range_that_no_training_wall_enters_does_not_upset_the_network(drawn) -> None:
    x, y, new = drawn
    x[:, 30], new[:, 30] = 0.0, 0.0
    plain = baselines.cnn(x, y, new)
    new[:, 30] = 1.0  # a second there
    assert np.abs(baselines.cnn(x, y, new) - plain).max() < 3 * y.std()
