"""Symmetries of flows: changes of a field after which it is a solution of the same equation again.

A symmetry here is a shift by whole points, a reflection or a turn of the box, and a sign::

    (g f)(j, i) = sign * f(d_y j + s_y, d_x i + s_x)          d = 1 or -1; if ``swapped``, f with its axes exchanged

Vorticity changes its sign in a mirror. Kolmogorov flow, whose source of vorticity is ``- A k cos(k y)`` with
k = 2 pi m / l_y, keeps: every shift along x; shifts along y by a period of the force; the half turn; and, each with a
shift of half a period of the force along y, the two mirrors. Isotropic flows keep all shifts and mirrors, and quarter
turns in a square.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from domains.turbulence.flows import DecayingTurbulence, Flow, KolmogorovFlow, KuramotoSivashinsky, StochasticTurbulence
from domains.turbulence.grid import Grid


@dataclass(frozen=True)
class Turn:
    """One symmetry, see the head of this file.

    Attributes:
        directions: (d_y, d_x) or (d_x,), each 1 or -1.
        shift: (s_y, s_x) or (s_x,), in points.
        sign: 1 or -1.
        swapped: whether y and x are exchanged first.
    """

    directions: tuple[int, ...]
    shift: tuple[int, ...]
    sign: int = 1
    swapped: bool = False

    def __call__(self, fields: Tensor, moved: Sequence[int] | None = None) -> Tensor:
        """The symmetry of fields ``(..., *shape)``, with a further shift ``moved`` in points.

        Example:
            >>> half_turn = Turn((-1, -1), (0, 0))
            >>> half_turn(torch.arange(9).reshape(3, 3)).tolist()  # about the first point
            [[0, 2, 1], [6, 8, 7], [3, 5, 4]]
        """
        taken = fields.transpose(-1, -2) if self.swapped else fields
        for axis in range(-len(self.shift), 0):
            n = taken.shape[axis]
            start = self.shift[axis] + (moved[axis] if moved else 0)
            taken = taken.index_select(axis, (self.directions[axis] * torch.arange(n) + start).to(taken.device) % n)
        return self.sign * taken


@dataclass(frozen=True)
class Symmetries:
    """Turns, each followed by shifts by any multiples of some points.

    Attributes:
        shape: points (n_y, n_x) or (n_x,).
        strides: (t_y, t_x) or (t_x,): shifts by multiples of these are symmetries; n for none.
        turns: with the one that changes nothing.
    """

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    turns: tuple[Turn, ...]

    def __call__(self, fields: Tensor, generator: torch.Generator) -> Tensor:
        """One random symmetry for each sample of ``(B, ..., *shape)``, the same for all that the sample holds.

        Raises:
            ValueError: the fields are not on this grid.

        Example:
            >>> free = no_symmetries((8, 8))
            >>> fields = torch.randn(3, 2, 8, 8)
            >>> bool((free(fields, torch.Generator()) == fields).all())
            True
        """
        d = len(self.shape)
        if tuple(fields.shape[-d:]) != self.shape:
            raise ValueError(f"fields: expected (B, ..., {', '.join(map(str, self.shape))}), got {tuple(fields.shape)}")
        picked = torch.randint(len(self.turns), (len(fields),), generator=generator).tolist()
        moved = [
            stride * torch.randint(n // stride, (len(fields),), generator=generator)
            for n, stride in zip(self.shape, self.strides, strict=True)
        ]
        turned = [
            turn(sample, [int(shifts[place]) for shifts in moved])
            for place, (sample, turn) in enumerate(zip(fields, (self.turns[index] for index in picked), strict=True))
        ]
        return torch.stack(turned)


def symmetries_of(flow: Flow, grid: Grid) -> Symmetries:
    """The symmetries of a flow that take the points of a grid to points.

    Example:
        >>> found = symmetries_of(KolmogorovFlow(forcing_mode=4), Grid((32, 32)))
        >>> found.strides, len(found.turns)
        ((8, 1), 4)
        >>> len(symmetries_of(DecayingTurbulence(), Grid((32, 32))).turns)
        8
    """
    same, shape = (0,) * grid.dimensions, grid.shape
    if isinstance(flow, KolmogorovFlow):
        n_y, waves = shape[0], flow.forcing_mode
        turns = [Turn((1, 1), same), Turn((-1, -1), same)]
        # An odd number of half periods that is a whole number of points; there is none if n_y has too few factors 2.
        half = n_y // math.gcd(n_y, 2 * waves)
        if (2 * waves // math.gcd(n_y, 2 * waves)) % 2 == 1:
            turns += [Turn((-1, 1), (half, 0), -1), Turn((1, -1), (half, 0), -1)]
        return Symmetries(shape, (n_y // math.gcd(n_y, waves), 1), tuple(turns))
    if isinstance(flow, KuramotoSivashinsky):
        return Symmetries(shape, (1,), (Turn((1,), same), Turn((-1,), same, -1)))
    still = isinstance(flow, StochasticTurbulence) or (isinstance(flow, DecayingTurbulence) and not any(flow.mean_flow))
    if not still:
        return all_shifts(shape)
    square = shape[0] == shape[1] and grid.lengths[0] == grid.lengths[1]
    return Symmetries(
        shape,
        (1, 1),
        tuple(
            Turn((down, along), same, down * along * (-1 if swapped else 1), swapped)
            for swapped, down, along in itertools.product((False, True) if square else (False,), (1, -1), (1, -1))
        ),
    )


def all_shifts(shape: tuple[int, ...]) -> Symmetries:
    """Every shift, nothing else: what holds in a box without a place or a wall."""
    return Symmetries(shape, (1,) * len(shape), (Turn((1,) * len(shape), (0,) * len(shape)),))


def no_symmetries(shape: tuple[int, ...]) -> Symmetries:
    """None: what is safe where nothing is known."""
    return Symmetries(shape, shape, (Turn((1,) * len(shape), (0,) * len(shape)),))
