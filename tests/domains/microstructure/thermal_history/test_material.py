"""Enthalpy and conductivity integral against quadrature."""

import dataclasses

import numpy as np
import pytest
from scipy.integrate import quad

from domains.microstructure import thermal_history as th


@pytest.mark.parametrize("temperature", [400.0, 1200.0, 1570.0, 2000.0])
def test_tables_are_the_integrals_of_the_properties(temperature: float) -> None:
    metal = th.INCONEL_718
    places = np.linspace(300.0, temperature, 20001)
    corners = [t for t in metal.temperatures if 300 < t < temperature] or None
    sensible = quad(lambda t: np.interp(t, metal.temperatures, metal.heat_capacity), 300, temperature, points=corners)[
        0
    ]
    melted = np.clip((temperature - 1533) / (1609 - 1533), 0, 1)
    assert metal.enthalpy(places, 300.0)[-1] == pytest.approx(7800 * (sensible + 210e3 * melted), rel=1e-6)
    theta = quad(lambda t: np.interp(t, metal.temperatures, metal.conductivity), 300, temperature, points=corners)[0]
    assert metal.conductivity_integral(places)[-1] == pytest.approx(theta, rel=1e-6)


@pytest.mark.parametrize(
    "change",
    [
        {"temperatures": th.INCONEL_718.temperatures[::-1]},
        {"conductivity": th.INCONEL_718.conductivity[:2]},
        {"heat_capacity": (-1.0, 545.0, 650.0, 720.0)},
        {"density": 0.0},
        {"latent_heat": float("nan")},
        {"liquidus": 1500.0},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_material_that_cannot_be_is_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        dataclasses.replace(th.INCONEL_718, **change)
