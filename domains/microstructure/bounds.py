r"""Bounds on the effective conductivity and stiffness of a periodic mixture, and which targets they leave reachable.

With d = 2 or 3 dimensions, phases p of volume fraction f_p, conductivity k_p, stiffness C_p:

    Wiener, Voigt and Reuss     (sum_p f_p / k_p)^-1  <=  K  <=  sum_p f_p k_p               every cell, as matrices
    Hashin and Shtrikman        (sum_p f_p / (k_p + z))^-1 - z,   z = (d - 1) k_min or max   isotropic cells

and for two phases k_1 < k_2, with eigenvalues K_i of K, harmonic mean h and arithmetic mean m,

    sum_i 1 / (K_i - k_1)  <=  1 / (h - k_1) + (d - 1) / (m - k_1)                           every cell
    sum_i 1 / (k_2 - K_i)  <=  1 / (k_2 - h) + (d - 1) / (k_2 - m)

(Lurie and Cherkaev 1984, Murat and Tartar 1985): every tensor inside is reached by some laminate, so these are what can
be asked of a design. For stiffness the same argument gives necessary bounds (Milton and Kohn 1988, JMPS 36, 597): with
C_1 < C_2 and L the projection on the isotropic (rank 1) or on the deviatoric strains,

    tr L (C - C_1)^-1  <=  1/f_2 tr L (C_2 - C_1)^-1  +  f_1/f_2 tr L G_1
    tr L (C_2 - C)^-1  <=  1/f_1 tr L (C_2 - C_1)^-1  -  f_2/f_1 tr L G_2

where G_p(n) is the strain that phase p answers to a polarisation wave along n. It depends on n but its traces do not:
with Lame's lambda and mu, tr G = 1/(lambda + 2 mu) + (d - 1)/(2 mu), of which 1/(d (lambda + 2 mu)) is isotropic. For
an isotropic C they are the bounds of Hashin and Shtrikman.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from domains.microstructure.elasticity import Material


@dataclass(frozen=True)
class Interval:
    """What a bound allows.

    Attributes:
        lower: Smallest value.
        upper: Largest value.
        name: The bound it comes from.
    """

    lower: float
    upper: float
    name: str

    def __contains__(self, value: float) -> bool:
        return self.lower <= value <= self.upper


def wiener(fractions: Sequence[float], conductivities: Sequence[float]) -> Interval:
    """Harmonic and arithmetic mean: the range of every eigenvalue and every diagonal entry of K, reached by layers.

    Args:
        fractions: Volume fractions of the phases, adding up to one.
        conductivities: Of the phases, positive, in any one unit.

    Raises:
        ValueError: fractions or conductivities out of range.

    Example:
        >>> wiener((0.5, 0.5), (1.0, 3.0))
        Interval(lower=1.5, upper=2.0, name='Wiener')
    """
    f, k = _present(*_phases(fractions, conductivities, "conductivities"))
    return _interval(1 / (f / k).sum(), (f * k).sum(), k, "Wiener")


def hashin_shtrikman_conductivity(
    fractions: Sequence[float], conductivities: Sequence[float], dimensions: int
) -> Interval:
    """Bounds of Hashin and Shtrikman (1962) on the conductivity of isotropic mixtures, reached by coated spheres.

    Args:
        fractions: Volume fractions of the phases, adding up to one.
        conductivities: Of the phases, positive, in any one unit.
        dimensions: 2 or 3.

    Raises:
        ValueError: fractions, conductivities or dimensions out of range.

    Example:
        >>> bounds = hashin_shtrikman_conductivity((0.5, 0.5), (1.0, 3.0), 2)
        >>> round(bounds.lower, 6), round(bounds.upper, 6)
        (1.666667, 1.8)
    """
    f, k = _present(*_phases(fractions, conductivities, "conductivities"))
    _checked_dimensions(dimensions)
    lower, upper = (_harmonic(f, k, (dimensions - 1) * z) for z in (k.min(), k.max()))
    return _interval(lower, upper, k, "Hashin-Shtrikman")


def hashin_shtrikman_elasticity(
    fractions: Sequence[float], materials: Sequence[Material], dimensions: int
) -> tuple[Interval, Interval]:
    """Bounds of Hashin and Shtrikman on the bulk and the shear modulus of isotropic mixtures, in Walpole's form.

    The least and greatest moduli are taken over the phases for each modulus on its own, so the phase with the greater
    bulk modulus may have the smaller shear modulus (Walpole 1966); then the bounds hold but need not be reached.

    Args:
        fractions: Volume fractions of the phases, adding up to one.
        materials: Of the phases.
        dimensions: 3, or 2 for an isotropic tensor in the plane, where the bulk modulus is half of what a stress
            divided by an equal strain in x and y is: lambda + mu in plane strain (Hill 1964, Hashin 1965).

    Returns:
        The intervals of the bulk and of the shear modulus, in the unit of the materials.

    Raises:
        ValueError: fractions or dimensions out of range.

    Example:
        >>> bulk, shear = hashin_shtrikman_elasticity((0.5, 0.5), (Material(1.0, 0.0), Material(3.0, 0.0)), 3)
        >>> round(bulk.lower, 4), round(shear.upper, 4)
        (0.5833, 0.8919)
    """
    _checked_dimensions(dimensions)
    lame = np.array([_lame(material, dimensions) for material in materials])
    f, k = _phases(fractions, lame[:, 0] + 2 * lame[:, 1] / dimensions, "bulk moduli")
    f, k, g = _present(f, k, lame[:, 1])
    bulk, shear = list[float](), list[float]()
    for k0, g0 in ((k.min(), g.min()), (k.max(), g.max())):
        bulk.append(_harmonic(f, k, 2 * (dimensions - 1) / dimensions * g0))
        zeta = g0 * (dimensions * k0 / 2 + (dimensions + 1) * (dimensions - 2) * g0 / dimensions) / (k0 + 2 * g0)
        shear.append(_harmonic(f, g, zeta))
    return (
        _interval(bulk[0], bulk[1], k, "Hashin-Shtrikman, bulk"),
        _interval(shear[0], shear[1], g, "Hashin-Shtrikman, shear"),
    )


def voigt_reuss(
    fractions: Sequence[float], materials: Sequence[Material], dimensions: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Stiffness of Reuss and of Voigt in Voigt form: reuss <= C <= voigt as matrices, for every cell.

    Args:
        fractions: Volume fractions of the phases, adding up to one.
        materials: Of the phases.
        dimensions: 2 or 3.

    Raises:
        ValueError: fractions or dimensions out of range.

    Example:
        >>> reuss, voigt = voigt_reuss((0.5, 0.5), (Material(1.0, 0.0), Material(3.0, 0.0)), 2)
        >>> reuss.diagonal().tolist(), voigt.diagonal().tolist()
        ([1.5, 1.5, 0.75], [2.0, 2.0, 1.0])
    """
    _checked_dimensions(dimensions)
    f, _ = _phases(fractions, [material.young for material in materials], "Young's moduli")
    stiffness = np.stack([material.stiffness(dimensions) for material in materials])
    reuss: NDArray[np.float64] = np.linalg.inv(np.tensordot(f, np.linalg.inv(stiffness), 1))
    voigt: NDArray[np.float64] = np.tensordot(f, stiffness, 1)
    return reuss, voigt


