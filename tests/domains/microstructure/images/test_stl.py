"""The surface of a cell: every edge between two triangles, and the volume inside that of the voxels."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from domains.microstructure.cells import generate
from domains.microstructure.images import read_stl, surface, write_cell


def volume(triangles):
    """Divergence theorem: the sum of the signed tetrahedra with the origin."""
    a, b, c = np.moveaxis(triangles.astype(np.float64), 1, 0)
    return (a * np.cross(b, c)).sum() / 6


def assert_closed(triangles):
    """Every directed edge once, and once the other way round: closed, oriented, two triangles an edge."""
    corners = [[tuple(corner) for corner in triangle] for triangle in triangles.tolist()]
    edges = Counter((t[k], t[(k + 1) % 3]) for t in corners for k in range(3))
    assert set(edges.values()) == {1}
    assert all((b, a) in edges for a, b in edges)


def opened(solid):
    """Lattice edges with two solid voxels diagonally across, counted one by one."""
    full = np.pad(solid, 1)
    count = 0
    for axis in range(3):
        layers = np.moveaxis(full, axis, 0)
        for i, j in np.ndindex(layers.shape[1] - 1, layers.shape[2] - 1):
            block = layers[:, i : i + 2, j : j + 2]
            diagonal = (block[:, 0, 0] == block[:, 1, 1]) & (block[:, 0, 1] == block[:, 1, 0])
            count += int((diagonal & (block[:, 0, 0] != block[:, 0, 1])).sum())
    return count


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([(2, 2, 2), (3, 3, 3), (4, 3, 2), (1, 4, 5)]), st.floats(0.2, 0.8))
def test_any_cell_has_a_closed_surface_round_its_volume(seed, shape, share):
    solid = np.random.default_rng(seed).random(shape) < share
    solid.flat[0] = True
    notch = 0.0625
    triangles = surface(solid, notch)
    assert_closed(triangles)
    assert abs(volume(triangles) - (solid.sum() - notch / 3 * opened(solid))) < 1e-9


def test_all_pairs_and_quadruples_of_eight_voxels():
    for pattern in range(1, 256):
        solid = np.array([pattern >> k & 1 for k in range(8)], dtype=bool).reshape(2, 2, 2)
        triangles = surface(solid)
        assert_closed(triangles)
        assert abs(volume(triangles) - (solid.sum() - 0.01 / 3 * opened(solid))) < 1e-9


@pytest.mark.parametrize("phase", [0, 1])
def test_a_file_holds_the_closed_surface_of_a_phase(tmp_path, phase):
    cell = generate("gyroid", (20, 20, 20), 0.3)
    path = write_cell(cell, tmp_path / "gyroid.stl", phase=phase, voxel_size=0.25)
    triangles = read_stl(path)
    assert_closed(triangles)
    solid = (cell == phase).numpy()
    assert abs(volume(triangles) / 0.25**3 - (solid.sum() - 0.01 / 3 * opened(solid))) < 1e-3
    content = np.frombuffer(path.read_bytes()[84:], np.dtype([("n", "<f4", 3), ("v", "<f4", (3, 3)), ("a", "<u2")]))
    across = np.cross(content["v"][:, 1] - content["v"][:, 0], content["v"][:, 2] - content["v"][:, 0])
    assert ((across * content["n"]).sum(1) > 0).all()
    assert not path.read_bytes().startswith(b"solid")


def test_a_plane_cell_is_extruded(tmp_path):
    cell = generate("honeycomb", (28, 48), 0.3)
    triangles = read_stl(write_cell(cell, tmp_path / "h.stl", thickness=6.0, voxel_size=0.5))
    assert_closed(triangles)
    lost = 0.01 / 3 * opened(cell.numpy()[:, :, None] == 1)
    assert abs(volume(triangles) / 0.5**3 - 6.0 * (cell.sum().item() - lost)) < 1e-2
    assert np.ptp(triangles[..., 2]) == 3.0


def test_refuses_nothing_solid_and_damaged_files(tmp_path):
    with pytest.raises(ValueError):
        surface(np.zeros((2, 2, 2), dtype=bool))
    with pytest.raises(ValueError):
        write_cell(torch.zeros(4, 4), tmp_path / "empty.stl")
    assert list(tmp_path.iterdir()) == []
    path = write_cell(torch.ones(4, 4), tmp_path / "cut.stl")
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ValueError):
        read_stl(path)
