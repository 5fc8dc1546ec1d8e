r"""Which voxels of a phase hang together in a periodic cell, and along which axes they run on for ever.

Voxels are neighbours through a face. Components of the cell are found as if it had walls and then joined across
opposite faces. Each join is a bond between two components, a and b, with the step e_k to the next copy of the cell:
``copy(b) = copy(a) + e_k``. Walking the bonds gives every component a copy number (an integer vector) relative to one
of its own; a bond that closes a circle whose steps do not cancel says that the component meets its own image w cells
further. These vectors w, the windings, generate all of them, and a component percolates along axis k exactly where one
has ``w_k != 0``: a path through the phase leads from a voxel to its periodic image, in the infinite medium for ever on.
Touching both faces is not enough (two bumps at opposite faces need not be joined), nor is it needed at the same voxels
in the cell (a path may wind round several times, or obliquely).
"""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

Vector = tuple[int, ...]


def components(cell: Tensor, phase: int = 1) -> tuple[Tensor, int]:
    """Periodic components of a phase.

    Args:
        cell: ``(n_1, .., n_d)``, 0 and 1.
        phase: 0 or 1.

    Returns:
        Labels ``(n_1, .., n_d)``, int64: 0 outside the phase and 1 .. m in it, largest component first; and m.

    Raises:
        ValueError: If the cell has other values than 0 and 1, or the phase is neither.

    Example:
        >>> import torch
        >>> labels, count = components(torch.tensor([[1, 0, 1, 0], [0, 0, 0, 0], [1, 0, 0, 0]]))
        >>> labels.tolist(), count
        ([[1, 0, 2, 0], [0, 0, 0, 0], [1, 0, 0, 0]], 2)
    """
    labels, windings = analyse(cell, phase)
    return torch.from_numpy(labels).to(cell.device), len(windings)


def windings(cell: Tensor, phase: int = 1) -> list[list[Vector]]:
    """For every component of `components`, in its order, vectors that generate the steps to its own images.

    Args:
        cell: ``(n_1, .., n_d)``, 0 and 1.
        phase: 0 or 1.

    Returns:
        One list a component, empty for one that ends within the cell; vectors count cells along each axis.

    Raises:
        ValueError: As for `components`.

    Example:
        >>> import torch
        >>> windings(torch.eye(3) + torch.eye(3).roll(1, 0))
        [[(1, 1)]]
    """
    return analyse(cell, phase)[1]


def percolates(cell: Tensor, axis: int, phase: int = 1) -> bool:
    """Whether a path through the phase leads from some voxel to its own image further along the axis.

    Args:
        cell: ``(n_1, .., n_d)``, 0 and 1.
        axis: 0 .. d - 1.
        phase: 0 or 1.

    Raises:
        ValueError: If the cell has no such axis, or as for `components`.

    Example:
        >>> import torch
        >>> bar = torch.zeros(4, 4)
        >>> bar[:, 1] = 1
        >>> percolates(bar, 0), percolates(bar, 1)
        (True, False)
    """
    if not 0 <= axis < cell.ndim:
        raise ValueError(f"percolates: axis lies between 0 and {cell.ndim - 1}, got {axis}")
    return any(vector[axis] != 0 for vectors in windings(cell, phase) for vector in vectors)


def is_connected(cell: Tensor, phase: int = 1) -> bool:
    """Whether all voxels of the phase hang together round the period; false for a phase without voxels.

    In the infinite medium the copies of a connected phase hang together as well only as far as it percolates.

    Args:
        cell: ``(n_1, .., n_d)``, 0 and 1.
        phase: 0 or 1.

    Raises:
        ValueError: As for `components`.

    Example:
        >>> import torch
        >>> is_connected(torch.eye(3)), is_connected(1 - torch.eye(3))
        (False, True)
    """
    return len(windings(cell, phase)) == 1


