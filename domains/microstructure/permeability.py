"""Permeability of periodic porous cells: slow viscous flow on a staggered grid, solved for the forces on the solid.

A cell of ``n_1 x .. x n_d`` cubic voxels of edge h, d = 2 or 3, is periodic. Solid density rho (1 solid, 0 fluid, grey
between) slows the flow by a drag alpha(rho) (Brinkman); for the load ``e_j``, a unit mean pressure gradient over the
viscosity, the velocity u, its mean U and the periodic part p of the pressure obey

    - lap u + grad p + alpha u = e_j,      div u = 0,      K_ij = mean of u_i under load e_j        K symmetric, (d, d)

on the marker-and-cell grid (Harlow and Welch 1965): component k of u and of a force lives on the faces across axis k,
face ``i`` between voxels ``i - 1`` and ``i``; p lives in the voxels; lap has 2 d + 1 points. The drag of a face is

    D = (alpha(rho_-) + alpha(rho_+)) / 2 + W / h^2,         alpha(rho) = a rho / (1 - rho + a / a_max)

the mean of its two voxels, and W for walls beside it. Borrvall and Petersson (2003) write the same alpha with
``q = a / a_max``; with ``a_max = inf``, the default, rho = 1 is exact no-slip, D = inf. W puts a wall where the voxels
end: a face in the fluid next to one inside the solid has its wall at distance h / 2, not h, so that the wall pulls with
2 u / h^2; one of these is in the Laplacian already. With the four (d = 3: eight) facets between the face's two voxels
and their neighbours sideways, ``W = 1/2 sum over facets of max(0, rho_neighbour - rho_voxel)^2``.

The unknowns are not velocities but forces ``f = - D u``, which live where rho > 0. With the Green operator G of the
periodic Stokes equations (one Fourier transform there and back),

    u = U + G f,      (1 / D + G) f = - U where D > 0,      mean f = - e_j

is symmetric, positive and finite for D = inf, and ``f_i . (1/D + G) f_j / N`` is K: its minimum over f. So conjugate
gradients under d linear constraints lower K, the steps say by how much, and the error of K is the square of the
error of f. The preconditioner is ``w (1 + c G)^-1 w`` with ``w^2 = D / (1 + D g)``, g the diagonal of G and
``c = 1 / g``: exact for no drag, the inverse of G in the bulk of a solid, and one more transform. Pressures that vary
inside grey voxels cost G nothing and 1 / D little; cells with grey voxels add ``grad s (- lap)^-1 s div``,
``s^2 = alpha / (1 + alpha / 4e4)``, the constant-coefficient picture of Darcy flow in them, and a scalar transform.

Other ways were measured on random cells of 64^2 and 32^3 voxels, in steps for 1e-6: on binary cells, porosity 0.3 to
0.8, the diagonal w^2 alone took 43 to 176, the restricted Laplacian 27 to 136, this one 33 to 97. On grey cells (a
logistic function of smooth noise, three slopes, 64^2) the diagonal took 520 for the softest, the preconditioner
without its last term 237, 981 and 469, with it 53, 109 and 185.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal, overload

import torch
from torch import Tensor

from domains.microstructure.connectivity import analyse
from domains.microstructure.first_derivative import guarded
from domains.microstructure.stokes_forces import Forces, Goal, relaxed, wide

_CHUNK = {"cpu": 2**17, "other": 2**24}  # numbers of one force field that are iterated together


@dataclass(frozen=True)
class StokesFlow:
    """The flow through a periodic cell of volume one under d loads, each a unit mean pressure gradient over viscosity.

    Attributes:
        permeability: ``(..., d, d)``, in length^2; the only one of the three that carries gradients.
        velocity: ``(..., d, d, n_1, .., n_d)``, in length^2: load, component, face. Component k at index i is the
            velocity through the face between voxels ``i - 1`` and ``i`` of axis k. Free of divergence to rounding.
        pressure: ``(..., d, n_1, .., n_d)``, in length: the periodic part in the voxels, mean zero, over the load.
            Inside exact solid it has no meaning.
    """

    permeability: Tensor
    velocity: Tensor
    pressure: Tensor


@overload
def permeability(
    cells: Tensor,
    dimensions: int | None = None,
    *,
    voxel: float | None = None,
    drag: float | None = None,
    maximal_drag: float = math.inf,
    tolerance: float = 1e-6,
    max_iterations: int = 3000,
    return_fields: Literal[False] = False,
) -> Tensor: ...


@overload
def permeability(
    cells: Tensor,
    dimensions: int | None = None,
    *,
    voxel: float | None = None,
    drag: float | None = None,
    maximal_drag: float = math.inf,
    tolerance: float = 1e-6,
    max_iterations: int = 3000,
    return_fields: Literal[True],
) -> StokesFlow: ...


def permeability(
    cells: Tensor,
    dimensions: int | None = None,
    *,
    voxel: float | None = None,
    drag: float | None = None,
    maximal_drag: float = math.inf,
    tolerance: float = 1e-6,
    max_iterations: int = 3000,
    return_fields: bool = False,
) -> Tensor | StokesFlow:
    """The permeability of periodic cells: mean velocity = K / viscosity times the mean pressure gradient driving it.

    Args:
        cells: Solid densities ``(..., n_1, .., n_d)`` from 0, fluid, to 1, solid; axis k is coordinate k; float32 or
            float64. The work is done in float64.
        dimensions: Number d of grid axes, 2 or 3; None if ``cells`` is one cell.
        voxel: Edge of a voxel, a length; by default ``1 / n_1``.
        drag: Drag a of density 1/2 over viscosity, in 1 / length^2; by default ``6 / voxel^2``, with which round
            obstacles drawn by volume fraction come closest to their true permeability (see below).
        maximal_drag: Drag of density 1, in 1 / length^2. Infinite means no slip.
        tolerance: Error of K allowed, relative to its trace (or to 1e-6 voxel^2, if that is larger), as estimated by
            the last quarter of the steps, but eight at least. The fields' error is of the order of its root; that is
            why they and the gradients are solved to ``tolerance / 100``.
        max_iterations: Number of steps after which to give up.
        return_fields: Whether to return the velocities and pressures as well.

    Returns:
        K ``(..., d, d)`` in the unit of ``voxel`` squared, symmetric, positive semidefinite, of the dtype of ``cells``;
        or a `StokesFlow` that holds it.

    Raises:
        TypeError: If ``cells`` is not a float32 or float64 tensor.
        ValueError: If the shape is not that of cells, a density is not in [0, 1], a cell has no solid at all (its
            permeability is infinite), or an option is out of range.
        RuntimeError: If the tolerance is not reached in ``max_iterations`` steps.

    Directions in which exact solid stops the fluid are found by labelling the fluid's connected parts (voxels that
    share a face) on the torus; K is zero there to rounding, exactly so along axes.

    Gradients: the problem is its own adjoint, so that the backward pass costs no solve. Where a voxel is exactly solid
    and the maximal drag infinite, K has a kink: one partial derivative does not know of the others, and the gradient
    holds the one-sided derivatives of softening each voxel alone. So it sees walls that are one voxel thick, also where
    K is zero, and is zero inside thicker ones. There are no second derivatives, and the fields carry none.

    Accuracy: a straight channel of w voxels has K too large by the factor ``1 + 2 / w^2``, so of second order. Round
    obstacles are staircases, of first order: simple cubic arrays of spheres (Zick and Homsy 1982) of 3 %, 12.5 % and
    34 % solid come out 5 %, 2 % and 5 % low at 32 voxels a side, 3 %, 2 % and 2 % at 48, if voxels are solid or fluid;
    drawn by volume fraction they are 2 %, 1 % and 4 % high at 16 and about 1 % low at 32.

    Time on one core, all loads: 64^2 voxels 0.02 to 0.05 s, 32^3 voxels 0.3 to 1.0 s (binary cells, porosity 0.3 to
    0.8); grey cells of high contrast take up to three times as long, and ten if nearly all solid. On a CPU cells of
    32^2 or fewer voxels gain from batches, twice or more; larger ones cost what they cost alone.

    Example:
        >>> import torch
        >>> from domains.microstructure.permeability import permeability
        >>> channel = torch.zeros(16, 16)
        >>> channel[:, :8] = 1.0  # walls y < 1/2, so that K_xx is near 1/2 (1/2)^2 / 12 = 0.0104 and K_yy is zero
        >>> permeability(channel)
        tensor([[0.0107, 0.0000],
                [0.0000, 0.0000]])
    """
    d = _checked_dimensions(cells, dimensions)
    lead, grid = cells.shape[: cells.ndim - d], cells.shape[cells.ndim - d :]
    edge = 1.0 / grid[0] if voxel is None else float(voxel)
    _check_positive("voxel", edge)
    half = 6.0 / edge**2 if drag is None else float(drag)
    _check_positive("drag", half)
    _check_positive("tolerance", tolerance)
    if not maximal_drag > 0:
        raise ValueError(f"permeability: maximal_drag is positive, got {maximal_drag}")
    if max_iterations < 1:
        raise ValueError(f"permeability: max_iterations is at least 1, got {max_iterations}")
    _check_densities(cells, d)

    # In units of the voxel edge from here on.
    density = cells.reshape(-1, *grid).to(torch.float64)
    softness = half / maximal_drag
    slip, grip = _face_coefficients(density, half * edge**2, softness)
    solid = (density >= 1.0) if softness == 0.0 else torch.zeros_like(density, dtype=torch.bool)
    relief = _relief(density.detach(), half * edge**2, softness)
    exact = return_fields or (torch.is_grad_enabled() and cells.requires_grad)
    goal = Goal(tolerance / 100 if exact else tolerance, max_iterations, return_fields)
    matrix, velocity, pressure = _Permeability.apply(slip, grip, solid, relief, goal)
    result: Tensor = (matrix * edge**2).to(cells.dtype).reshape(*lead, d, d)
    if not return_fields:
        return result
    return StokesFlow(
        permeability=result,
        velocity=(velocity * edge**2).to(cells.dtype).reshape(*lead, d, d, *grid),
        pressure=(pressure * edge).to(cells.dtype).reshape(*lead, d, *grid),
    )


def _checked_dimensions(cells: Tensor, dimensions: int | None) -> int:
    if not isinstance(cells, Tensor):
        raise TypeError(f"permeability: cells is a tensor, got {type(cells).__name__}")
    if cells.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"permeability: cells are float32 or float64, got {cells.dtype}")
    if dimensions not in (None, 2, 3):
        raise ValueError(f"permeability: dimensions is 2 or 3, got {dimensions!r}")
    if dimensions is None and cells.ndim not in (2, 3):
        raise ValueError(
            f"permeability: without dimensions, cells is one cell of 2 or 3 axes, got shape {tuple(cells.shape)}"
        )
    d = cells.ndim if dimensions is None else dimensions
    if cells.ndim < d:
        raise ValueError(f"permeability: expected cells (..., + {d} grid axes), got shape {tuple(cells.shape)}")
    if 0 in cells.shape[cells.ndim - d :]:
        raise ValueError(f"permeability: grid axes have at least one voxel, got shape {tuple(cells.shape)}")
    return d


def _check_positive(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"permeability: {name} is finite and positive, got {value}")


def _check_densities(cells: Tensor, d: int) -> None:
    values = cells.detach()
    wrong = ~((values >= 0) & (values <= 1))  # true for NaN
    if wrong.any():
        raise ValueError(
            f"permeability: densities are from 0 to 1, got {int(wrong.sum())} others, the first {values[wrong][0]:g}"
        )
    empty = values.flatten(values.ndim - d).amax(-1) == 0 if values.numel() else values.new_zeros(0)
    if empty.any():
        raise ValueError(
            f"permeability: a cell without any solid has infinite permeability, got {int(empty.sum())} of "
            f"{empty.numel()} such cells"
        )


def _face_coefficients(density: Tensor, half: float, softness: float) -> tuple[Tensor, Tensor]:
    """Numbers m and n ``(B, d, ..)`` on the faces, neither negative, not both zero, with drag D = n / m.

    They are polynomials of the densities, so that D = inf has derivatives as well.
    """
    d = density.ndim - 1
    axes = range(-d, 0)
    behind, ahead = ([(density.roll(s, axis) - density).clamp(min=0.0) for axis in axes] for s in (1, -1))
    sideways = [a.square() + b.square() for a, b in zip(behind, ahead, strict=True)]  # walls seen along each axis
    slip, grip = [], []
    for axis in axes:
        before = density.roll(1, axis)
        open_before, open_after = 1.0 - before + softness, 1.0 - density + softness
        m = open_before * open_after
        n = 0.5 * half * (before * open_after + density * open_before)
        for other in axes:
            if other != axis:
                walls = sideways[other]
                n = n + 0.5 * m * (walls + walls.roll(1, axis))
        slip.append(m)
        grip.append(torch.where(m + n > 0, n, 1.0))  # between two solid voxels m = n = 0
    return torch.stack(slip, 1), torch.stack(grip, 1)


def _relief(density: Tensor, half: float, softness: float) -> Tensor:
    """Weights s ``(B, ..)`` of pressures in voxels, ``s^2 = alpha / (1 + alpha / 4e4)``; zero in cells without grey.

    The limit keeps s finite on exact solid; ten times less or a hundred times more take about as many steps.
    """
    hold = half * density
    relief = (hold / (1.0 - density + softness + 2.5e-5 * hold)).sqrt()
    grey = ((density > 0) & (density < 1)).flatten(1).any(1) | (softness > 0)
    return relief * grey.reshape(-1, *[1] * (density.ndim - 1))


class _Permeability(torch.autograd.Function):
    """K ``(B, d, d)`` of face coefficients, in units of the voxel; with the fields if the goal asks for them."""

    @staticmethod
    def forward(
        ctx: Any, slip: Tensor, grip: Tensor, solid: Tensor, relief: Tensor, goal: Goal
    ) -> tuple[Tensor, Tensor, Tensor]:
        batch, d, *grid = slip.shape
        reach, parts = _percolation(solid)
        needs_gradient = any(ctx.needs_input_grad)
        matrix = slip.new_zeros(batch, d, d)
        velocity = slip.new_zeros(batch, d, d, *grid) if goal.fields else slip.new_zeros(0)
        pressure = slip.new_zeros(batch, d, *grid) if goal.fields else slip.new_zeros(0)
        scaled = slip.new_zeros(batch, d, d, *grid) if needs_gradient else slip.new_zeros(0)
        size = max(1, _CHUNK["cpu" if slip.device.type == "cpu" else "other"] // (d * d * math.prod(grid)))
        worth = torch.where(reach.flatten(1).any(1) | needs_gradient)[0]
        for part in torch.tensor_split(worth, -(-len(worth) // size)) if len(worth) else ():
            problem = Forces(slip[part], grip[part], relief[part])
            force = problem.solve(goal)
            disturbance = problem.green(force)
            applied = disturbance + problem.mobility * force
            mean = force.flatten(2) @ applied.flatten(2).mT / problem.count
            mean = 0.5 * (mean + mean.mT)
            matrix[part] = reach[part] @ mean @ reach[part]
            flow = disturbance + wide(matrix[part], disturbance)
            if goal.fields:
                velocity[part], pressure[part] = flow, problem.pressure(force)
            if needs_gradient:
                scaled[part] = problem.scaled(flow, relaxed(force, parts[part]))
        if needs_gradient:
            ctx.save_for_backward(slip, grip, scaled)
        ctx.mark_non_differentiable(velocity, pressure)
        return matrix, velocity, pressure

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        """With u = m w and f = - n w: dK_ij = - mean of u_i u_j dD = - mean of w_i w_j (m dn - n dm)."""
        slip, grip, scaled = (tensor.detach() for tensor in ctx.saved_tensors)
        weights = gradients[0].detach() / math.prod(slip.shape[2:])
        density = torch.einsum("bij,bik...,bjk...->bk...", weights, scaled, scaled)
        first, second = ctx.saved_tensors[:2]
        return guarded(density * grip, first), guarded(-density * slip, second), None, None, None


def _percolation(solid: Tensor) -> tuple[Tensor, Tensor]:
    """Of cells ``(B, ..)``: projectors ``(B, d, d)`` onto directions in which fluid goes on for ever; its parts."""
    d = solid.ndim - 1
    reach = torch.eye(d, dtype=torch.float64, device=solid.device).repeat(len(solid), 1, 1)
    parts = torch.ones(solid.shape, dtype=torch.int64, device=solid.device)
    for i in torch.where(solid.flatten(1).any(1))[0].tolist():
        labels, windings = analyse(solid[i], phase=0)
        parts[i] = torch.from_numpy(labels)
        reach[i] = 0.0
        if ways := sorted({way for ways in windings for way in ways}):
            lengths = torch.tensor(ways, dtype=torch.float64) * torch.tensor(solid.shape[1:], dtype=torch.float64)
            _, sizes, directions = torch.linalg.svd(lengths)
            basis = directions[: int((sizes > 1e-9 * sizes[0]).sum())]
            reach[i] = torch.eye(d, dtype=torch.float64) if len(basis) == d else basis.T @ basis
    return reach, parts
