"""Thermal properties of a metal that melts.

With T0 the ambient temperature, rho the density, c(T) the heat capacity, k(T) the conductivity and m(T) the share that
has melted, from 0 at the solidus to 1 at the liquidus:

    H(T)     = rho (integral of c from T0 to T + latent heat (m(T) - m(T0)))        J/m3
    theta(T) = integral of k from T0 to T                                           W/m
"""

import dataclasses

import numpy as np

from domains.microstructure.thermal_history.histories import Array


@dataclasses.dataclass(frozen=True)
class Material:
    """Thermal properties as functions of temperature, linear between the given ones and constant beyond.

    Args:
        temperatures: Where the next two are given, K.
        conductivity: W/(m K).
        heat_capacity: J/(kg K), without the latent heat.
        density: kg/m3, one number: the cells do not move.
        solidus: Where melting starts, K.
        liquidus: Where it ends, K; the latent heat is spread evenly between the two.
        latent_heat: J/kg.

    Raises:
        ValueError: The temperatures do not increase or the lists differ in length, a property is not positive, or the
            liquidus is not above the solidus.
    """

    temperatures: tuple[float, ...]
    conductivity: tuple[float, ...]
    heat_capacity: tuple[float, ...]
    density: float
    solidus: float = 1533.0
    liquidus: float = 1609.0
    latent_heat: float = 0.0

    def __post_init__(self) -> None:
        steps = np.diff(self.temperatures)
        if len(self.temperatures) < 1 or not np.all(steps > 0):
            raise ValueError(f"temperatures: expected increasing ones, got {self.temperatures}")
        for name in ("conductivity", "heat_capacity"):
            values = getattr(self, name)
            if len(values) != len(self.temperatures) or not all(0 < value < np.inf for value in values):
                raise ValueError(f"{name}: expected {len(self.temperatures)} positive numbers, got {values}")
        if not (0 < self.density < np.inf and 0 <= self.latent_heat < np.inf):
            raise ValueError(
                f"density, latent_heat: expected a positive number and one not negative, got {self.density}, "
                f"{self.latent_heat}"
            )
        if not self.liquidus > self.solidus:
            raise ValueError(f"liquidus: expected one above the solidus of {self.solidus:g} K, got {self.liquidus:g}")

    def enthalpy(self, temperature: Array, ambient: float) -> Array:
        """Enthalpy above ambient, J/m3, at increasing temperatures of which the first is ambient."""
        capacity = np.interp(temperature, self.temperatures, self.heat_capacity)
        sensible = _cumulative(capacity, temperature)
        melted = np.clip((temperature - self.solidus) / (self.liquidus - self.solidus), 0, 1)
        start = np.clip((ambient - self.solidus) / (self.liquidus - self.solidus), 0, 1)
        total: Array = self.density * (sensible + self.latent_heat * (melted - start))
        return total

    def conductivity_integral(self, temperature: Array) -> Array:
        """Integral of the conductivity from the first of increasing temperatures, W/m."""
        return _cumulative(np.interp(temperature, self.temperatures, self.conductivity), temperature)


def _cumulative(values: Array, places: Array) -> Array:
    return np.concatenate([[0.0], np.cumsum(0.5 * (values[1:] + values[:-1]) * np.diff(places))])


INCONEL_718 = Material(
    temperatures=(294.0, 922.0, 1533.0, 1609.0),
    conductivity=(11.1, 21.2, 31.0, 31.0),
    heat_capacity=(435.0, 545.0, 650.0, 720.0),
    density=7800.0,
    latent_heat=210e3,
)
"""Typical values, after Mills, Recommended Values of Thermophysical Properties for Selected Commercial Alloys (2002),
and below 1000 K after the maker's data sheet (Special Metals, INCONEL alloy 718): written down from memory and rounded,
not a certified data set. The conductivity is carried on along a straight line to the solidus, the density is the mean
of cold and liquid metal, and the bump of the heat capacity near 1100 K is left out."""
