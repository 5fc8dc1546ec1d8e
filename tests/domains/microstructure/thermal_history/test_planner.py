"""What a plan reports is what the heat solver builds at its setting."""

import dataclasses

import numpy as np
import pytest

from domains.microstructure import thermal_history as th


def test_a_plan_is_a_wall_that_the_solver_built() -> None:
    data = th.simulate(walls=2, noise=0.0)
    windows = th.Windows.of(data.histogram)
    plan = th.Planner(data, windows)
    found = plan(data.histogram[4], builds=2)
    assert found.gap < 0.5
    again = th.build(th.Wall(*found.setting[:4]), found.setting[None, 4:])
    np.testing.assert_array_equal(again.histogram()[0], found.histogram)
    assert found.strength == th.StrengthRule()(again)[0]
    gap = windows(found.histogram[None]) - windows(data.histogram[4:5])
    assert found.gap == pytest.approx(np.sqrt(np.mean(gap**2)))


@pytest.mark.parametrize("process", [None, np.ones((9, 6))], ids=["unknown", "never varied"])
def test_a_process_that_is_not_known_or_never_varied_is_refused(process: np.ndarray | None) -> None:
    histogram = np.random.default_rng(0).gamma(2.0, 3.0, (9, 36))
    data = th.ThermalHistories(histogram, th.EDGES, np.linspace(700, 900, 9), np.repeat(["a"], 9))
    with pytest.raises(ValueError):
        th.Planner(dataclasses.replace(data, process=process), th.Windows.of(histogram))
