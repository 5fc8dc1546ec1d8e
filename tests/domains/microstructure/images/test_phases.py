"""Thresholds against their definition."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domains.microstructure.images import NotBinaryError, otsu, two_phases


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-50, 300), min_size=2, max_size=60).filter(lambda v: len(set(v)) > 1))
def test_otsu_separates_as_well_as_any_threshold(values):
    values = np.array(values)

    def between(limit):
        low, high = values[values <= limit], values[values > limit]
        return len(low) * len(high) * (low.mean() - high.mean()) ** 2

    best = max(between(limit) for limit in np.unique(values)[:-1])
    assert between(otsu(values)) >= best * (1 - 1e-9)


def test_otsu_of_neighbouring_floats_and_bytes():
    assert two_phases(np.array([[1.0, np.nextafter(1.0, 2.0)]]), "otsu").tolist() == [[0, 1]]
    assert two_phases(np.array([[3, 250, 7, 255]], dtype=np.uint8), "otsu").tolist() == [[0, 1, 0, 1]]
    with pytest.raises(ValueError):
        otsu(np.ones(4))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, bool])
def test_two_values_need_no_threshold(dtype):
    values = np.array([[0, 1], [1, 1]]).astype(dtype)
    assert two_phases(values).tolist() == [[0, 1], [1, 1]]
    assert two_phases(values, phase="dark").tolist() == [[1, 0], [0, 0]]


def test_more_values_need_a_word():
    grey = np.array([[0, 85, 170], [170, 0, 85]])
    with pytest.raises(NotBinaryError):
        two_phases(grey)
    assert two_phases(grey, 100).tolist() == [[0, 0, 1], [1, 0, 0]]
    assert two_phases(grey, 85).tolist() == [[0, 0, 1], [1, 0, 0]]  # above, not at
    assert two_phases(grey, 84.5, "dark").tolist() == [[1, 0, 0], [0, 1, 0]]
    assert two_phases(grey, phase=85).tolist() == [[0, 1, 0], [0, 0, 1]]


def test_refuses_what_gives_one_phase_or_none():
    grey = np.array([[0.0, 0.5, 1.0]])
    for values, options in [
        (np.ones((3, 3)), {}),
        (np.array([[0.0, np.nan]]), {}),
        (np.array([[0.0, np.inf]]), {"threshold": 0.5}),
        (grey, {"threshold": 2.0}),
        (grey, {"threshold": float("nan")}),
        (grey, {"threshold": "otzu"}),
        (grey, {"phase": 0.25}),
        (grey, {"phase": 0.5, "threshold": 0.3}),
        (grey, {"phase": "black", "threshold": 0.3}),
        (grey.astype(complex), {}),
        (np.ones((0, 3)), {}),
    ]:
        with pytest.raises(ValueError):
            two_phases(values, **options)