def conductivity_margins(
    effective: ArrayLike, fractions: Sequence[float], conductivities: Sequence[float]
) -> dict[str, float]:
    """How far a conductivity tensor is inside every bound that holds for all cells of two phases.

    A tensor from a grid of voxels is an overestimate: the lower bounds and Wiener's hold for it as for the limit, the
    upper trace bound only where features have some voxels (random cells of features of one voxel broke it by up to 4 %
    of the tensor, of two voxels never).

    Args:
        effective: ``(d, d)``, symmetric.
        fractions: Of the two phases.
        conductivities: Of the two phases, different from each other.

    Returns:
        A margin for each bound: relative, negative if and only if the tensor breaks that bound. For the trace bounds it
        is 1 less the ratio of the two sides (minus infinity where an eigenvalue lies beyond a phase).

    Raises:
        ValueError: fractions or conductivities out of range, or a tensor of the wrong shape.

    Example:
        Layers reach all four.

        >>> margins = conductivity_margins([[1.5, 0.0], [0.0, 2.0]], (0.5, 0.5), (1.0, 3.0))
        >>> [abs(round(margin, 12)) for margin in margins.values()]
        [0.0, 0.0, 0.0, 0.0]
    """
    tensor = np.asarray(effective, dtype=float)
    if tensor.shape not in ((2, 2), (3, 3)):
        raise ValueError(f"effective: expected a (2, 2) or (3, 3) tensor, got shape {tensor.shape}")
    values = np.linalg.eigvalsh(tensor)
    (lower, upper), (low, high), means = _trace_bounds(fractions, conductivities, len(tensor))
    with np.errstate(divide="ignore"):
        below = (1 / (values - low)).sum() / lower if values[0] > low else np.inf
        above = (1 / (high - values)).sum() / upper if values[-1] < high else np.inf
    return {
        "Wiener, lower": float(values[0] / means.lower - 1),
        "Wiener, upper": float(1 - values[-1] / means.upper),
        "Lurie-Cherkaev, lower": float(1 - below),
        "Lurie-Cherkaev, upper": float(1 - above),
    }


