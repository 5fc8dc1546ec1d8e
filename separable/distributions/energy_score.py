"""The energy score: the CRPS of a vector, which also sees whether its components vary together.

It is the score of `separable.distributions.kernel_score` with d(a, b) the Euclidean distance over stated axes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from separable.distributions.checks import axes_of
from separable.distributions.kernel_score import Estimator, fairness, scored_members, sum_over_pairs


def energy_score(
    ensemble: Tensor,
    observation: Tensor,
    *,
    axes: int | Sequence[int] | None = -1,
    estimator: Estimator = "fair",
    alpha: float = 0.95,
    member_axis: int = 0,
) -> Tensor:
    """Energy score of an ensemble of vectors, in the units of the field; smaller is better.

    Over a field of n points it grows like sqrt(n): divide by that to compare resolutions. It is more sensitive to
    errors of the mean than to those of correlation; for these see `variogram_score`. Differentiable; not
    negative, to rounding. Time O(M^2) times the field; memory that of the ensemble when no gradient is kept.

    Args:
        ensemble: Members along ``member_axis``, the rest as ``observation``.
        observation: What came true, ``(...)``.
        axes: Axes of the observation that make the vector, such as ``(-2, -1)`` for fields; None for all.
        estimator: ``fair``, ``almost fair`` or ``ensemble``, as in `crps`.
        alpha: Share of the fair score in the almost fair one.
        member_axis: Which axis of the ensemble counts members.

    Returns:
        The score, of the observation's shape without ``axes``, in the arguments' dtype; computed in float32 at least.

    Raises:
        TypeError: If an argument is not a floating-point tensor.
        ValueError: On shapes or axes that do not fit, missing values, or one member where a fair score needs two.

    Source: Gneiting and Raftery (2007, JASA 102, 359), with exponent 1; fair after Ferro (2014).

    Example:
        >>> import torch
        >>> members = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
        >>> float(energy_score(members, torch.zeros(2), estimator="ensemble"))  # 5/2 - 5/4
        1.25
    """
    share = fairness("energy_score", estimator, alpha)
    members, observed, dtype = scored_members("energy_score", ensemble, observation, member_axis, share)
    vector = tuple(axis + 1 for axis in axes_of("energy_score", "axes", axes, observation))
    if not vector:
        raise ValueError("energy_score: observation has at least one axis, got a single number; crps scores numbers")

    def length(differences: Tensor) -> Tensor:
        norm: Tensor = torch.linalg.vector_norm(differences, dim=vector)
        return norm

    score = sum_over_pairs(length(members - observed), lambda j: length(members[j + 1 :] - members[j]), share)
    return score.to(dtype)
