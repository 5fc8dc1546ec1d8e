"""The rank histogram: where among the members the observation falls; flat if it could have been one of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from separable.distributions.checks import axes_of, members_first


@dataclass(frozen=True)
class RankHistogram:
    """How often the observation had each rank.

    A U shape means too little spread, a dome too much, a slope a bias. Neighbouring points of a field are no
    independent draws: judge unevenness against that of an ensemble known to be calibrated.

    Attributes:
        counts: ``(..., M + 1)`` integers; rank r has r members below the observation.
    """

    counts: Tensor

    @property
    def frequencies(self) -> Tensor:
        """Counts over their sum, ``(..., M + 1)`` float64."""
        return self.counts.double() / self.counts.sum(-1, keepdim=True)

    @property
    def reliability_index(self) -> Tensor:
        """``sum_r |f_r - 1 / (M + 1)|``, ``(...)``: from 0, flat, to just under 2 (Delle Monache et al. 2006).

        Of N independent draws even a calibrated ensemble has about ``sqrt(2 M / (pi N))``.
        """
        return (self.frequencies - 1 / self.counts.shape[-1]).abs().sum(-1)

    @property
    def chi_square(self) -> Tensor:
        """Pearson's statistic against the flat histogram, ``(...)``: M on average for independent calibrated draws."""
        expected = self.counts.sum(-1, keepdim=True).double() / self.counts.shape[-1]
        return ((self.counts - expected) ** 2 / expected).sum(-1)


def rank_histogram(
    ensemble: Tensor,
    observation: Tensor,
    *,
    over: int | Sequence[int] | None = None,
    member_axis: int = 0,
    seed: int = 0,
) -> RankHistogram:
    """Histogram of the observation's rank among the members.

    Args:
        ensemble: Members along ``member_axis``, the rest as ``observation``.
        observation: What came true, ``(...)``.
        over: Axes of the observation that are counted over; None for all.
        member_axis: Which axis of the ensemble counts members.
        seed: Of the random numbers that break ties, not negative: beside e equal members each of
            e + 1 ranks is as likely.

    Returns:
        Counts, of the observation's shape without ``over`` and with M + 1 ranks last.

    Raises:
        TypeError: If an argument is not a floating-point tensor.
        ValueError: On shapes or axes that do not fit, or missing values.

    Source: Hamill (2001, Mon. Wea. Rev. 129, 550).

    Example:
        >>> import torch
        >>> members = torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
        >>> rank_histogram(members, torch.tensor([-1.0, 0.5, 0.6])).counts.tolist()
        [1, 2, 0]
    """
    members = members_first("rank_histogram", ensemble, observation, member_axis)
    axes = axes_of("rank_histogram", "over", over, observation)
    below, equal = below_and_equal(members, observation)
    # Ensembles are often drawn with seed 0 too: were these the same numbers, ties would break by the data themselves.
    draws = np.random.default_rng((seed, *b"ties")).random(tuple(observation.shape))
    ranks = below + (torch.as_tensor(draws).to(below.device) * (equal + 1)).long()
    hits = [ranks == rank for rank in range(len(members) + 1)]
    return RankHistogram(torch.stack([hit.sum(axes) if axes else hit.long() for hit in hits], -1))


def below_and_equal(members: Tensor, observation: Tensor) -> tuple[Tensor, Tensor]:
    """How many of the members ``(M, ...)`` are less than the observation ``(...)``, and how many equal it."""
    return (members < observation).sum(0), (members == observation).sum(0)
