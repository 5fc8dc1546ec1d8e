"""A trained policy as one small file: numpy arrays that `numpy_policy` evaluates, or ONNX for any runtime of it.

Both give the deterministic action of ``model.predict``, with what the algorithm does to its mean: cut at the bounds of
the action space (PPO, A2C), tanh and the space's scale (SAC, TD3, gSDE with ``squash_output``), the largest of the
outputs (discrete actions).  Observations are rows of F numbers; those of a dictionary lie in one row, in the order of
the space's keys (stable-baselines3 sorts them: ``list(model.observation_space.spaces)``).  What wrappers do to
observations, such as ``VecNormalize``, is not in the file.

A file has 4 bytes for each number and about 250 for each of at most 8 arrays, a description of some 300 bytes and, for
splines, n 3 numbers a coordinate instead of n + 2.
"""

from __future__ import annotations

import copy
import importlib.util
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.preprocessing import get_action_dim, get_flattened_obs_dim, is_image_space
from stable_baselines3.common.torch_layers import CombinedExtractor, FlattenExtractor
from torch import Tensor, nn

from domains.navigation.networks import Features, PublishedFeatures, QuadraticFeatures
from domains.navigation.policies import actor_of
from separable.atoms import BSpline
from separable.layers import LearnedCoordinates


def export_numpy(model: BaseAlgorithm, path: str | Path) -> int:
    """Write a policy for `numpy_policy.NumpyPolicy`, which needs numpy and nothing of this project.

    Args:
        model: PPO, A2C, SAC, TD3 or DQN with a SpanPolicy.
        path: A file ending in .npz; it is written to a temporary name and renamed.

    Returns:
        The size of the file, bytes: 4 to 6 kB for 500 parameters.

    Raises:
        TypeError: If the model's policy is not one of ours.
        ValueError: If the ending, a space or the features' extractor is none that can be exported.

    Example:
        >>> import tempfile
        >>> from stable_baselines3 import PPO
        >>> from domains.navigation.numpy_policy import NumpyPolicy
        >>> from domains.navigation.stable_baselines import WaypointVecEnv
        >>> model = PPO("SpanPolicy", WaypointVecEnv(4), n_steps=8, batch_size=32, device="cpu")
        >>> path = Path(tempfile.mkdtemp()) / "controller.npz"
        >>> export_numpy(model, path) < 10_000
        True
        >>> seen = model.env.reset()
        >>> bool(np.allclose(NumpyPolicy.load(path)(seen), model.predict(seen, deterministic=True)[0], atol=1e-5))
        True
    """
    path = _checked(path, ".npz")
    features, readout = actor_of(model)
    description, arrays = _description(model), _ends(model)
    chosen = features.known.chosen
    description |= {"vectors": chosen.vectors, "angles": chosen.angles, "between": chosen.between}
    arrays |= {"readout": _array(readout.weight), "constant": _array(readout.bias)}
    more, numbers = _of_network(features)
    description |= more
    arrays |= numbers
    arrays["description"] = np.frombuffer(json.dumps(description).encode(), np.uint8)
    temporary = path.with_name(f".{path.name}.part")
    with temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    temporary.replace(path)
    return path.stat().st_size


def export_onnx(model: BaseAlgorithm, path: str | Path) -> int:
    """Write a policy as ONNX: from "observation" ``(B, F)`` float32 to "action", for batches of any size.

    Actions are ``(B, A)`` float32, or ``(B,)`` int64 if discrete.

    Args:
        model: PPO, A2C, SAC, TD3 or DQN with a SpanPolicy.
        path: A file ending in .onnx; it is written to a temporary name and renamed.

    Returns:
        The size of the file, bytes: 6 to 13 kB for 500 parameters, most of it the names of operations.

    Raises:
        TypeError: If the model's policy is not one of ours.
        ValueError: If the ending, a space or the features' extractor is none that can be exported.
        ModuleNotFoundError: If ``onnx`` and ``onnxscript`` are not installed.
    """
    path = _checked(path, ".onnx")
    deployed = deployed_policy(model)
    return write_onnx(deployed, deployed.features.n_inputs, path)


