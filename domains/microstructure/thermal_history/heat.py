"""Transient heat in a plate that grows cell by cell: conduction in its plane, losses, a base plate and a source.

With H the enthalpy per volume above ambient (J/m3), theta(H) the integral of the conductivity over the temperature
(W/m), q the loss of a free surface (W/m2), e the thickness, dx the side of a cell and s the source (W/m3):

    dH/dt = laplacian(theta(H)) - q(T(H)) (2 / e + free edges / dx) + s
    q(T)  = h (T - T0) + emissivity sigma (T^4 - T0^4)

H carries the latent heat and theta makes k(T) linear under the divergence, so explicit finite volumes need one table
look-up a step, keep the energy balance to rounding and never overshoot within the stated time step. Temperatures are
uniform through the thickness.
"""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from domains.microstructure.thermal_history.histories import Array
from domains.microstructure.thermal_history.material import INCONEL_718, Material

_STEFAN_BOLTZMANN = 5.670374419e-8  # W/(m2 K4)
_HOTTEST = 4000.0  # K; beyond it the metal would boil away and the tables end


@dataclasses.dataclass(frozen=True)
class Surroundings:
    """What takes heat from the wall.

    Args:
        ambient: Temperature of gas, enclosure and base plate, K; also the least temperature of the solver.
        convection: Heat transfer coefficient of every free surface, W/(m2 K).
        emissivity: Of every free surface.
        base: Conductance from the lowest row of cells to the base plate, W/(m2 K); the default is of the size that
            spreading into a thick plate of the same metal gives.

    Raises:
        ValueError: If one of them is outside what is possible; the ambient temperature is below 4000 K.
    """

    ambient: float = 298.8
    convection: float = 25.0
    emissivity: float = 0.5
    base: float = 5000.0

    def __post_init__(self) -> None:
        if not 0 < self.ambient < _HOTTEST:
            raise ValueError(f"Surroundings: ambient is between 0 and {_HOTTEST:g} K, got {self.ambient!r}")
        if not 0 <= self.emissivity <= 1:
            raise ValueError(f"Surroundings: emissivity is from 0 to 1, got {self.emissivity!r}")
        for field in ("convection", "base"):
            if not 0 <= getattr(self, field) < np.inf:
                raise ValueError(f"Surroundings: {field} is finite and not negative, got {getattr(self, field)!r}")