def largest_component(cell: Tensor, phase: int = 1) -> Tensor:
    """The cell in which all but the largest component of the phase went to the other phase.

    Args:
        cell: ``(n_1, .., n_d)``, 0 and 1.
        phase: 0 or 1.

    Returns:
        A cell of the same shape, dtype and device. Of two equally large components the one whose first voxel comes
        first in the array stays.

    Raises:
        ValueError: If the phase has no voxels, or as for `components`.

    Example:
        >>> import torch
        >>> largest_component(torch.tensor([[1.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]]))[0]
        tensor([1., 0., 0., 0.])
    """
    labels, count = components(cell, phase)
    if count == 0:
        raise ValueError(f"largest_component: the cell has no voxel of phase {phase}")
    keep = labels == 1
    return (keep if phase == 1 else ~keep).to(cell.dtype)


def analyse(cell: Tensor, phase: int) -> tuple[NDArray[np.int64], list[list[Vector]]]:
    """Labels as of `components`, in numpy, and the windings of each component, in one pass.

    Example:
        >>> labels, found = analyse(torch.eye(3), 1)
        >>> int(labels.max()), found
        (3, [[], [], []])
    """
    values = cell.detach().cpu().numpy()
    if values.ndim == 0 or values.size == 0 or not ((values == 0) | (values == 1)).all():
        raise ValueError(f"components: a cell has voxels of the values 0 and 1 only, got shape {values.shape}")
    if phase not in (0, 1):
        raise ValueError(f"components: phase is 0 or 1, got {phase!r}")
    raw, count = ndimage.label(values == phase)
    forest = _Copies(count + 1, values.ndim)
    for axis in range(values.ndim):
        last, first = raw.take(-1, axis).reshape(-1), raw.take(0, axis).reshape(-1)
        touching = (last > 0) & (first > 0)
        for a, b in np.unique(np.stack([last[touching], first[touching]], axis=1), axis=0):
            forest.bond(int(a), int(b), axis)
    roots = np.array([forest.find(i)[0] for i in range(count + 1)])
    sizes = np.bincount(roots[raw.reshape(-1)], minlength=count + 1)
    sizes[0] = 0
    # Roots are the smallest label of their component, so a stable sort breaks ties by the first voxel.
    order = [int(root) for root in np.argsort(-sizes, kind="stable") if sizes[root] > 0]
    number = np.zeros(count + 1, dtype=np.int64)
    number[order] = np.arange(1, len(order) + 1)
    return number[roots][raw], [sorted(forest.windings[root]) for root in order]


class _Copies:
    """Union-find in which every node knows its copy number relative to its root."""

    def __init__(self, count: int, dimensions: int) -> None:
        self.parent = list(range(count))
        self.copy: list[Vector] = [(0,) * dimensions] * count  # relative to the parent
        self.windings: list[set[Vector]] = [set() for _ in range(count)]

    def find(self, node: int) -> tuple[int, Vector]:
        """The root, and the node's copy number relative to it."""
        path = []
        while self.parent[node] != node:
            path.append(node)
            node = self.parent[node]
        total = (0,) * len(self.copy[node])
        for one in reversed(path):
            total = tuple(s + t for s, t in zip(total, self.copy[one], strict=True))
            self.parent[one], self.copy[one] = node, total
        return node, total

    def bond(self, a: int, b: int, axis: int) -> None:
        """Join b in the next copy along the axis with a."""
        (root_a, copy_a), (root_b, copy_b) = self.find(a), self.find(b)
        step = tuple(
            p - q + (1 if k == axis else 0) for k, (p, q) in enumerate(zip(copy_a, copy_b, strict=True))
        )  # copy of root_b relative to root_a
        if root_a == root_b:
            if any(step):
                leading = next(s for s in step if s)
                self.windings[root_a].add(step if leading > 0 else tuple(-s for s in step))
            return
        if root_b < root_a:
            root_a, root_b, step = root_b, root_a, tuple(-s for s in step)
        self.parent[root_b], self.copy[root_b] = root_a, step
        self.windings[root_a] |= self.windings[root_b]
