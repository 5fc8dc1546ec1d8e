"""Phases: the solvers' values under their names, their derivatives, and what cannot be."""

import dataclasses
import json

import pytest
import torch

from domains.microstructure.cells import generate
from domains.microstructure.conductivity import effective_conductivity
from domains.microstructure.elasticity import Material, effective_stiffness
from domains.microstructure.materials import Materials
from domains.microstructure.permeability import permeability
from domains.microstructure.properties import read_properties

ALL = Materials(conductivities=(0.2, 3.0), young=(0.5, 2.0), poisson=(0.1, 0.4), permeability=True)


def cells() -> torch.Tensor:
    return torch.stack([generate("spinodal", (16, 16), 0.4, seed=s, wavelength=8.0) for s in range(2)])


def test_columns_are_what_the_solvers_say_of_the_phases_in_their_order():
    found = ALL.solve(cells())
    assert torch.allclose(found["volume_fraction"], torch.tensor(0.4, dtype=torch.float64), atol=0.5 / 256)
    assert torch.equal(found["conductivity"], effective_conductivity(cells(), (0.2, 3.0)))
    assert torch.equal(found["stiffness"], effective_stiffness(cells(), (Material(0.5, 0.1), Material(2.0, 0.4))))
    fluid = permeability(cells(), 2, voxel=1.0, tolerance=1e-8)  # through phase 0, in voxels^2
    assert torch.allclose(found["permeability"], fluid, rtol=1e-3, atol=1e-4)


def test_cells_as_a_data_set_holds_them():
    expected = ALL.solve(cells())
    for kind in (torch.uint8, torch.bool):
        for name, values in ALL.solve(cells().to(kind)).items():
            assert torch.equal(values, expected[name])


@pytest.mark.parametrize("bad", [torch.full((1, 8, 8), torch.nan), torch.full((1, 8, 8), 2.0), torch.zeros(8, 8)])
def test_what_is_no_batch_of_cells_is_refused(bad):
    with pytest.raises(ValueError):
        Materials(conductivities=None, young=None).solve(bad)


def test_phases_alone():
    uniform = torch.stack([torch.zeros(4, 4), torch.ones(4, 4)])
    names = ["conductivity_yy", "shear_xy"]
    values = read_properties(dataclasses.replace(ALL, permeability=False).solve(uniform), names)
    assert torch.allclose(values, torch.tensor([[0.2, 0.5 / 2.2], [3.0, 2.0 / 2.8]]), rtol=1e-5)


def test_only_what_is_asked_for_is_solved():
    assert set(ALL.needed_for(["volume_fraction"]).solve(cells())) == {"volume_fraction"}
    assert set(ALL.needed_for(["shear_xy"]).solve(cells())) == {"volume_fraction", "stiffness"}
    asked = ALL.needed_for(["permeability_xx", "conductivity_yy"])
    assert set(asked.solve(cells())) == {"volume_fraction", "conductivity", "permeability"}
    assert not Materials().needed_for(["permeability_xx"]).permeability


@pytest.mark.parametrize("name", ["conductivity_xx", "youngs_y", "shear_xy", "permeability_yy"])
def test_values_are_differentiable_in_grey_cells(name):
    grey = (0.15 + 0.7 * cells()[:1]).requires_grad_(True)
    asked = ALL.needed_for([name])
    value = read_properties(asked.solve(grey), [name])[0, 0]
    slope = torch.autograd.grad(value, grey)[0]
    direction = torch.randn(grey.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    step = 2e-3
    with torch.no_grad():
        ends = [read_properties(asked.solve(grey + s * step * direction), [name])[0, 0] for s in (1, -1)]
    assert float((slope * direction).sum()) == pytest.approx(float((ends[0] - ends[1]) / (2 * step)), rel=0.02)


@pytest.mark.parametrize("name", ["conductivity_xx", "youngs_y", "permeability_yy"])
def test_second_derivatives_are_refused_rather_than_wrong(name):
    grey = (0.15 + 0.7 * cells()[:1]).requires_grad_(True)
    value = read_properties(ALL.needed_for([name]).solve(grey), [name])[0, 0]
    slope = torch.autograd.grad(value, grey, create_graph=True)[0]
    with pytest.raises(RuntimeError):
        torch.autograd.grad(slope.square().sum(), grey)


def test_second_derivatives_through_a_penalty_are_refused_too():
    grey = (0.15 + 0.7 * cells()[:1]).requires_grad_(True)
    value = effective_conductivity(grey, (0.2, 3.0), penalty=3.0)[0, 0, 0]
    slope = torch.autograd.grad(value, grey, create_graph=True)[0]
    with pytest.raises(RuntimeError):
        slope.sum().backward()


def test_settings_survive_json():
    assert Materials.from_settings(json.loads(json.dumps(dataclasses.asdict(ALL)))) == ALL
    bare = Materials(conductivities=None, young=None)
    assert Materials.from_settings(json.loads(json.dumps(dataclasses.asdict(bare)))) == bare


@pytest.mark.parametrize(
    "bad",
    [
        {"conductivities": (0.0, 1.0)},
        {"conductivities": (1.0, float("inf"))},
        {"young": (-1.0, 1.0)},
        {"poisson": (0.3, 0.5)},
    ],
)
def test_phases_that_cannot_be(bad):
    with pytest.raises(ValueError):
        Materials(**bad)


def test_no_moduli_no_elastic_phases():
    with pytest.raises(ValueError):
        Materials(young=None).elastic()
