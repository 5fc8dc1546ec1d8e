"""Inversion on histories of which the strength is known in closed form."""

import numpy as np
import pytest

from domains.microstructure import thermal_history as th

member = np.digitize((th.EDGES[1:] + th.EDGES[:-1]) / 2, (873.0, 1173.0, 1400.0, 1533.0))


def synthetic(count: int = 60, still: dict[int, float] | None = None) -> th.ThermalHistories:
    """Histograms without heat flow, and a strength that the five windows determine.

    Args:
        count: Of points.
        still: Seconds in each range of windows that are the same in all histories.
    """
    generator = np.random.default_rng(1)
    histogram = generator.gamma(2.0, 3.0, (count, 36))
    for window, each in (still or {}).items():
        histogram[:, member == window] = each
    seconds = np.stack([histogram[:, member == w].sum(1) for w in range(5)], axis=1)
    strength = 800 + 60 * np.log(seconds[:, 1] / 30) - 80 * np.log(seconds[:, 4] / 30)
    return th.ThermalHistories(histogram, th.EDGES, strength, np.repeat(["a", "b", "c", "d", "e", "f"], count // 6))


def test_a_wanted_strength_gives_a_history_that_has_it() -> None:
    data = synthetic(120)
    inverter = th.Inverter(data, ridge=1e-3)
    assert sum(p.numel() for p in inverter.layer.parameters()) == 240 + 16 + 1
    for target in np.quantile(data.strength, (0.15, 0.5, 0.85)).tolist():
        history = inverter(target)
        assert history.shape == (36,)
        assert (history >= 0).all()
        assert inverter.strength(history) == pytest.approx(target, abs=1.0)
        seconds = [
            history[(th.EDGES[1:] > a + 25) & (th.EDGES[1:] < b + 25)].sum() for a, b in ((873, 1173), (1533, 9e9))
        ]
        rule = 800 + 60 * np.log(seconds[0] / 30) - 80 * np.log(seconds[1] / 30)
        assert rule == pytest.approx(target, abs=15)
    with pytest.raises(ValueError):
        inverter(5000.0)


def test_predictions_do_not_depend_on_the_order_of_the_points() -> None:
    data = synthetic()
    order = np.random.default_rng(0).permutation(len(data))
    first = th.khronos(data.histogram, data.strength, data.histogram[:9])
    second = th.khronos(data.histogram[order], data.strength[order], data.histogram[:9])
    np.testing.assert_allclose(second, first, atol=1e-5)  # MPa


def test_windows_that_are_the_same_in_all_histories_stay_so() -> None:
    still = {0: 0.0, 3: 2.5}
    data = synthetic(120, still)
    inverter = th.Inverter(data, ridge=1e-3)
    for target in np.quantile(data.strength, (0.2, 0.8)).tolist():
        history = inverter(target)
        for window, each in still.items():
            np.testing.assert_allclose(history[member == window], each, atol=1e-6)
        seconds = [history[member == window].sum() for window in (1, 4)]
        assert 800 + 60 * np.log(seconds[0] / 30) - 80 * np.log(seconds[1] / 30) == pytest.approx(target, abs=15)
