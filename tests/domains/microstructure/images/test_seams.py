"""The seam test on cells that are periodic, cut-outs of them, and cells made by hand."""

import pytest
import torch

from domains.microstructure.cells import generate
from domains.microstructure.images import mirrored, seams


def test_jumps_by_hand():
    cell = torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 1.0]])
    rows, columns = seams(cell)
    assert rows.across == rows.mean == rows.largest == pytest.approx(1 / 3)
    assert (columns.across, columns.mean, columns.largest) == (0.5, 0.75, 1.0)
    assert rows.unrelated == columns.unrelated == 0.5


@pytest.mark.parametrize("kind", ["spinodal", "gaussian", "overlapping_spheres", "voronoi_grains"])
def test_tells_cut_outs_from_cells(kind):
    options = {"spinodal": {"wavelength": 16.0}, "gaussian": {"length": 5.0}, "overlapping_spheres": {"radius": 6.0}}
    whole = [generate(kind, (64, 64), 0.4, seed, **options.get(kind, {})) for seed in range(20)]
    assert sum(not seam.fits for cell in whole for seam in seams(cell)) <= 2
    big = {**options.get(kind, {}), **({"grains": 120} if kind == "voronoi_grains" else {})}
    cut = [generate(kind, (160, 160), 0.4, seed, **big)[:64, :64] for seed in range(20)]
    assert sum(any(not seam.fits for seam in seams(cell)) for cell in cut) >= 18
    assert all(seam.fits and seam.across == 0 for cell in cut for seam in seams(mirrored(cell)))


def test_a_laminate_cut_at_its_interface_fits():
    laminate = torch.zeros(16, 16)
    laminate[:8] = 1
    assert all(seam.fits for seam in seams(laminate))
    assert all(seam.fits for seam in seams(torch.rand(32, 32, generator=torch.Generator().manual_seed(0)) < 0.5))


def test_a_slope_does_not_fit():
    x = torch.arange(32.0)
    assert not seams((x[:, None] + 0.5 * x > 20).double())[0].fits


def test_mirrored_is_a_cell_and_its_reflections():
    cell = (torch.rand(3, 4, 5) < 0.5).double()
    twice = mirrored(cell)
    assert twice.shape == (6, 8, 10)
    assert twice[:3, :4, :5].equal(cell)
    assert twice[3:, :4, 5:].equal(cell.flip(0, 2))
    assert twice.mean() == cell.mean()


def test_refuses_a_single_layer():
    with pytest.raises(ValueError):
        seams(torch.ones(1, 8))
