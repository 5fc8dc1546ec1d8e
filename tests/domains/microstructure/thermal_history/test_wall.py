"""Walls keep their heat balance, and histograms count every moment once."""

import numpy as np
import pytest

from domains.microstructure import thermal_history as th
from domains.microstructure.thermal_history.wall import _laid


@pytest.fixture(scope="module")
def small() -> th.History:
    wall = th.Wall(length=0.006, height=0.003, cooling=5.0, dwell=1.0)
    return th.build(wall, np.array([[0.1, 0.1], [0.5, 0.5], [0.9, 0.9]]))


def test_heat_is_neither_made_nor_lost(small: th.History) -> None:
    assert small.kept > 0
    assert small.supplied == pytest.approx(small.lost + small.kept, rel=1e-9)


def test_a_histogram_adds_up_to_the_time_since_the_metal_was_laid_down(small: th.History) -> None:
    counts = small.histogram()
    for point, values in enumerate(small.temperature.T):
        alive = values[~np.isnan(values)]
        assert counts[point].sum() == pytest.approx(len(alive) * small.step)
        slow = np.zeros(36)
        for value in alive:
            slow[min(35, max(0, sum(value >= edge for edge in th.EDGES) - 1))] += small.step
        np.testing.assert_allclose(counts[point], slow)
    assert np.isnan(small.temperature[0, 1:]).all()  # higher points are not there at first
    assert small.time[-1] == pytest.approx(4 * (0.006 / 0.008 + 1.0) + 5.0)


def test_layers_run_to_and_fro() -> None:
    assert _laid(4, 3, 3).tolist() == [[True] * 3, [False, True, True], [False] * 3]


def test_a_fast_laser_lays_all_cells() -> None:
    wall = th.Wall(speed=1.0, length=0.006, height=0.003, cooling=1.0, dwell=0.1)
    there = th.build(wall, np.array([[0.0, 1.0], [0.5, 0.5], [1.0, 1.0]])).temperature
    assert not np.isnan(there[-1]).any()
    laid = np.isfinite(there).argmax(0) * (4 * (0.006 + 0.1) + 1.0) / len(there)
    np.testing.assert_allclose(laid, [3 * 0.106 + 0.006, 2 * 0.106 + 0.003, 3 * 0.106], atol=1e-3)  # to and fro


def test_the_controller_keeps_the_hottest_metal_below_the_pool() -> None:
    wall = th.Wall(length=0.006, height=0.003, cooling=0.0, dwell=0.2, power=4000.0)
    along, up = np.meshgrid((np.arange(8) + 0.5) / 8, (np.arange(4) + 0.5) / 4)
    hottest = np.nanmax(th.build(wall, np.stack([along.ravel(), up.ravel()], 1)).temperature)
    assert 0.9 * wall.pool < hottest <= wall.pool + 1.0


def test_a_beam_narrower_than_a_cell_heats_the_nearest() -> None:
    wall = th.Wall(length=0.006, height=0.003, cooling=1.0, dwell=0.5, beam=1e-6)
    built = th.build(wall, np.array([[0.5, 0.5]]))
    assert built.supplied == pytest.approx(built.lost + built.kept, rel=1e-9)
    assert built.supplied > 0


@pytest.mark.parametrize(
    "wrong", [{"power": 0.0}, {"speed": np.nan}, {"dwell": -1.0}, {"absorbed": 1.5}, {"length": 1e-4}]
)
def test_impossible_walls_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        th.Wall(**wrong)


def test_points_outside_the_wall_are_refused() -> None:
    with pytest.raises(ValueError):
        th.build(th.Wall(), np.array([[0.5, 1.2]]))
