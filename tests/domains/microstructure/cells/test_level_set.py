"""level_set against sorting."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domains.microstructure.cells.level_set import level_set


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6), st.floats(0.0, 1.0))
def test_takes_the_whole_groups_of_smallest_values_nearest_to_the_share(seed, levels, share):
    field = np.random.default_rng(seed).integers(0, levels, (5, 4)).astype(float)
    cell = level_set(field, share).numpy()
    wanted = round(share * field.size)
    possible = [int((field <= level).sum()) for level in [-1, *range(levels)]]
    assert abs(cell.sum() - wanted) == min(abs(count - wanted) for count in possible)
    if 0 < cell.sum() < field.size:
        assert field[cell == 1].max() < field[cell == 0].min()


def test_infinity_is_never_phase_one():
    field = np.array([[0.0, 1.0], [np.inf, np.inf]])
    assert level_set(field, 0.5).tolist() == [[1, 1], [0, 0]]
    with pytest.raises(ValueError):
        level_set(field, 0.75)
