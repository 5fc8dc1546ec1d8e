"""Estimates of what something would cost."""

import numpy as np
import pytest

from separable.records import Cost, peak_memory, trial_seconds
from separable.records import cost as cost_module


def test_start_and_step_come_from_two_trials(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(cost_module.time, "perf_counter", lambda: clock[0])

    def trial(steps):
        clock[0] += 3.0 + 0.25 * steps

    assert trial_seconds(trial, 2, 10) == pytest.approx((3.0, 0.25))


def test_the_peak_grows_with_what_is_held():
    before = peak_memory()
    held = np.ones(60_000_000, np.uint8)
    assert before is not None
    assert peak_memory() >= held.nbytes


def test_what_is_not_known_is_not_told():
    told = Cost("a formula", memory=2.5e6, notes=("Beware.",)).text()
    assert "2.5 MB" in told
    assert "Beware." in told
    assert "time" not in told
    assert "parameters" not in told
