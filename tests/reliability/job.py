"""What a long job in small is, and how what such jobs leave is told."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch


@dataclass(frozen=True)
class Job:
    """One kind of long work.

    Attributes:
        name: what it does.
        run: starts it in a folder, or goes on there.
        result: what it left, by name; what depends on the clock is not in it.
        done: how much finished work the folder holds.
        prepare: writes what the work needs, once.
    """

    name: str
    run: Callable[[Path], object]
    result: Callable[[Path], dict[str, bytes]]
    done: Callable[[Path], int]
    prepare: Callable[[Path], object] = lambda folder: None

    def __str__(self) -> str:
        return self.name


def tensors_of(file: Path) -> dict[str, bytes]:
    """The tensors of a safetensors file as bytes."""
    found = safetensors.torch.load_file(file)
    return {name: value.reshape(-1).view(torch.uint8).numpy().tobytes() for name, value in found.items()}


def step_of(file: Path) -> int:
    """Steps behind a checkpoint of `separable.training`, 0 where there is none."""
    if not file.exists():
        return 0
    with safetensors.safe_open(file, "pt") as held:
        return int(json.loads(held.metadata()["training"])["step"])


def trained(folder: Path) -> dict[str, bytes]:
    """The last checkpoint of a run."""
    return tensors_of(folder / "run" / "last.safetensors")


def loop_done(folder: Path) -> int:
    """Steps of a run."""
    return step_of(folder / "run" / "last.safetensors")
