"""The state of a training in one file: parameters, optimiser, and where the loop and its stream of batches are.

A checkpoint is a safetensors file with the tensors ``model/<name>`` and ``optimiser/<name>/<entry>``, whole ones
whatever the number of processes, and with the rest as JSON in its header, so that one renaming replaces all of it; a
file ``.json`` of the same name repeats the rest for people. A checksum of all that stands in the header too: a training
does not go on from a file in which a bit has changed. There is no state of random generators: every step seeds them by
its number (`separable.training.loop`).
"""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from separable.atomic_files import write_text
from separable.files import read_tensors, read_texts, refusing, write_tensors

_KEY = "training"
_OPTIMISER = "optimiser"


def save_checkpoint(
    path: Path, model: nn.Module, optimiser: torch.optim.Optimizer, progress: Mapping[str, Any], write: bool = True
) -> None:
    """Write a checkpoint whole, or leave what was there.

    Args:
        path: the file, ending in ``.safetensors``.
        model: the module; parameters that several processes share are gathered, so all of these must call.
        optimiser: of the module.
        progress: plain data.
        write: whether this process writes.

    Raises:
        OSError: the file cannot be written: no space, no permission. An older checkpoint of that name is untouched.
    """
    tensors = {f"model/{name}": _whole(value) for name, value in _state(model).items()}
    for name, parameter in model.named_parameters():
        for entry, value in optimiser.state.get(parameter, {}).items():
            tensors[f"optimiser/{name}/{entry}"] = _whole(value)
    if write:
        _write(path, tensors, json.dumps({**progress, _OPTIMISER: type(optimiser).__name__}))


def load_checkpoint(path: Path, model: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """Bring module and optimiser to the state in a file; returns what was given as ``progress``.

    Raises:
        ValueError: the file is damaged, or is one of another module or another kind of optimiser.
    """
    tensors, progress = _read(path)
    kind = progress.pop(_OPTIMISER, type(optimiser).__name__)  # older files do not tell
    if kind != type(optimiser).__name__:
        raise ValueError(f"{path}: expected the state of {type(optimiser).__name__}, got that of {kind}")
    _restore(path, model, tensors)
    index = {parameter: i for i, parameter in enumerate(p for g in optimiser.param_groups for p in g["params"])}
    states: dict[int, dict[str, Tensor]] = {}
    for name, parameter in model.named_parameters():
        prefix = f"optimiser/{name}/"
        entries = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        if entries and parameter in index:
            states[index[parameter]] = {
                entry: _alike(value, parameter) if value.shape == parameter.shape else value
                for entry, value in entries.items()
            }
    optimiser.load_state_dict({"state": states, "param_groups": optimiser.state_dict()["param_groups"]})
    return progress


def load_weights(path: str | os.PathLike[str], model: nn.Module) -> None:
    """Bring a module to the weights in a checkpoint, for example ``best.safetensors`` of a run.

    Args:
        path: the checkpoint.
        model: a module with the same parameters and buffers, on any device.

    Raises:
        ValueError: the file is damaged, or is one of another module.

    Example:
        >>> import tempfile
        >>> from torch import nn
        >>> from separable.training import adamw, TrainingConfig, load_weights
        >>> model, other, file = nn.Linear(2, 2), nn.Linear(2, 2), Path(tempfile.mkdtemp()) / "last.safetensors"
        >>> save_checkpoint(file, model, adamw(model, TrainingConfig(steps=1)), {"step": 0})
        >>> load_weights(file, other)
        >>> bool((model.weight == other.weight).all())
        True
    """
    tensors, _ = _read(Path(path))
    _restore(Path(path), model, tensors)


def _state(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and kept buffers by name, each once however many names it has."""
    kept = model.state_dict().keys()
    buffers = {name: value for name, value in model.named_buffers() if name in kept}
    return {**dict(model.named_parameters()), **buffers}


def _whole(value: Tensor) -> Tensor:
    """The tensor on the CPU, gathered if processes share it."""
    gathered: Tensor = value.full_tensor() if hasattr(value, "full_tensor") else value
    return gathered.detach().cpu().contiguous()


def _alike(value: Tensor, target: Tensor) -> Tensor:
    """The tensor shared between processes as the target is."""
    if not hasattr(target, "placements"):
        return value
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(target, DTensor)
    return distribute_tensor(value.to(target.device), target.device_mesh, target.placements)


def _restore(path: Path, model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    wanted = _state(model)
    found = {name.removeprefix("model/") for name in tensors if name.startswith("model/")}
    if wanted.keys() != found:
        differing = sorted(wanted.keys() ^ found)
        raise ValueError(f"{path}: expected the parameters of the given model, got others; first {differing[0]}")
    for name, target in wanted.items():
        value = tensors[f"model/{name}"]
        if value.shape != target.shape:
            raise ValueError(f"{path}: expected {name} of shape {tuple(target.shape)}, got {tuple(value.shape)}")
    with torch.no_grad():
        for name, target in wanted.items():
            target.copy_(_alike(tensors[f"model/{name}"], target))


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    expected = "a checkpoint of a training"
    with refusing(path, expected):
        progress = dict(json.loads(read_texts(path, expected)[_KEY]))
    return read_tensors(path, expected, finite=False), progress  # buffers may hold infinities, such as masks


def _write(path: Path, tensors: dict[str, Tensor], progress: str) -> None:
    try:
        write_tensors(path, tensors, {_KEY: progress})
        write_text(path.with_suffix(".json"), progress)
    except OSError as refused:
        size = sum(value.numel() * value.element_size() for value in tensors.values())
        told = f"checkpoint of {size / 1e6:.1f} MB, {_free(path.parent)} free: {refused.strerror}"
        raise OSError(refused.errno, told) from refused


def _free(folder: Path) -> str:
    try:
        return f"{shutil.disk_usage(folder).free / 1e6:.0f} MB"
    except OSError:
        return "unknown"