def stiffness_margins(
    effective: ArrayLike, fractions: Sequence[float], materials: Sequence[Material]
) -> dict[str, float]:
    """How far a stiffness is inside every bound that holds for all cells of two phases.

    As for :func:`conductivity_margins`, the upper trace bounds are those of the limit of fine voxels.

    Args:
        effective: ``(3, 3)`` or ``(6, 6)`` in Voigt form, symmetric.
        fractions: Of the two phases.
        materials: Of the two phases, one stiffer than the other in both bulk and shear.

    Returns:
        A margin for each bound: relative, negative if and only if the stiffness breaks that bound.

    Raises:
        ValueError: fractions out of range, materials that are not ordered, or a tensor of the wrong shape.

    Example:
        >>> soft, hard = Material(1.0, 0.3), Material(10.0, 0.3)
        >>> margins = stiffness_margins(voigt_reuss((0.5, 0.5), (soft, hard), 3)[1], (0.5, 0.5), (soft, hard))
        >>> [name for name, margin in margins.items() if margin < -1e-12]  # an isotropic cell is never as stiff
        ['Milton-Kohn, upper, bulk', 'Milton-Kohn, upper, shear']
    """
    tensor = np.asarray(effective, dtype=float)
    if tensor.shape not in ((3, 3), (6, 6)):
        raise ValueError(f"effective: expected a (3, 3) or (6, 6) stiffness, got shape {tensor.shape}")
    if len(fractions) != 2 or len(materials) != 2:
        raise ValueError(f"expected two phases, got {len(fractions)} fractions and {len(materials)} materials")
    dimensions = {3: 2, 6: 3}[len(tensor)]
    reuss, voigt = voigt_reuss(fractions, materials, dimensions)
    lame = [_lame(material, dimensions) for material in materials]
    order = np.argsort([shear for _, shear in lame])
    (l1, g1), (l2, g2) = (lame[p] for p in order)
    f1, f2 = (float(fractions[p]) for p in order)
    if not (g1 < g2 and l1 + 2 * g1 / dimensions < l2 + 2 * g2 / dimensions and f1 > 0 and f2 > 0):
        raise ValueError(f"materials: expected one to be stiffer in both bulk and shear, got {tuple(materials)}")
    # Mandel's form makes the Voigt matrix that of an operator, so that traces and orders mean what they say.
    scale = np.array([1.0] * dimensions + [np.sqrt(2)] * (len(tensor) - dimensions))
    mandel = np.outer(scale, scale)
    first, second = (materials[p].stiffness(dimensions) * mandel for p in order)
    reuss, voigt, tensor = reuss * mandel, voigt * mandel, tensor * mandel
    one = np.array([1.0] * dimensions + [0.0] * (len(tensor) - dimensions))
    isotropic = np.outer(one, one) / dimensions
    margins = {
        "Reuss": _order_margin(reuss, tensor),
        "Voigt": -_order_margin(voigt, tensor, largest=True),
    }
    contrast = np.linalg.inv(second - first)
    below = _inverse_or_none(tensor - first)
    above = _inverse_or_none(second - tensor)
    for name, projection in (("bulk", isotropic), ("shear", np.eye(len(tensor)) - isotropic)):
        green = [1 / (lame_ + 2 * g) / dimensions for lame_, g in ((l1, g1), (l2, g2))]
        if name == "shear":
            whole = [1 / (lame_ + 2 * g) + (dimensions - 1) / (2 * g) for lame_, g in ((l1, g1), (l2, g2))]
            green = [w - g for w, g in zip(whole, green, strict=True)]
        both = np.sum(projection * contrast)
        bound = (both + f1 * green[0]) / f2
        margins[f"Milton-Kohn, lower, {name}"] = (
            -np.inf if below is None else float(1 - np.sum(projection * below) / bound)
        )
        bound = (both - f2 * green[1]) / f1
        margins[f"Milton-Kohn, upper, {name}"] = (
            -np.inf if above is None else float(1 - np.sum(projection * above) / bound)
        )
    return margins


