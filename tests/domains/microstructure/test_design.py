"""Designs: share and symmetry hold exactly, no two are alike, the solver confirms them, the impossible is refused."""

import itertools

import pytest
import torch

from domains.microstructure.cells import generate
from domains.microstructure.connectivity import is_connected
from domains.microstructure.design import Designer, Library, shifted_distance
from domains.microstructure.janus import Janus, JanusConfig
from domains.microstructure.materials import Materials
from domains.microstructure.properties import read_properties

TARGETS = {"conductivity_xx": 0.42, "youngs_y": 0.3}


@pytest.fixture(scope="module")
def untrained() -> Designer:
    """Three dimensions and the permeability, where only exact statements are tested."""
    torch.manual_seed(0)
    names = ("permeability_xx", "youngs_z")
    cells = torch.stack([generate("spinodal", (16, 16, 16), 0.5, seed=s, wavelength=8.0) for s in range(3)])
    values = read_properties(Materials(conductivities=None, permeability=True).solve(cells.float()), names)
    logs = values.log()
    model = Janus(JanusConfig((16, 16, 16), names, latent=4, width=4), logs.mean(0), logs.std(0))
    materials = Materials(conductivities=None, permeability=True)
    return Designer(model, Library(cells.to(torch.uint8), values, cells.flatten(1).mean(1).float(), materials))


def plane_designer(size: tuple[int, int], materials: Materials, names: tuple[str, ...], fraction: float) -> Designer:
    """Cells of one volume fraction with positive properties, of twelve, and a model that has learned nothing."""
    torch.manual_seed(0)
    cells = torch.stack([generate("spinodal", size, fraction, seed=s, wavelength=8.0) for s in range(12)])
    values = read_properties(materials.solve(cells.float()), names)
    cells, values = cells[(values > 0).all(1)], values[(values > 0).all(1)]
    logs = values.log()
    model = Janus(JanusConfig(size, names, latent=4, width=4), logs.mean(0), logs.std(0))
    return Designer(model, Library(cells.to(torch.uint8), values, cells.flatten(1).mean(1).float(), materials))


@pytest.fixture(scope="module")
def alike() -> Designer:
    return plane_designer((16, 16), Materials(young=None), ("conductivity_xx", "conductivity_yy"), 0.5)


def solved(designer: Designer, cells: torch.Tensor, names) -> torch.Tensor:
    return read_properties(designer.library.materials.solve(cells), list(names))


def test_images_in_double_precision_start_designs_and_those_that_do_not_fit_are_refused(alike):
    names = alike.model.config.properties
    images = torch.stack([generate("spinodal", (16, 16), 0.5, seed=s, wavelength=8.0) for s in range(4)]).double()
    values = solved(alike, images, names)
    assert values.dtype == torch.float64
    ours = {"images": images, "image_values": values}
    found = alike.design({"conductivity_xx": 0.4}, count=2, **ours)
    single = alike.design({"conductivity_xx": 0.4}, count=2, images=images.float(), image_values=values.float())
    assert torch.equal(found.cells, single.cells)
    for change in (
        {"images": images * torch.nan},
        {"images": torch.cat([images, images], 1)},
        {"image_values": values[:3]},
        {"images": None},
    ):
        with pytest.raises(ValueError, match=r"images|cells|image_values"):
            alike.design({"conductivity_xx": 0.4}, **(ours | change))


@pytest.mark.parametrize("fraction", [0.4, 0.501, 0.62])
def test_the_volume_fraction_is_met_to_a_voxel(small, fraction):
    found = small.designer.design({"conductivity_xx": 0.4}, volume_fraction=fraction, count=3)
    assert set(found.cells.unique().tolist()) == {0.0, 1.0}
    assert (found.cells.flatten(1).sum(1) - fraction * 256).abs().max() <= 0.5
    assert torch.equal(found.cells, (found.logits > 0).float())


def test_designs_are_nearer_to_their_targets_than_their_starts(small):
    wanted = read_properties(small.data.columns, list(TARGETS))[small.held_out[0] :: 6]
    # of a few cells none is near
    designer = Designer(small.designer.model, Library.of(small.data, small.designer.model, range(16)))
    off = {}
    for steps in (0, 6):
        errors = []
        for values in wanted:
            found = designer.design(dict(zip(TARGETS, values.tolist(), strict=True)), count=4, steps=steps)
            errors.append((solved(designer, found.cells, TARGETS) / values - 1).abs().amax(1))
        off[steps] = float(torch.cat(errors).median())
    assert off[6] < 0.8 * off[0]


def test_known_cells_are_known_with_their_axes_exchanged(small):
    designer, count = small.designer, len(small.designer.library)
    rows = torch.tensor([3, count + 3])
    assert len(designer.known) == 2 * count
    cells = designer._turned(rows)
    assert torch.equal(cells[1], cells[0].T)
    told = designer.model.physical(designer.known[rows])
    assert torch.allclose(told, solved(designer, cells, designer.model.config.properties), rtol=1e-3)
    assert torch.equal(designer.fractions[rows], cells.flatten(1).mean(1))


