"""The heat solver agrees with analytic solutions and with an ordinary differential equation."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.optimize import brentq
from scipy.special import k0

from domains.microstructure import thermal_history as th

STEEL = th.Material((300.0, 4000.0), (20.0, 20.0), (500.0, 500.0), density=8000.0)
DIFFUSIVITY = 20.0 / (500.0 * 8000.0)


def plate_at(temperature: float, shape: tuple[int, int], spacing: float, thickness: float, **around: float) -> th.Plate:
    plate = th.Plate(shape, spacing, thickness, STEEL, th.Surroundings(ambient=300.0, **around))
    plate.activate(np.ones(shape, dtype=bool))
    plate.enthalpy[:] = 500.0 * 8000.0 * (temperature - 300.0)
    return plate


def slab(place: np.ndarray, time: float, half: float, convection: float) -> np.ndarray:
    """Share of the first excess temperature left in a slab that cools on both sides (eigenfunction series)."""
    biot, total = convection * half / 20.0, 0.0
    for n in range(30):
        root = brentq(lambda a: a * np.sin(a) - biot * np.cos(a), n * np.pi, (n + 0.5) * np.pi)
        weight = 4 * np.sin(root) / (2 * root + np.sin(2 * root))
        total = total + weight * np.cos(root * place / half) * np.exp(-(root**2) * DIFFUSIVITY * time / half**2)
    return total


def test_a_bar_cools_as_the_product_of_two_slabs() -> None:
    plate = plate_at(1000.0, (40, 60), 0.25e-3, np.inf, convection=2000.0, emissivity=0.0, base=2000.0)
    steps = int(np.ceil(4.0 / plate.stable_step))
    for _ in range(steps):
        plate.advance(4.0 / steps)
    x = (np.arange(60) - 29.5) * 0.25e-3
    z = (np.arange(40) - 19.5) * 0.25e-3
    exact = 300.0 + 700.0 * slab(z, 4.0, 5e-3, 2000.0)[:, None] * slab(x, 4.0, 7.5e-3, 2000.0)
    assert exact.min() < 600 < 750 < exact.max()
    np.testing.assert_allclose(plate.temperature(), exact, rtol=0.01)


def test_a_moving_source_heats_a_thin_plate_as_rosenthal_says() -> None:
    spacing, thickness, speed, power = 0.5e-3, 3e-3, 0.01, 400.0
    plate = plate_at(300.0, (60, 120), spacing, thickness, convection=200.0, emissivity=0.0, base=0.0)
    steps = int(np.ceil(4.0 / plate.stable_step))
    centres = (np.arange(120) + 0.5) * spacing
    for n in range(steps):
        laser = 0.008 + speed * (n + 0.5) * 4.0 / steps
        share = np.clip(1 - np.abs(centres - laser) / spacing, 0, None)
        source = np.zeros((60, 120))
        source[29:31] = 0.5 * share * power / (spacing**2 * thickness)
        plate.advance(4.0 / steps, source)
    ahead = centres - 0.048
    z = (np.arange(60) - 29.5) * spacing
    distance = np.hypot(ahead, z[:, None])
    drag, leak = speed / (2 * DIFFUSIVITY), 2 * 200.0 / (20.0 * thickness)
    exact = power / (2 * np.pi * 20.0 * thickness) * np.exp(-drag * ahead) * k0(distance * np.sqrt(drag**2 + leak))
    near = (distance > 3e-3) & (distance < 8e-3) & (exact > 20)
    assert near.sum() > 100
    np.testing.assert_allclose(plate.temperature()[near] - 300.0, exact[near], rtol=0.03, atol=1.0)


def test_a_single_cell_radiates_and_freezes_as_its_ordinary_differential_equation() -> None:
    around = th.Surroundings(ambient=300.0, convection=50.0, emissivity=0.6, base=0.0)
    metal, plate = th.INCONEL_718, th.Plate((1, 1), 1e-3, 2e-3, surroundings=around)
    plate.activate(np.ones((1, 1), dtype=bool))
    start = np.linspace(300.0, 1800.0, 4001)
    plate.enthalpy[:] = metal.enthalpy(start, 300.0)[-1]
    area = 2 / 2e-3 + 3 / 1e-3

    def slope(_: float, state: np.ndarray) -> np.ndarray:
        lost = 50.0 * (state - 300.0) + 0.6 * 5.670374419e-8 * (state**4 - 300.0**4)
        capacity = np.interp(state, metal.temperatures, metal.heat_capacity)
        capacity = capacity + metal.latent_heat / (1609.0 - 1533.0) * ((state > 1533.0) & (state < 1609.0))
        return -lost * area / (metal.density * capacity)

    exact = solve_ivp(slope, (0.0, 20.0), [1800.0], max_step=0.01, rtol=1e-8, t_eval=[2.0, 5.0, 10.0, 20.0]).y[0]
    found = []
    for n in range(1, 20001):
        plate.advance(1e-3)
        if n in (2000, 5000, 10000, 20000):
            found.append(plate.temperature()[0, 0])
    assert exact[0] > 1533 > exact[2]
    np.testing.assert_allclose(found, exact, rtol=2e-3)


def test_the_stable_step_never_makes_cold_colder() -> None:
    plate = plate_at(300.0, (9, 9), 0.5e-3, 3e-3)
    plate.enthalpy[4, 4] = 500.0 * 8000.0 * 2000.0
    for _ in range(50):
        before = plate.enthalpy.max()
        plate.advance(plate.stable_step)
        assert plate.enthalpy.min() >= 0
        assert plate.enthalpy.max() <= before


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("ambient", (-5.0, 0.0, 4000.0, np.nan)),
        ("convection", (-1.0, np.inf, np.nan)),
        ("emissivity", (-0.1, 1.1, np.nan)),
        ("base", (-1.0, np.inf, np.nan)),
    ],
)
def test_impossible_surroundings_are_refused_by_name(name: str, wrong: tuple[float, ...]) -> None:
    for value in wrong:
        with pytest.raises(ValueError, match=name):
            th.Surroundings(**{name: value})


def test_impossible_plates_and_too_much_heat_are_refused() -> None:
    plate = plate_at(300.0, (1, 1), 1e-3, 1e-3)
    plate.enthalpy[:] = 1e12
    with pytest.raises(ValueError):
        plate.advance(1e-3)
    with pytest.raises(ValueError):
        th.Plate((0, 3), 1e-3, 1e-3)