def reachable_conductivity(
    fractions: Sequence[float], conductivities: Sequence[float], dimensions: int = 2, given: Sequence[float] = ()
) -> Interval:
    """Values that a diagonal entry of K can take in some cell of two phases, when other diagonal entries are given.

    A larger off-diagonal entry only narrows the bounds, so these are the exact limits over all cells: what lies outside
    cannot be designed at this volume fraction; what lies inside is reached by some laminate, at the bounds themselves
    with infinitely fine layers, which a grid of voxels does not have.

    Args:
        fractions: Of the two phases.
        conductivities: Of the two phases.
        dimensions: 2 or 3.
        given: Wanted values of other diagonal entries, at most d - 1.

    Returns:
        The interval with the name of the bound.

    Raises:
        ValueError: arguments out of range, or given entries that cannot be reached themselves.

    Example:
        Any cell of equal parts of 1 and 3 lies between 1.5 and 2; one with 2 along x has the least along y.

        >>> reachable_conductivity((0.5, 0.5), (1.0, 3.0))
        Interval(lower=1.5, upper=2.0, name='Wiener')
        >>> layers = reachable_conductivity((0.5, 0.5), (1.0, 3.0), given=(2.0,))
        >>> round(layers.lower, 9), round(layers.upper, 9), layers.name
        (1.5, 1.5, 'Lurie-Cherkaev')
    """
    _checked_dimensions(dimensions)
    if len(given) >= dimensions:
        raise ValueError(f"given: expected at most {dimensions - 1} entries, got {len(given)}")
    means = wiener(fractions, conductivities)
    if len(given) == 0 or means.lower == means.upper:
        limits = means
    else:
        (lower, upper), (low, high), _ = _trace_bounds(fractions, conductivities, dimensions)
        free = dimensions - 1 - len(given)
        others = np.asarray(given, dtype=float)
        # The entries that are not given may be as favourable as any cell makes them. For the least entry that is the
        # arithmetic mean (cells that do not change along them); for the greatest, the arithmetic mean itself is free.
        left = lower - (1 / (others - low)).sum() - free / (means.upper - low) if (others > low).all() else -np.inf
        right = upper - (1 / (high - others)).sum() if (others < high).all() else -np.inf
        least = max(means.lower, low + 1 / left) if left > 0 else np.inf
        most = means.upper if free else min(means.upper, high - 1 / right) if right > 0 else -np.inf
        limits = Interval(float(least), float(most), "Lurie-Cherkaev")
    for position, value in enumerate(given):
        rest = reachable_conductivity(fractions, conductivities, dimensions, given[:position])
        slack = 1e-12 * means.upper
        if not rest.lower - slack <= value <= rest.upper + slack:
            raise ValueError(
                f"given: {rest.name} bounds leave {rest.lower:.6g} to {rest.upper:.6g} for entry {position} "
                f"at fractions {tuple(fractions)}, got {value:.6g}"
            )
    # Given entries on a bound leave one value, which rounding may turn inside out.
    if limits.lower > limits.upper:
        middle = (limits.lower + limits.upper) / 2
        return Interval(middle, middle, limits.name)
    return limits


