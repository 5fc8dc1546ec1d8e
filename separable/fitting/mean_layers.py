"""The posterior mean of a product prior as a layer: exact with one term a row, or compressed to a tensor train.

In standardised units both are expansions ``sum T_(a_1 .. a_D) prod_j P_(a_j)(w_j(u_j))`` with P_0 = 1 and degrees to d.
On the Gauss nodes of the warped axes the mean is a tensor of (d + 1)^D values that determines it; cross interpolation
finds a train of that tensor from few of them. In a layer every ``P_a(w_j)`` is written in Chebyshev polynomials.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.polynomial import legendre

from separable.atoms import Chebyshev
from separable.fitting.cross_interpolation import cross_interpolation
from separable.fitting.product_prior import Array, ProductPrior
from separable.interactions import CanonicalPolyadic, Interaction, TensorTrain
from separable.layers import SeparableLayer

Domain = tuple[tuple[float, float], ...]

_RANKS = 1, 2, 3, 4, 6, 8, 12, 16, 24, 32
_POINTS = 1000


def exact(
    prior: ProductPrior, domain: Domain, scale: tuple[float, float], factors: Sequence[Array], dual: Array
) -> SeparableLayer:
    """A canonical polyadic of rank N.

    Args:
        prior: The prior.
        domain: Ends of every coordinate's range.
        scale: Mean and spread of the targets.
        factors: ``P_a(w_j(u)) (N, d)`` of the rows for every coordinate.
        dual: ``alpha (N,)``.
    """
    parts = [np.vstack([np.ones(len(dual)), (f * prior.variances(j)).T]) for j, f in enumerate(factors)]
    return _layer(prior, domain, scale, CanonicalPolyadic(rank=len(dual), order=None), parts, dual[:, None])


def compressed(
    prior: ProductPrior,
    domain: Domain,
    scale: tuple[float, float],
    mean: Callable[[Array], Array],
    tolerance: float,
    seed: int,
) -> SeparableLayer:
    """A tensor train of the least of some ranks that keeps to the tolerance.

    Args:
        prior: The prior.
        domain: Ends of every coordinate's range.
        scale: Mean and spread of the targets.
        mean: The standardised mean ``(M,)`` at points ``(M, D)`` of the unit cube.
        tolerance: Root mean square difference to it on 1000 Sobol points.
        seed: Of the first nodes and of the points.

    Raises:
        ValueError: If no rank reaches the tolerance.
    """
    nodes = legendre.leggauss(prior.degree + 1)[0]
    axes = [prior.unwarped(0.5 + 0.5 * nodes, j) for j in range(prior.coordinates)]
    # From values at the nodes to coefficients of P_0 .. P_d:
    basis = legendre.legvander(nodes, prior.degree) * np.sqrt(2 * np.arange(prior.degree + 1) + 1)
    inverse = np.linalg.inv(basis)
    engine = torch.quasirandom.SobolEngine(prior.coordinates, scramble=True, seed=seed)  # type: ignore[no-untyped-call]
    points = engine.draw(_POINTS, dtype=torch.float64).numpy()
    expected = mean(points)
    lower, upper = np.array(domain).T
    given = torch.from_numpy(lower + points * (upper - lower))
    differences = {}
    for rank in _RANKS if prior.coordinates > 1 else _RANKS[:1]:
        parts = []
        for j, core in enumerate(cross_interpolation(mean, axes, rank, np.random.default_rng(seed))):
            # Ranks are smaller near the ends of the train; zeros fill them up.
            rows, columns = TensorTrain(rank=rank).shapes(prior.coordinates, 1)[j]
            wide = np.zeros((prior.degree + 1, rows, columns))
            wide[:, : core.shape[0], : core.shape[2]] = np.einsum("ak,rks->ars", inverse, core)
            parts.append(wide.reshape(prior.degree + 1, -1))
        layer = _layer(prior, domain, scale, TensorTrain(rank=rank), parts, np.ones((1, 1)))
        with torch.no_grad():
            values = (layer(given)[:, 0].numpy() - scale[0]) / (scale[1] or 1.0)
        differences[rank] = float(np.sqrt(np.mean((values - expected) ** 2)))
        if differences[rank] <= tolerance:
            return layer
    best = min(differences, key=lambda rank: differences[rank])
    raise ValueError(f"compressed: tolerance {tolerance:g} was not reached, but {differences[best]:.1e} at rank {best}")


def _layer(
    prior: ProductPrior,
    domain: Domain,
    scale: tuple[float, float],
    interaction: Interaction,
    parts: Sequence[Array],
    core: Array,
) -> SeparableLayer:
    """A layer of functions given by coefficients ``(d + 1, Q_j)`` of P_0 .. P_d, in the unit of the targets."""
    expansions = [prior.chebyshev(j) for j in range(prior.coordinates)]
    pairs = zip(expansions, domain, strict=True)
    layer = SeparableLayer(
        prior.coordinates,
        1,
        atoms=[Chebyshev(degree=len(expansion) - 1, domain=ends) for expansion, ends in pairs],
        interaction=interaction,
        generator=torch.Generator(),  # start values are replaced; the caller's random numbers stay untouched
        dtype=torch.float64,
    )
    assert layer.bias is not None
    with torch.no_grad():
        for j, (expansion, part) in enumerate(zip(expansions, parts, strict=True)):
            coefficients = expansion @ part[1:]
            coefficients[0] += part[0]
            layer.expansion.coefficient(j).copy_(torch.from_numpy(coefficients))
        layer.core.copy_(torch.from_numpy(scale[1] * core))
        layer.bias.fill_(scale[0])
    return layer
