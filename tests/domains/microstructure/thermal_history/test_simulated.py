"""Simulated walls are determined by their seed and look like the measured ones."""

import numpy as np
import pytest

from domains.microstructure import thermal_history as th


def test_simulated_walls_depend_on_the_seed_alone() -> None:
    first, again, other = (th.simulate(walls=1, seed=seed) for seed in (5, 5, 6))
    for name in ("histogram", "strength", "process"):
        assert np.array_equal(getattr(first, name), getattr(again, name))
        assert not np.array_equal(getattr(first, name), getattr(other, name))
    assert len(first) == 9
    assert (first.histogram >= 0).all()
    assert (first.histogram.sum(1) > 60).all()


def test_no_walls_are_refused() -> None:
    with pytest.raises(ValueError):
        th.simulate(walls=0)
