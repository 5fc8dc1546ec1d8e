"""Validation wall by wall, with models that look at what they are given."""

import numpy as np
import pytest

from domains.microstructure import thermal_history as th


def test_no_model_sees_the_wall_it_predicts() -> None:
    generator = np.random.default_rng(1)
    histogram, walls = generator.gamma(2.0, 3.0, (60, 36)), np.repeat(list("abcdef"), 10)
    data = th.ThermalHistories(histogram, th.EDGES, generator.normal(800.0, 50.0, 60), walls)
    seen = []

    def spy(x: np.ndarray, y: np.ndarray, new: np.ndarray) -> np.ndarray:
        assert not (x[:, None] == new[None]).all(2).any()
        assert len(x) == len(y)
        seen.append(len(new))
        return np.full(len(new), y.mean())

    def poor(x: np.ndarray, y: np.ndarray, new: np.ndarray) -> np.ndarray:
        return np.zeros(len(new))

    predicted, chosen = th.leave_wall_out(data, [poor, spy], inner=2)
    assert chosen == [1] * 6
    assert seen == [30, 20, 10] * 6  # three walls of five, the other two, and the wall itself
    for wall in "abcdef":
        out = data.wall == wall
        np.testing.assert_allclose(predicted[out], data.strength[~out].mean())
    with pytest.raises(ValueError):
        th.leave_wall_out(data, [])


def test_a_wall_that_is_not_asked_for_is_not_predicted() -> None:
    data = th.ThermalHistories(np.ones((6, 36)), th.EDGES, np.arange(1.0, 7.0), np.repeat(["a", "b", "c"], 2))
    predicted, _ = th.leave_wall_out(data, [lambda x, y, new: np.full(len(new), y.mean())], only=["b"])
    np.testing.assert_array_equal(predicted, [np.nan, np.nan, 3.5, 3.5, np.nan, np.nan])
    for wrong in (["b", "d"], "b", "abc"):  # a name is no list of names
        with pytest.raises(ValueError, match="only"):
            th.leave_wall_out(data, [lambda x, y, new: np.zeros(len(new))], only=wrong)


def test_scores_by_hand() -> None:
    data = th.ThermalHistories(np.ones((4, 36)), th.EDGES, np.array([1.0, 3.0, 5.0, 7.0]), np.array(list("aabb")))
    determination, error, over_walls = th.scores(data, np.array([1.0, 3.0, 9.0, 3.0]))
    assert determination == pytest.approx(1 - 8 / 5)
    assert error == pytest.approx(8**0.5)
    assert over_walls == pytest.approx(2.0)  # the walls' errors are 0 and 4