def write_onnx(module: nn.Module, n_inputs: int, path: Path) -> int:
    """Write any module from rows ``(B, n_inputs)`` to actions as ONNX; the size of the file, bytes."""
    for name in ("onnx", "onnxscript"):
        if importlib.util.find_spec(name) is None:
            raise ModuleNotFoundError(f"export_onnx needs {name}; install it with: pip install 'separable[onnx]'")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's own use of what it deprecates
        program = torch.onnx.export(
            module,
            (torch.zeros(2, n_inputs),),
            input_names=["observation"],
            output_names=["action"],
            # Inferred: torch 2.9 refuses a named size where it finds that a batch of one would be special.
            dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    written = program.model_proto
    for part in (*written.graph.node, *written.graph.value_info, *written.graph.input, *written.graph.output):
        del part.metadata_props[:]  # stack traces, five times as long as the rest
    del written.graph.metadata_props[:]
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_bytes(written.SerializeToString())
    temporary.replace(path)
    return path.stat().st_size


class DeployedPolicy(nn.Module):
    """From rows of observations ``(B, F)`` to actions, all in torch: what is exported.

    Args:
        features: The actor's network.
        readout: Its linear outputs.
        description: What becomes of them, from `_description`.
        ends: ``low`` and ``high`` of the action space.
    """

    low: Tensor
    high: Tensor

    def __init__(
        self, features: Features, readout: nn.Linear, description: dict[str, Any], ends: dict[str, Any]
    ) -> None:
        super().__init__()
        self.features, self.readout, self.description = features, readout, description
        for name, value in ends.items():
            self.register_buffer(name, torch.from_numpy(value))

    def forward(self, observation: Tensor) -> Tensor:
        """Actions ``(B, A)``, or ``(B,)`` if discrete."""
        outputs: Tensor = self.readout(self.features(observation))
        if self.description["choose"]:
            return outputs.argmax(1)
        if not self.description["squash"]:
            return torch.minimum(torch.maximum(outputs, self.low), self.high)
        limit = self.description["limit"]
        mean = outputs if limit is None else outputs.clamp(-limit, limit)
        return self.low + 0.5 * (torch.tanh(mean) + 1.0) * (self.high - self.low)


def deployed_policy(model: BaseAlgorithm) -> DeployedPolicy:
    """The deterministic policy of a model as one module on the CPU; a copy, which training leaves alone.

    Raises:
        TypeError: If the model's policy is not one of ours.
        ValueError: If a space or the features' extractor is none that can be exported.
    """
    features, readout = copy.deepcopy(actor_of(model))
    return DeployedPolicy(features, readout, _description(model), _ends(model)).cpu().eval()


def _checked(path: str | Path, suffix: str) -> Path:
    path = Path(path)
    if path.suffix != suffix:
        raise ValueError(f"export: expected a path ending in {suffix}; got {path.name!r}")
    return path


def _description(model: BaseAlgorithm) -> dict[str, Any]:
    """Observations and actions as plain data, or a ValueError for those that are not numbers."""
    observed, acted, policy = model.observation_space, model.action_space, model.policy
    parts = dict(observed.spaces) if isinstance(observed, spaces.Dict) else {"": observed}
    for key, part in parts.items():
        if not isinstance(part, spaces.Box) or is_image_space(part):
            raise ValueError(f"export: observations are numbers in a Box, no images; got {part} {key}".rstrip())
    if not isinstance(acted, spaces.Box | spaces.Discrete):
        raise ValueError(f"export: actions are a Box or Discrete; got {acted}")
    # The extractor is an argument of the policies; another one would be left out silently.
    owner = getattr(policy, "actor", None) or getattr(policy, "q_net", None) or policy
    if type(owner.features_extractor) not in (FlattenExtractor, CombinedExtractor):
        raise ValueError(f"export: expected observations that are only flattened; got {owner.features_extractor}")
    keyed = {key: list(part.shape) for key, part in parts.items() if part.shape is not None}
    return {
        "format": 1,
        "keys": keyed if isinstance(observed, spaces.Dict) else None,
        "observation": [get_flattened_obs_dim(observed)] if isinstance(observed, spaces.Dict) else keyed[""],
        "action": list(acted.shape or ()),
        "choose": isinstance(acted, spaces.Discrete),
        "squash": bool(policy.squash_output),
        "limit": _limit(policy),
    }


def _limit(policy: Any) -> float | None:
    """Where SAC with gSDE cuts the mean before the squash."""
    mean = getattr(getattr(policy, "actor", None), "mu", None)
    cuts = [m for m in mean.modules() if isinstance(m, nn.Hardtanh)] if isinstance(mean, nn.Module) else []
    return float(cuts[0].max_val) if cuts else None


def _ends(model: BaseAlgorithm) -> dict[str, Any]:
    space = model.action_space
    if not isinstance(space, spaces.Box):
        return {}
    size = get_action_dim(space)
    return {name: np.asarray(getattr(space, name), np.float32).reshape(size) for name in ("low", "high")}


def _of_network(features: Features) -> tuple[dict[str, Any], dict[str, Any]]:
    """A network's kind and numbers."""
    arrays: dict[str, Any] = {}
    learned = features.learned
    if isinstance(learned, LearnedCoordinates):
        arrays = {"weight": _array(learned.weight), "bias": _array(learned.bias)}
    if isinstance(features, PublishedFeatures):
        khronos = features.khronos
        arrays |= {"centres": _array(khronos.centres), "scale": _array(khronos.scale)}
        return {"kind": "published"}, arrays | {"kernels": _array(khronos.weights)}
    assert isinstance(features, QuadraticFeatures)
    sizes = features.sizes
    if features.splines is not None:
        arrays["pieces"] = _pieces(features)
    kind = {"kind": "quadratic", "pairs": sizes.pairs, "singles": sizes.singles, "linear": sizes.linear}
    return kind, arrays


def _pieces(features: QuadraticFeatures) -> Any:
    """The splines as quadratics ``(D, n, 3)``, constant first, of the place in [0, 1] within each interval."""
    assert features.splines is not None
    atom = features.splines.atoms[0]
    assert isinstance(atom, BSpline)
    coefficients = features.splines.coefficients[0].detach().double().cpu()[..., 0]
    inner = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)  # off the breakpoints, which belong to two
    n, (a, b) = atom.intervals, atom.domain
    u = a + (b - a) / n * (torch.arange(n, dtype=torch.float64)[:, None] + inner)
    values = torch.einsum("nik,dk->dni", atom(u), coefficients)
    powers = inner[:, None] ** torch.arange(3, dtype=torch.float64)
    return torch.linalg.solve(powers, values[..., None])[..., 0].float().numpy()


def _array(tensor: Tensor) -> Any:
    return tensor.detach().cpu().numpy()
