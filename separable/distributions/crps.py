"""The continuous ranked probability score: how far a distribution is from the number that came true.

For an ensemble it is the score of `separable.distributions.kernel_score` with d(a, b) = |a - b|. With the deviations
sorted, z_1 <= .. <= z_M, z_j = x_(j) - y, the sum over pairs becomes one over members,

    CRPS = sum_j  w_j max(-z_j, 0) + w_{M+1-j} max(z_j, 0)
    w_j  = (1 - alpha) (2 j - 1) / M^2  +  alpha 2 (j - 1) / (M (M - 1))

(for alpha = 0 the quantile decomposition of Jordan, 2016). No term is negative: nothing cancels, in any precision.
"""

import torch
from torch import Tensor

from separable.distributions.kernel_score import Estimator, fairness, scored_members, sum_over_pairs

_MOST_FOR_PAIRS = 8  # up to here a sort costs more than all pairs, measured forwards and backwards on a CPU


def crps(
    ensemble: Tensor,
    observation: Tensor,
    *,
    estimator: Estimator = "fair",
    alpha: float = 0.95,
    member_axis: int = 0,
) -> Tensor:
    """Continuous ranked probability score of an ensemble at every point, in the units of the field; smaller is better.

    Differentiable in both arguments, so its mean is a training loss: take ``estimator="almost fair"``. Not negative, to
    rounding. Memory is that of the ensemble, M times the field; with gradients M^2 / 2 times for up to eight members.
    Inside `torch.compile` missing values are not looked for.

    Args:
        ensemble: Members along ``member_axis``, the rest as ``observation``.
        observation: What came true, ``(...)``.
        estimator: ``fair``, unbiased in the number of members: for comparing ensembles, of different sizes too.
            ``almost fair``, for training. ``ensemble``, the members taken as the whole distribution: for what is
            reported as plain CRPS, and with one member the absolute error.
        alpha: Share of the fair score in the almost fair one.
        member_axis: Which axis of the ensemble counts members.

    Returns:
        The score of each point, ``(...)``, in the arguments' dtype; computed in float32 at least.

    Raises:
        TypeError: If an argument is not a floating-point tensor.
        ValueError: On shapes that do not fit, missing values, or one member where a fair score needs two.

    Source: Gneiting and Raftery (2007); almost fair after Lang et al. (2024, arXiv:2412.15832), who train with 0.95.
    Deviation: beyond eight members by the sorted formula above, equal to their sum over pairs to rounding.

    Example:
        >>> import torch
        >>> members = torch.tensor([[0.0], [1.0], [2.0]])
        >>> [round(float(crps(members, torch.tensor([1.0]), estimator=e)), 4) for e in ("ensemble", "fair")]
        [0.2222, 0.0]
        >>> float(crps(members[:1], torch.tensor([1.0]), estimator="ensemble"))
        1.0
    """
    share = fairness("crps", estimator, alpha)
    members, observed, dtype = scored_members("crps", ensemble, observation, member_axis, share)
    score = _by_pairs if len(members) <= _MOST_FOR_PAIRS else _by_sorting
    return score(members - observed, share).to(dtype)


def _by_pairs(deviations: Tensor, alpha: float) -> Tensor:
    def to_later(j: int) -> Tensor:
        return (deviations[j + 1 :] - deviations[j]).abs()

    return sum_over_pairs(deviations.abs(), to_later, alpha)


def _by_sorting(deviations: Tensor, alpha: float) -> Tensor:
    members = len(deviations)
    below = torch.arange(members, dtype=deviations.dtype, device=deviations.device)  # j - 1
    weights = (1 - alpha) * (2 * below + 1) / members**2
    if alpha > 0:
        weights = weights + alpha * 2 * below / (members * (members - 1))
    # Members last and next to each other in memory: sorting across the field takes twice as long.
    ordered = deviations.movedim(0, -1).contiguous().sort(-1).values
    return (-ordered).relu() @ weights + ordered.relu() @ weights.flip(0)