def test_what_is_said_of_a_design_agrees_with_itself(small):
    found = small.designer.design(TARGETS, count=4)
    wanted = torch.tensor(list(TARGETS.values()))
    assert torch.allclose(found.errors, (found.predicted / wanted - 1).abs().amax(1), atol=1e-6)
    assert torch.equal(found.errors, found.errors.sort().values)


def test_designs_differ_over_all_shifts(small):
    found = small.designer.design(TARGETS, count=5, starts=60, separation=0.15)
    assert len(found) > 2
    for first, second in itertools.combinations(found.cells, 2):
        assert float(shifted_distance(first[None], second)[0]) > 0.15


def test_the_shifted_distance_is_the_least_over_every_shift():
    random = torch.Generator().manual_seed(0)
    for size in ((6, 8), (4, 3, 5)):
        first = (torch.rand(2, *size, generator=random) > 0.4).float()
        second = torch.rand(size, generator=random) > 0.6
        axes = tuple(range(len(size)))
        for a, found in zip(first, shifted_distance(first, second.float()), strict=True):
            every = itertools.product(*(range(n) for n in size))
            least = min(float((torch.roll(a, shift, axes) != second).float().mean()) for shift in every)
            assert float(found) == pytest.approx(least, abs=1e-6)


@pytest.mark.parametrize("fraction", [None, 0.45])
def test_symmetric_designs_in_two_dimensions(small, fraction):
    mirror = small.designer.design(TARGETS, symmetry="mirror", volume_fraction=fraction, count=2).cells
    cubic = small.designer.design(TARGETS, symmetry="cubic", volume_fraction=fraction, count=2).cells
    for cells in (mirror, cubic):
        assert torch.equal(cells, cells.flip(1))
        assert torch.equal(cells, cells.flip(2))
        if fraction is not None:  # to an orbit of the symmetry
            assert (cells.flatten(1).mean(1) - fraction).abs().max() <= 8 / 256
    assert torch.equal(cubic, cubic.mT)


@pytest.mark.parametrize("fraction", [None, 0.5])
def test_symmetric_designs_in_three_dimensions(untrained, fraction):
    values = untrained.library.values[0].tolist()
    targets = dict(zip(("permeability_xx", "youngs_z"), values, strict=True))
    cells = untrained.design(targets, symmetry="cubic", volume_fraction=fraction, separation=0.0, steps=1).cells
    assert len(cells)
    for order in itertools.permutations((1, 2, 3)):
        assert torch.equal(cells, cells.permute(0, *order))
    for axis in (1, 2, 3):
        assert torch.equal(cells, cells.flip(axis))


def test_connected_designs_are_in_one_piece(small):
    options = {"volume_fraction": 0.38, "count": 300, "starts": 300, "separation": 0.0}
    free = small.designer.design({"conductivity_xx": 0.2}, **options)
    found = small.designer.design({"conductivity_xx": 0.2}, connected=True, **options)
    whole = [is_connected(cell) for cell in free.cells]
    assert 0 < sum(whole) < len(whole)
    assert len(found) == sum(whole)
    assert all(is_connected(cell) for cell in found.cells)


@pytest.mark.parametrize(
    ("targets", "fraction"),
    [
        ({"conductivity_xx": 1.01}, None),  # more than either phase
        ({"conductivity_xx": 0.09}, None),
        ({"conductivity_xx": 0.50}, 0.4),  # Voigt: 0.46
        ({"conductivity_xx": 0.14}, 0.4),  # Reuss: 0.156
        ({"youngs_y": 0.65}, 0.4),
        ({"conductivity_xx": 0.4, "shear_xy": 0.5}, None),
        ({"conductivity_xx": float("nan")}, None),
        ({"conductivity_xx": -0.4}, None),
        ({"conductivity_zz": 0.4}, None),
        ({}, None),
        ({"conductivity_xx": 0.4}, 0.0),
        ({"conductivity_xx": 0.4}, 1.0),
    ],
)
def test_what_no_cell_can_be_is_refused(small, targets, fraction):
    with pytest.raises(ValueError):
        small.designer.design(targets, volume_fraction=fraction)


@pytest.mark.parametrize(
    "options",
    [
        {"symmetry": "round"},
        {"through": "wall"},
        {"count": 0},
        {"steps": -1},
        {"starts": 0},
        {"starts": -1},
        {"images": torch.ones(1, 20, 16)},
    ],
)
def test_bad_options_are_refused(small, options):
    with pytest.raises(ValueError):
        small.designer.design(TARGETS, **options)


@pytest.mark.parametrize(
    "bands", [{"conductivity_yy": 0.1}, {"conductivity_xx": -0.1}, {"conductivity_xx": float("nan")}]
)
def test_bands_that_would_do_nothing_are_refused(alike, bands):
    with pytest.raises(ValueError, match="bands"):
        alike.design({"conductivity_xx": 0.35}, bands=bands, count=1)


