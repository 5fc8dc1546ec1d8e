"""Trained policies on disk: ``config.json`` and ``policy.safetensors``, neither of which can execute code.

The shipped ones are in `baselines`, each with a card that says how it was trained and how well it flies.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt
import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from stable_baselines3.common.base_class import BaseAlgorithm

if TYPE_CHECKING:
    from domains.navigation.training import TrainConfig

BASELINES = Path(__file__).parent / "baselines"


def baseline_names() -> tuple[str, ...]:
    """The shipped policies.

    Example:
        >>> "waypoints2d" in baseline_names()
        True
    """
    return tuple(sorted(path.parent.name for path in BASELINES.glob("*/policy.safetensors")))


def load_baseline(name: str = "waypoints2d") -> tuple[BaseAlgorithm, TrainConfig]:
    """A shipped policy as a model of stable-baselines3, and the settings that it was trained with.

    Raises:
        ValueError: If there is none of that name.

    Example:
        >>> model, config = load_baseline("waypoints2d")
        >>> model.predict(model.observation_space.sample(), deterministic=True)[0].shape
        (2,)
    """
    if name not in baseline_names():
        raise ValueError(f"baseline: expected one of {', '.join(baseline_names())}; got {name!r}")
    return load_policy(BASELINES / name)


def load_policy(path: str | Path, file: str = "policy.safetensors") -> tuple[BaseAlgorithm, TrainConfig]:
    """A policy from its folder, such as that of a run.

    Args:
        path: The folder, with ``config.json``.
        file: Which parameters: those of the best evaluation, or ``"last.safetensors"``.

    Returns:
        A model that can fly (``model.predict``) and go on learning, with an empty replay buffer, and its settings.

    Raises:
        FileNotFoundError: If the folder or one of its two files is not there.
        ValueError: If the parameters are not those of the settings.
    """
    from domains.navigation.training import TrainConfig, make_model

    path = Path(path)
    if path.suffix == ".zip":
        raise ValueError(
            f"{path}: expected the folder of a run or of a policy, got a zip: those are unpickled, which may execute "
            "code; in Python, PPO.load(path) gives a model that evaluate(model, options) takes"
        )
    for name in ("config.json", file):
        if not (path / name).is_file():
            raise FileNotFoundError(f"{path}: expected a folder with config.json and {file}, found no {name}")
    config = TrainConfig.of(json.loads((path / "config.json").read_text(encoding="utf-8")))
    model = make_model(config)
    try:
        model.policy.load_state_dict(read_tensors(path / file))
    except RuntimeError as error:
        raise ValueError(f"{path / file}: expected the parameters that config.json describes; {error}") from None
    return model, config


def save_policy(model: BaseAlgorithm, config: TrainConfig, path: str | Path) -> Path:
    """Write a policy into a folder, which is made; returns it.

    Raises:
        FileExistsError: If the folder holds a policy.
    """
    import dataclasses

    path = Path(path)
    if (path / "policy.safetensors").exists():
        raise FileExistsError(f"{path}: holds a policy; choose another folder")
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.json").write_text(json.dumps(dataclasses.asdict(config), indent=2) + "\n", encoding="utf-8")
    write_tensors({k: v.detach().clone() for k, v in model.policy.state_dict().items()}, path / "policy.safetensors")
    return path


def write_tensors(tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Write a safetensors file; it replaces an older one only when it is complete."""
    temporary = path.with_name(f".{path.name}")
    safetensors.torch.save_file({name: value.cpu().contiguous() for name, value in tensors.items()}, temporary)
    temporary.replace(path)


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Tensors by name; ValueError if the file is damaged."""
    arrays, _ = open_tensors(path)
    return {name: torch.from_numpy(value.copy()) for name, value in arrays.items()}


def open_tensors(path: Path) -> tuple[dict[str, npt.NDArray[Any]], dict[str, str]]:
    """Arrays by name and the texts of the header; ValueError if the file is damaged."""
    try:
        with safe_open(path, "numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path}: expected a safetensors file; {error}") from None
