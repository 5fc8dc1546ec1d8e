"""Spread and skill: an ensemble that can be believed errs, on average, by as much as its members differ."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from separable.distributions.checks import axes_of, members_first, widened


@dataclass(frozen=True)
class SpreadSkill:
    """Spread and skill of an ensemble, both in the units of the field.

    Attributes:
        spread: Root of the mean variance of the members (unbiased, over M - 1).
        skill: Root mean squared error of the ensemble mean; smaller is better.
        members: Their number M.
    """

    spread: Tensor
    skill: Tensor
    members: int

    @property
    def ratio(self) -> Tensor:
        """``sqrt((M + 1) / M) spread / skill``: 1 for a calibrated ensemble of any size, less if it is too sure.

        The factor is there because the mean of M members errs by 1/M of the variance more than the true mean.
        """
        return math.sqrt((self.members + 1) / self.members) * self.spread / self.skill


def spread_skill(
    ensemble: Tensor, observation: Tensor, *, over: int | Sequence[int] | None = None, member_axis: int = 0
) -> SpreadSkill:
    """Spread and skill of an ensemble, each a root of a mean over ``over``.

    Variances are averaged before the root is taken; the mean of the standard deviations would be smaller.

    Args:
        ensemble: Members along ``member_axis``, the rest as ``observation``.
        observation: What came true, ``(...)``.
        over: Axes of the observation that are averaged over; None for all.
        member_axis: Which axis of the ensemble counts members.

    Returns:
        Spread and skill, of the observation's shape without ``over`` and in the arguments' dtype, and their ratio.

    Raises:
        TypeError: If an argument is not a floating-point tensor.
        ValueError: On shapes or axes that do not fit, missing values, or fewer than two members.

    Source: Fortin et al. (2014, J. Hydrometeorology 15, 1708).

    Example:
        >>> import torch
        >>> fields = torch.randn(9, 10_000, generator=torch.Generator().manual_seed(0))
        >>> round(float(spread_skill(fields[1:], fields[0]).ratio), 1)
        1.0
    """
    members = members_first("spread_skill", ensemble, observation, member_axis, least=2)
    axes = axes_of("spread_skill", "over", over, observation)
    members, observed, dtype = widened(members, observation)
    variance, squared = members.var(0), (members.mean(0) - observed) ** 2
    if axes:
        variance, squared = variance.mean(axes), squared.mean(axes)
    return SpreadSkill(variance.sqrt().to(dtype), squared.sqrt().to(dtype), len(members))
