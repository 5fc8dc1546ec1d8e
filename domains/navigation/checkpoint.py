"""Everything that an interrupted training needs to go on as if it had not been: one safetensors file.

It is taken between two updates, where stable-baselines3 keeps no half-filled rollout.  Tensors and arrays are entries
of the file; numbers, counters and settings of the optimisers are JSON in its header.  stable-baselines3's own zip
holds neither the worlds nor the states of the random numbers, and is unpickled, which may execute code.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.save_util import recursive_getattr

from domains.navigation.stable_baselines import WaypointVecEnv
from separable.files import read_tensors, read_texts, refusing, write_tensors

_WORLDS = ("state", "course", "obstacles", "wind", "steady", "target", "following", "distance", "reached", "steps")
_FLAGS, _RANDOM = ("collided", "left"), ("key", "episode", "drawn")
_BUFFER = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")
_COUNTERS = ("num_timesteps", "_n_updates", "_episode_num", "_n_calls", "exploration_rate")

Arrays = dict[str, npt.NDArray[Any]]


def store(model: BaseAlgorithm, path: Path, extra: dict[str, Any]) -> None:
    """Write a checkpoint; it replaces an older one only when it is complete.

    Args:
        model: A model that trains on a `WaypointVecEnv`.
        path: The file.
        extra: Plain data to be kept with it.
    """
    arrays: Arrays = {}
    plain: dict[str, Any] = {"extra": extra, "optimisers": {}}
    modules, variables = model._get_torch_save_params()
    for name in modules:
        state = recursive_getattr(model, name).state_dict()
        if "param_groups" in state:
            plain["optimisers"][name] = _split(name, state, arrays)
        else:
            arrays |= {f"{name}/{key}": _array(value) for key, value in state.items()}
    arrays |= {f"variable/{name}": _array(recursive_getattr(model, name)) for name in variables}
    plain["counters"] = {name: getattr(model, name) for name in _COUNTERS if hasattr(model, name)}

    worlds = _environment(model).worlds
    arrays |= {f"worlds/{name}": getattr(worlds, name) for name in (*_WORLDS, *_FLAGS)}
    arrays |= {f"random/{name}": getattr(worlds.random, name) for name in _RANDOM}
    # Before the first rollout nothing has been seen.
    plain["started"] = model._last_obs is not None
    if model._last_obs is not None:
        arrays["last/observation"] = cast("npt.NDArray[Any]", model._last_obs)
        arrays["last/starts"] = cast("npt.NDArray[Any]", model._last_episode_starts)

    kind, keys, *rest = np.random.get_state()  # noqa: NPY002  what stable-baselines3 draws from
    arrays |= {"drawn/torch": torch.get_rng_state().numpy(), "drawn/numpy": np.asarray(keys)}
    plain["numpy"] = [kind, *rest]
    plain["actions"] = model.action_space.np_random.bit_generator.state
    if isinstance(model, OffPolicyAlgorithm) and model.replay_buffer is not None:
        buffer = model.replay_buffer
        filled = buffer.size()
        arrays |= {f"buffer/{name}": getattr(buffer, name)[:filled] for name in _BUFFER}
        plain["buffer"] = {"pos": buffer.pos, "full": buffer.full}

    tensors = {
        name: torch.from_numpy(np.ascontiguousarray(_signed(value)).reshape(value.shape))
        for name, value in arrays.items()
    }
    write_tensors(path, tensors, {"plain": json.dumps(plain)})


def restore(model: BaseAlgorithm, path: Path) -> dict[str, Any]:
    """Put a freshly made model, its worlds and the random numbers into the state of a checkpoint.

    Args:
        model: A model with the same settings as the stored one.
        path: The file.

    Returns:
        The plain data that were kept with it.

    Raises:
        ValueError: If the file is not a checkpoint of such a model.
    """
    arrays = {name: value.numpy() for name, value in read_tensors(path, "a checkpoint of a training").items()}
    with refusing(path, "a checkpoint of a model with these settings"):
        return _restored(model, arrays, json.loads(read_texts(path)["plain"]))


def _restored(model: BaseAlgorithm, arrays: Arrays, plain: dict[str, Any]) -> dict[str, Any]:
    modules, variables = model._get_torch_save_params()
    for name in modules:
        target = recursive_getattr(model, name)
        if name in plain["optimisers"]:
            target.load_state_dict(_joined(name, plain["optimisers"][name], arrays))
        else:
            target.load_state_dict({k: torch.from_numpy(v.copy()) for k, v in _under(name, arrays).items()})
    with torch.no_grad():
        for name in variables:
            recursive_getattr(model, name).copy_(torch.from_numpy(arrays[f"variable/{name}"].copy()))
    for name, value in plain["counters"].items():
        if name not in _COUNTERS or not isinstance(value, int | float):
            raise ValueError(f"it holds the counter {name} = {value!r}")
        setattr(model, name, value)

    environment = _environment(model)
    environment.reset()  # so that it takes steps; what it drew is replaced
    worlds = environment.worlds
    for holder, place, names in ((worlds, "worlds", (*_WORLDS, *_FLAGS)), (worlds.random, "random", _RANDOM)):
        for name in names:
            held, wanted = arrays[f"{place}/{name}"], getattr(holder, name)
            held = held.view(wanted.dtype) if wanted.dtype.kind == "u" else held
            if (held.shape, held.dtype) != (wanted.shape, wanted.dtype):
                raise ValueError(
                    f"{place}/{name} is {held.shape} of {held.dtype}, not {wanted.shape} of {wanted.dtype}"
                )
            setattr(holder, name, held.copy())
    if plain["started"]:
        model._last_obs = arrays["last/observation"].copy()
        model._last_episode_starts = arrays["last/starts"].copy()

    if "buffer" in plain and isinstance(model, OffPolicyAlgorithm) and model.replay_buffer is not None:
        for name, values in _under("buffer", arrays).items():
            getattr(model.replay_buffer, name)[: len(values)] = values
        model.replay_buffer.pos, model.replay_buffer.full = plain["buffer"]["pos"], plain["buffer"]["full"]
    torch.set_rng_state(torch.from_numpy(arrays["drawn/torch"].copy()))
    kind, *rest = plain["numpy"]
    np.random.set_state((kind, arrays["drawn/numpy"].view(np.uint32), *rest))  # noqa: NPY002
    model.action_space.np_random.bit_generator.state = plain["actions"]
    return dict(plain["extra"])


def _environment(model: BaseAlgorithm) -> WaypointVecEnv:
    if not isinstance(model, OnPolicyAlgorithm | OffPolicyAlgorithm) or not isinstance(model.env, WaypointVecEnv):
        raise TypeError(f"model: expected one that trains on a WaypointVecEnv, got {type(model.env).__name__}")
    return model.env


def _array(value: torch.Tensor) -> npt.NDArray[Any]:
    return value.detach().cpu().numpy()


def _signed(value: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Unsigned numbers as signed ones of the same bits: the least version of safetensors writes no others."""
    return value.view(f"i{value.itemsize}") if value.dtype.kind == "u" and value.itemsize > 1 else value


def _under(name: str, arrays: Arrays) -> Arrays:
    return {key[len(name) + 1 :]: value for key, value in arrays.items() if key.startswith(f"{name}/")}


def _split(name: str, state: dict[str, Any], arrays: Arrays) -> dict[str, Any]:
    """An optimiser's state: its tensors go to ``arrays``, the rest is returned."""
    numbers: dict[str, dict[str, Any]] = {}
    for index, entries in state["state"].items():
        numbers[str(index)] = {}
        for key, value in entries.items():
            if isinstance(value, torch.Tensor):
                arrays[f"{name}/{index}/{key}"] = _array(value)
            else:
                numbers[str(index)][key] = value
    return {"numbers": numbers, "groups": state["param_groups"]}


def _joined(name: str, plain: dict[str, Any], arrays: Arrays) -> dict[str, Any]:
    state = {int(index): dict(entries) for index, entries in plain["numbers"].items()}
    for place, value in _under(name, arrays).items():
        index, key = place.split("/")
        state[int(index)][key] = torch.from_numpy(value.copy())
    return {"state": state, "param_groups": plain["groups"]}
