"""Optimisers over the parameters of a module: weight decay on matrices, and rates of their own where one asks."""

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from separable.training.config import TrainingConfig
from separable.training.soap import SOAP


@dataclasses.dataclass(frozen=True)
class ParameterOptions:
    """How one parameter is trained.

    Attributes:
        decayed: whether weight decay acts on it.
        rate_factor: its learning rate in units of that of the schedule.
    """

    decayed: bool
    rate_factor: float = 1.0


Options = Callable[[str, nn.Parameter], ParameterOptions]


def matrices_decay(name: str, parameter: nn.Parameter) -> ParameterOptions:
    """The usual choice: parameters with two or more axes decay; gains, biases and scales do not."""
    return ParameterOptions(decayed=parameter.ndim >= 2)


def optimiser_of(
    model: nn.Module, config: TrainingConfig, options: Options = matrices_decay
) -> torch.optim.AdamW | SOAP:
    """The optimiser that the settings ask for; see `adamw` for its groups.

    Raises:
        ValueError: no parameter needs a gradient.

    Example:
        >>> from torch import nn
        >>> from separable.training import TrainingConfig, optimiser_of
        >>> type(optimiser_of(nn.Linear(2, 3), TrainingConfig(steps=1, optimiser="soap"))).__name__
        'SOAP'
    """
    if config.optimiser == "adamw":
        return adamw(model, config, options)
    return SOAP(_groups(model, config, options), lr=config.rate, betas=config.betas, basis_beta=config.betas[1])


def adamw(model: nn.Module, config: TrainingConfig, options: Options = matrices_decay) -> torch.optim.AdamW:
    """AdamW; parameters that need no gradient are left out, shared ones are there once.

    Each group of the result has a ``rate_factor``, which the loop multiplies with the rate of the step.

    Raises:
        ValueError: no parameter needs a gradient.

    Example:
        >>> from torch import nn
        >>> from separable.training import TrainingConfig, adamw
        >>> optimiser = adamw(nn.Linear(2, 3), TrainingConfig(steps=1, weight_decay=0.1))
        >>> [(group["weight_decay"], len(group["params"])) for group in optimiser.param_groups]
        [(0.1, 1), (0.0, 1)]
    """
    groups = _groups(model, config, options)
    fused = _can_fuse([parameter for group in groups for parameter in group["params"]])
    return torch.optim.AdamW(groups, lr=config.rate, betas=config.betas, fused=fused)


def _groups(model: nn.Module, config: TrainingConfig, options: Options) -> list[dict[str, Any]]:
    """Parameters that are trained alike."""
    groups: dict[ParameterOptions, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups.setdefault(options(name, parameter), []).append(parameter)
    if not groups:
        raise ValueError("model: expected parameters that need gradients, got none")
    return [
        {
            "params": parameters,
            "weight_decay": config.weight_decay if chosen.decayed else 0.0,
            "rate_factor": chosen.rate_factor,
        }
        for chosen, parameters in groups.items()
    ]


def _can_fuse(parameters: list[nn.Parameter]) -> bool:
    """Whether the step of all parameters can be one kernel: plain real tensors on a processor that has it."""
    return all(
        type(parameter) is nn.Parameter
        and parameter.is_floating_point()
        and not hasattr(parameter, "placements")  # a part of a parameter that several processes share
        and parameter.device.type in ("cpu", "cuda")
        for parameter in parameters
    )
