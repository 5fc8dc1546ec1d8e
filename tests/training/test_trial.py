"""Trainings that are only tried."""

import time

import pytest
import torch

from separable.training import RunFolder, ShuffledRows, TrainingConfig, run_training, tried

X = torch.linspace(-1, 1, 64)[:, None]


def begin(config, run=None, *, pause=0.0, look=0.0, seen=None):
    def loss(model, batch):
        if seen is not None:
            seen.append("step")
        time.sleep(pause)
        return (model(batch) - 3 * batch).square().mean()

    def evaluate(model):
        if seen is not None:
            seen.append("look")
        time.sleep(look)
        return {"error": float((model(X) - 3 * X).square().mean())}

    rows = ShuffledRows(64, lambda places: X[places])
    return run_training(torch.nn.Linear(1, 1), loss, rows, config, run=run, evaluate=evaluate, progress=False)


def test_steps_and_evaluations_are_timed_apart():
    trial = tried(lambda: begin(TrainingConfig(steps=1000, evaluate_every=300), pause=0.02, look=0.3))
    assert trial.parameters == 2
    assert trial.looks == 4  # after 300, 600, 900 and at the end
    assert 0.02 <= trial.step_seconds < 0.15  # other work of the machine is in it
    assert 0.3 <= trial.look_seconds < 0.9
    assert trial.seconds == pytest.approx(1000 * trial.step_seconds + 4 * trial.look_seconds)


def test_minutes_become_steps():
    trial = tried(lambda: begin(TrainingConfig(minutes=10.0, evaluate_every=100), pause=0.02))
    assert trial.all_steps == pytest.approx(600 / trial.step_seconds)
    assert trial.seconds == pytest.approx(600 + trial.looks * trial.look_seconds)


def test_few_steps_are_made_and_nothing_is_written(tmp_path):
    run = RunFolder(tmp_path, {"seed": 0}, seed=0)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    seen = []
    tried(lambda: begin(TrainingConfig(steps=10**6), run, seen=seen))
    assert seen.count("step") < 20
    assert seen.count("look") == 1
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_trainings_before_the_tried_one_make_one_step():
    seen = []

    def both():
        begin(TrainingConfig(steps=500), seen=seen)
        seen.append("between")
        begin(TrainingConfig(steps=700), seen=seen)

    assert tried(both, 1).config.steps == 700
    assert seen[:2] == ["step", "between"]


def test_after_a_trial_trainings_are_what_they_were():
    plain = begin(TrainingConfig(steps=12))
    tried(lambda: begin(TrainingConfig(steps=12)))
    with pytest.raises(ZeroDivisionError):
        tried(lambda: 1 / 0)
    again = begin(TrainingConfig(steps=12))
    assert (again.steps, plain.steps) == (12, 12)


def test_where_nothing_trains_there_is_nothing_to_try():
    with pytest.raises(ValueError):
        tried(lambda: None)
    with pytest.raises(ValueError):
        tried(lambda: begin(TrainingConfig(steps=3)), 1)
