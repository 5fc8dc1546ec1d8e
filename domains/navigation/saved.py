"""Trained policies on disk: ``config.json`` and ``policy.safetensors``, neither of which can execute code.

The shipped ones are in `baselines`, each with a card that says how it was trained and how well it flies.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from stable_baselines3.common.base_class import BaseAlgorithm

from separable.atomic_files import write_text
from separable.files import read_json, read_tensors, refusing, write_tensors

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
        ValueError: If a file is damaged, or the parameters are not those of the settings.
    """
    from domains.navigation.random_states import random_states_kept
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
    settings, tensors = read_json(path / "config.json", "the settings of a training"), read_tensors(path / file)
    with refusing(path, "a policy"), random_states_kept():
        config = TrainConfig.of(settings)
        model = make_model(config)
        model.policy.load_state_dict(tensors)
    return model, config


def save_policy(model: BaseAlgorithm, config: TrainConfig, path: str | Path) -> Path:
    """Write a policy into a folder, which is made; returns it.

    Raises:
        FileExistsError: If the folder holds a policy.
        ValueError: If a ``VecNormalize`` stands before the model, whose statistics the folder would not keep.
    """
    import dataclasses

    path, wrapper = Path(path), model.get_vec_normalize_env()
    if wrapper is not None and wrapper.norm_obs:
        raise ValueError(
            "model: expected one that sees what the worlds show, got one behind VecNormalize, whose statistics are "
            "not kept; use the model's own save and that of VecNormalize"
        )
    if (path / "policy.safetensors").exists():
        raise FileExistsError(f"{path}: holds a policy; choose another folder")
    path.mkdir(parents=True, exist_ok=True)
    write_text(path / "config.json", json.dumps(dataclasses.asdict(config), indent=2) + "\n")
    write_tensors(path / "policy.safetensors", {k: v.clone() for k, v in model.policy.state_dict().items()})
    return path
