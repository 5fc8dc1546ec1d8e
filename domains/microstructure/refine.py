"""Refinement of a design by the solver: voxels of its interface change phase until the solved properties are right.

A voxel v at the interface that changes phase changes the logarithm of property k by about +-s_k(v), which the adjoint
gives for all voxels at once.  Voxels are chosen one after the other, each bringing the sum of these effects nearest to
what is missing; then the cell is solved again.  Voxels are taken only where the interface is smooth and never next to
each other, so that bridges are seldom made or broken and the effects add up. Of a symmetric cell all images of a voxel
change together; of a cell that has to stay in one piece those are left out that would part it.

The effect of a whole voxel is not the derivative at its present value.  Across the interface of phases a and b the
tangential gradient t and the normal flux q are continuous, and moving it by a voxel changes the energy by
(b - a)(t^2 + q^2 / (a b)); the derivatives in the voxels on its two sides are (b - a)(t^2 + q^2 / a^2) and
(b - a)(t^2 + q^2 / b^2).  Their geometric mean is right for t and for q alone, and is what is used.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from domains.microstructure.connectivity import is_connected
from domains.microstructure.materials import Materials
from domains.microstructure.properties import read_properties
from domains.microstructure.reachable import require_reachable

Array = NDArray[np.float64]


class NotPositiveError(ValueError):
    """A property of the cell is 0, as its permeability where a wall stands across: it has no logarithm to follow."""


@dataclasses.dataclass(frozen=True)
class Refined:
    """A refined cell.

    Attributes:
        cell: ``(n_1, ..)`` of 0 and 1.
        achieved: ``(T,)``, its properties by the solver.
        error: greatest relative distance from a target.
        path: greatest relative distance after every solve, the given cell first.
    """

    cell: Tensor
    achieved: Tensor
    error: float
    path: tuple[float, ...]


def refine(
    cell: Tensor,
    targets: Mapping[str, float],
    materials: Materials,
    *,
    tolerance: float = 0.002,
    max_solves: int = 12,
    symmetry: str = "none",
    connected: bool = False,
) -> Refined:
    """Change voxels at the interface of a cell until its solved properties are the targets.

    Args:
        cell: ``(n_1, ..)`` of 0 and 1.
        targets: wanted value of each named property; ``volume_fraction`` is one of them.
        materials: the phases of the cell.
        tolerance: greatest relative distance from a target at which to stop.
        max_solves: at most so many solver calls; the best cell met is returned.
        symmetry: of the cell, which is kept: ``"none"``, ``"mirror"`` (each axis) or ``"cubic"`` (exchanges too).
        connected: whether phase 1 is in one periodic piece and has to stay so.

    Raises:
        NotPositiveError: the cell has no positive value of a property, as its permeability where nothing flows through.
        ValueError: no target or one that no cell of these phases can have, a cell of one phase, of other values than
            0 and 1, without the symmetry or in several pieces, or no solve allowed.

    Example:
        >>> x = torch.linspace(0, 6.283, 33)[:-1]
        >>> cell = (torch.cos(x)[:, None] + torch.cos(x) > 0).float()
        >>> found = refine(cell, {"conductivity_xx": 0.34}, Materials())
        >>> found.error < 0.01
        True
    """
    if max_solves < 1:
        raise ValueError(f"max_solves: expected a positive number, got {max_solves}")
    require_reachable(targets, materials, tuple(cell.shape))
    if wrong := sorted({*cell.unique().tolist()} - {0.0, 1.0}):
        raise ValueError(f"cell: expected voxels of 0 and 1, got {wrong[0]:g}")
    if bool((cell == cell.flatten()[0]).all()):
        raise ValueError("cell: expected both phases, got one; it has no interface")
    images = _images(tuple(cell.shape), symmetry)
    if not bool((cell.flatten()[torch.from_numpy(images)] == cell.flatten()).all()):
        raise ValueError(f"cell: expected one of the symmetry {symmetry!r}, got one without it")
    if connected and not is_connected(cell, phase=1):
        raise ValueError("cell: expected phase 1 in one piece, got several")
    names = list(targets)
    wanted = np.log(np.array([targets[name] for name in names]))
    needed = materials.needed_for(names)
    cell = cell.detach().to(torch.float32)
    scale = np.ones(len(names))
    best: tuple[float, Tensor, Tensor] | None = None
    path: list[float] = []
    reached, promised = None, np.zeros(len(names))
    while True:
        grey = cell.clone().requires_grad_(True)
        values = read_properties(needed.solve(grey[None]), names)[0]
        lost = [(name, value) for name, value in zip(names, values.tolist(), strict=True) if not value > 0]
        if lost and best is None:
            raise NotPositiveError(f"{lost[0][0]}: expected a cell in which it is positive, got {lost[0][1]:g}")
        logs = torch.log(values)
        before, reached = reached, logs.detach().double().numpy()
        error = float(np.abs(np.exp(reached - wanted) - 1).max())
        path.append(error)
        if best is None or error < best[0]:
            best = (error, cell, values.detach())
        if error <= tolerance or len(path) == max_solves or lost:
            return Refined(best[1], best[2], best[0], tuple(path))
        if before is not None:
            # What the last change did, over what it was expected to do.
            told = np.abs(promised) > 0.3 * np.abs(promised).max()
            ratio = np.divide(reached - before, promised, out=np.ones(len(names)), where=told)
            scale *= np.clip(ratio, 0.5, 1.5)
            scale = np.clip(scale, 0.4, 2.5)
        sensitivities = [torch.autograd.grad(logs[k], grey, retain_graph=True)[0].double() for k in range(len(names))]
        effects = torch.stack([_of_a_voxel(s) for s in sensitivities]) * torch.from_numpy(scale).reshape(
            -1, *[1] * cell.ndim
        )
        changed, promised = _changed(cell, effects, wanted - reached, images, connected)
        if torch.equal(changed, cell):  # nothing that may change would help
            return Refined(best[1], best[2], best[0], tuple(path))
        cell = changed


def _of_a_voxel(sensitivity: Tensor) -> Tensor:
    """Effect of a whole voxel at the interface: geometric mean of the derivatives about it."""
    sign = torch.sign(sensitivity.sum())
    size = (sign * sensitivity).clamp_min(1e-12 * float(sensitivity.abs().max()))
    return sign * torch.exp(blurred(torch.log(size)))


def _changed(
    cell: Tensor, effects: Tensor, missing: Array, images: NDArray[np.int64], connected: bool
) -> tuple[Tensor, Array]:
    """Cell after greedy changes of phase, and the sum of their expected effects."""
    share = blurred(cell.double())
    smooth = ((share > 0.3) & (share < 0.7)).numpy().ravel()
    direction = (1 - 2 * cell.double()).numpy().ravel()  # phase 0 becomes 1, phase 1 becomes 0
    gains = effects.flatten(1).numpy() * direction
    # Effects far above the usual are those of corners and necks, where a voxel more is least like the last one.
    usual = np.median(np.abs(gains[:, smooth]), axis=1, keepdims=True) if smooth.any() else np.ones((len(gains), 1))
    neighbours = _neighbours(tuple(cell.shape))
    free = smooth & (np.abs(gains) < 4 * usual).all(0) & ~_crowded(images, neighbours)
    several = 1 + (np.diff(np.sort(images, axis=0), axis=0) > 0).sum(0)  # voxels among the images of each
    gains = gains[:, images].mean(1) * several
    chosen: list[int] = []
    left = missing.copy()
    limit, changes = max(1, int(free.sum()) // 6), 0
    while changes < limit:
        candidates = np.flatnonzero(free)
        if len(candidates) == 0:
            break
        remaining = np.square(left[:, None] - gains[:, candidates]).sum(0)
        index = int(remaining.argmin())
        if remaining[index] >= np.square(left).sum():
            break
        voxel = int(candidates[index])
        chosen.append(voxel)
        left -= gains[:, voxel]
        changes += int(several[voxel])
        free[neighbours[:, images[:, voxel]]] = False

    def flipped(before: Tensor, voxels: list[int]) -> Tensor:
        places = torch.from_numpy(np.unique(images[:, voxels]))
        after = before.clone().flatten()
        after[places] = 1 - after[places]
        return after.reshape(before.shape)

    changed = flipped(cell, chosen)
    if connected and not is_connected(changed, phase=1):
        kept, changed = [], cell
        for voxel in chosen:
            if is_connected(tried := flipped(changed, [voxel]), phase=1):
                changed = tried
                kept.append(voxel)
        chosen = kept
    return changed, gains[:, chosen].sum(1)


def _images(shape: tuple[int, ...], symmetry: str) -> NDArray[np.int64]:
    """Flat indices ``(G, N)`` of every voxel's images, itself first.

    Raises:
        ValueError: an unknown symmetry, or exchanged axes of different length.
    """
    index = np.arange(np.prod(shape)).reshape(shape)
    if symmetry == "none":
        return index.reshape(1, -1)
    if symmetry not in ("mirror", "cubic"):
        raise ValueError(f"symmetry: expected 'none', 'mirror' or 'cubic', got {symmetry!r}")
    if symmetry == "cubic" and len(set(shape)) > 1:
        raise ValueError(f"symmetry: 'cubic' exchanges axes of one length, got a cell of {shape}")
    axes = range(len(shape))
    orders = itertools.permutations(axes) if symmetry == "cubic" else [tuple(axes)]
    flips = [mirrored for count in range(len(shape) + 1) for mirrored in itertools.combinations(axes, count)]
    return np.stack([np.flip(index.transpose(order), mirrored).ravel() for order in orders for mirrored in flips])


def _crowded(images: NDArray[np.int64], neighbours: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether one of a voxel's images ``(N,)`` is next to it, so that the effects of both do not add up."""
    crowded = np.zeros(images.shape[1], dtype=bool)
    for image in images[1:]:
        crowded |= (neighbours == image).any(0) & (image != images[0])
    return crowded


def _neighbours(shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Flat indices ``(3^d, N)`` of every voxel and those that touch it, across the periodic faces too."""
    index = np.arange(np.prod(shape)).reshape(shape)
    axes = tuple(range(len(shape)))
    return np.stack([np.roll(index, np.array(o) - 1, axes).ravel() for o in np.ndindex(*[3] * len(shape))])


def blurred(field: Tensor, width: float = 1.0) -> Tensor:
    """Periodic Gaussian blur of a field, ``width`` in voxels.

    Example:
        >>> float(blurred(torch.eye(8, dtype=torch.float64)).sum().round())
        8.0
    """
    transformed = torch.fft.fftn(field)
    for axis, size in enumerate(field.shape):
        waves = 2 * torch.pi * torch.fft.fftfreq(size, dtype=torch.float64)
        shape = [1] * field.ndim
        shape[axis] = -1
        transformed = transformed * torch.exp(-((width * waves) ** 2) / 2).reshape(shape)
    return torch.fft.ifftn(transformed).real
