"""Topology optimisation from a random start by the solver and its adjoint alone: what inversion is measured against.

A field x on the voxels is blurred and squashed into a grey cell rho = sigmoid(beta blurred(x)); Adam lowers
sum_k (log p_k - log target_k)^2 while beta doubles, so that the cell becomes black and white (projection method, Guest
et al. 2004).  Whenever the grey cell is within the wanted error, the thresholded one is solved.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping

import torch
from torch import Tensor

from domains.microstructure.materials import Materials
from domains.microstructure.properties import read_properties
from domains.microstructure.reachable import require_reachable
from domains.microstructure.refine import blurred


@dataclasses.dataclass(frozen=True)
class Optimised:
    """Result of an optimisation.

    Attributes:
        cell: ``(n_1, ..)`` of 0 and 1.
        error: greatest relative distance from a target, solved on the thresholded cell; infinite if a permeability is
            wanted and no thresholded cell had any solid.
        seconds: wall time.
        solves: solver calls.
    """

    cell: Tensor
    error: float
    seconds: float
    solves: int


def optimise_topology(
    targets: Mapping[str, float],
    materials: Materials,
    size: tuple[int, ...],
    *,
    tolerance: float = 0.02,
    max_solves: int = 200,
    rate: float = 0.1,
    width: float = 2.0,
    double_every: int = 20,
    seed: int = 0,
) -> Optimised:
    """Optimise a cell from noise until its thresholded properties are within ``tolerance`` of the targets.

    Args:
        targets: wanted value of each named property.
        materials: the phases.
        size: voxels along each coordinate.
        tolerance: wanted relative error.
        max_solves: at most so many solver calls, two or more: of a grey cell and of the thresholded one.
        rate: of Adam.
        width: of the blur, voxels; the least size of a feature is about twice it.
        double_every: solves after which beta doubles.
        seed: of the start.

    Raises:
        ValueError: no target, one that no cell of these phases can have, or ``max_solves`` below two.

    Example:
        >>> found = optimise_topology({"conductivity_xx": 0.3}, Materials(), (16, 16), tolerance=0.05)
        >>> found.error < 0.05
        True
    """
    if max_solves < 2:
        raise ValueError(f"max_solves: expected 2 or more, a grey cell and the thresholded one, got {max_solves}")
    require_reachable(targets, materials, size)
    started = time.perf_counter()
    names = list(targets)
    wanted = torch.log(torch.tensor([targets[name] for name in names], dtype=torch.float32))
    needed = materials.needed_for(names)
    generator = torch.Generator().manual_seed(seed)
    field = torch.randn(size, generator=generator)
    field = (field / blurred(field, width).std()).requires_grad_(True)
    optimiser = torch.optim.Adam([field], rate)
    best: tuple[float, Tensor] | None = None
    solves, beta = 0, 1.0
    while solves + 2 <= max_solves:  # the grey cell, and perhaps the thresholded one
        smooth = blurred(field, width).to(torch.float32)
        grey = torch.sigmoid(beta * smooth)
        misfit = torch.log(read_properties(needed.solve(grey[None]), names)[0]) - wanted
        solves += 1
        if float(misfit.detach().abs().max()) < tolerance or solves % double_every == 0 or solves >= max_solves - 1:
            cell = (smooth.detach() > 0).to(torch.float32)
            error = math.inf  # of a cell of fluid alone, which has no permeability to solve for
            if not needed.permeability or bool(cell.any()):
                reached = torch.log(read_properties(needed.solve(cell[None]), names)[0])
                solves += 1
                error = float((torch.exp(reached - wanted) - 1).abs().max())
            if best is None or error < best[0]:
                best = (error, cell)
            if error <= tolerance:
                break
            beta = min(2 * beta, 64.0)
        optimiser.zero_grad()
        misfit.square().sum().backward()
        optimiser.step()
    assert best is not None
    return Optimised(best[1], best[0], time.perf_counter() - started, solves)
