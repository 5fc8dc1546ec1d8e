"""Named scalar properties of a cell, what a user asks for: ``conductivity_xx``, ``youngs_y``, ``permeability_zz``, ...

All of them are positive, so models and targets work with their logarithms and errors are relative.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from domains.microstructure.elasticity import VOIGT, young_moduli

_AXES = "xyz"


def property_names(columns: Sequence[str], dimensions: int) -> list[str]:
    """Names of the properties that can be read off the given columns (``conductivity``, ``stiffness``, ..).

    Example:
        >>> property_names(["conductivity", "volume_fraction"], 2)
        ['conductivity_xx', 'conductivity_yy', 'volume_fraction']
    """
    axes = _AXES[:dimensions]
    found: list[str] = []
    for column in columns:
        if column == "stiffness":
            found += [f"youngs_{a}" for a in axes]
            found += [f"shear_{axes[i]}{axes[j]}" for i, j in VOIGT[dimensions] if i != j]
        elif column in ("conductivity", "permeability"):
            found += [f"{column}_{a}{a}" for a in axes]
        elif column == "volume_fraction":
            found.append(column)
        else:
            raise ValueError(
                f"column: expected conductivity, stiffness, permeability or volume_fraction, got {column!r}"
            )
    return found


def read_properties(columns: Mapping[str, Tensor], names: Sequence[str]) -> Tensor:
    """Values ``(N, P)`` of the named properties.

    Args:
        columns: solver results by name: ``conductivity`` and ``permeability`` ``(N, d, d)``, ``stiffness``
            ``(N, V, V)``, ``volume_fraction`` ``(N,)``.
        names: as `property_names` gives them; shear moduli and Young's moduli are read off the compliance.

    Raises:
        ValueError: a name that the columns do not hold.

    Example:
        >>> from domains.microstructure.elasticity import Material
        >>> stiffness = torch.from_numpy(Material(2.0, 0.25).stiffness(2))[None]
        >>> read_properties({"stiffness": stiffness}, ["shear_xy"])
        tensor([[0.8000]], dtype=torch.float64)
    """
    return torch.stack([_read(columns, name) for name in names], -1)


def _read(columns: Mapping[str, Tensor], name: str) -> Tensor:
    kind, _, axes = name.partition("_")
    if name == "volume_fraction" and name in columns:
        return columns[name]
    if kind in ("conductivity", "permeability") and kind in columns:
        tensor = columns[kind]
        if len(axes) == 2 and axes[0] == axes[1] and axes[0] in _AXES[: tensor.shape[-1]]:
            axis = _AXES.index(axes[0])
            return tensor[..., axis, axis]
    if kind in ("youngs", "shear") and "stiffness" in columns:
        stiffness = columns["stiffness"]
        dimensions = 2 if stiffness.shape[-1] == 3 else 3
        if kind == "youngs" and axes in _AXES[:dimensions]:
            return young_moduli(stiffness)[..., _AXES.index(axes)]
        for row, (i, j) in enumerate(VOIGT[dimensions]):
            if kind == "shear" and i != j and axes == _AXES[i] + _AXES[j]:
                return 1 / torch.linalg.inv(stiffness)[..., row, row]
    dimensions = _dimensions(columns)
    raise ValueError(f"property: expected one of {', '.join(property_names(list(columns), dimensions))}, got {name!r}")


def _dimensions(columns: Mapping[str, Tensor]) -> int:
    for name, values in columns.items():
        if name == "stiffness":
            return 2 if values.shape[-1] == 3 else 3
        if name != "volume_fraction":
            return int(values.shape[-1])
    return 2
