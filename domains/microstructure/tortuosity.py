r"""Tortuosity factor of one phase of an image: diffusion between two plates through the voxels of that phase.

Diffusion with coefficient 1 inside the phase and none outside, concentration 1 on the first face across an axis and 0
on the last, no flux through the other faces (not periodic: the set-up of a measured sample, and of Cooper et al. 2016,
"TauFactor", SoftwareX 5, 203). A voxel is a finite volume of edge 1; the flux between neighbours is the difference of
their concentrations, and a plate is half a voxel from the centres beside it. With Q the flow through the sample, n its
voxels along the axis, A its cross-section and f the volume fraction of the phase,

    D = Q n / A,        tau = f / D        (1 for straight channels)

The flow is stationary in the concentrations c: Q = 2 N - max_c (2 b.c - c.A c) with N voxels at the first plate, so an
error e in c leaves e^2 in tau. Voxels that do not connect both plates carry no flow: they count in f and nowhere else.

The linear system, of one row per connected voxel, is solved with conjugate gradients and multigrid by aggregation
(Notay and Vassilevski 2008, "Recursive Krylov-based multigrid cycles"). Aggregates are the connected pieces of the
phase in blocks of 2^d voxels, and of those in blocks of 4^d, and so on: pores on two sides of a thin wall are never
joined, which keeps the number of iterations nearly free of the size and of the image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from scipy.sparse import coo_matrix, csgraph, csr_matrix
from scipy.sparse.linalg import splu
from tqdm import tqdm

from domains.microstructure.homogenisation import NotConverged

_DIRECT = 3000  # rows that are factorised rather than coarsened further
_DAMPING = 0.7  # of Jacobi's iteration, which smooths for any value below 1


class NotPercolating(ValueError):
    """The phase does not connect the two plates: its effective diffusivity is 0 and its tortuosity infinite."""


@dataclass(frozen=True)
class Tortuosity:
    """Diffusion through one phase along one axis.

    Attributes:
        factor: Tortuosity factor, volume fraction over effective diffusivity; at least 1.
        effective_diffusivity: As a share of the diffusivity inside the phase.
        volume_fraction: Of the phase, dead ends and isolated voxels included.
        connected_fraction: Volume fraction of the voxels that connect to both plates.
        iterations: Conjugate-gradient iterations.
    """

    factor: float
    effective_diffusivity: float
    volume_fraction: float
    connected_fraction: float
    iterations: int


def tortuosity(
    image: ArrayLike,
    phase: float = 1,
    axis: int = 0,
    *,
    tolerance: float = 1e-5,
    max_iterations: int = 500,
    progress: bool = True,
) -> Tortuosity:
    """Tortuosity factor and effective diffusivity of a phase of a segmented image.

    Args:
        image: ``(n_1, n_2)`` or ``(n_1, n_2, n_3)``, labels of the phases; square or cubic voxels.
        phase: Label of the phase that conducts.
        axis: Array axis across which the plates lie; other faces are closed.
        tolerance: Residual to reach, relative to the first, in the norm of the preconditioner; the relative error of
            the factor is of the order of its square, more where little of the phase connects the plates (3e-6 was the
            largest seen at 1e-4).
        max_iterations: At most so many iterations.
        progress: Whether a bar shows the digits gained.

    Raises:
        ValueError: an image of the wrong shape, with NaN or without the phase, an axis that it does not have, or a
            tolerance that is not between 0 and 1.
        NotPercolating: no connected path of the phase joins the plates.
        NotConverged: the solver used up its iterations.

    Example:
        A straight channel that fills a third of the sample:

        >>> image = np.zeros((6, 3), dtype=int)
        >>> image[:, 1] = 1
        >>> found = tortuosity(image, progress=False)
        >>> round(found.factor, 9), round(found.effective_diffusivity, 9)
        (1.0, 0.333333333)
    """
    labels = np.asarray(image)
    if labels.ndim not in (2, 3) or min(labels.shape) == 0:
        raise ValueError(f"image: expected (n_1, n_2) or (n_1, n_2, n_3), got shape {labels.shape}")
    if not -labels.ndim <= axis < labels.ndim:
        raise ValueError(f"axis: expected -{labels.ndim} to {labels.ndim - 1}, got {axis}")
    if labels.dtype.kind not in "biuf":
        raise ValueError(f"image: expected labels that are numbers, got {labels.dtype}")
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise ValueError(f"image: expected finite labels, got {np.count_nonzero(~np.isfinite(labels))} that are not")
    if not 0 < tolerance < 1:
        raise ValueError(f"tolerance: expected a number between 0 and 1, got {tolerance}")
    mask = np.moveaxis(labels == phase, axis, 0)
    size = mask.size
    fraction = float(np.count_nonzero(mask)) / size
    if fraction == 0:
        found = ", ".join(f"{label:g}" for label in np.unique(labels)[:8])
        raise ValueError(f"phase: expected a label of the image ({found}), got {phase!r}")
    mask = _connecting(mask, axis)
    matrix, source = _diffusion(mask)
    positions = np.stack(np.nonzero(mask)).astype(np.int16 if max(mask.shape) < 2**15 else np.int64)
    shape = mask.shape
    concentration, iterations = _solve(
        matrix, source, _Multigrid(matrix, positions), tolerance, max_iterations, progress
    )
    flow = source.sum() - (2 * (source @ concentration) - concentration @ (matrix @ concentration))
    diffusivity = float(flow) * shape[0] / (size // shape[0])
    return Tortuosity(fraction / diffusivity, diffusivity, fraction, len(source) / size, iterations)


def _connecting(mask: NDArray[np.bool_], axis: int) -> NDArray[np.bool_]:
    """Keep the connected pieces that touch both plates."""
    pieces, count = ndimage.label(mask)
    both = np.intersect1d(pieces[0], pieces[-1])
    keep = np.zeros(count + 1, dtype=bool)
    keep[both] = True
    keep[0] = False
    if not keep.any():
        raise NotPercolating(
            f"image: expected a phase that connects both faces across axis {axis}, got {count} pieces that do not"
        )
    connecting: NDArray[np.bool_] = keep[pieces]
    return connecting


def _diffusion(mask: NDArray[np.bool_]) -> tuple[Any, NDArray[np.float64]]:
    """Matrix of the fluxes out of each voxel, and what flows in from the first plate, for concentration 0 and 1."""
    rows = int(np.count_nonzero(mask))
    number = np.full(tuple(n + 2 for n in mask.shape), -1, dtype=np.int32)
    inside = tuple(slice(1, -1) for _ in mask.shape)
    number[inside][mask] = np.arange(rows, dtype=np.int32)
    # Neighbours in the order of their row numbers, so that the rows of the matrix come out sorted.
    steps = [(a, -1) for a in range(mask.ndim)] + [(0, 0)] + [(a, 1) for a in reversed(range(mask.ndim))]
    neighbours = np.empty((rows, len(steps)), dtype=np.int32)
    for column, (a, step) in enumerate(steps):
        shifted = tuple(
            slice(1 + step, (step - 1) or None) if b == a and step else slice(1, -1) for b in range(mask.ndim)
        )
        neighbours[:, column] = number[shifted][mask]
    del number
    present = neighbours >= 0
    plate = rows - len(mask[-1][mask[-1]]), len(mask[0][mask[0]])
    source = np.zeros(rows)
    source[: plate[1]] = 2.0
    diagonal = present.sum(1) - 1.0 + source
    diagonal[plate[0] :] += 2.0
    values = np.where(np.arange(len(steps)) == mask.ndim, diagonal[:, None], -1.0)[present]
    starts = np.concatenate([[0], np.cumsum(present.sum(1, dtype=np.int32), dtype=np.int64)])
    starts = starts.astype(np.int32 if starts[-1] < 2**31 else np.int64)
    return csr_matrix((values, neighbours[present], starts), shape=(rows, rows)), source


class _Multigrid:
    """Recursive Krylov cycle over aggregates; call it with a residual for an approximate solution."""

    def __init__(self, matrix: Any, positions: NDArray[Any]) -> None:
        self.matrix = matrix
        self.smoother = _DAMPING / matrix.diagonal()
        self.coarse: _Multigrid | None = None
        self.direct: Any = None
        if matrix.shape[0] <= _DIRECT:
            self.direct = splu(matrix.tocsc())
            return
        blocks = positions >> 1
        extent = [int(row.max()) + 1 for row in blocks]
        block = np.ravel_multi_index(tuple(row.astype(np.int64) for row in blocks), extent)
        row = np.repeat(np.arange(matrix.shape[0], dtype=np.int32), np.diff(matrix.indptr))
        within = block[row] == block[matrix.indices]
        edges = coo_matrix((within[within], (row[within], matrix.indices[within])), shape=matrix.shape)
        count, self.aggregate = csgraph.connected_components(edges, directed=False)
        del edges, within
        places = np.empty((len(blocks), count), dtype=blocks.dtype)
        places[:, self.aggregate] = blocks
        entries = (matrix.data, (self.aggregate[row], self.aggregate[matrix.indices]))
        smaller = coo_matrix(entries, shape=(count, count)).tocsr()
        del entries, row
        self.coarse = _Multigrid(smaller, places)

    def __call__(self, residual: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.coarse is None:
            solution: NDArray[np.float64] = self.direct.solve(residual)
            return solution
        smoothed: NDArray[np.float64] = self.smoother * residual
        left = residual - self.matrix @ smoothed
        summed = np.bincount(self.aggregate, left, self.coarse.matrix.shape[0]).astype(np.float64, copy=False)
        smoothed += self.coarse.twice(summed)[self.aggregate]
        smoothed += self.smoother * (residual - self.matrix @ smoothed)
        return smoothed

    def twice(self, residual: NDArray[np.float64]) -> NDArray[np.float64]:
        """Two steps of conjugate gradients with this cycle as preconditioner; one where one is enough."""
        first = self(residual)
        if self.direct is not None:
            return first
        image = self.matrix @ first
        energy = float(first @ image)
        if energy <= 0:
            return first
        length = float(first @ residual) / energy
        left = residual - length * image
        if float(left @ left) <= 0.0625 * float(residual @ residual):
            return length * first
        second = self(left)
        overlap = float(second @ image)
        rest = float(second @ (self.matrix @ second)) - overlap**2 / energy
        if rest <= 0:
            return length * first
        further = float(second @ left) / rest
        both: NDArray[np.float64] = (length - overlap * further / energy) * first + further * second
        return both


def _solve(
    matrix: Any,
    source: NDArray[np.float64],
    precondition: _Multigrid,
    tolerance: float,
    max_iterations: int,
    progress: bool,
) -> tuple[NDArray[np.float64], int]:
    """Flexible conjugate gradients: the cycle is not the same linear map at every step."""
    solution = np.zeros_like(source)
    residual = source.copy()
    direction = precondition(residual)
    size = start = float(residual @ direction)
    with tqdm(total=-np.log10(tolerance), desc="tortuosity", unit="digit", disable=not progress) as bar:
        for iteration in range(1, max_iterations + 1):
            image = matrix @ direction
            length = size / float(direction @ image)
            solution += length * direction
            residual -= length * image
            smoothed = precondition(residual)
            following = float(residual @ smoothed)
            bar.update(max(0.0, min(bar.total, -0.5 * np.log10(max(following, 1e-300) / start)) - bar.n))
            if following <= tolerance**2 * start:
                return solution, iteration
            # residual_new - residual_old = -length image, hence Polak and Ribiere's factor.
            factor = -length * float(smoothed @ image) / size
            direction = smoothed + factor * direction
            size = following
    raise NotConverged(
        f"tortuosity: relative residual {np.sqrt(size / start):.1e} after {max_iterations} iterations, wanted "
        f"{tolerance:.1e}; a larger tolerance or more iterations helps"
    )
