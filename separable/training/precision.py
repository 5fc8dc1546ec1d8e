"""In which precision products are computed: float32, or bfloat16 by autocast where the processor is faster at it."""

import contextlib
import statistics
import time
from typing import Any, Literal

import torch
from torch import nn

from separable.training.modes import evaluation_mode

_REPETITIONS = 3


def autocast(device: torch.device, precision: Literal["float32", "bfloat16"]) -> contextlib.AbstractContextManager[Any]:
    """The context of a forward pass; parameters, gradients and optimiser are float32 in both."""
    if precision == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


def faster_precision(objective: nn.Module, batch: Any, device: torch.device) -> Literal["float32", "bfloat16"]:
    """Time forward and backward of one batch both ways, after a pass to warm up; gradients are left empty.

    Where several processes train, all must call, and their choices may differ.
    """
    if device.type == "cuda" and not torch.cuda.is_bf16_supported():
        return "float32"
    with evaluation_mode(objective):  # statistics of normalisations are not to be changed by a trial
        seconds = {name: _seconds(objective, batch, device, name) for name in ("float32", "bfloat16")}
    objective.zero_grad(set_to_none=True)
    return "bfloat16" if seconds["bfloat16"] < seconds["float32"] else "float32"


def _seconds(objective: nn.Module, batch: Any, device: torch.device, precision: Any) -> float:
    found = []
    for _ in range(1 + _REPETITIONS):
        started = time.perf_counter()
        with autocast(device, precision):
            loss, _ = objective(batch)
        loss.backward()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        found.append(time.perf_counter() - started)
    return statistics.median(found[1:])