def _phases(
    fractions: Sequence[float], values: ArrayLike, name: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fractions and values as arrays, or what is wrong with them."""
    f, k = np.asarray(fractions, dtype=float), np.asarray(values, dtype=float)
    if f.ndim != 1 or f.shape != k.shape or len(f) == 0:
        raise ValueError(f"fractions and {name}: expected one of each per phase, got shapes {f.shape} and {k.shape}")
    if not ((f >= 0).all() and abs(f.sum() - 1) < 1e-6):
        raise ValueError(f"fractions: expected numbers of at least 0 that add up to 1, got {tuple(fractions)}")
    if not (np.isfinite(k).all() and (k > 0).all()):
        raise ValueError(f"{name}: expected positive numbers, got {tuple(k.tolist())}")
    return f / f.sum(), k


def _checked_dimensions(dimensions: int) -> None:
    if dimensions not in (2, 3):
        raise ValueError(f"dimensions: expected 2 or 3, got {dimensions}")


def _present(fractions: NDArray[np.float64], *values: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """The same of the phases that there are some of; the others bound nothing."""
    return tuple(of_phases[fractions > 0] for of_phases in (fractions, *values))


def _interval(lower: float, upper: float, values: NDArray[np.float64], name: str) -> Interval:
    """An interval that rounding can neither turn inside out nor move beyond the phases."""
    lower, upper = np.clip(sorted((lower, upper)), values.min(), values.max()).tolist()
    return Interval(lower, upper, name)


def _harmonic(fractions: NDArray[np.float64], values: NDArray[np.float64], shift: float) -> float:
    """Harmonic mean of values that are shifted meanwhile, without the difference of two large numbers."""
    weights = fractions / (values + shift)
    return float((weights * values).sum() / weights.sum())


def _lame(material: Material, dimensions: int) -> tuple[float, float]:
    """Lame's constants of the stiffness, which in plane stress are those of the sheet."""
    stiffness = material.stiffness(dimensions)
    return float(stiffness[0, 1]), float(stiffness[-1, -1])


def _trace_bounds(
    fractions: Sequence[float], conductivities: Sequence[float], dimensions: int
) -> tuple[tuple[float, float], tuple[float, float], Interval]:
    """Right-hand sides of the two trace bounds, the two conductivities in order, and their means."""
    f, k = _phases(fractions, conductivities, "conductivities")
    if len(k) != 2 or k[0] == k[1] or not (f > 0).all():
        raise ValueError(f"expected two different phases, got fractions {tuple(f)} and conductivities {tuple(k)}")
    means = wiener(fractions, conductivities)
    low, high = float(k.min()), float(k.max())
    lower = 1 / (means.lower - low) + (dimensions - 1) / (means.upper - low)
    upper = 1 / (high - means.lower) + (dimensions - 1) / (high - means.upper)
    return (lower, upper), (low, high), means


def _order_margin(bound: NDArray[np.float64], tensor: NDArray[np.float64], largest: bool = False) -> float:
    """Extreme eigenvalue of bound^-1/2 tensor bound^-1/2, less 1."""
    root = np.linalg.inv(np.linalg.cholesky(bound))
    return float(np.linalg.eigvalsh(root @ tensor @ root.T)[-1 if largest else 0] - 1)


def _inverse_or_none(matrix: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Inverse of a positive definite matrix; None if it is not one."""
    if np.linalg.eigvalsh(matrix)[0] <= 0:
        return None
    inverse: NDArray[np.float64] = np.linalg.inv(matrix).astype(np.float64)
    return inverse
