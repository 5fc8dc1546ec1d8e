r"""Cells from Gaussian random fields: a spectrum, a random field that has it, a threshold.

White noise w on the periodic grid is multiplied by the root of a spectral density S in Fourier space,

    g = F^-1 [ sqrt(S(k)) F w ],     rho(x) = sum_k S(k) cos(2 pi k.x) / sum_k S(k)       k in cycles a voxel, S(0) = 0

so g is a Gaussian field with exact period and autocorrelation rho. Phase 1 is where g is below its quantile (or, for
``sheet=True``, where |g| is: the walls along the surface g = 0). At volume fraction 1/2 the probability that two voxels
at the distance x are both phase 1 is ``1/4 + arcsin(rho(x)) / (2 pi)``, which the tests measure.

Spectra, with wavelength L, relative width b and lengths l_j:

    ring       exp(-(|k| - 1/L)^2 / (2 (b/L)^2))                      spinodal decomposition (Cahn 1965: b -> 0)
    cones      the ring, where the angle between k and some axis j is at most theta_j (Kumar et al. 2020, spinodoids)
    gaussian   exp(-2 pi^2 sum_j (l_j k'_j)^2)                        rho = exp(-sum_j x'_j^2 / (2 l_j^2)), away from
                                                                      the period; k' and x' along turned axes

Deviation from Cahn and Kumar et al., who add plane waves of one wavelength in an infinite medium: in a periodic cell
only the wave vectors of the grid exist, so the ring has a width, and |k| a small scatter about 1 / L.
"""

import math
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from domains.microstructure.cells.grid import (
    Array,
    per_axis,
    random_source,
    require_positive,
    require_size,
    require_volume_fraction,
)
from domains.microstructure.cells.level_set import level_set


def spinodal(
    size: Sequence[int],
    volume_fraction: float,
    seed: int = 0,
    *,
    wavelength: float | None = None,
    bandwidth: float = 0.1,
    sheet: bool = False,
) -> Tensor:
    """A cell like a mixture that has decomposed: isotropic, with one length, bicontinuous about one half.

    Args:
        size: Numbers of voxels, 2 or 3.
        volume_fraction: Share of phase 1; exact to half a voxel.
        seed: Same seed, same cell.
        wavelength: Distance from ridge to ridge, voxels; by default a quarter of the smallest axis, at least 4.
        bandwidth: Relative width b of the ring.
        sheet: Whether phase 1 is the wall along the interface instead of one of its sides.

    Returns:
        The cell, float64 of 0 and 1.

    Raises:
        ValueError: If the wavelength is below 3 voxels, no wave vector of the grid lies on the ring, or an argument
            is out of its range.

    Example:
        >>> spinodal((32, 32), 0.25).mean().item()
        0.25
    """
    shape, generator = _start("spinodal", size, volume_fraction, seed)
    spectrum = _ring("spinodal", shape, wavelength, bandwidth)
    return _cell(random_field(shape, spectrum, generator), volume_fraction, sheet)


