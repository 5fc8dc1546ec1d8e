"""`separable.condition`: a separable layer from few rows, with its own standard deviation at every point.

Every link that the targets allow is tried on at most 300 rows; that of least leave-one-out error in the unit of y goes
on to all rows. The mathematics is in `separable.fitting.product_prior` and `separable.fitting.posterior`.
"""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from separable.fitting.links import LINKS, Link
from separable.fitting.posterior import STAGES, Posterior, checked_rows, learned, refuse_many
from separable.fitting.product_prior import ProductPrior

_MARGIN = 1.1  # a link other than the first must be this much better


def condition(
    x: Any,
    y: Any,
    *,
    domain: Sequence[tuple[float, float]] | None = None,
    links: Sequence[str] = ("identity", "log"),
    degree: int = 10,
    seed: int = 0,
) -> Posterior:
    """Condition a Gaussian prior over separable functions on few rows: a surrogate that says how sure it is.

    Use it for 10 rows a coordinate (fewer give intervals that are too narrow, see LIMITS.md) up to 3000 of a smooth
    function, computed or measured; `separable.fit` and `separable.grow` take any number. Coordinates on which y depends
    through a logarithm or a root are bent by the prior itself. Time grows with N^3: on one core 1000 rows of 8
    coordinates take some seconds, 3000 a minute or two.

    Args:
        x: Inputs ``(N, D)``.
        y: Targets ``(N,)`` or ``(N, 1)``.
        domain: Ends of every coordinate's range, at least those of the rows; by default those of the rows.
        links: Names of the transforms of the target that may be taken, those that the data do not allow left out.
        degree: Highest degree of the polynomials of one coordinate.
        seed: Of the rows on which the search for the sizes begins, where there are more than 300.

    Returns:
        The posterior: predictions, deviations, suggestions, and the mean as a layer.

    Raises:
        ValueError: On shapes that do not fit, NaN or infinite values (the place is named), more than 3000 rows, rows
            outside the domain, ranges too wide for a float, an unknown link, links none of which the data allow, or a
            degree below 1.

    Example:
        >>> import torch, separable
        >>> x = torch.rand(60, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        >>> y = torch.exp(x[:, 0]) / (1 + x[:, 1])
        >>> posterior = separable.condition(x, y, domain=[(0.0, 1.0), (0.0, 1.0)])
        >>> posterior.link.name, bool((posterior.predict([0.3, 0.6]) - 0.84366).abs() < 1e-4)
        ('log', True)
        >>> posterior.suggest(5).shape
        torch.Size([5, 2])
    """
    started = time.perf_counter()
    if isinstance(links, str) or not links or not LINKS.keys() >= set(links):
        raise ValueError(f"condition: links are some of {', '.join(LINKS)}; got {links!r}")
    if not isinstance(degree, int) or degree < 1:
        raise ValueError(f"condition: degree is an integer of at least 1, got {degree!r}")
    given = None if domain is None else [(float(a), float(b)) for a, b in domain]
    inputs, targets = checked_rows(x, y, given)
    refuse_many(len(inputs))
    ends = _domain(inputs, given)
    allowed = [LINKS[name] for name in dict.fromkeys(links) if LINKS[name].valid(targets)]
    if not allowed:
        needs = ", ".join(f"{name}: {LINKS[name].requires}" for name in links)
        raise ValueError(f"condition: no link fits targets from {targets.min():g} to {targets.max():g} ({needs})")
    some = torch.from_numpy(np.random.default_rng(seed).permutation(len(inputs))[: STAGES[0][0]])

    def likeliest(link: Link) -> Posterior:
        # Of few or noisy rows the likelihood has several maxima, which one start does not find.
        found = (
            learned(inputs[some], targets[some], ends, link, start, STAGES[:1], {}, started)
            for start in ProductPrior.starts(inputs.shape[1], degree)
        )
        return max(found, key=lambda posterior: posterior.report.log_likelihood)

    tried = [likeliest(link) for link in allowed]
    errors = {p.link.name: p.report.error for p in tried}
    best = min(tried, key=lambda p: p.report.error * (1.0 if p is tried[0] else _MARGIN))
    return learned(inputs, targets, ends, best.link, best.prior, STAGES[1:], errors, started, seed)


def _domain(x: Tensor, domain: Sequence[tuple[float, float]] | None) -> tuple[tuple[float, float], ...]:
    lowest, highest = x.min(0).values.tolist(), x.max(0).values.tolist()
    if domain is None:
        # A constant column has no range of its own; one of its size keeps it in the middle.
        wide = [0.0 if b > a else 0.5 * max(1.0, abs(a)) for a, b in zip(lowest, highest, strict=True)]
        domain = [(a - w, b + w) for a, b, w in zip(lowest, highest, wide, strict=True)]
    for j, ((a, b), low, high) in enumerate(zip(domain, lowest, highest, strict=True)):
        if not (np.isfinite([a, b]).all() and 0 < b - a < np.inf and a <= low and high <= b):
            raise ValueError(
                f"condition: domain {j} is finite, increasing and holds its column, which runs from {low:g} to "
                f"{high:g}; got ({a:g}, {b:g})"
            )
    return tuple(domain)
