"""Training: every algorithm, what a run leaves, interruption and resumption, bad input, divergence."""

import json

import matplotlib
import numpy as np
import pytest
import torch
from stable_baselines3 import PPO

from domains.navigation.evaluation import evaluate
from domains.navigation.learning_curves import learning_curve
from domains.navigation.options import WaypointOptions
from domains.navigation.policies import parameter_count
from domains.navigation.saved import load_policy, read_tensors
from domains.navigation.stable_baselines import WaypointVecEnv
from domains.navigation.training import TrainConfig, make_model, train
from separable.training import RunFolder

matplotlib.use("Agg")
SMALL = {
    "worlds": 4,
    "rollout": 16,
    "batch": 32,
    "episodes": 4,
    "warmup": 64,
    "buffer": 400,
    "updates": 1,
    "evaluate_every": 128,
}
GUSTY = WaypointOptions(wind=0.5, gusts=0.3, sensor_noise=0.01, time_limit=2.0)


def small(algorithm, **changes):
    options = GUSTY.changed(discrete=algorithm == "dqn")
    return TrainConfig(algorithm=algorithm, options=options, **{"steps": 512, **SMALL, **changes})


def folder(path, config):
    return RunFolder(path, config, config.seed)


def same(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize(
    ("algorithm", "end"),
    [("ppo", 256), ("a2c", 256), ("sac", 256), ("td3", 256), ("dqn", 256), ("ppo", 128), ("td3", 128)],
)
def test_an_interrupted_run_goes_on_as_if_it_had_not_been(algorithm, end, tmp_path):
    config = small(algorithm)
    whole = folder(tmp_path / "whole", config)
    train(config, whole, progress=False)

    class StopError(Exception):
        pass

    def stop(row):
        if row["step"] >= end:
            raise StopError

    torch.manual_seed(99)
    np.random.seed(99)  # noqa: NPY002
    parts = folder(tmp_path / "parts", config)
    with pytest.raises(StopError):
        train(config, parts, progress=False, each=stop)  # dies before the checkpoint of that step
    assert learning_curve(parts)[-1]["step"] == end - 128  # for 128 that of the start is all there is
    torch.manual_seed(77)
    np.random.seed(77)  # noqa: NPY002
    train(config, parts, progress=False)

    for name in ("last", "policy"):
        assert same(*(read_tensors(run.path / f"{name}.safetensors") for run in (whole, parts)))
    left, right = (
        [{k: v for k, v in row.items() if k not in ("time", "seconds")} for row in learning_curve(run)]
        for run in (whole, parts)
    )
    assert left == right
    first = {**read_tensors(whole.path / "last.safetensors")}
    untrained = make_model(config).policy.state_dict()
    assert not same(first, {name: value for name, value in untrained.items()})


@pytest.mark.parametrize(("policy", "atoms"), [("span", "spline"), ("mlp", "tanh"), ("published", "tanh")])
def test_a_run_leaves_its_record_and_the_best_policy(policy, atoms, tmp_path):
    config = small("ppo", policy=policy, atoms=atoms, hidden=(6, 5), pairs=3, singles=2)
    run = folder(tmp_path, config)
    seen = []
    model = train(config, run, progress=False, each=seen.append)
    assert [row["step"] for row in seen] == [0, 128, 256, 384, 512]
    assert (run.path / "figures" / "learning_curve.png").stat().st_size > 1000
    best = [row for row in learning_curve(run) if row["best"]][-1]
    assert (best["success"], best["returned"]) == max((row["success"], row["returned"]) for row in seen)

    loaded, settings = load_policy(run.path)
    assert settings == config
    for each in (loaded, model):
        assert evaluate(each, config.options, config.episodes, seed=1_000_000).returned == best["returned"]
    observation = WaypointVecEnv(5, config.options).reset()
    expected = model.predict(observation, deterministic=True)[0]
    zipped = PPO.load(run.path / "best.zip", device="cpu")
    for other in (loaded, zipped):
        np.testing.assert_array_equal(other.predict(observation, deterministic=True)[0], expected)

    before = run.metrics()
    again = train(config, run, progress=False)  # nothing is left to do
    assert run.metrics() == before
    np.testing.assert_array_equal(again.predict(observation, deterministic=True)[0], expected)


def test_it_learns_within_seconds():
    rows = []
    config = TrainConfig(steps=9_000, evaluate_every=3_000, episodes=50)
    model = train(config, progress=False, each=rows.append)
    assert rows[0]["success"] == 0.0
    assert evaluate(model, config.options, 100, seed=7).success > 0.7


def test_a_loss_that_is_not_finite_is_told_and_the_best_policy_kept(tmp_path):
    config = small("ppo", learning_rate=1e30, decay=False)
    run = folder(tmp_path, config)
    with pytest.raises(FloatingPointError):
        train(config, run, progress=False)
    assert all(bool(torch.isfinite(value).all()) for value in read_tensors(run.path / "policy.safetensors").values())
    assert learning_curve(run)


@pytest.mark.parametrize(
    "wrong",
    [
        {"algorithm": "trpo"},
        {"policy": "cnn"},
        {"algorithm": "dqn"},
        {"algorithm": "sac", "options": WaypointOptions(discrete=True)},
        {"steps": 0},
        {"worlds": 1.5},
        {"rollout": 0},
        {"rollout": 1, "worlds": 1},
        {"batch": 1},
        {"hidden": (4, 0)},
        {"learning_rate": float("nan")},
        {"gamma": 1.1},
        {"entropy": -1.0},
        {"deviation": 0.0},
        {"pairs": -1},
        {"atoms": "wavelet"},
        {"seed": -1},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError):
        TrainConfig(**wrong)


def test_settings_survive_json():
    config = small("a2c", hidden=(3, 4)).changed(options=GUSTY.changed(vehicle={"drag": 0.5}, rewards={"effort": 0.0}))
    import dataclasses

    assert TrainConfig.of(json.loads(json.dumps(dataclasses.asdict(config)))) == config
    with pytest.raises(ValueError):
        TrainConfig.of({"stepz": 3})
    with pytest.raises(ValueError):
        TrainConfig.of({"options": {"windd": 3}})


@pytest.mark.parametrize("batch", [128, 100, 7, 100_000])
@pytest.mark.filterwarnings("error")
def test_batches_divide_the_rollout(batch):
    config = TrainConfig(batch=batch)
    model = make_model(config, WaypointVecEnv(config.worlds))
    assert (64 * 16) % model.batch_size == 0


@pytest.mark.parametrize("pairs", [2, 9])
def test_the_perceptron_of_equal_size_is_the_nearest(pairs):
    ours = TrainConfig(pairs=pairs)
    wanted = parameter_count(make_model(ours).policy)
    width = ours.mlp_of_equal_size().hidden[0]
    off = [
        abs(parameter_count(make_model(ours.changed(policy="mlp", hidden=(w, w))).policy) - wanted)
        for w in (width - 1, width, width + 1)
    ]
    assert off[1] == min(off)


def test_a_checkpoint_of_other_settings_or_none_is_refused(tmp_path):
    config = small("ppo")
    run = folder(tmp_path / "run", config)
    train(config, run, progress=False)
    other = RunFolder(tmp_path / "other", small("ppo", pairs=1), 0)
    for bad in (
        (run.path / "checkpoint.safetensors").read_bytes(),
        b"nonsense",
        (run.path / "last.safetensors").read_bytes(),
    ):
        (other.path / "checkpoint.safetensors").write_bytes(bad)
        with pytest.raises(ValueError):
            train(small("ppo", pairs=1), other, progress=False)


def test_the_processes_of_a_torchrun_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="one process"):
        train(TrainConfig(steps=512, worlds=8, episodes=5), progress=False)