def test_axes_of_different_length_are_not_exchanged():
    designer = plane_designer((16, 24), Materials(young=None), ("conductivity_xx",), 0.5)
    with pytest.raises(ValueError, match="symmetry"):
        designer.design({"conductivity_xx": 0.35}, symmetry="cubic", count=1)
    assert len(designer.design({"conductivity_xx": 0.35}, symmetry="mirror", count=1)) == 1


def test_a_cell_without_flow_is_no_start():
    phases = Materials(conductivities=None, young=None, permeability=True)
    designer = plane_designer((16, 16), phases, ("permeability_xx", "permeability_yy"), 0.3)
    walls = torch.zeros(1, 16, 16)
    walls[:, :, :8] = 1.0
    values = read_properties(phases.solve(walls), designer.model.config.properties)
    assert values[0, 1] == 0
    with pytest.raises(ValueError, match="permeability_yy"):
        designer.design({"permeability_yy": 0.3}, images=walls, image_values=values)
    found = designer.design({"permeability_xx": 0.5}, images=walls, image_values=values)  # which it has
    assert bool(torch.isfinite(found.logits).all())


def test_no_flow_at_all_is_no_target(untrained):
    with pytest.raises(ValueError):
        untrained.design({"permeability_xx": 0.0})


def test_targets_far_from_every_known_cell_are_told(small):
    known = read_properties(small.data.columns, ["conductivity_xx", "conductivity_yy"])[0]
    near = dict(zip(("conductivity_xx", "conductivity_yy"), known.tolist(), strict=True))
    assert small.designer.design(near, count=1).warnings == ()
    assert small.designer.design({"conductivity_xx": 0.95, "conductivity_yy": 0.12}, count=1).warnings


def test_known_cells_of_one_volume_fraction_are_starts(alike):
    first = alike.library.values[3]
    wanted, places = alike._standard(first, [0, 1]), [0, 1]
    assert int(alike._near(wanted, places, 0.5, 1)) == 3
    assert torch.equal(alike._near(wanted, places, 0.5, 8), alike._near(wanted, places, None, 8))
    targets = dict(zip(("conductivity_xx", "conductivity_yy"), first.tolist(), strict=True))
    assert alike.design(targets, volume_fraction=0.5, count=1, steps=0).warnings == ()
    assert "standard deviations" in alike.design(targets, volume_fraction=0.6, count=1, steps=0).warnings[0]


def test_a_band_is_as_good_as_its_target(small):
    found = small.designer.design(TARGETS, bands={"conductivity_xx": 0.4, "youngs_y": 0.29}, count=3, steps=0)
    assert (found.errors == 0).all()
    half = small.designer.design(TARGETS, bands={"conductivity_xx": 0.04}, count=3)
    off = (half.predicted / torch.tensor(list(TARGETS.values())) - 1).abs()
    off[:, 0] = (off[:, 0] - 0.04 / 0.42).clamp_min(0)
    assert torch.allclose(half.errors, off.amax(1), atol=1e-6)


def test_images_are_starts(small):
    model = small.designer.model
    images = torch.stack([generate("hard_spheres", (16, 16), 0.4, seed=s, radius=4.0) for s in range(2)]).float()
    values = solved(small.designer, images, model.config.properties)
    plain = small.designer.design(TARGETS, images=images, steps=0, separation=0.0)
    assert sorted(plain.cells.tolist()) == sorted(images.tolist())
    told = small.designer.design(TARGETS, images=images, image_values=values, steps=0, separation=0.0)
    assert sorted(told.cells.tolist()) == sorted(images.tolist())
    assert not torch.allclose(told.predicted.sort(0).values, plain.predicted.sort(0).values)  # the known error is used
    moved = small.designer.design(TARGETS, images=images, image_values=values, separation=0.0)
    assert float(moved.errors.max()) < float(told.errors.min())


def test_the_published_inversion_moves_what_the_head_reads(small):
    still, moved = (small.designer.design(TARGETS, count=3, steps=steps, through="head") for steps in (0, 6))
    assert len(moved)
    assert not torch.equal(still.cells[0], moved.cells[0])


def test_a_saved_designer_designs_the_same(small, tmp_path):
    small.designer.save(tmp_path)
    again = Designer.load(tmp_path)
    assert again.library.materials == small.designer.library.materials
    assert torch.equal(again.library.cells, small.designer.library.cells)
    first, second = (d.design(TARGETS, volume_fraction=0.5, count=2) for d in (small.designer, again))
    assert torch.equal(first.logits, second.logits)
    (tmp_path / "library.safetensors").unlink()
    with pytest.raises(FileNotFoundError):
        Designer.load(tmp_path)


def test_a_library_of_another_size_is_refused(small):
    other = Janus(JanusConfig((24, 24), ("conductivity_xx",)), torch.zeros(1), torch.ones(1))
    with pytest.raises(ValueError):
        Designer(other, small.designer.library)
