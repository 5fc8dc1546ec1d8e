"""What no cell can have: reached by layers, never passed by any cell, refused for phases without the property."""

import numpy as np
import pytest
import torch

from domains.microstructure.cells import generate
from domains.microstructure.materials import Materials
from domains.microstructure.permeability import permeability
from domains.microstructure.properties import property_names, read_properties
from domains.microstructure.reachable import physical_bounds

PHASES = Materials(conductivities=(2.0, 0.3), young=(0.2, 1.5), poisson=(0.1, 0.35))


def test_layers_reach_both_bounds_of_the_conductivity():
    layers = torch.zeros(8, 4, dtype=torch.float64)
    layers[:3] = 1
    values = read_properties(PHASES.solve(layers[None]), ["conductivity_xx", "conductivity_yy"])[0]
    low, high = physical_bounds("conductivity_xx", PHASES, (8, 4), 3 / 8)
    assert values.tolist() == pytest.approx([low, high], rel=1e-6)


def test_layers_without_lateral_contraction_reach_both_bounds_of_the_young_modulus():
    phases = Materials(conductivities=None, young=(0.2, 1.5), poisson=(0.0, 0.0))
    layers = torch.zeros(8, 4, dtype=torch.float64)
    layers[:3] = 1
    values = read_properties(phases.solve(layers[None]), ["youngs_x", "youngs_y"])[0]
    assert values.tolist() == pytest.approx(physical_bounds("youngs_x", phases, (8, 4), 3 / 8), rel=1e-6)


@pytest.mark.parametrize("size", [(16, 16), (8, 8, 8)])
def test_no_cell_passes_a_bound(size):
    cells = torch.stack([generate("gaussian", size, f, seed=s, length=2.0) for s, f in enumerate((0.2, 0.5, 0.8))])
    names = property_names(["conductivity", "stiffness"], len(size))
    for cell, values in zip(cells, read_properties(PHASES.solve(cells), names), strict=True):
        for name, value in zip(names, values.tolist(), strict=True):
            low, high = physical_bounds(name, PHASES, size, float(cell.mean()))
            least, most = physical_bounds(name, PHASES, size)
            assert least <= low < value < high <= most


def test_mixtures_stiffer_than_both_phases_are_not_refused():
    phases = Materials(conductivities=None, young=(0.36, 0.7975), poisson=(-0.8, 0.45))  # alone, 1 in plane strain
    layers = torch.zeros(8, 4, dtype=torch.float64)
    layers[:4] = 1
    value = float(read_properties(phases.solve(layers[None]), ["youngs_x"]))
    for material in phases.elastic():
        alone = {"stiffness": torch.from_numpy(material.stiffness(2))[None]}
        assert float(read_properties(alone, ["youngs_x"])) == pytest.approx(1.0)
    assert value == pytest.approx(1 / (1 - (4 / 9 + 9 / 11) ** 2 / 4))  # equal strain along the layers
    low, high = physical_bounds("youngs_x", phases, (8, 4))
    assert low <= value <= high


@pytest.mark.parametrize("size", [(12, 12), (8, 8, 8)])
def test_every_flow_past_some_solid_is_within_the_bound(size):
    cell = torch.zeros(size, dtype=torch.float64)
    cell[(3,) * len(size)] = 1
    name = f"permeability_{'xyz'[len(size) - 1] * 2}"
    low, high = physical_bounds(name, Materials(permeability=True), size)
    most = float(permeability(cell, voxel=1.0)[-1, -1])
    assert low == 0
    assert most * 0.999 <= high <= most * 1.01
    cell[(4,) * len(size)] = 1
    assert float(permeability(cell, voxel=1.0)[-1, -1]) < high


def test_shares_and_missing_properties():
    assert physical_bounds("volume_fraction", PHASES, (8, 8)) == (0.0, 1.0)
    for name, phases in (("conductivity_xx", Materials(conductivities=None)), ("youngs_x", Materials(young=None))):
        with pytest.raises(ValueError):
            physical_bounds(name, phases, (8, 8))
    with pytest.raises(ValueError):
        physical_bounds("hardness", PHASES, (8, 8))


def test_the_order_of_the_phases_does_not_matter_without_a_fraction():
    turned = Materials(conductivities=(0.3, 2.0), young=(1.5, 0.2), poisson=(0.35, 0.1))
    for name in ("conductivity_yy", "youngs_x", "shear_xy"):
        assert np.allclose(physical_bounds(name, PHASES, (8, 8)), physical_bounds(name, turned, (8, 8)), rtol=1e-6)
