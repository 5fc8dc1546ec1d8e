"""Tortuosity factors of channels and of random images, against a sparse matrix assembled and factorised on its own."""

import itertools

import numpy as np
import pytest
import scipy.sparse as sparse
from scipy.sparse.linalg import spsolve

from domains.microstructure import tortuosity as module
from domains.microstructure.homogenisation import NotConverged
from domains.microstructure.tortuosity import NotPercolating, tortuosity


def solved_directly(mask, axis):
    """Effective diffusivity by a loop over voxels and a sparse LU, unconnected voxels held at zero by a small leak."""
    number = np.arange(mask.size).reshape(mask.shape)
    matrix, source = sparse.lil_matrix((mask.size, mask.size)), np.zeros(mask.size)
    for voxel in itertools.product(*(range(n) for n in mask.shape)):
        row = number[voxel]
        matrix[row, row] += 1e-12 if mask[voxel] else 1.0
        if not mask[voxel]:
            continue
        for a in range(mask.ndim):
            for step in (-1, 1):
                other = list(voxel)
                other[a] += step
                if not 0 <= other[a] < mask.shape[a]:
                    if a == axis:  # the plate is half a voxel away
                        matrix[row, row] += 2
                        source[row] += 2 if step < 0 else 0
                elif mask[tuple(other)]:
                    matrix[row, row] += 1
                    matrix[row, number[tuple(other)]] -= 1
    concentration = spsolve(matrix.tocsc(), source).reshape(mask.shape)
    first = np.take(concentration, 0, axis)[np.take(mask, 0, axis)]
    return 2 * (1 - first).sum() * mask.shape[axis] / (mask.size // mask.shape[axis])


def blobs(shape, porosity, seed, width=1.2):
    rng = np.random.default_rng(seed)
    waves = np.meshgrid(*[np.fft.fftfreq(n) for n in shape], indexing="ij")
    smooth = np.exp(-2 * (np.pi * width) ** 2 * sum(w * w for w in waves))
    field = np.fft.ifftn(np.fft.fftn(rng.standard_normal(shape)) * smooth).real
    return field > np.quantile(field, 1 - porosity)


@pytest.mark.parametrize("shape", [(7, 5), (1, 4), (6, 4, 5), (2, 2, 1)])
def test_an_open_sample_has_tortuosity_one(shape):
    for axis in range(len(shape)):
        found = tortuosity(np.ones(shape, dtype=bool), axis=axis, progress=False)
        assert found.factor == pytest.approx(1, abs=1e-9)
        assert found.effective_diffusivity == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_straight_channels_have_tortuosity_one(axis):
    image = np.zeros((6, 6, 6), dtype=np.uint8)
    channels = np.moveaxis(image, axis, 0)
    channels[:, 1:3, 2] = 7
    channels[:, 4, 4:6] = 7
    found = tortuosity(image, phase=7, axis=axis, progress=False)
    assert found.factor == pytest.approx(1, abs=1e-9)
    assert found.effective_diffusivity == pytest.approx(4 / 36, rel=1e-9)


def test_layers_conduct_along_and_not_across():
    image = np.zeros((6, 8), dtype=int)
    image[1:3] = image[4] = 1
    assert tortuosity(image, axis=1, progress=False).factor == pytest.approx(1, abs=1e-9)
    assert tortuosity(image, axis=-1, progress=False).effective_diffusivity == pytest.approx(0.5, rel=1e-9)
    with pytest.raises(NotPercolating):
        tortuosity(image, axis=0, progress=False)


def test_a_channel_with_bends_is_a_chain_of_resistances():
    image = np.zeros((5, 4), dtype=int)
    image[:3, 0] = image[2, :] = image[2:, 3] = 1
    links = (image.sum() - 1) + 2 * 0.5  # from centre to centre, and half a voxel at each plate
    found = tortuosity(image, progress=False)
    assert found.effective_diffusivity == pytest.approx(5 / (links * 4), rel=1e-9)
    assert found.factor == pytest.approx(image.mean() / found.effective_diffusivity)


def test_a_step_in_width_against_the_direct_solve():
    image = np.zeros((12, 9), dtype=bool)
    image[:6, 3:5] = image[6:, :] = True
    found = tortuosity(image, progress=False, tolerance=1e-8)
    assert found.effective_diffusivity == pytest.approx(solved_directly(image, 0), rel=1e-9)
    assert found.factor > 1


@pytest.mark.parametrize(
    ("shape", "porosity", "axis"),
    [((24, 20), 0.7, 0), ((24, 20), 0.7, 1), ((13, 9, 11), 0.4, 0), ((13, 9, 11), 0.4, 1), ((9, 13, 8), 0.5, 2)],
)
@pytest.mark.parametrize("direct", [3000, 20])  # 20: every image is coarsened several times
def test_random_images_against_the_direct_solve(shape, porosity, axis, direct, monkeypatch):
    monkeypatch.setattr(module, "_DIRECT", direct)
    tested = 0
    for seed in range(6):
        image = blobs(shape, porosity, seed)
        try:
            found = tortuosity(image, axis=axis, progress=False)
        except NotPercolating:
            assert solved_directly(image, axis) < 1e-9
            continue
        tested += 1
        expected = solved_directly(image, axis)
        assert found.effective_diffusivity == pytest.approx(expected, rel=1e-6)
        rough = tortuosity(image, axis=axis, progress=False, tolerance=1e-3)
        assert rough.effective_diffusivity == pytest.approx(expected, rel=1e-3)
        assert found.volume_fraction == pytest.approx(image.mean())
        assert found.connected_fraction <= found.volume_fraction
        assert found.factor >= 1
    assert tested >= 2


def test_dead_ends_and_islands_count_in_the_fraction_alone():
    image = np.zeros((6, 7), dtype=int)
    image[:, 3] = 1
    image[2, 4] = 1  # dead end
    image[4:, 6] = image[0, 0] = 1  # pieces that touch one plate
    image[3, 1] = 1  # island
    found = tortuosity(image, progress=False)
    assert found.effective_diffusivity == pytest.approx(1 / 7, rel=1e-9)
    assert found.volume_fraction == pytest.approx(11 / 42)
    assert found.connected_fraction == pytest.approx(7 / 42)
    assert found.factor == pytest.approx(11 / 6, rel=1e-9)


def test_corners_and_edges_do_not_conduct():
    with pytest.raises(NotPercolating):
        tortuosity(np.eye(5, dtype=int), progress=False)


def test_mirroring_or_turning_the_image_changes_nothing():
    image = blobs((12, 10, 9), 0.5, 3)
    base = tortuosity(image, axis=0, progress=False, tolerance=1e-7).factor
    for other, axis in ((image[::-1], 0), (image[:, ::-1], 0), (image.transpose(1, 0, 2), 1), (image.T, 2)):
        assert tortuosity(other, axis=axis, progress=False, tolerance=1e-7).factor == pytest.approx(base, rel=1e-9)


def test_iterations_hardly_grow_with_the_image(monkeypatch):
    monkeypatch.setattr(module, "_DIRECT", 20)
    counts = [tortuosity(blobs((n, n, n), 0.45, 1, 1.5), progress=False).iterations for n in (16, 48)]
    assert counts[1] <= counts[0] + 4
    tight = tortuosity(blobs((48, 48, 48), 0.45, 1, 1.5), progress=False, tolerance=1e-8)
    assert tight.iterations < 22  # 18; steepest descent with the same cycle takes 26


def test_few_iterations_do_not_converge(monkeypatch):
    monkeypatch.setattr(module, "_DIRECT", 20)
    with pytest.raises(NotConverged):
        tortuosity(blobs((24, 24, 24), 0.5, 0), max_iterations=1, tolerance=1e-8, progress=False)


@pytest.mark.parametrize(
    ("image", "phase", "axis"),
    [
        (np.ones(5), 1, 0),
        (np.ones((2, 2, 2, 2)), 1, 0),
        (np.ones((0, 3)), 1, 0),
        (np.ones((3, 3)), 1, 2),
        (np.ones((3, 3)), 1, -3),
        (np.ones((3, 3)), 2, 0),
        (np.array([[1.0, np.nan], [1.0, 1.0]]), 1, 0),
        (np.array([["a", "b"]]), 1, 0),
    ],
)
def test_images_that_are_not_are_refused(image, phase, axis):
    with pytest.raises(ValueError):
        tortuosity(image, phase, axis, progress=False)


@pytest.mark.parametrize("tolerance", [0.0, -1.0, 1.0, np.nan])
def test_tolerances_that_are_not_are_refused(tolerance):
    with pytest.raises(ValueError):
        tortuosity(blobs((24, 24, 24), 0.5, 0), tolerance=tolerance, progress=False)
