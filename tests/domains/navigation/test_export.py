"""Exported policies act as the model does: numpy alone, ONNX; sizes of the files, and what is refused."""

import functools
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.common.vec_env import DummyVecEnv

from domains.navigation import numpy_policy
from domains.navigation.export import export_numpy, export_onnx
from domains.navigation.goal_environment import WaypointGoalEnv
from domains.navigation.numpy_policy import NumpyPolicy
from domains.navigation.policies import SpanPolicy, parameter_count
from domains.navigation.stable_baselines import WaypointVecEnv

assert SpanPolicy  # registers the name
KINDS = {
    "tanh": {"pairs": 5, "singles": 5},
    "spline": {"pairs": 3, "singles": 2, "atoms": "spline", "intervals": 5},
    "published": {"kind": "published"},
    "linear": {"pairs": 0, "singles": 0},
    "no linear": {"pairs": 3, "singles": 0, "linear": False},
}
# Torch takes seconds to write one, so not every network meets every algorithm; together they meet every use of outputs.
ONNX = {(PPO, kind) for kind in ("tanh", "spline", "published")} | {(SAC, "tanh"), (TD3, "published"), (DQN, "tanh")}
COORDINATES = {
    "vectors": [[0, 1], [2, 3], [4, 5, 6]],
    "angles": [5, 0],
    "between": [[[0, 1], [2, 3]], [[2, 3], [5, 4]], [[0, 1, 2], [6, 5, 4]]],
}


@pytest.fixture(scope="module", autouse=True)
def operators():
    """Torch reads the sources of ONNX's operators at each export, which takes as long as the rest of it; here once."""
    if not importlib.util.find_spec("onnxscript"):
        yield
        return
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(functools.cache(ONNXRegistry.from_torchlib)))
        yield


class Anything(gymnasium.Env):
    """Random observations of any space; nothing happens."""

    def __init__(self, observation_space, action_space):
        self.observation_space, self.action_space = observation_space, action_space

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 0.0, False, False, {}