def spinodoid(
    size: Sequence[int],
    volume_fraction: float,
    seed: int = 0,
    *,
    angles: float | Sequence[float] = (30.0, 0.0, 0.0),
    wavelength: float | None = None,
    bandwidth: float = 0.1,
    sheet: bool = False,
) -> Tensor:
    """A spinodal cell whose waves run near the axes only: lamellar, columnar or cubic.

    Args:
        size: Numbers of voxels, 2 or 3.
        volume_fraction: Share of phase 1; exact to half a voxel.
        seed: Same seed, same cell.
        angles: Half angle of the cone about each axis, degrees, 0 (no waves) to 90 (all). One small angle gives
            lamellae, two give columns, three a cubic cell. Of three angles a cell with two axes takes the first two.
        wavelength: Distance from ridge to ridge, voxels; by default a quarter of the smallest axis, at least 4.
        bandwidth: Relative width b of the ring.
        sheet: Whether phase 1 is the wall along the interface instead of one of its sides.

    Returns:
        The cell, float64 of 0 and 1.

    Raises:
        ValueError: As for `spinodal`, and if no wave vector of the ring lies in a cone.

    Example:
        >>> lamellae = spinodoid((32, 32), 0.5, angles=(20.0, 0.0))
        >>> (lamellae.diff(dim=0).abs().mean() > lamellae.diff(dim=1).abs().mean()).item()
        True
    """
    shape, generator = _start("spinodoid", size, volume_fraction, seed)
    d = len(shape)
    given = np.asarray(angles, dtype=np.float64)
    cones = per_axis("spinodoid", "angles", given[:d] if given.ndim else given, d)
    if not all(0.0 <= angle <= 90.0 for angle in cones):
        raise ValueError(f"spinodoid: angles lie between 0 and 90 degrees, got {cones}")
    waves = _wave_vectors(shape)
    norm = np.sqrt(sum(k**2 for k in waves))
    inside = np.zeros(norm.shape, dtype=bool)
    for angle, k in zip(cones, waves, strict=True):
        if angle > 0:
            inside |= np.abs(k) >= norm * math.cos(math.radians(angle)) * (1 - 1e-12)
    spectrum = _ring("spinodoid", shape, wavelength, bandwidth) * inside
    if spectrum.max() < math.exp(-4.5):
        raise ValueError(
            f"spinodoid: no wave of a grid of {shape} voxels lies in cones of {cones} degrees about the axes; "
            "widen an angle, or take a larger cell, a smaller wavelength or a larger bandwidth"
        )
    return _cell(random_field(shape, spectrum, generator), volume_fraction, sheet)


def gaussian(
    size: Sequence[int],
    volume_fraction: float,
    seed: int = 0,
    *,
    length: float | Sequence[float] | None = None,
    angle: float = 0.0,
    sheet: bool = False,
) -> Tensor:
    """A cell from a field with a Gaussian autocorrelation: patches of many sizes, stretched and turned at will.

    Args:
        size: Numbers of voxels, 2 or 3.
        volume_fraction: Share of phase 1; exact to half a voxel.
        seed: Same seed, same cell.
        length: Correlation length, voxels: one, or one along each axis; by default a twelfth of the smallest axis.
        angle: Turns the axes of ``length`` in the x-y plane, degrees, from x towards y.
        sheet: Whether phase 1 is the wall along the interface instead of one of its sides.

    Returns:
        The cell, float64 of 0 and 1.

    Raises:
        ValueError: If a length is below half a voxel or above half the smallest axis, or another argument is out of
            its range.

    Example:
        >>> long = gaussian((32, 32), 0.5, length=(6.0, 1.5))
        >>> (long.diff(dim=0).abs().mean() < long.diff(dim=1).abs().mean()).item()
        True
    """
    shape, generator = _start("gaussian", size, volume_fraction, seed)
    spectrum = gaussian_spectrum(shape, max(0.5, min(shape) / 12) if length is None else length, angle)
    return _cell(random_field(shape, spectrum, generator), volume_fraction, sheet)


def random_field(size: tuple[int, ...], spectrum: Array, generator: np.random.Generator) -> Array:
    """A Gaussian random field ``(n_1, .., n_d)`` with mean zero and the given spectrum.

    Args:
        size: Numbers of voxels.
        spectrum: S on the half grid of ``numpy.fft.rfftn``, ``(n_1, .., n_d // 2 + 1)``.
        generator: Source of random numbers.

    Example:
        >>> g = random_field((16, 16), ring_spectrum((16, 16), 4.0), np.random.default_rng(0))
        >>> g.shape, bool(abs(g.mean()) < 1e-15)
        ((16, 16), True)
    """
    axes = tuple(range(len(size)))
    noise = np.fft.rfftn(generator.standard_normal(size), axes=axes)
    return np.asarray(np.fft.irfftn(np.sqrt(spectrum) * noise, s=size, axes=axes))


