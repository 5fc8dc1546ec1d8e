"""Latency: the time of one action on one core, from the library and from what was exported, beside a perceptron's."""

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from stable_baselines3 import PPO
from torch import nn

from benchmarks import record
from benchmarks.trial import usual
from domains.navigation.coordinates import Coordinates
from domains.navigation.export import deployed_policy, export_numpy, export_onnx, write_onnx
from domains.navigation.numpy_policy import NumpyPolicy
from domains.navigation.options import WaypointOptions
from domains.navigation.policies import SpanPolicy, actor_of, parameter_count
from domains.navigation.stable_baselines import WaypointVecEnv

assert SpanPolicy  # registers the name
CALLS, REPETITIONS = usual((300, 15), trial=(10, 1))
TARGET = 100.0
OPTIONS = WaypointOptions()
NETWORKS: dict[str, Any] = {
    "quadratic": {"pairs": 10, "singles": 10},
    "quadratic, splines": {"pairs": 7, "singles": 7, "atoms": "spline"},
    "published": {"kind": "published", "coordinates": 8, "grid_points": 5, "rank": 8},
}
Act = Callable[[np.ndarray], Any]


class Perceptron(nn.Module):
    """The actor of "MlpPolicy" with its commands cut, as `DeployedPolicy` does for ours."""

    def __init__(self, model: PPO) -> None:
        super().__init__()
        self.layers = nn.Sequential(*model.policy.mlp_extractor.policy_net, model.policy.action_net)

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        """Commands ``(B, A)``."""
        return self.layers(observation).clamp(-1.0, 1.0)


def perceptron_in_numpy(module: Perceptron) -> Act:
    """The same in numpy."""
    layers = [(m.weight.detach().numpy(), m.bias.detach().numpy()) for m in module.layers if isinstance(m, nn.Linear)]

    def act(observation: np.ndarray) -> Any:
        x = observation
        for weight, bias in layers[:-1]:
            x = np.tanh(weight @ x + bias)
        weight, bias = layers[-1]
        return np.minimum(np.maximum(weight @ x + bias, -1.0), 1.0)

    return act


def of_torch(module: nn.Module) -> Act:
    """A module on one row."""

    def act(observation: np.ndarray) -> Any:
        with torch.inference_mode():
            return module(torch.from_numpy(observation)[None]).numpy()[0]

    return act


def of_onnx(path: Path) -> Act:
    """An ONNX file on one row, by onnxruntime on one thread."""
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
    return lambda observation: session.run(None, {"observation": observation[None]})[0][0]


def ways(name: str, folder: Path) -> tuple[dict[str, Act], dict[str, Any]]:
    """Every way to the action of one policy, and the sizes of its actor and files."""
    env = WaypointVecEnv(2, OPTIONS)
    plain, onnx = folder / f"{name}.npz", folder / f"{name}.onnx"
    if name == "perceptron 64 x 64":
        model = PPO("MlpPolicy", env, device="cpu", seed=0)
        module: nn.Module = Perceptron(model).eval()
        in_numpy, bytes_plain = perceptron_in_numpy(module), None
        bytes_onnx = write_onnx(module, 7, onnx)
        n = parameter_count(module)
    else:
        given = {"coordinates": Coordinates.of_waypoints(OPTIONS), "actor": NETWORKS[name]}
        model = PPO("SpanPolicy", env, device="cpu", seed=0, policy_kwargs=given)
        module, bytes_plain = deployed_policy(model), export_numpy(model, plain)
        in_numpy, bytes_onnx = NumpyPolicy.load(plain), export_onnx(model, onnx)
        n = sum(parameter_count(part) for part in actor_of(model))

    def predict(observation: np.ndarray) -> Any:
        return model.predict(observation, deterministic=True)[0]

    acting = {"model.predict": predict, "torch": of_torch(module), "numpy": in_numpy, "onnxruntime": of_onnx(onnx)}
    return acting, {"parameters": n, ".npz, bytes": bytes_plain or "", ".onnx, bytes": bytes_onnx}


def microseconds(act: Act, observations: np.ndarray) -> float:
    """Median time of a call."""
    times = []
    for observation in observations:
        start = time.perf_counter()
        act(observation)
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e6


def main() -> None:
    """Measure and record."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    observations = np.random.default_rng(0).uniform(-0.7, 0.7, (CALLS, 7)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        names = [*NETWORKS, "perceptron 64 x 64"]
        every = {name: ways(name, Path(folder)) for name in names}
    for acting, _ in every.values():
        expected = acting["model.predict"](observations[0])
        for act in acting.values():
            np.testing.assert_allclose(act(observations[0]), expected, atol=1e-5)
    times: dict[tuple[str, str], list[float]] = {}
    for _ in range(REPETITIONS):
        for name, (acting, _) in every.items():
            for way, act in acting.items():
                times.setdefault((name, way), []).append(microseconds(act, observations))
    found = {key: statistics.median(value) for key, value in times.items()}
    span = max((max(value) - min(value)) / statistics.median(value) for value in times.values())
    rows = []
    for name, (acting, sizes) in every.items():
        rows.append({"policy": name, **sizes, **{f"{way}, us": round(found[name, way], 1) for way in acting}})
        print(rows[-1], flush=True)
    ours, theirs = rows[:-1], rows[-1:]
    slowest = max(row[f"{way}, us"] for row in ours for way in ("numpy", "onnxruntime"))
    record.write(
        "navigation",
        "latency",
        claim=f"a quadratic policy of {ours[0]['parameters']} parameters acts in {ours[0]['numpy, us']:.0f} us by "
        f"numpy alone and {ours[0]['onnxruntime, us']:.0f} us by onnxruntime on one core, where model.predict takes "
        f"{ours[0]['model.predict, us']:.0f} us; the perceptron with 64 x 64 units takes "
        f"{theirs[0]['numpy, us']:.0f}, {theirs[0]['onnxruntime, us']:.0f} and "
        f"{theirs[0]['model.predict, us']:.0f} us",
        measured=ours,
        target=f"every exported policy acts in at most {TARGET:.0f} us on one core, a tenth of the period of a loop of "
        "1 kHz",
        holds=slowest <= TARGET,
        baselines=theirs,
        command="python -m benchmarks.navigation_latency",
        seeds=[0],
        spread=f"medians of {REPETITIONS} repetitions in turns, each the median of {CALLS} calls; the repetitions of a "
        f"number span at most {span:.0%} of it",
    )


if __name__ == "__main__":
    main()
