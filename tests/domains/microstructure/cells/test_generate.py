"""What every kind of cell promises: seeds, sizes, volume fractions, periods, and refusals."""

import numpy as np
import pytest
import torch

from domains.microstructure.cells import KINDS, generate
from domains.microstructure.cells.lattice import LATTICES
from domains.microstructure.cells.triply_periodic import SURFACES
from domains.microstructure.images import seams

PLANE = {"square", "cross", "braced_square", "triangular", "honeycomb"}
RANDOM = sorted(set(KINDS) - set(LATTICES) - set(SURFACES))
CASES = [(kind, (48, 40)) for kind in RANDOM + sorted(PLANE)]
CASES += [(kind, (24, 24, 24)) for kind in sorted(set(KINDS) - PLANE)]
# Half the largest step in which a straight strut or a symmetric surface can change, as a share of the cell.
STEP = {"voronoi_grains": 0.02, **dict.fromkeys(SURFACES, 0.01), **dict.fromkeys(LATTICES, 0.07)}


@pytest.mark.parametrize(("kind", "size"), CASES)
@pytest.mark.parametrize("share", [0.15, 0.2])
def test_a_cell_is_zeros_and_ones_with_the_volume_fraction_asked_for(kind, size, share):
    options = {"radius": 4.0, "gap": 0.0} if kind == "hard_spheres" else {}
    cell = generate(kind, size, share, seed=1, **options)
    assert cell.dtype == torch.float64
    assert cell.shape == size
    assert set(cell.unique().tolist()) == {0.0, 1.0}
    assert abs(cell.mean().item() - share) <= STEP.get(kind, 0.5 / cell.numel() + 1e-12)


@pytest.mark.parametrize("kind", RANDOM)
def test_the_seed_decides(kind):
    one, again, other = (generate(kind, (32, 32), 0.3, seed=seed) for seed in (5, 5, 6))
    assert one.equal(again)
    assert not one.equal(other)
    assert not generate(kind, (24, 24, 24), 0.1, seed=5).equal(generate(kind, (24, 24, 24), 0.1, seed=6))


@pytest.mark.parametrize("kind", RANDOM)
def test_the_seam_is_a_place_like_any_other(kind):
    """Over many seeds the jump across the seam has the mean of the jumps inside, within its standard error."""
    found = np.array(
        [
            [(seam.across, seam.mean) for seam in seams(generate(kind, (32, 32), 0.35, seed=seed, **options))]
            for seed in range(40)
            for options in [{"radius": 4.0} if kind == "hard_spheres" else {}]
        ]
    )
    for axis in range(2):
        across, inside = found[:, axis].T
        error = across.std() / len(across) ** 0.5
        assert abs(across.mean() - inside.mean()) < 4 * error


@pytest.mark.parametrize("kind", sorted(set(KINDS) - set(RANDOM)))
def test_a_repeated_unit_cell_is_the_unit_cell_repeated(kind):
    n, d = 24, 2 if kind in PLANE else 3
    once = generate(kind, (n,) * d, 0.3)
    twice = generate(kind, (2 * n, *[n] * (d - 1)), 0.3, repeats=(2, *[1] * (d - 1)))
    assert twice.equal(torch.cat([once, once]))
    assert generate(kind, (n,) * d, 0.3, seed=7).equal(once)


@pytest.mark.parametrize(
    ("kind", "size", "option", "values"),
    [
        ("gaussian", (24, 24), "length", (4.0, 2.0)),
        ("spinodoid", (24, 24), "angles", (30.0, 0.0)),
        ("spinodoid", (24, 24), "angles", (30.0, 0.0, 10.0)),
        ("gyroid", (16, 16, 16), "repeats", (2, 1, 1)),
        ("square", (32, 32), "repeats", (2, 1)),
    ],
)
def test_numbers_for_each_axis_may_be_an_array(kind, size, option, values):
    cell = generate(kind, size, 0.4, **{option: values})
    assert generate(kind, size, 0.4, **{option: np.array(values)}).equal(cell)
    for wrong in (np.array(values[:1]), np.array([values, values])):
        with pytest.raises(ValueError, match=rf"{kind}: {option}"):
            generate(kind, size, 0.4, **{option: wrong})


def test_the_other_phase():
    holes = generate("hard_spheres", (48, 48), 0.7, seed=2, phase=0, radius=5.0)
    balls = generate("hard_spheres", (48, 48), 1 - 0.7, seed=2, radius=5.0)
    assert holes.equal(1 - balls)
    assert generate("square", (32, 32), radius=3.0, phase=0).equal(1 - generate("square", (32, 32), radius=3.0))


def test_refuses_unknown_kinds_options_and_arguments_out_of_range():
    for arguments in (("spinodel", (32, 32), 0.5), ("spinodal", (32,), 0.5), ("spinodal", (32, 2), 0.5)):
        with pytest.raises(ValueError):
            generate(*arguments)
    for share in (0.0, 1.0, -0.1, float("nan"), None):
        with pytest.raises(ValueError):
            generate("spinodal", (32, 32), share)
    with pytest.raises(TypeError):
        generate("spinodal", (32, 32), 0.5, radius=3.0)
    with pytest.raises(TypeError):
        generate("gyroid", (32, 32, 32), 0.5, surface="diamond")
    with pytest.raises(TypeError):
        generate("spinodal", (32.0, 32), 0.5)
    with pytest.raises(TypeError):
        generate("spinodal", 32, 0.5)
    with pytest.raises(TypeError):
        generate("spinodal", (32, 32), 0.5, seed=0.5)
    with pytest.raises(ValueError):
        generate("spinodal", (32, 32), 0.5, seed=-1)
    with pytest.raises(ValueError):
        generate("spinodal", (32, 32), 0.5, phase=2)
    with pytest.raises(ValueError):
        generate("gyroid", (32, 32), 0.5)
    with pytest.raises(ValueError):
        generate("square", (32, 32, 32), 0.5)
