"""What no cell of two given phases can have: the bounds that a design target is held against."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from domains.microstructure.materials import Materials
from domains.microstructure.properties import read_properties


def physical_bounds(
    name: str, materials: Materials, size: Sequence[int], fraction: float | None = None
) -> tuple[float, float]:
    """Least and greatest value of a property that any cell of these phases can have (Voigt and Reuss).

    Young's and shear moduli follow from the order of the stiffness matrices: Reuss <= C <= Voigt.  Without a volume
    fraction the phases themselves are the bounds.  A permeability has no upper bound but the free channel's; it is
    taken as n^2 / 12 for the widest side n, in voxels^2.

    Example:
        >>> physical_bounds("conductivity_xx", Materials(conductivities=(1.0, 3.0)), (8, 8), 0.5)
        (1.5, 2.0)
    """
    shares = [(1 - f, f) for f in ([0.0, 1.0] if fraction is None else [fraction])]
    if name == "volume_fraction":
        return 0.0, 1.0
    if name.startswith("conductivity"):
        if materials.conductivities is None:
            raise ValueError(f"{name}: these cells have no conductivity")
        first, second = materials.conductivities
        pairs = [(1 / (a / first + b / second), a * first + b * second) for a, b in shares]
    elif name.startswith("permeability"):
        return 0.0, max(size) ** 2 / 12
    else:
        dimensions = len(size)
        stiff = [material.stiffness(dimensions) for material in materials.elastic()]
        soft = [np.linalg.inv(c) for c in stiff]
        pairs = []
        for a, b in shares:
            reuss = torch.from_numpy(np.linalg.inv(a * soft[0] + b * soft[1]))[None]
            voigt = torch.from_numpy(a * stiff[0] + b * stiff[1])[None]
            low, high = (float(read_properties({"stiffness": c}, [name])) for c in (reuss, voigt))
            pairs.append((low, high))
    return min(low for low, _ in pairs), max(high for _, high in pairs)
