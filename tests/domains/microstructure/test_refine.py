"""Refinement reaches targets that the solver confirms, whatever it starts from."""

import pytest
import torch

from domains.microstructure.cells import generate
from domains.microstructure.conductivity import effective_conductivity
from domains.microstructure.connectivity import is_connected, largest_component
from domains.microstructure.elasticity import Material, effective_stiffness
from domains.microstructure.materials import Materials
from domains.microstructure.properties import read_properties
from domains.microstructure.refine import NotPositiveError, refine

MATERIALS = Materials()


@pytest.mark.parametrize("seed", range(3))
def test_three_properties_at_once(seed):
    start = generate("spinodal", (48, 48), 0.5, seed=seed)
    other = generate("spinodal", (48, 48), 0.52, seed=seed + 100)
    names = ["conductivity_xx", "youngs_y", "volume_fraction"]
    near, far = (read_properties(MATERIALS.solve(cell[None]), names)[0] for cell in (start, other))
    wanted = near + 0.3 * (far - near)  # between two cells that exist
    found = refine(start, dict(zip(names, wanted.tolist(), strict=True)), MATERIALS, tolerance=0.005)
    assert set(found.cell.unique().tolist()) == {0.0, 1.0}
    conductivity = effective_conductivity(found.cell[None].double(), (0.1, 1.0))[0, 0, 0]
    stiffness = effective_stiffness(found.cell[None].double(), (Material(0.1, 0.3), Material(1.0, 0.3)))[0]
    achieved = torch.stack([conductivity, 1 / torch.linalg.inv(stiffness)[1, 1], found.cell.double().mean()])
    assert float((achieved / wanted - 1).abs().max()) < 0.006
    assert float((achieved / found.achieved - 1).abs().max()) < 1e-4
    assert found.error == min(found.path) <= found.path[0]


def test_three_dimensions_and_permeability():
    materials = Materials(conductivities=None, permeability=True)
    start = generate("spinodal", (16, 16, 16), 0.5, seed=1, wavelength=8.0)
    names = ["permeability_xx", "youngs_z"]
    now = read_properties(materials.solve(start[None]), names)[0]
    targets = dict(zip(names, (now * torch.tensor([1.1, 0.97])).tolist(), strict=True))
    found = refine(start, targets, materials, tolerance=0.01)
    assert found.error <= 0.01


def test_a_cell_that_is_right_is_left_alone():
    start = generate("spinodal", (32, 32), 0.5, seed=0).float()
    now = float(effective_conductivity(start[None], (0.1, 1.0))[0, 0, 0])
    found = refine(start, {"conductivity_xx": now}, MATERIALS)
    assert torch.equal(found.cell, start)
    assert len(found.path) == 1


def test_impossible_targets_and_uniform_cells_are_refused():
    cell = generate("spinodal", (16, 16), 0.5, seed=0)
    with pytest.raises(ValueError):
        refine(cell, {"conductivity_xx": 1.5}, MATERIALS)
    with pytest.raises(ValueError):
        refine(cell, {"hardness": 0.5}, MATERIALS)
    with pytest.raises(ValueError):
        refine(torch.ones(16, 16), {"conductivity_xx": 0.5}, MATERIALS)
    with pytest.raises(ValueError, match="targets"):
        refine(cell, {}, MATERIALS)


@pytest.mark.parametrize(("symmetry", "size"), [("mirror", (24, 32)), ("cubic", (32, 32)), ("cubic", (12, 12, 12))])
def test_a_symmetry_is_kept(symmetry, size):
    axes = [(torch.arange(n) + 0.5) / n for n in size]
    waves = sum(
        torch.cos(2 * torch.pi * x).reshape([-1 if i == j else 1 for j in range(len(size))]) for i, x in enumerate(axes)
    )
    start = (waves > 0.1).float()
    now = float(read_properties(MATERIALS.solve(start[None]), ["conductivity_xx"]))
    found = refine(start, {"conductivity_xx": 1.08 * now}, MATERIALS, symmetry=symmetry)
    assert found.error < 0.06
    assert not torch.equal(found.cell, start)
    for axis in range(len(size)):
        assert torch.equal(found.cell.flip(axis), found.cell)
    if symmetry == "cubic":
        assert torch.equal(found.cell.transpose(0, 1), found.cell)


@pytest.mark.parametrize("seed", range(6))
def test_a_cell_in_one_piece_stays_in_one(seed):
    start = largest_component(generate("spinodal", (24, 24), 0.45, seed=seed, wavelength=6.0)).float()
    now = float(read_properties(MATERIALS.solve(start[None]), ["conductivity_xx"]))
    found = refine(start, {"conductivity_xx": 0.93 * now}, MATERIALS, connected=True)
    assert is_connected(found.cell)
    assert found.error < 0.07


def test_cells_that_are_not_as_said_are_refused():
    cell = generate("spinodal", (16, 16), 0.5, seed=0).float()
    for wrong, options, match in (
        (cell, {"symmetry": "mirror"}, "symmetry"),
        (cell, {"symmetry": "round"}, "symmetry"),
        (cell[:, :8], {"symmetry": "cubic"}, "one length"),
        (torch.eye(16), {"connected": True}, "one piece"),
        (0.3 + 0.4 * cell, {}, "0 and 1"),
    ):
        with pytest.raises(ValueError, match=match):
            refine(wrong, {"conductivity_xx": 0.4}, MATERIALS, **options)


FLOW = Materials(conductivities=None, young=None, permeability=True)


@pytest.mark.parametrize("size", [(12, 12), (8, 8, 8)])
def test_a_cell_without_flow_is_refused_after_one_solve(size, monkeypatch):
    solves = []
    solve = Materials.solve
    monkeypatch.setattr(Materials, "solve", lambda *given: solves.append(given) or solve(*given))
    wall = torch.zeros(size)
    wall[4:6], wall[0, :3] = 1, 1  # across x, and something for the flow along y to go round
    with pytest.raises(NotPositiveError, match=r"permeability_xx: .*got 0"):
        refine(wall, {"permeability_yy": 2.0, "permeability_xx": 5.0}, FLOW)
    assert len(solves) == 1
    along = float(read_properties(solve(FLOW, wall[None]), ["permeability_yy"]))
    assert refine(wall, {"permeability_yy": along / 1.1}, FLOW, max_solves=1).error == pytest.approx(0.1, rel=1e-4)


def test_the_best_cell_is_kept_where_a_change_ends_the_flow(monkeypatch):
    cell = generate("spinodal", (16, 16), 0.5, seed=0)
    cells = []

    def shut_after_the_first(columns, names):
        values = read_properties(columns, names)
        cells.append(values)
        return values if len(cells) == 1 else 0 * values

    monkeypatch.setattr("domains.microstructure.refine.read_properties", shut_after_the_first)
    found = refine(cell, {"conductivity_xx": 0.4}, MATERIALS, tolerance=0.0)
    assert len(cells) == len(found.path) == 2
    assert torch.equal(found.cell, cell.float())


@pytest.mark.parametrize("solves", [0, -1])
def test_no_solve_at_all_is_refused_rather_than_endless(solves):
    with pytest.raises(ValueError, match="max_solves"):
        refine(generate("spinodal", (16, 16), 0.5, seed=0), {"volume_fraction": 0.6}, MATERIALS, max_solves=solves)


def test_the_solver_is_called_as_often_as_allowed():
    cell = generate("spinodal", (16, 16), 0.5, seed=0)
    for solves in (1, 3):
        assert len(refine(cell, {"conductivity_xx": 0.4}, MATERIALS, tolerance=0.0, max_solves=solves).path) == solves
