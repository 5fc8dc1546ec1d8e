"""Bilinear and trilinear finite elements on voxels: element matrices, and the way between nodes and elements.

A voxel of edge 1 is one element with 2^d nodes at its corners; on a periodic grid there are as many nodes as voxels,
and voxel e has the corners e + o for o in {0, 1}^d.  With the hat functions N_0(t) = 1 - t and N_1(t) = t of one
coordinate, the node at corner o has the shape function prod_a N_{o_a}(x_a), so an element matrix is a Kronecker
product of three 2 x 2 matrices of one coordinate: int N_i N_j, int N_i' N_j and int N_i' N_j'.  They are integrated
exactly; nothing is under-integrated, hence there are no hourglass or checkerboard modes.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import Tensor

_MASS = np.array([[2.0, 1.0], [1.0, 2.0]]) / 6  # int N_i  N_j
_SLOPE = np.array([[-1.0, -1.0], [1.0, 1.0]]) / 2  # int N_i' N_j
_STIFFNESS = np.array([[1.0, -1.0], [-1.0, 1.0]])  # int N_i' N_j'


def corners(dimensions: int) -> list[tuple[int, ...]]:
    """Offsets of a voxel's corners in the order of its nodes, the last coordinate running fastest.

    Example:
        >>> corners(2)
        [(0, 0), (0, 1), (1, 0), (1, 1)]
    """
    return list(itertools.product((0, 1), repeat=dimensions))


def _gradient_product(dimensions: int, a: int, b: int) -> np.ndarray:
    """Return int dN_o/dx_a dN_p/dx_b over the unit voxel, ``(2^d, 2^d)``."""
    product = np.ones((1, 1))
    for axis in range(dimensions):
        if a == b:
            factor = _STIFFNESS if axis == a else _MASS
        else:
            factor = _SLOPE if axis == a else _SLOPE.T if axis == b else _MASS
        product = np.kron(product, factor)
    return product


def element_matrix(modulus: np.ndarray) -> Tensor:
    r"""Element matrix of -div(modulus : grad u) for a field u of c components.

    Args:
        modulus: ``(c, d, c, d)``; flux of component i along coordinate a is sum_jb modulus[i, a, j, b] du_j/dx_b.
            Conductivity has c = 1, elasticity c = d.

    Returns:
        ``(c 2^d, c 2^d)`` in float64, symmetric; a node's components follow each other (entry ``c * corner + i``).

    Example:
        The rows of a conductivity element add up to zero: a constant temperature drives no flux.

        >>> element_matrix(np.eye(2)[None, :, None, :]).sum(1).abs().max() < 1e-15
        tensor(True)
    """
    components, dimensions = modulus.shape[:2]
    matrix = np.zeros((2**dimensions, components, 2**dimensions, components))
    for a, b in itertools.product(range(dimensions), repeat=2):
        matrix += np.einsum("op,ij->oipj", _gradient_product(dimensions, a, b), modulus[:, a, :, b])
    return torch.from_numpy(matrix.reshape(2**dimensions * components, -1))


def affine_corners(gradients: np.ndarray) -> Tensor:
    """Nodal values of u(x) = gradient x on the unit voxel.

    Args:
        gradients: ``(L, c, d)``, one mean gradient per load.

    Returns:
        ``(L, c 2^d)`` in float64, ordered as in :func:`element_matrix`.

    Example:
        >>> affine_corners(np.array([[[1.0, 0.0]]]))
        tensor([[0., 0., 1., 1.]], dtype=torch.float64)
    """
    positions = np.array(corners(gradients.shape[2]), dtype=float)
    return torch.from_numpy(np.einsum("lia,oa->loi", gradients, positions).reshape(len(gradients), -1))


def centre_gradient(components: int, dimensions: int) -> Tensor:
    """Map from the nodal values of a unit voxel to the gradient at its centre, ``(c d, c 2^d)`` in float64.

    The gradient at the centre of a linear element is also its mean over the voxel.

    Example:
        >>> centre_gradient(1, 2) @ affine_corners(np.array([[[2.0, 3.0]]]))[0]
        tensor([2., 3.], dtype=torch.float64)
    """
    signs = 2.0 * np.array(corners(dimensions), dtype=float) - 1
    matrix = np.einsum("oa,ij->iaoj", signs / 2 ** (dimensions - 1), np.eye(components))
    return torch.from_numpy(matrix.reshape(components * dimensions, -1))


def to_elements(field: Tensor, dimensions: int) -> Tensor:
    """Values of a periodic nodal field ``(..., c, n_1, ..., n_d)`` at the corners of every voxel, ``(..., c 2^d, N)``.

    Example:
        >>> to_elements(torch.arange(4.0).reshape(1, 2, 2), 2)[:, 0]
        tensor([0., 1., 2., 3.])
    """
    return torch.cat([_shifted(field, corner, -1) for corner in corners(dimensions)], -dimensions - 1).flatten(
        -dimensions
    )


def to_nodes(values: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Sum of the element vectors ``(..., c 2^d, N)`` at every node, ``(..., c, n_1, ..., n_d)``: adjoint of the above.

    Example:
        >>> to_nodes(torch.ones(4, 9), (3, 3)).unique()
        tensor([4.])
    """
    dimensions = len(shape)
    parts = values.unflatten(-1, shape).chunk(2**dimensions, -dimensions - 1)
    total = parts[0]
    for corner, part in zip(corners(dimensions)[1:], parts[1:], strict=True):
        total = total + _shifted(part, corner, 1)
    return total


def _shifted(field: Tensor, corner: tuple[int, ...], sign: int) -> Tensor:
    """Roll the trailing grid axes by ``sign`` voxels along the coordinates in which the corner is 1."""
    axes = [axis - len(corner) for axis, offset in enumerate(corner) if offset]
    return torch.roll(field, [sign] * len(axes), axes) if axes else field


def stencil_symbol(element: Tensor, shape: tuple[int, ...], components: int) -> Tensor:
    """Fourier symbol of the operator that has this element matrix in every voxel.

    Args:
        element: ``(c 2^d, c 2^d)`` of a material with the symmetry of the voxel, so that the symbol is real.
        shape: voxels along each coordinate.
        components: c.

    Returns:
        ``(c, c, n_1, ..., n_d // 2 + 1)`` in float64, on the frequencies of ``torch.fft.rfftn``.

    Example:
        >>> stencil_symbol(element_matrix(np.eye(2)[None, :, None, :]), (4, 4), 1)[0, 0, 0, 0].abs() < 1e-15
        tensor(True)
    """
    frequencies = [torch.fft.fftfreq(size, dtype=torch.float64) for size in shape[:-1]]
    frequencies.append(torch.fft.rfftfreq(shape[-1], dtype=torch.float64))
    angles = 2 * torch.pi * torch.stack(torch.meshgrid(*frequencies, indexing="ij"))
    offsets = corners(len(shape))
    blocks = element.to(torch.float64).reshape(len(offsets), components, len(offsets), components)
    symbol = torch.zeros(components, components, *angles.shape[1:], dtype=torch.float64)
    for (o, first), (p, second) in itertools.product(enumerate(offsets), repeat=2):
        difference = torch.tensor([b - a for a, b in zip(first, second, strict=True)], dtype=torch.float64)
        wave = torch.cos(torch.tensordot(difference, angles, dims=1))
        symbol += blocks[o, :, p, :].reshape(components, components, *[1] * len(shape)) * wave
    return symbol
