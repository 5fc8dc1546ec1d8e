"""How far a score would move with other trajectories: the bootstrap, over whole trajectories.

Points of one trajectory resemble each other, so that an error bar computed from points is far too small; trajectories
from independent starts do not. They are drawn again, with replacement, as many as there are.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from separable.distributions.checks import refuse_level


@dataclass(frozen=True)
class BootstrapInterval:
    """A statistic and where it may lie.

    Attributes:
        estimate: The statistic of the trajectories as they are.
        low: Lower end of the interval.
        high: Upper end.
    """

    estimate: Tensor
    low: Tensor
    high: Tensor


def _mean(values: Tensor) -> Tensor:
    return values.mean(0)


def bootstrap_interval(
    values: Tensor,
    statistic: Callable[[Tensor], Tensor] = _mean,
    *,
    axis: int = 0,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> BootstrapInterval:
    """Percentile bootstrap interval of a statistic over independent trajectories.

    To compare two models give the differences of their scores on the same trajectories, not two intervals. Average
    over time and space first, where the statistic allows it: each resample copies ``values``.

    Args:
        values: Numbers of any further shape, trajectories along ``axis``.
        statistic: From trajectories ``(n, ...)``, along the first axis, to a tensor of any shape; by default the mean.
        axis: Which axis of the values counts trajectories.
        level: Nominal coverage, strictly between 0 and 1.
        resamples: How often trajectories are drawn again.
        seed: Of the draws.

    Returns:
        The statistic and both ends, of the shape of the statistic. With few trajectories (below about 20) the interval
        is too narrow: that of the mean by a factor near ``sqrt((n - 1) / n)``, and the tails of few draws besides.

    Raises:
        TypeError: If values is not a floating-point tensor.
        ValueError: On missing values, fewer than two trajectories, or arguments out of range.

    Source: Efron and Tibshirani (1993), An Introduction to the Bootstrap, chapter 13, with linear interpolation between
    resamples.

    Example:
        >>> import torch
        >>> squared = torch.rand(50, 2, generator=torch.Generator().manual_seed(0))  # variance, squared error
        >>> found = bootstrap_interval(squared, lambda v: (v[:, 0].mean() / v[:, 1].mean()).sqrt())
        >>> bool(found.low < found.estimate < found.high)
        True
    """
    refuse_level("bootstrap_interval", level)
    if not isinstance(values, Tensor) or not values.is_floating_point():
        kind = values.dtype if isinstance(values, Tensor) else type(values).__name__
        raise TypeError(f"bootstrap_interval: values is a floating-point torch.Tensor, got {kind}")
    if not -values.ndim <= axis < values.ndim:
        raise ValueError(f"bootstrap_interval: axis is one of the values' {tuple(values.shape)}, got {axis}")
    if values.shape[axis] < 2 or resamples < 2:
        raise ValueError(
            "bootstrap_interval: values holds at least 2 trajectories and resamples is at least 2; "
            f"got {values.shape[axis]} along axis {axis} and {resamples}"
        )
    missing = ~torch.isfinite(values)
    if bool(missing.any()):
        raise ValueError(
            "bootstrap_interval: values has no missing values (NaN or infinity); "
            f"got {int(missing.sum())} of {missing.numel()}"
        )
    trajectories = values.detach().movedim(axis, 0)
    count = len(trajectories)
    draws = torch.randint(count, (resamples, count), generator=torch.Generator().manual_seed(seed))
    drawn = torch.stack([statistic(trajectories[draw]) for draw in draws.to(values.device)]).sort(0).values
    drawn = drawn if drawn.is_floating_point() else drawn.to(values.dtype)  # of counts
    return BootstrapInterval(
        statistic(trajectories), _quantile(drawn, (1 - level) / 2), _quantile(drawn, (1 + level) / 2)
    )


def _quantile(ordered: Tensor, probability: float) -> Tensor:
    """Quantile of sorted values; torch.quantile refuses more than 16 million of them."""
    place = probability * (len(ordered) - 1)
    below = min(int(place), len(ordered) - 2)
    return torch.lerp(ordered[below], ordered[below + 1], place - below)