class Plate:
    """A plate in its own plane, of square cells that may be activated one after the other.

    Args:
        shape: Numbers of cells (nz, nx), row 0 lowest.
        spacing: Side dx of a cell, m.
        thickness: Thickness e, m; infinite leaves the two faces without loss.
        material: Thermal properties.
        surroundings: Losses.

    Attributes:
        enthalpy: ``(nz, nx)``, J/m3 above ambient.
        active: ``(nz, nx)``, which cells exist; none at first.
        lost: Heat given to the surroundings so far, J per metre of thickness if that is infinite, else J.

    Example:
        >>> plate = Plate((1, 1), 1e-3, 3e-3)
        >>> plate.activate(np.ones((1, 1), bool))
        >>> plate.advance(plate.stable_step, np.array([[2e9]]))  # W/m3
        >>> bool(plate.temperature()[0, 0] > 298.8)
        True
    """

    def __init__(
        self,
        shape: tuple[int, int],
        spacing: float,
        thickness: float,
        material: Material = INCONEL_718,
        surroundings: Surroundings | None = None,
    ) -> None:
        if min(shape) < 1 or not spacing > 0 or not thickness > 0:
            raise ValueError(f"Plate: cells, spacing and thickness are positive, got {shape}, {spacing}, {thickness}")
        self.surroundings = around = surroundings or Surroundings()
        self.spacing, self.thickness = spacing, thickness
        self.enthalpy: Array = np.zeros(shape)
        self.active = np.zeros(shape, dtype=bool)
        self.lost = 0.0
        temperature = np.linspace(around.ambient, _HOTTEST, 20001)
        enthalpy = material.enthalpy(temperature, around.ambient)
        # Tables over equal steps of enthalpy: looking one up is an index and a line.
        self._grid = np.linspace(0.0, enthalpy[-1], 8193)
        self._temperature = np.interp(self._grid, enthalpy, temperature)
        self._theta = np.interp(self._grid, enthalpy, material.conductivity_integral(temperature))
        above = self._temperature - around.ambient
        radiated = around.emissivity * _STEFAN_BOLTZMANN * (self._temperature**4 - around.ambient**4)
        self._loss = around.convection * above + radiated
        self._open_x = np.zeros((shape[0], shape[1] - 1))
        self._open_z = np.zeros((shape[0] - 1, shape[1]))
        self._free: Array = np.zeros(shape)
        self._top = 0  # rows below it hold all active cells

    @property
    def stable_step(self) -> float:
        """The longest step, s, within which the explicit scheme cannot overshoot: 0.9 of the positivity bound."""
        width = self._grid[1]
        fastest = [np.diff(table).max() / width for table in (self._theta, self._loss, self._temperature)]
        rate = 4 * fastest[0] / self.spacing**2 + fastest[1] * (2 / self.thickness + 4 / self.spacing)
        return float(0.9 / (rate + fastest[2] * self.surroundings.base / self.spacing))

    def activate(self, cells: NDArray[np.bool_]) -> None:
        """Add cells ``(nz, nx)`` at ambient temperature; those that are there already stay as they are."""
        new = cells & ~self.active
        if not new.any():
            return
        self.active |= new
        here = self.active
        self._open_x[:] = here[:, 1:] & here[:, :-1]
        self._open_z[:] = here[1:] & here[:-1]
        # Faces towards nothing; below the lowest row is the base plate.
        padded = np.pad(here, 1)
        padded[0] = True
        neighbours = padded[:-2, 1:-1].astype(int) + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
        self._free = np.where(here, 2 / self.thickness + (4 - neighbours) / self.spacing, 0.0)
        self._top = max(self._top, int(np.flatnonzero(here.any(1))[-1]) + 1)

    def temperature(self) -> Array:
        """Temperatures ``(nz, nx)``, K."""
        return self.temperature_of(self.enthalpy)

    def temperature_of(self, enthalpy: Array | np.float64) -> Array:
        """Temperatures, K, of any enthalpies, J/m3; NaN stays NaN."""
        return np.asarray(np.interp(enthalpy, self._grid, self._temperature), dtype=np.float64)

    def energy(self) -> float:
        """Heat above ambient in the plate, in the unit of `lost`."""
        return float(self.enthalpy.sum()) * self._volume

    @property
    def _volume(self) -> float:
        return self.spacing**2 * (self.thickness if np.isfinite(self.thickness) else 1.0)

    def advance(self, step: float, source: Array | None = None) -> None:
        """One explicit step of ``step`` seconds with heat ``source`` (W/m3) in the lowest rows ``(<= nz, nx)``.

        Raises:
            ValueError: If a cell passes 4000 K.
        """
        if not self._top:
            return  # there is nothing yet
        state = self.enthalpy[: self._top]
        scaled = state * (1.0 / self._grid[1])
        index = scaled.astype(np.intp)
        if index.max(initial=0) >= len(self._grid) - 1:
            raise ValueError(f"Plate: a cell passed {_HOTTEST:g} K, where the tables end; lower the laser's power")
        scaled -= index
        theta = self._theta[index]
        theta += scaled * (self._theta[index + 1] - theta)
        loss = self._loss[index]
        loss += scaled * (self._loss[index + 1] - loss)
        rate = -loss * self._free[: self._top]
        base = np.interp(state[0], self._grid, self._temperature) - self.surroundings.ambient
        rate[0] -= base * (self.surroundings.base / self.spacing)
        self.lost -= float(rate.sum()) * step * self._volume
        along = (theta[:, 1:] - theta[:, :-1]) * self._open_x[: self._top]
        up = (theta[1:] - theta[:-1]) * self._open_z[: self._top - 1]
        along /= self.spacing**2
        up /= self.spacing**2
        rate[:, :-1] += along
        rate[:, 1:] -= along
        rate[:-1] += up
        rate[1:] -= up
        if source is not None:
            rate[: len(source)] += source[: self._top]
        state += step * rate
