"""The equations for the forces that a solid exerts on slow flow, and their solution by conjugate gradients.

The mathematics and the symbols are those of :mod:`permeability`, whose solver this is: ``(1 / D + G) f = - U`` on the
faces of a staggered periodic grid, under the condition that the forces add up to the load.
"""

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Goal:
    """When to stop, and what to hand back."""

    tolerance: float
    max_iterations: int
    fields: bool


class Forces:
    """The equations for the forces in B cells, as operators on force fields ``(B, loads, d, n_1, .., n_d)``.

    Args:
        slip: m of ``_face_coefficients``, ``(B, d, n_1, .., n_d)``.
        grip: n of the same shape; the drag is D = n / m.
        relief: s of ``_relief``, ``(B, n_1, .., n_d)``.
    """

    def __init__(self, slip: Tensor, grip: Tensor, relief: Tensor) -> None:
        self.grid = tuple(slip.shape[2:])
        self.d, self.count = len(self.grid), math.prod(self.grid)
        self.axes = tuple(range(-self.d, 0))
        self.slip, self.grip = slip.unsqueeze(1), grip.unsqueeze(1)
        self.relief, self.grey = relief.unsqueeze(1), bool(relief.any())
        self.held = self.grip > 0
        self.mobility = torch.where(self.held, self.slip / torch.where(self.held, self.grip, 1.0), 0.0)  # 1 / D
        self.gradient, laplacian = _symbols(self.grid, slip)
        self.inverse = torch.where(laplacian > 0, 1.0 / torch.where(laplacian > 0, laplacian, 1.0), 0.0)
        double = torch.ones(self.grid[-1] // 2 + 1, dtype=slip.dtype, device=slip.device)
        double[1 : (self.grid[-1] + 1) // 2] = 2.0  # half a spectrum stands for the whole
        self.diagonal = (1 - 1 / self.d) * float((self.inverse * double).sum()) / self.count  # g: mean over components
        self.diagonal = max(self.diagonal, 1e-3)  # one voxel: no waves, G = 0
        self.weight = torch.where(self.held, (self.mobility + self.diagonal).rsqrt(), 0.0)
        self.damping = 1.0 / (1.0 + self.diagonal * laplacian)  # c G / (1 + c G) on waves without divergence
        self.damping = torch.where(laplacian > 0, self.damping, 0.0)
        # Conditions: the total of each component. Their multipliers are the mean velocities.
        unit = torch.eye(self.d, dtype=slip.dtype, device=slip.device).reshape(self.d, self.d, *[1] * self.d)
        self.conditions = self._smoothed(unit * self.held).flatten(3)  # (B, condition, d, count)
        self.multipliers = torch.linalg.inv(self.conditions.sum(-1))

    def green(self, force: Tensor) -> Tensor:
        """Velocity of mean zero that periodic forces cause, free of divergence."""
        spectrum = torch.fft.rfftn(force, dim=self.axes)
        spectrum -= self.gradient * self._potential(spectrum).unsqueeze(-self.d - 1)
        return self._back(spectrum.mul_(self.inverse))

    def pressure(self, force: Tensor) -> Tensor:
        """Pressure ``(B, loads, ..)`` that goes with it."""
        return self._back(self._potential(torch.fft.rfftn(force, dim=self.axes)))

    def applied(self, force: Tensor) -> Tensor:
        """``(1 / D + G) f``; meaningful where there is drag."""
        return self.green(force).addcmul_(self.mobility, force)

    def preconditioned(self, residual: Tensor) -> Tensor:
        """``w (1 + c G)^-1 w`` onto forces of total zero; takes the multiplier, a velocity, out of the residual."""
        smooth = self._smoothed(residual)
        mean = smooth.flatten(3).sum(-1) @ self.multipliers
        residual -= wide(mean, residual)
        return smooth.sub_((mean @ self.conditions.flatten(2)).reshape(smooth.shape))

    def scaled(self, flow: Tensor, force: Tensor) -> Tensor:
        """The field w with ``u = m w``, ``f = - n w``: from the forces where the drag times g is above one."""
        firm = self.held & (self.mobility < self.diagonal)
        return torch.where(firm, -force / self.grip.clamp(min=1e-300), flow / self.slip.clamp(min=1e-300))

    def solve(self, goal: Goal) -> Tensor:
        """Forces ``(B, d, d, ..)`` of all d loads, by conjugate gradients; cells that are done leave the iteration.

        Raises:
            RuntimeError: If some cell does not reach the tolerance.
        """
        forces: Tensor = -self.count * (self.multipliers @ self.conditions.flatten(2)).reshape(
            -1, self.d, self.d, *self.grid
        )
        running, problem = torch.arange(len(forces), device=forces.device), self
        force, residual = forces, -self.applied(forces)
        energy = -_dots(force, residual) / self.count  # (B, d), falls to the diagonal of K
        direction = problem.preconditioned(residual)
        size = _dots(residual, direction)
        least = 1e-26 * (size + self.count * energy.abs()).sum(-1, keepdim=True)  # rounding
        steps: list[Tensor] = []
        error = math.inf
        for iteration in range(1, goal.max_iterations + 1):
            image = problem.applied(direction)
            curvature = _dots(direction, image)
            length = torch.where(size > least, size / curvature.clamp(min=1e-300), 0.0)
            force = force.addcmul(wide(length, force), direction)
            residual = residual.addcmul_(wide(length, residual), image, value=-1.0)
            steps.append(length * size / self.count)
            energy = energy - steps[-1]
            if iteration % 4 == 0:
                recent = torch.stack(steps[-max(8, iteration // 4) :]).sum(0).sum(-1)
                relative = recent / energy.sum(-1).clamp(min=1e-6)
                error = float(relative.max())
                open_ = relative > goal.tolerance
                if iteration >= 8 and not bool(open_.all()):
                    forces[running] = force
                    if not bool(open_.any()):
                        return forces
                    keep = torch.where(open_)[0]
                    running, problem = running[keep], problem._only(keep)
                    force, residual, direction = force[keep], residual[keep], direction[keep]
                    size, least, energy = size[keep], least[keep], energy[keep]
                    steps = [step[keep] for step in steps]
            smooth = problem.preconditioned(residual)
            before, size = size, _dots(residual, smooth)
            ratio = torch.where(size > least, size / before.clamp(min=1e-300), 0.0)
            direction = smooth.addcmul_(wide(ratio, direction), direction)
        raise RuntimeError(
            f"permeability: {len(running)} of {len(forces)} cells have an estimated relative error up to {error:.1e}, "
            f"above {goal.tolerance:.1e}, after {goal.max_iterations} steps; allow more steps or a larger tolerance"
        )

    def _potential(self, spectrum: Tensor) -> Tensor:
        return (self.gradient.conj() * spectrum).sum(-self.d - 1).mul_(self.inverse)

    def _smoothed(self, residual: Tensor) -> Tensor:
        spectrum = torch.fft.rfftn(self.weight * residual, dim=self.axes)
        rotation = self.gradient * self._potential(spectrum).unsqueeze(-self.d - 1)
        spectrum -= rotation.neg_().add_(spectrum).mul_(self.damping)
        smooth = self._back(spectrum).mul_(self.weight)
        if self.grey:
            source = torch.zeros_like(residual[:, :, 0])
            for axis, normal in zip(self.axes, residual.unbind(2), strict=True):
                source += normal - normal.roll(-1, axis)
            source = torch.fft.rfftn(source.mul_(self.relief), dim=self.axes)
            potential = self._back(source.mul_(self.inverse)).mul_(self.relief)
            for axis, normal in zip(self.axes, smooth.unbind(2), strict=True):
                normal += potential - potential.roll(1, axis)
        return smooth

    def _back(self, spectrum: Tensor) -> Tensor:
        field: Tensor = torch.fft.irfftn(spectrum, s=self.grid, dim=self.axes)
        return field

    def _only(self, keep: Tensor) -> "Forces":
        """The same equations for some of the cells."""
        part = copy.copy(self)
        for name in ("slip", "grip", "relief", "held", "mobility", "weight", "conditions", "multipliers"):
            setattr(part, name, getattr(self, name)[keep])
        return part


def _dots(a: Tensor, b: Tensor) -> Tensor:
    products: Tensor = torch.linalg.vecdot(a.flatten(2), b.flatten(2))
    return products


def wide(numbers: Tensor, like: Tensor) -> Tensor:
    """Numbers with axes of length one behind them, to meet fields like the given one."""
    return numbers.reshape(*numbers.shape, *[1] * (like.ndim - numbers.ndim))


def _symbols(grid: tuple[int, ...], like: Tensor) -> tuple[Tensor, Tensor]:
    """Of the backward difference ``(d, ..)``, complex, and of minus the Laplacian ``(..)``, on half the spectrum."""
    d = len(grid)
    differences = []
    for axis, n in enumerate(grid):
        frequencies = (torch.fft.rfftfreq if axis == d - 1 else torch.fft.fftfreq)(n, dtype=like.dtype)
        angle = 2 * math.pi * frequencies
        shape = [len(angle) if other == axis else 1 for other in range(d)]
        differences.append((1.0 - torch.polar(torch.ones_like(angle), -angle)).reshape(shape))
    half = (*grid[:-1], grid[-1] // 2 + 1)
    gradient = torch.stack([difference.expand(half) for difference in differences]).to(like.device)
    return gradient, gradient.abs().square().sum(0)


def relaxed(force: Tensor, parts: Tensor) -> Tensor:
    """Forces ``(B, loads, d, ..)`` made unique on exact solid, for each solid voxel as if it were softened alone.

    The equations leave the pressure inside solid open, and between parts of the fluid that do not meet, and with them
    the normal forces. When a voxel is softened these pressures become such that what flows into it from a part of the
    fluid flows back there: its normal forces towards each part have mean zero, and the least sum of squares.

    Args:
        force: Forces that solve the equations.
        parts: Connected parts of the fluid ``(B, ..)``, numbered from 1; 0 is exact solid.
    """
    d = parts.ndim - 1
    if bool((parts > 0).all()):
        return force
    solid = parts == 0
    labels, forces = [], []  # of the two faces of each voxel along each axis, (B, ..) and (B, loads, ..)
    for axis, normal in zip(range(-d, 0), force.unbind(2), strict=True):
        labels += [parts.roll(1, axis), parts.roll(-1, axis)]
        forces += [normal, -normal.roll(-1, axis)]
    inward, neighbour = torch.stack(forces, 2), torch.stack(labels, 1)
    same = (neighbour.unsqueeze(1) == neighbour.unsqueeze(2)) & (neighbour > 0).unsqueeze(1) & solid[:, None, None]
    alike = same.to(force.dtype)
    alike = alike / alike.sum(2, keepdim=True).clamp(min=1.0)
    mean = torch.einsum("bij...,blj...->bli...", alike, inward)  # zero but at faces from solid to fluid
    return torch.stack(
        [normal - mean[:, :, 2 * k] + mean[:, :, 2 * k + 1].roll(1, k - d) for k, normal in enumerate(force.unbind(2))],
        2,
    )