def shaken(algorithm, network="tanh", env=None, coordinates=COORDINATES, **more):
    """A model with parameters so large that actions differ and reach their bounds."""
    env = env or WaypointVecEnv(4, discrete=algorithm is DQN)
    given = {"coordinates": coordinates, "actor": KINDS[network], **more.pop("policy_kwargs", {})}
    model = algorithm("SpanPolicy", env, policy_kwargs=given, device="cpu", seed=0, **more)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.policy.parameters():
            p += 0.5 * torch.randn(p.shape, generator=generator)
    return model


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A model, the folder of its files, and their sizes; each is written once."""

    @functools.cache
    def write(algorithm, network):
        folder, model = tmp_path_factory.mktemp("written"), shaken(algorithm, network)
        sizes = [export_numpy(model, folder / "controller.npz")]
        if (algorithm, network) in ONNX and importlib.util.find_spec("onnxruntime"):
            sizes.append(export_onnx(model, folder / "controller.onnx"))
        return model, folder, tuple(sizes)

    return write


def observations(n=300):
    """Usual ones, none at all, the bounds, and some far beyond."""
    x = np.random.default_rng(0).normal(0, 0.7, (n, 7)).astype(np.float32)
    x[0], x[1], x[2], x[3] = 0, 2, -2, 1e-4
    x[4:40] *= 10
    return x


def expected(model, seen):
    return model.predict(seen, deterministic=True)[0]


def agree(found, wanted):
    assert found.shape == wanted.shape
    assert found.dtype == wanted.dtype
    np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize("network", ["tanh", "spline", "published"])
@pytest.mark.parametrize("algorithm", [PPO, A2C, SAC, TD3, DQN])
def test_both_forms_act_as_the_model(algorithm, network, written):
    model, folder, _ = written(algorithm, network)
    seen = observations()
    wanted = expected(model, seen)
    assert len(np.unique(wanted)) > 4
    if algorithm is not DQN:
        assert (np.abs(wanted) > 0.999).any()
    policy = NumpyPolicy.load(folder / "controller.npz")
    for rows in (seen, seen[:1], seen[5:12]):
        agree(policy(rows), expected(model, rows))
    for row in seen[:5]:
        agree(policy(row), np.asarray(expected(model, row)))
    if (algorithm, network) not in ONNX:
        return
    runtime = pytest.importorskip("onnxruntime")
    assert sorted(path.name for path in folder.iterdir()) == ["controller.npz", "controller.onnx"]
    session = runtime.InferenceSession(folder / "controller.onnx")
    for rows in (seen, seen[:1], seen[5:12]):
        agree(session.run(["action"], {"observation": rows})[0], expected(model, rows))


@pytest.mark.parametrize("network", ["linear", "no linear"])
def test_networks_with_features_left_out_act_as_the_model(network, tmp_path):
    model, seen = shaken(PPO, network), observations()
    export_numpy(model, tmp_path / "c.npz")
    agree(NumpyPolicy.load(tmp_path / "c.npz")(seen), expected(model, seen))


@pytest.mark.parametrize(
    ("algorithm", "more"),
    [(PPO, {}), (PPO, {"squash_output": True}), (SAC, {}), (SAC, {"clip_mean": 0.7}), (SAC, {"clip_mean": 0.0})],
)
def test_state_dependent_noise_leaves_no_trace(algorithm, more, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    few = {"vectors": [[0, 1]]}  # the noise is that of the outputs
    model, seen = shaken(algorithm, coordinates=few, use_sde=True, policy_kwargs=more), observations()
    export_numpy(model, tmp_path / "c.npz")
    agree(NumpyPolicy.load(tmp_path / "c.npz")(seen), expected(model, seen))
    if more:
        export_onnx(model, tmp_path / "c.onnx")
        session = runtime.InferenceSession(tmp_path / "c.onnx")
        agree(session.run(None, {"observation": seen})[0], expected(model, seen))


@pytest.mark.parametrize("algorithm", [PPO, SAC])
def test_actions_have_the_scale_and_the_shape_of_their_space(algorithm, tmp_path):
    acted = spaces.Box(np.array([[-3, 0], [5, -7]], np.float32), np.array([[4, 0.5], [90, -2]], np.float32))
    env = DummyVecEnv([lambda: Anything(spaces.Box(-1, 1, (2, 3), np.float64), acted)])
    model = shaken(algorithm, env=env, coordinates={"vectors": [[0, 5]]})
    seen = np.random.default_rng(0).normal(0, 3, (40, 2, 3))
    export_numpy(model, tmp_path / "c.npz")
    policy = NumpyPolicy.load(tmp_path / "c.npz")
    np.testing.assert_allclose(policy(seen), expected(model, seen), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(policy(seen[0]), expected(model, seen[0]), rtol=1e-5, atol=1e-5)
    assert policy(seen[0]).shape == (2, 2)


def test_dictionaries_lie_in_one_row_in_the_order_of_their_keys(tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    env = DummyVecEnv([WaypointGoalEnv])
    model = shaken(SAC, env=env, coordinates={"between": [[[0, 1], [2, 3]]]})
    keys = list(model.observation_space.spaces)
    samples = [model.observation_space.sample() for _ in range(20)]
    seen = {key: np.stack([sample[key] for sample in samples]) for key in reversed(keys)}
    rows = np.concatenate([seen[key] for key in keys], 1)
    export_numpy(model, tmp_path / "c.npz")
    policy = NumpyPolicy.load(tmp_path / "c.npz")
    wanted = expected(model, seen)
    agree(policy(rows), wanted)
    agree(policy(seen), wanted)
    agree(policy(samples[3]), wanted[3])
    export_onnx(model, tmp_path / "c.onnx")
    agree(runtime.InferenceSession(tmp_path / "c.onnx").run(None, {"observation": rows})[0], wanted)
    for wrong in ({"observation": rows}, {**seen, "more": rows}):
        with pytest.raises(ValueError):
            policy(wrong)


def test_the_evaluator_needs_numpy_and_nothing_else(tmp_path):
    model, seen = shaken(PPO, "spline"), observations()
    export_numpy(model, tmp_path / "controller.npz")
    shutil.copy(Path(numpy_policy.__file__), tmp_path / "flown.py")
    np.save(tmp_path / "seen.npy", seen)
    program = """
