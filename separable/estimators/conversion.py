"""From a smooth model to the separable layer that is the same function.

Without pairs the layer has order 1. With pairs it is a sum of full products (order None) in which coordinates that a
term leaves out have the factor one: a main term is one product, a pair the products of the singular value
decomposition of its coefficients, ``h_ij = sum_s sigma_s u_s(z_i) v_s(z_j)``, at most six.

A missing number's terms are zero, while the layer evaluates its spline at the number that stands in the gap. What the
main term gives there is taken off the effect of *missing*; a pair's products are multiplied by one minus *missing*.
"""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from separable.estimators.smooth_model import SmoothModel
from separable.interactions import CanonicalPolyadic
from separable.layers import SeparableLayer

Array = NDArray[np.float64]
Factors = dict[int, Array]  # coefficients (K_j,) of the coordinates that a term contains


def as_layer(model: SmoothModel, fills: Mapping[int, float], scale: float = 1.0, shift: float = 0.0) -> SeparableLayer:
    """The layer whose outputs are ``shift + scale model.outputs(z)``, in float64.

    Args:
        model: The model.
        fills: For coordinates that can be missing, the number that stands in the gap.
        scale: Unit of the target.
        shift: Origin of the target.
    """
    terms, beta = model.terms, model.coefficients * scale
    bias = beta[0] + shift
    mains = [basis.transform @ beta[columns] for basis, columns in zip(terms.bases, terms.mains, strict=True)]
    for j, gap in terms.gaps.items():
        mains[gap] = mains[gap].copy()
        mains[gap][1] -= (terms.bases[j](np.array([fills[j]])) @ beta[terms.mains[j]])[0]
    outputs = beta.shape[1]
    if not terms.pairs:
        layer = _layer(model, CanonicalPolyadic(rank=outputs, order=1), outputs)
        with torch.no_grad():
            for j, main in enumerate(mains):
                layer.expansion.coefficient(j).copy_(torch.from_numpy(main))
            layer.core.copy_(torch.eye(outputs, dtype=torch.float64))
            layer.bias.copy_(torch.from_numpy(bias))  # type: ignore[union-attr]
        return layer
    products: list[tuple[Factors, int]] = []
    for o in range(outputs):
        products += [({j: main[:, o]}, o) for j, main in enumerate(mains) if np.any(main[:, o])]
        for number in range(len(terms.pairs)):
            products += [(factors, o) for factors in _pair_products(model, number, beta[:, o])]
    return _sum_of_products(model, products, bias)


def _pair_products(model: SmoothModel, number: int, beta: Array) -> list[Factors]:
    terms = model.terms
    i, j = terms.pairs[number]
    left, sizes, right = np.linalg.svd(terms.pair_coefficients(number, beta), full_matrices=False)
    found = []
    for s in range(min(terms.pair_shape(i, j))):
        if sizes[s] <= 1e-13 * max(sizes[0], 1e-300):
            break
        factors = {i: left[:, s] * sizes[s] ** 0.5, j: right[s] * sizes[s] ** 0.5}
        present = np.array([1.0, 0.0])
        factors |= {terms.gaps[k]: present for k in (i, j) if k in terms.gaps}
        found.append(factors)
    return found


def _sum_of_products(model: SmoothModel, products: list[tuple[Factors, int]], bias: Array) -> SeparableLayer:
    layer = _layer(model, CanonicalPolyadic(rank=max(1, len(products))), len(bias))
    with torch.no_grad():
        layer.core.zero_()
        for j in range(layer.n_coordinates):
            coefficients = np.ones((layer.atoms[j].size, layer.core.shape[0]))
            for term, (factors, _) in enumerate(products):
                if j in factors:
                    coefficients[:, term] = factors[j]
            layer.expansion.coefficient(j).copy_(torch.from_numpy(coefficients))
        for term, (_, output) in enumerate(products):
            layer.core[term, output] = 1.0
        layer.bias.copy_(torch.from_numpy(bias))  # type: ignore[union-attr]
    return layer


def _layer(model: SmoothModel, interaction: CanonicalPolyadic, outputs: int) -> SeparableLayer:
    return SeparableLayer(
        len(model.terms.bases),
        outputs,
        atoms=[basis.atom for basis in model.terms.bases],
        interaction=interaction,
        generator=torch.Generator(),  # start values are replaced; the caller's random numbers stay untouched
        dtype=torch.float64,
    )
