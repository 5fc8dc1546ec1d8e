"""Estimates of what something would cost."""

import numpy as np
import pytest

from separable.records import Cost, cost_of_steps, peak_memory, trial_seconds
from separable.records import cost as cost_module


def test_start_and_step_come_from_two_trials(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(cost_module.time, "perf_counter", lambda: clock[0])

    def trial(steps):
        clock[0] += 3.0 + 0.25 * steps

    assert trial_seconds(trial, 2, 10) == pytest.approx((3.0, 0.25))


def test_a_step_takes_no_more_than_the_mean_over_the_last_trial(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(cost_module.time, "perf_counter", lambda: clock[0])

    def slower_and_slower(steps):
        clock[0] += 0.01 * steps**2

    assert trial_seconds(slower_and_slower, 2, 8) == pytest.approx((0.0, 0.08))


def test_a_cost_tells_the_steps_that_were_tried(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(cost_module.time, "perf_counter", lambda: clock[0])

    def trial(steps):
        clock[0] += 0.5 + 0.01 * steps  # 8 steps take hardly longer than 2, and 32 do

    told = cost_of_steps(trial, 100)
    assert told.seconds == pytest.approx(1.5)
    assert "2 and 32 steps" in told.basis


@pytest.mark.parametrize(("most", "tried"), [(1, [1, 1]), (2, [2, 2]), (5, [2, 5]), (20, [2, 8, 20])])
def test_no_trial_has_more_steps_than_there_are(most, tried, monkeypatch):
    clock, done = [0.0], []
    monkeypatch.setattr(cost_module.time, "perf_counter", lambda: clock[0])

    def trial(steps):
        done.append(steps)
        clock[0] += 0.5 + 0.001 * steps

    assert cost_of_steps(trial, most).seconds == pytest.approx(0.5 + 0.001 * most)
    assert done == tried


def test_a_step_that_takes_long_is_tried_once(monkeypatch):
    clock, done = [0.0], []
    monkeypatch.setattr(cost_module.time, "perf_counter", lambda: clock[0])

    def trial(steps):
        done.append(steps)
        clock[0] += 30.0 * steps

    assert cost_of_steps(trial, 100).seconds == pytest.approx(3000)
    assert done == [2]


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
