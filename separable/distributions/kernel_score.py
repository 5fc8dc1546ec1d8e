"""Scores made of distances between members and from members to the observation, in three estimators.

For members x_1 .. x_M, observation y and a distance d, with eps = (1 - alpha) / M,

    S = 1/M sum_j d(x_j, y)  -  (1 - eps) / (2 M (M - 1)) sum_{j, k} d(x_j, x_k)
      = 1 / (M (M - 1)) sum_{j < k} [ d(x_j, y) + d(x_k, y) - (1 - eps) d(x_j, x_k) ]

``ensemble`` (alpha = 0) scores the M members as if they were the whole distribution, and so asks for too little spread
when M is small; ``fair`` (alpha = 1) has the expectation of infinitely many members, whatever M; ``almost fair``
(alpha = 0.95) keeps a little of the first, because with the fair score one member may be anywhere at no cost while the
others hit the observation. The second line is the one to compute: by the triangle inequality no bracket is negative,
where the first line takes the difference of two large numbers.

Sources: Gneiting and Raftery (2007, JASA 102, 359) for S; Ferro (2014, QJRMS 140, 1917) for fairness; Lang et al.
(2024, AIFS-CRPS, arXiv:2412.15832) for alpha and the sum over pairs.
"""

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor

from separable.distributions.checks import members_first, widened

Estimator = Literal["ensemble", "fair", "almost fair"]


def fairness(score: str, estimator: Estimator, alpha: float) -> float:
    """The alpha that an estimator stands for, after both have been checked."""
    if estimator not in get_args(Estimator):
        raise ValueError(f"{score}: estimator is one of {', '.join(get_args(Estimator))}; got {estimator!r}")
    if not 0 <= alpha <= 1:
        raise ValueError(f"{score}: alpha lies in [0, 1], got {alpha}")
    return {"ensemble": 0.0, "fair": 1.0, "almost fair": alpha}[estimator]


def scored_members(
    score: str, ensemble: Tensor, observation: Tensor, member_axis: int, alpha: float
) -> tuple[Tensor, Tensor, torch.dtype]:
    """The ensemble as ``(M, *observation.shape)`` and the observation, `widened`, and the dtype of the score.

    A fair score measures spread by pairs of members and needs two.
    """
    members = members_first(score, ensemble, observation, member_axis)
    if alpha > 0 and len(members) < 2:
        raise ValueError(
            f"{score}: ensemble has at least 2 members along axis {member_axis} for a score that is fair, got 1; "
            "estimator='ensemble' takes one"
        )
    return widened(members, observation)


def sum_over_pairs(to_observation: Tensor, to_later: Callable[[int], Tensor], alpha: float) -> Tensor:
    """The second line above, ``(...)``, one member against all later ones at a time.

    Args:
        to_observation: d(x_j, y), ``(M, ...)``.
        to_later: d(x_j, x_k) for a given j and every k > j, ``(M - 1 - j, ...)``.
        alpha: Fairness, from 0 to 1.
    """
    members = len(to_observation)
    if members == 1:
        return to_observation[0]
    kept = 1 - (1 - alpha) / members
    total = torch.zeros_like(to_observation[0])
    for j in range(members - 1):
        total = total + (to_observation[j] + to_observation[j + 1 :] - kept * to_later(j)).sum(0)
    return total / (members * (members - 1))
