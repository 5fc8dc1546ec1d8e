"""The grown full product on the coordinates of a table: `separable.grow`, with categories as categories.

Splines need an order; categories have none. For the search a category's number is its rank by the mean of the target,
and afterwards the splines of a discrete coordinate are read off at these numbers into a `Table`: the same function on
the data, and a discrete coordinate for `separable.invert`. Categories that do not occur get the mean factor of the
rows.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from separable.atoms import Atom, Table
from separable.fitting import GrowthReport, grow
from separable.fitting.links import Link
from separable.layers import SeparableLayer

Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class ProductModel:
    """A layer with its link.

    Args:
        layer: On the link's scale, one output.
        link: ``y = link.inverse(layer(z))``.
        reach: Limits between which the layer's value is kept for prediction.
        report: How the structure was found.
    """

    layer: SeparableLayer
    link: Link
    reach: tuple[float, float]
    report: GrowthReport


def fit_product_model(
    z: Array,
    y: Array,
    weights: Array,
    *,
    tables: Mapping[int, int],
    links: Sequence[str],
    max_parameters: int | None,
    effort: float,
    seed: int,
) -> ProductModel:
    """Grow the model.

    Args:
        z: Coordinates ``(N, D)``, as `Columns.encode` gives them.
        y: Targets ``(N,)``.
        weights: Positive weights ``(N,)``.
        tables: Discrete coordinates with their numbers of categories.
        links: See `separable.grow`, as for the rest.
        max_parameters: The most numbers in the layer that is grown, before tables take the place of its splines over
            ranks: how much larger they are, its rank decides.
        effort: Work the search may do, about seconds.
        seed: Of its held-out rows.
    """
    ranked, ranks = z.copy(), dict[int, Array]()
    for j, categories in tables.items():
        ranks[j] = _ranks(z[:, j].astype(np.int64), y, weights, categories)
        ranked[:, j] = ranks[j][z[:, j].astype(np.int64)]
    grown = grow(
        ranked, y, weights=weights, max_parameters=max_parameters, links=tuple(links), effort=effort, seed=seed
    )
    layer = _with_tables(grown.layer, ranked, weights, ranks) if ranks else grown.layer
    return ProductModel(layer, grown.link, grown.reach, grown.report)


def _ranks(indices: NDArray[np.int64], y: Array, weights: Array, categories: int) -> Array:
    """The number of every category ``(K,)``: 0, 1, .. in the order of the means, the same where it does not occur."""
    total = np.bincount(indices, weights=weights, minlength=categories)
    mean = np.bincount(indices, weights=weights * y, minlength=categories) / np.where(total > 0, total, 1)
    present = np.flatnonzero(total > 0)
    ranks = np.full(categories, np.nan)
    ranks[present[np.argsort(mean[present], kind="stable")]] = np.arange(len(present))
    return ranks


def _with_tables(layer: SeparableLayer, z: Array, weights: Array, ranks: Mapping[int, Array]) -> SeparableLayer:
    atoms: list[Atom] = [
        Table(len(ranks[j]), outside="constant") if j in ranks else atom for j, atom in enumerate(layer.atoms)
    ]
    new = SeparableLayer(
        layer.in_features,
        1,
        atoms=atoms,
        interaction=layer.interaction,
        generator=torch.Generator(),
        dtype=torch.float64,
    )
    share = torch.from_numpy(weights / weights.sum())
    with torch.no_grad():
        new.core.copy_(layer.core)
        new.bias.copy_(layer.bias)  # type: ignore[union-attr, arg-type]
        for j in range(layer.n_coordinates):
            if j not in ranks:
                new.expansion.coefficient(j).copy_(layer.expansion.coefficient(j))
                continue
            absent = np.isnan(ranks[j])
            at = torch.from_numpy(np.where(absent, 0.0, ranks[j]))
            factors = layer.expansion.factor(at, j)
            mean = share @ layer.expansion.factor(torch.from_numpy(np.ascontiguousarray(z[:, j])), j)
            factors[torch.from_numpy(absent)] = mean
            new.expansion.coefficient(j).copy_(factors)
    return new
