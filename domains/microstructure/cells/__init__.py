"""Periodic two-phase cells from a seed: ``generate(kind, size, volume_fraction, seed, **options)``.

A cell is a float64 tensor ``(n_1, .., n_d)``, d = 2 or 3, of 0 and 1: axis k is coordinate k, voxels are cubes, and
the cell repeats without a seam. The kinds are the keys of `KINDS`; options are the keyword arguments of the function
that a kind stands for.
"""

import inspect
from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor

from domains.microstructure.cells.gaussian_field import gaussian, spinodal, spinodoid
from domains.microstructure.cells.inclusions import hard_spheres, overlapping_spheres
from domains.microstructure.cells.lattice import LATTICES, lattice
from domains.microstructure.cells.triply_periodic import SURFACES, triply_periodic
from domains.microstructure.cells.voronoi import voronoi_foam, voronoi_grains

__all__ = [
    "KINDS",
    "generate",
    "gaussian",
    "hard_spheres",
    "lattice",
    "overlapping_spheres",
    "spinodal",
    "spinodoid",
    "triply_periodic",
    "voronoi_foam",
    "voronoi_grains",
]

KINDS: dict[str, Callable[..., Tensor]] = {
    "spinodal": spinodal,
    "spinodoid": spinodoid,
    "gaussian": gaussian,
    "overlapping_spheres": overlapping_spheres,
    "hard_spheres": hard_spheres,
    "voronoi_grains": voronoi_grains,
    "voronoi_foam": voronoi_foam,
    **{name: partial(triply_periodic, surface=name) for name in SURFACES},
    **{name: partial(lattice, struts=name) for name in LATTICES},
}


def generate(
    kind: str,
    size: Sequence[int],
    volume_fraction: float | None = None,
    seed: int = 0,
    *,
    phase: int = 1,
    **options: object,
) -> Tensor:
    """A periodic two-phase cell.

    Args:
        kind: A key of `KINDS`.
        size: Numbers of voxels ``(n_1, n_2)`` or ``(n_1, n_2, n_3)``.
        volume_fraction: Share of phase 1, strictly between 0 and 1; None for a lattice of given ``radius``.
        seed: Same seed, same cell. Triply periodic surfaces and lattices have nothing random and do not read it.
        phase: The phase that the kind describes (balls, walls, struts ..): 1, or 0 to make them the matrix or pore.
            ``volume_fraction`` is the share of phase 1 in both cases.
        **options: Keyword arguments of the kind's own function.

    Returns:
        The cell ``(n_1, .., n_d)``, float64 of 0 and 1.

    Raises:
        ValueError: If the kind is not known, or an argument is out of its range.
        TypeError: If the kind has no such option.

    Example:
        >>> from domains.microstructure.cells import generate
        >>> generate("spinodal", (64, 64), 0.5, seed=1).shape
        torch.Size([64, 64])
        >>> holes = generate("hard_spheres", (64, 64), 0.75, phase=0, radius=5.0)
        >>> holes.mean().item()
        0.75
    """
    if kind not in KINDS:
        raise ValueError(f"generate: kind is one of {', '.join(KINDS)}, got {kind!r}")
    function = KINDS[kind]
    known = [
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and name not in ("surface", "struts")
    ]
    for name in options:
        if name not in known:
            raise TypeError(f"generate: {kind} has the options {', '.join(known)}, got {name!r}")
    if phase not in (0, 1):
        raise ValueError(f"generate: phase is 0 or 1, got {phase!r}")
    if volume_fraction is None and kind not in LATTICES:
        raise ValueError(f"generate: {kind} needs a volume_fraction, got None")
    share = volume_fraction if phase == 1 or volume_fraction is None else 1.0 - volume_fraction
    if "seed" in inspect.signature(function).parameters:
        cell = function(size, share, seed, **options)
    else:
        cell = function(size, share, **options)
    return cell if phase == 1 else 1.0 - cell
