"""Random fields against the spectrum and the two-point statistics that theory gives them."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from domains.microstructure.cells import gaussian, spinodal, spinodoid
from domains.microstructure.cells.gaussian_field import (
    autocorrelation,
    gaussian_spectrum,
    random_field,
    ring_spectrum,
)


def power(cells):
    """Mean power spectrum of cells on the full grid, mean removed."""
    return np.mean([np.abs(np.fft.fftn(c.numpy() - c.mean().item())) ** 2 for c in cells], axis=0)


def wave_numbers(size):
    return np.meshgrid(*[np.fft.fftfreq(n) for n in size], indexing="ij")


def two_point(cells, lag):
    """Probability that a voxel and the one at a lag are both phase 1."""
    return np.mean([(c.numpy() * np.roll(c.numpy(), lag, tuple(range(c.ndim)))).mean() for c in cells])


@pytest.mark.parametrize(("size", "wavelength"), [((96, 64), 8.0), ((96, 96), 12.0), ((32, 32, 32), 6.0)])
def test_the_spectrum_of_a_spinodal_cell_peaks_at_its_wavelength(size, wavelength):
    spectrum = power([spinodal(size, 0.5, seed, wavelength=wavelength) for seed in range(10)])
    k = np.sqrt(sum(one**2 for one in wave_numbers(size)))
    edges = np.arange(0, 0.5, 0.02)
    rings = [spectrum[(k >= a) & (k < a + 0.02)].mean() for a in edges]
    assert abs(edges[int(np.argmax(rings))] + 0.01 - 1 / wavelength) < 0.02
    near = np.abs(k * wavelength - 1) < 0.3
    assert spectrum[near].sum() > 0.6 * spectrum.sum()


@pytest.mark.parametrize("share", [0.5, 0.3])
def test_two_point_statistics_are_those_of_a_cut_gaussian_field(share):
    """P(both) is the bivariate normal distribution at the threshold, with the autocorrelation of the spectrum."""
    size, length = (64, 64), 3.0
    cells = [gaussian(size, share, seed, length=length) for seed in range(60)]
    rho = autocorrelation(size, gaussian_spectrum(size, length))
    level = norm.ppf(share)
    for lag in [(1, 0), (0, 2), (3, 3), (6, 0)]:
        assert abs(rho[lag] - np.exp(-np.dot(lag, lag) / (2 * length**2))) < 0.02
        expected = multivariate_normal([0, 0], [[1, rho[lag]], [rho[lag], 1]]).cdf([level, level])
        assert abs(two_point(cells, lag) - expected) < 0.006
    if share == 0.5:
        assert abs(two_point(cells, (2, 0)) - (0.25 + np.arcsin(rho[2, 0]) / (2 * np.pi))) < 0.006


def test_the_field_has_the_covariance_of_its_spectrum():
    size = (16, 12)
    spectrum = ring_spectrum(size, 5.0, 0.2)
    generator = np.random.default_rng(0)
    fields = np.array([random_field(size, spectrum, generator) for _ in range(4000)])
    k, m = wave_numbers(size)
    full = np.exp(-((np.hypot(k, m) * 5.0 - 1) ** 2) / (2 * 0.2**2))
    full[0, 0] = 0
    for lag in [(0, 0), (1, 2), (4, 0)]:
        expected = (full * np.cos(2 * np.pi * (k * lag[0] + m * lag[1]))).sum() / full.size
        measured = (fields * np.roll(fields, lag, (1, 2))).mean()
        assert abs(measured - expected) < 0.03 * full.sum() / full.size
        assert abs(autocorrelation(size, spectrum)[lag] - expected * full.size / full.sum()) < 1e-12


@pytest.mark.parametrize(
    ("angle", "size"), [(0.0, (64, 64)), (30.0, (64, 64)), (-60.0, (64, 64)), (25.0, (24, 24, 24))]
)
def test_lengths_and_angle_are_seen_in_the_inertia_of_the_spectrum(angle, size):
    """The spectrum's second moments have their small axis along the long length."""
    lengths = (5.0, 1.5, 1.5)[: len(size)]
    spectrum = power([gaussian(size, 0.5, seed, length=lengths, angle=angle) for seed in range(20)])
    k, m = wave_numbers(size)[:2]
    near = np.hypot(k, m) < 0.2
    moments = [[(a * b * spectrum)[near].sum() for b in (k, m)] for a in (k, m)]
    values, vectors = np.linalg.eigh(moments)
    assert values[0] < 0.5 * values[1]
    turned = np.degrees(np.arctan2(vectors[1, 0], vectors[0, 0]))
    assert abs((turned - angle + 90) % 180 - 90) < 6


@pytest.mark.parametrize(
    ("angles", "size"), [((25.0, 0.0), (64, 64)), ((20.0, 0.0, 0.0), (32, 32, 32)), ((20.0, 20.0, 0.0), (32, 32, 32))]
)
def test_waves_of_a_spinodoid_lie_in_its_cones(angles, size):
    spectrum = ring_spectrum(size, 8.0)
    assert spectrum.max() > 0
    cells = [spinodoid(size, 0.5, seed, angles=angles, wavelength=8.0) for seed in range(6)]
    measured = power(cells)
    waves = wave_numbers(size)
    k = np.sqrt(sum(one**2 for one in waves))
    inside = np.zeros(size, dtype=bool)
    for angle, one in zip(angles, waves, strict=True):
        with np.errstate(invalid="ignore"):
            inside |= (angle > 0) & (np.degrees(np.arccos(np.clip(np.abs(one) / k, 0, 1))) <= angle + 1e-9)
    ring = np.abs(k * 8 - 1) < 0.3
    assert measured[ring & inside].sum() > 8 * measured[ring & ~inside].sum()


def test_a_sheet_lies_on_the_interface():
    """The wall of a spinodal field has half of its neighbours on either side, and no wall keeps the sign."""
    size, generator = (48, 48), np.random.default_rng(3)
    field = random_field(size, ring_spectrum(size, 12.0), generator)
    sheet = spinodal(size, 0.2, 3, wavelength=12.0, sheet=True).numpy()
    assert np.abs(field[sheet == 1]).max() <= np.abs(field[sheet == 0]).min()


def test_refuses_waves_that_the_grid_has_not():
    for options in ({"wavelength": 2.0}, {"wavelength": 70.0}, {"bandwidth": 0.0}, {"wavelength": float("nan")}):
        with pytest.raises(ValueError):
            spinodal((32, 32), 0.5, **options)
    with pytest.raises(ValueError):
        spinodal((32, 32), 0.5, wavelength=27.0, bandwidth=0.01)  # between the waves of length 32 and 22.6
    for angles in (0.0, (0.0, 95.0), (30.0,)):
        with pytest.raises(ValueError):
            spinodoid((32, 32), 0.5, angles=angles)
    for length in (0.2, 20.0, (2.0, 3.0, 4.0)):
        with pytest.raises(ValueError):
            gaussian((32, 32), 0.5, length=length)
