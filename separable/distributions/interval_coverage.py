"""How often the central interval of an ensemble holds what came true.

M members have no quantile beyond 1 / (M + 1): raw quantiles of 8 members cannot bound a 90 % interval, and quantiles
interpolated some way have a coverage that depends on the distribution. Ranks have not. If the observation could have
been one of the members, its rank r among them is uniform on 0 .. M, so it stands for a probability that is uniform on
[r / (M + 1), (r + 1) / (M + 1)], and

    covered(r) = share of [r / (M + 1), (r + 1) / (M + 1)] that lies in [(1 - level) / 2, (1 + level) / 2]

has exactly the mean ``level``, for every distribution, level and M.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from separable.distributions.checks import axes_of, members_first, refuse_level
from separable.distributions.rank_histogram import below_and_equal


def interval_coverage(
    ensemble: Tensor,
    observation: Tensor,
    level: float = 0.9,
    *,
    over: int | Sequence[int] | None = None,
    member_axis: int = 0,
) -> Tensor:
    """Share of observations in the ensemble's central interval: ``level`` on average if the ensemble is calibrated.

    An ensemble can tell apart what its members bound, levels up to (M - 1) / (M + 1): 90 % takes 19 members, and with
    these the interval is simply the range from least to greatest. Above that level an observation beyond all members
    counts for the share ``1 - (1 - level) (M + 1) / 2`` (8 members, 90 %: 0.55) and no result is smaller. It is still
    unbiased for a calibrated ensemble, but says little about another: ask for a level that the members bound.

    Args:
        ensemble: Members along ``member_axis``, the rest as ``observation``.
        observation: What came true, ``(...)``.
        level: Nominal coverage, strictly between 0 and 1.
        over: Axes of the observation that are averaged over; None for all.
        member_axis: Which axis of the ensemble counts members.

    Returns:
        Coverage, of the observation's shape without ``over``: less than ``level`` if the ensemble is too sure.

    Raises:
        TypeError: If an argument is not a floating-point tensor.
        ValueError: On shapes or axes that do not fit, missing values, or a level out of range.

    Source: the nonrandomised probability integral transform of Czado, Gneiting and Held (2009, Biometrics 65, 1254),
    of the rank instead of a count. An observation equal to members stands for all the ranks that it may have.

    Example:
        >>> import torch
        >>> members = torch.arange(1.0, 20.0)[:, None].expand(19, 4)
        >>> float(interval_coverage(members, torch.tensor([0.0, 1.5, 18.5, 10.0])))
        0.75
    """
    refuse_level("interval_coverage", level)
    members = members_first("interval_coverage", ensemble, observation, member_axis)
    axes = axes_of("interval_coverage", "over", over, observation)
    below, equal = below_and_equal(members, observation)
    ranks = len(members) + 1
    # In units of one rank, where ends that should coincide do so: 19 members bound 90 % to the last bit.
    inner = [torch.tensor(ranks * (1 + sign * level) / 2, dtype=torch.float64) for sign in (-1, 1)]
    start, end = (torch.where((e - e.round()).abs() < 1e-9, e.round(), e).to(below.device) for e in inner)
    within = torch.minimum(below + equal + 1, end) - torch.maximum(below.double(), start)
    covered = within.clamp(min=0) / (equal + 1)
    return (covered.mean(axes) if axes else covered).to(observation.dtype)