import sys
sys.path.insert(0, ".")
import numpy
from flown import NumpyPolicy
before = set(sys.modules)
numpy.save("found.npy", NumpyPolicy.load("controller.npz")(numpy.load("seen.npy")))
assert not {"torch", "gymnasium", "stable_baselines3", "separable", "domains", "scipy"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-I", "-c", program], cwd=tmp_path, check=True)
    agree(np.load(tmp_path / "found.npy"), expected(model, seen))


def test_files_are_small_and_their_size_is_told(written):
    pytest.importorskip("onnxruntime")
    model, folder, sizes = written(PPO, "tanh")
    assert sizes == tuple((folder / f"controller.{form}").stat().st_size for form in ("npz", "onnx"))
    n = parameter_count(model.policy.mlp_extractor.actor) + parameter_count(model.policy.action_net)
    assert sizes[0] < 4 * n + 3000
    assert sizes[1] < 4 * n + 8000


def test_training_goes_on_beside_what_was_exported(tmp_path):
    model, seen = shaken(PPO, n_steps=8, batch_size=32), observations()
    export_numpy(model, tmp_path / "c.npz")
    policy, before = NumpyPolicy.load(tmp_path / "c.npz"), expected(model, seen)
    model.learn(32)
    agree(policy(seen), before)
    assert (expected(model, seen) != before).any()


@pytest.mark.parametrize("wrong", [np.zeros(6), np.zeros((2, 8)), np.zeros((2, 3, 7)), np.full(7, np.nan), {"a": 1}])
def test_observations_that_cannot_be_are_refused(wrong, tmp_path):
    export_numpy(shaken(PPO), tmp_path / "c.npz")
    with pytest.raises(ValueError):
        NumpyPolicy.load(tmp_path / "c.npz")(wrong)


@pytest.mark.parametrize("network", ["tanh", "spline", "published"])
@pytest.mark.parametrize("algorithm", [PPO, DQN])
def test_no_observations_have_no_actions(algorithm, network, written):
    model, folder, _ = written(algorithm, network)
    none = np.zeros((0, 7), np.float32)
    found, wanted = NumpyPolicy.load(folder / "controller.npz")(none), expected(model, np.zeros((3, 7), np.float32))
    assert (found.shape, found.dtype) == ((0, *wanted.shape[1:]), wanted.dtype)


def test_observations_whose_features_overflow_are_refused_by_splines(written):
    _, folder, _ = written(PPO, "spline")
    huge = np.full((2, 7), 1e30, np.float32)
    with np.errstate(all="ignore"), pytest.raises(ValueError):
        NumpyPolicy.load(folder / "controller.npz")(huge)


def test_files_that_are_no_controllers_are_refused(tmp_path):
    np.savez(tmp_path / "other.npz", weight=np.zeros(3))
    with pytest.raises(ValueError):
        NumpyPolicy.load(tmp_path / "other.npz")
    with pytest.raises(ValueError):
        NumpyPolicy({"format": 2}, {})


class Halved(FlattenExtractor):
    def forward(self, observations):
        return super().forward(observations) / 2


@pytest.mark.parametrize("export", [export_numpy, export_onnx])
def test_models_that_cannot_be_exported_are_refused(export, tmp_path):
    path = tmp_path / f"c.{'npz' if export is export_numpy else 'onnx'}"
    with pytest.raises(TypeError):
        export(PPO("MlpPolicy", WaypointVecEnv(2), device="cpu"), path)
    with pytest.raises(ValueError):
        export(shaken(PPO), path.with_suffix(".txt"))
    with pytest.raises(ValueError):
        export(shaken(PPO, policy_kwargs={"features_extractor_class": Halved}), path)
    box, switches = spaces.Box(-1, 1, (3,), np.float32), spaces.MultiDiscrete([2, 3])
    for observed, acted in ((box, switches), (spaces.Discrete(3), box)):
        env = DummyVecEnv([lambda o=observed, a=acted: Anything(o, a)])
        with pytest.raises(ValueError):
            export(shaken(PPO, env=env, coordinates=None), path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("missing", ["onnx", "onnxscript"])
def test_without_the_extra_it_is_told_what_to_install(missing, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ModuleNotFoundError):
        export_onnx(shaken(PPO), tmp_path / "c.onnx")
