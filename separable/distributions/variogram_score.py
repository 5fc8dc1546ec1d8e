"""The variogram score: whether the differences between two places are as large as those that came true.

For pairs (i, j) of components, members x_m and observation y, of order p,

    VS = sum_{i, j} w_ij ( o_ij - v_ij )^2,      o_ij = |y_i - y_j|^p,      v_ij = 1/M sum_m |x_mi - x_mj|^p

and fair, with s_ij^2 the members' unbiased variance of |x_mi - x_mj|^p,

    VS_fair = VS - sum_{i, j} w_ij s_ij^2 / M

(almost fair: alpha times the correction). The score is blind to a shift common to all components: read it beside the
CRPS. It needs pairs, not all of them: on a periodic grid a handful of offsets serve for all points at once.

Source: Scheuerer and Hamill (2015, Mon. Wea. Rev. 143, 1321). Fairness from the kernel form of the score, in which the
distance of two fields is the sum over pairs of w_ij (|x_i - x_j|^p - |x'_i - x'_j|^p)^2.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from separable.distributions.checks import axes_of
from separable.distributions.kernel_score import Estimator, fairness, scored_members

_MOST_COMPONENTS = 256  # 32,640 pairs; beyond, a choice of pairs says as much and costs less


def variogram_score(
    ensemble: Tensor,
    observation: Tensor,
    *,
    order: float = 0.5,
    pairs: Tensor | None = None,
    weights: Tensor | None = None,
    axis: int = -1,
    estimator: Estimator = "fair",
    alpha: float = 0.95,
    member_axis: int = 0,
) -> Tensor:
    """Variogram score of an ensemble of vectors, in the field's units to the power ``2 order``; smaller is better.

    Differentiable; where two components are exactly equal the gradient is taken as zero. The fair score may be
    negative: it is unbiased for one that is not. Time and memory O(M P) for P pairs.

    Args:
        ensemble: Members along ``member_axis``, the rest as ``observation``.
        observation: What came true, ``(..., D)`` with the D components along ``axis``.
        order: The power p, positive; 1/2 and 1 are usual, and smaller ones are less ruled by extremes.
        pairs: Components that are compared, integers ``(P, 2)``; by default all, up to 256 components.
        weights: Not negative: ``(P,)`` with ``pairs``, otherwise ``(D, D)``; by default 1.
        axis: Which axis of the observation counts components.
        estimator: ``fair``, ``almost fair`` or ``ensemble``, as in `crps`.
        alpha: Share of the fair score in the almost fair one.
        member_axis: Which axis of the ensemble counts members.

    Returns:
        The score, of the observation's shape without ``axis``, in the arguments' dtype; computed in float32 at least.
        Without ``pairs`` both (i, j) and (j, i) are counted, as in the paper; a listed pair counts once.

    Raises:
        TypeError: If an argument is not a tensor of the kind it should be.
        ValueError: On shapes, pairs or weights that do not fit, missing values, no pair, too many components for all
            pairs, or one member where a fair score needs two.

    Source: Scheuerer and Hamill (2015, Mon. Wea. Rev. 143, 1321).

    Example:
        >>> import torch
        >>> members = torch.tensor([[0.0, 1.0], [0.0, 3.0]])
        >>> float(variogram_score(members, torch.tensor([5.0, 5.0]), order=1.0, estimator="ensemble"))  # 2 (0 - 2)^2
        8.0
    """
    share = _checked("variogram_score", order, estimator, alpha)
    members, observed, dtype = scored_members("variogram_score", ensemble, observation, member_axis, share)
    if observation.ndim == 0:
        raise ValueError("variogram_score: observation has at least one axis, got a single number")
    (component,) = axes_of("variogram_score", "axis", axis, observation)
    members, observed = members.movedim(component + 1, -1), observed.movedim(component, -1)
    first, second, weight = _pairs(observed, pairs, weights)
    varied = _power(members[..., first] - members[..., second], order)
    misses = _misses(varied, _power(observed[..., first] - observed[..., second], order), share)
    return (misses @ weight).to(dtype)


def grid_variogram_score(
    ensemble: Tensor,
    observation: Tensor,
    *,
    order: float = 0.5,
    offsets: Sequence[Sequence[int]] | None = None,
    weights: Sequence[float] | None = None,
    axes: int | Sequence[int] = (-2, -1),
    estimator: Estimator = "fair",
    alpha: float = 0.95,
    member_axis: int = 0,
) -> Tensor:
    """Variogram score of fields on a periodic grid: a sum over offsets of the mean over grid points.

    As `variogram_score` with the pairs (s, s + h) of every point s and a few offsets h, each pair with the weight
    w_h / n for n points; so the score does not grow with the resolution. Time O(M n) for each offset.

    Args:
        ensemble: Members along ``member_axis``, the rest as ``observation``.
        observation: What came true, ``(...)`` with the grid along ``axes``, periodic along each.
        order: The power p, positive.
        offsets: Steps along each of ``axes``, such as ``[(0, 1), (4, -4)]``; h and -h are the same pairs. By default
            1, 2, 4, .. up to half the grid along each axis in turn.
        weights: One for each offset, not negative; by default 1.
        axes: Axes of the observation that make the grid.
        estimator: ``fair``, ``almost fair`` or ``ensemble``, as in `crps`.
        alpha: Share of the fair score in the almost fair one.
        member_axis: Which axis of the ensemble counts members.

    Returns:
        The score, of the observation's shape without ``axes``, in the field's units to the power ``2 order``
        and the arguments' dtype; computed in float32 at least.

    Raises:
        TypeError: If ensemble or observation is not a floating-point tensor.
        ValueError: On shapes, axes, offsets or weights that do not fit, missing values, or one member where a fair
            score needs two.

    Source: Scheuerer and Hamill (2015); the sum over offsets, with the mean over points, is ours.

    Example:
        >>> import torch
        >>> stripes = torch.tensor([0.0, 1.0]).repeat(4).expand(2, 8, 8)
        >>> float(grid_variogram_score(stripes, torch.zeros(8, 8), offsets=[(1, 0), (0, 1)]))
        1.0
    """
    share = _checked("grid_variogram_score", order, estimator, alpha)
    members, observed, dtype = scored_members("grid_variogram_score", ensemble, observation, member_axis, share)
    grid = axes_of("grid_variogram_score", "axes", axes, observation)
    steps = _offsets([observation.shape[axis] for axis in grid], offsets)
    weight = [1.0] * len(steps) if weights is None else [float(w) for w in weights]
    if len(weight) != len(steps) or not all(math.isfinite(w) and w >= 0 for w in weight):
        raise ValueError(f"grid_variogram_score: weights are {len(steps)} numbers, none negative; got {weights}")
    in_members = tuple(axis + 1 for axis in grid)
    score = observed.new_zeros(())
    for step, w in zip(steps, weight, strict=True):
        back = tuple(-s for s in step)  # torch rolls the other way
        varied = _power(members.roll(back, in_members) - members, order)
        score = score + w * _misses(varied, _power(observed.roll(back, grid) - observed, order), share).mean(grid)
    return score.to(dtype)


def _checked(score: str, order: float, estimator: Estimator, alpha: float) -> float:
    if not (math.isfinite(order) and order > 0):
        raise ValueError(f"{score}: order is positive, got {order}")
    return fairness(score, estimator, alpha)


def _power(differences: Tensor, order: float) -> Tensor:
    # A root has no slope at zero; the power never sees one, so that no NaN comes back.
    apart = differences != 0
    return torch.where(apart, torch.where(apart, differences, 1.0).abs() ** order, 0.0)


def _misses(varied: Tensor, observed: Tensor, alpha: float) -> Tensor:
    squared = (varied.mean(0) - observed) ** 2
    return squared - alpha * varied.var(0) / len(varied) if alpha > 0 else squared


def _pairs(observed: Tensor, pairs: Tensor | None, weights: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Indices ``(P,)`` of both components of each pair, and its weight."""
    count, device = observed.shape[-1], observed.device
    if pairs is None:
        if count > _MOST_COMPONENTS:
            raise ValueError(
                f"variogram_score: all pairs are for at most {_MOST_COMPONENTS} components, got {count}; "
                "give pairs, or use grid_variogram_score"
            )
        shape: tuple[int, ...] = (count, count)
        first, second = torch.triu_indices(count, count, 1, device=device)
    else:
        if not isinstance(pairs, Tensor) or pairs.is_floating_point() or pairs.dtype == torch.bool:
            raise TypeError(f"variogram_score: pairs is an integer tensor, got {getattr(pairs, 'dtype', type(pairs))}")
        if pairs.ndim != 2 or pairs.shape[1] != 2 or bool(((pairs < 0) | (pairs >= count)).any()):
            raise ValueError(f"variogram_score: pairs are (P, 2) indices below {count}, got the shape {pairs.shape}")
        shape = (len(pairs),)
        first, second = pairs.to(device).long().unbind(1)
    if not len(first):
        raise ValueError(f"variogram_score: there is at least one pair, got none of {count} components")
    if weights is None:
        weight = observed.new_ones(shape)
    else:
        weight = torch.as_tensor(weights, dtype=observed.dtype, device=device)
        if weight.shape != shape or not bool((torch.isfinite(weight) & (weight >= 0)).all()):
            raise ValueError(
                f"variogram_score: weights have the shape {shape} and none is negative or missing; "
                f"got the shape {tuple(weight.shape)}, least {float(weight.min()) if weight.numel() else math.nan:g}"
            )
    return first, second, (weight + weight.T)[first, second] if pairs is None else weight


def _offsets(shape: list[int], offsets: Sequence[Sequence[int]] | None) -> list[tuple[int, ...]]:
    if offsets is None:
        if max(shape) < 2:
            raise ValueError(f"grid_variogram_score: axes have pairs of points, got a grid of {tuple(shape)}")
        return [
            tuple(2**k if other == axis else 0 for other in range(len(shape)))
            for axis, size in enumerate(shape)
            for k in range((size // 2).bit_length())
        ]
    steps = [tuple(int(step) for step in offset) for offset in offsets]
    for step in steps:
        if len(step) != len(shape) or all(s % size == 0 for s, size in zip(step, shape, strict=True)):
            raise ValueError(
                f"grid_variogram_score: offsets are {len(shape)} steps each on the grid {tuple(shape)}, "
                f"and lead to another point; got {step}"
            )
    if not steps:
        raise ValueError("grid_variogram_score: offsets are at least one, got none")
    return steps
