"""The two phases of a cell and which properties of it are wanted: what turns a cell into numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from domains.microstructure.conductivity import effective_conductivity
from domains.microstructure.elasticity import Material, effective_stiffness
from domains.microstructure.permeability import permeability as permeability_of
from domains.microstructure.phases import checked_cells


@dataclasses.dataclass(frozen=True)
class Materials:
    """Properties of phase 0 and phase 1, and which effective properties to compute.

    Attributes:
        conductivities: of phase 0 and phase 1, in any one unit, which is that of the results; None leaves the
            conductivity out.
        young: Young's moduli of phase 0 and phase 1, in any one unit, which is that of the results; None leaves the
            stiffness out.
        poisson: Poisson's ratios of the phases, without unit (plane strain in two dimensions).
        permeability: whether to solve for the flow through phase 0.
    """

    conductivities: tuple[float, float] | None = (0.1, 1.0)
    young: tuple[float, float] | None = (0.1, 1.0)
    poisson: tuple[float, float] = (0.3, 0.3)
    permeability: bool = False

    def __post_init__(self) -> None:
        for name in ("conductivities", "young", "poisson"):
            pair = getattr(self, name)
            if pair is not None and not (isinstance(pair, tuple) and len(pair) == 2):
                raise ValueError(f"{name}: expected two numbers, got {pair!r}")
        if self.conductivities is not None and not all(np.isfinite(k) and k > 0 for k in self.conductivities):
            raise ValueError(f"conductivities: expected two positive numbers, got {self.conductivities}")
        if self.young is not None:
            self.elastic()

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Materials:
        """From a dictionary of plain data, as JSON gives it."""
        frozen: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in settings.items()}
        return cls(**frozen)

    def elastic(self) -> tuple[Material, Material]:
        """The elastic phases.

        Raises:
            ValueError: there are none, or a modulus or ratio cannot be.
        """
        if self.young is None:
            raise ValueError("young: these phases have no elastic moduli")
        return Material(self.young[0], self.poisson[0]), Material(self.young[1], self.poisson[1])

    def needed_for(self, names: Sequence[str]) -> Materials:
        """The same phases without the solvers that none of the named properties asks for.

        Example:
            >>> Materials().needed_for(["youngs_x"]).conductivities is None
            True
        """
        return dataclasses.replace(
            self,
            conductivities=self.conductivities if any(n.startswith("conductivity") for n in names) else None,
            young=self.young if any(n.startswith(("youngs", "shear")) for n in names) else None,
            permeability=self.permeability and any(n.startswith("permeability") for n in names),
        )

    def solve(self, cells: Tensor) -> dict[str, Tensor]:
        """Effective properties of cells ``(B, n_1, .., n_d)`` by the solvers; differentiable in the cells.

        Returns:
            ``volume_fraction`` ``(B,)`` and, as asked for, ``conductivity`` ``(B, d, d)``, ``stiffness`` ``(B, V, V)``
            and ``permeability`` ``(B, d, d)`` in voxels^2. Cells of integers or booleans are solved in float64.

        Raises:
            TypeError: not a tensor, or one of half precision or complex numbers.
            ValueError: not a batch of cells, see `phases.checked_cells`, or a permeability is wanted without any solid.

        Example:
            >>> import torch
            >>> sorted(Materials().solve(torch.ones(1, 8, 8)))
            ['conductivity', 'stiffness', 'volume_fraction']
        """
        cells = checked_cells(cells)
        found = {"volume_fraction": cells.flatten(1).mean(1)}
        if self.conductivities is not None:
            found["conductivity"] = effective_conductivity(cells, self.conductivities)
        if self.young is not None:
            found["stiffness"] = effective_stiffness(cells, self.elastic())
        if self.permeability:
            found["permeability"] = permeability_of(cells, cells.ndim - 1, voxel=1.0, tolerance=1e-4)
        return found