def autocorrelation(size: tuple[int, ...], spectrum: Array) -> Array:
    """The autocorrelation rho ``(n_1, .., n_d)`` of the field at every lag, 1 at lag zero.

    Example:
        >>> rho = autocorrelation((16, 16), ring_spectrum((16, 16), 8.0))
        >>> rho[0, 0].item(), bool(rho[4, 0] < 0)
        (1.0, True)
    """
    covariance = np.fft.irfftn(spectrum, s=size, axes=tuple(range(len(size))))
    return np.asarray(covariance / covariance.flat[0])


def ring_spectrum(size: tuple[int, ...], wavelength: float, bandwidth: float = 0.1) -> Array:
    """The ring on the half grid of ``numpy.fft.rfftn``; see the top of the file.

    Example:
        >>> bool(ring_spectrum((16, 16), 4.0)[4, 0] == 1.0)
        True
    """
    norm = np.sqrt(sum(k**2 for k in _wave_vectors(size)))
    spectrum = np.exp(-((norm * wavelength - 1.0) ** 2) / (2 * bandwidth**2))
    spectrum.flat[0] = 0.0
    return np.asarray(spectrum)


def gaussian_spectrum(size: tuple[int, ...], length: float | Sequence[float], angle: float = 0.0) -> Array:
    """The Gaussian on the half grid of ``numpy.fft.rfftn``; see the top of the file.

    Raises:
        ValueError: If a length is below half a voxel or above half the smallest axis, or not one for each axis.

    Example:
        >>> gaussian_spectrum((16, 16), 2.0).shape
        (16, 9)
    """
    lengths = per_axis("gaussian", "length", length, len(size))
    if not all(0.5 <= one <= min(size) / 2 for one in lengths):
        raise ValueError(
            f"gaussian: lengths lie between half a voxel and half the smallest axis of {size}, got {lengths}"
        )
    if not math.isfinite(angle):
        raise ValueError(f"gaussian: angle is finite, got {angle}")
    waves = _wave_vectors(size)
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    turned = [c * waves[0] + s * waves[1], c * waves[1] - s * waves[0], *waves[2:]]
    spectrum = np.exp(-2 * math.pi**2 * sum((one * k) ** 2 for one, k in zip(lengths, turned, strict=True)))
    spectrum.flat[0] = 0.0
    return np.asarray(spectrum)


def _start(
    kind: str, size: Sequence[int], volume_fraction: float, seed: int
) -> tuple[tuple[int, ...], np.random.Generator]:
    require_volume_fraction(kind, volume_fraction)
    return require_size(kind, size), random_source(kind, seed)


def _ring(kind: str, size: tuple[int, ...], wavelength: float | None, bandwidth: float) -> Array:
    wavelength = max(4.0, min(size) / 4) if wavelength is None else wavelength
    require_positive(kind, wavelength=wavelength, bandwidth=bandwidth)
    if wavelength < 3.0:
        raise ValueError(f"{kind}: a wavelength has at least 3 voxels, got {wavelength:g} in a cell of {size}")
    spectrum = ring_spectrum(size, wavelength, bandwidth)
    if spectrum.max() < math.exp(-4.5):
        raise ValueError(
            f"{kind}: no wave of a grid of {size} voxels lies within three widths of the ring of wavelength "
            f"{wavelength:g} and bandwidth {bandwidth:g}; the wavelength is at most {max(size)}, and near that only "
            f"{max(size)}, {max(size) / 2:g}, .. exist"
        )
    return spectrum


def _wave_vectors(size: tuple[int, ...]) -> list[Array]:
    """Frequencies of each axis on the half grid, cycles a voxel, shaped to broadcast."""
    axes = [np.fft.fftfreq(n) for n in size[:-1]] + [np.fft.rfftfreq(size[-1])]
    shapes = [[-1 if j == axis else 1 for j in range(len(size))] for axis in range(len(size))]
    return [np.asarray(k, dtype=np.float64).reshape(shape) for k, shape in zip(axes, shapes, strict=True)]


def _cell(field: Array, volume_fraction: float, sheet: bool) -> Tensor:
    return level_set(np.abs(field) if sheet else field, volume_fraction)
