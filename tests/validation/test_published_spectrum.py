"""Published fields of two-dimensional turbulence: our measures give the energy and the slope that are known of them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import loadmat

from domains.turbulence.diagnostics import energy, energy_spectrum, enstrophy
from domains.turbulence.flows import DecayingTurbulence
from domains.turbulence.grid import Grid
from domains.turbulence.simulate import simulate

FOLDER = Path(__file__).parents[3] / "shared" / "data" / "turbulence" / "py2d_256"
GRID = Grid((256, 256))


@pytest.fixture(scope="module")
def vorticity() -> torch.Tensor:
    paths = sorted(FOLDER.glob("*.mat"))
    if not paths:
        pytest.skip(f"the fields are not there: {FOLDER}")
    return torch.stack([torch.from_numpy(loadmat(path)["Omega"].astype(float)) for path in paths])


@pytest.mark.validation
def test_energy_and_slope_are_the_published_ones(vorticity: torch.Tensor) -> None:
    assert float(energy(vorticity, GRID).mean()) == pytest.approx(1.04, rel=0.05)
    k, spectrum = energy_spectrum(vorticity, GRID)
    inside = (k >= 8) & (k <= 30)
    x, y = (values[..., inside].log().numpy() for values in (k, spectrum))
    slopes = [float(np.polyfit(x, row, 1)[0]) for row in y]
    assert np.mean(slopes) == pytest.approx(-3.8, abs=0.1)
    assert np.std(slopes) < 0.3


@pytest.mark.validation
def test_they_keep_energy_and_enstrophy_without_viscosity(vorticity: torch.Tensor) -> None:
    start = GRID.fields(GRID.coefficients(vorticity[:1]))
    later = simulate(DecayingTurbulence(viscosity=0.0), GRID, start, [0.1], step=0.0025).fields[:, 0]
    assert float(energy(later, GRID) / energy(start, GRID)) == pytest.approx(1, abs=1e-7)
    assert float(enstrophy(later, GRID) / enstrophy(start, GRID)) == pytest.approx(1, abs=1e-6)
