"""Innovations as tokens: what a forecast missed, cut into patches and coded by bins that are equally likely.

An innovation r, in units of the standard deviation, has coefficients c(p, q) of the modes that are forecast. Coded::

    white = points of  c(p, q) / d(p, q)           d^2 = E |c|^2, one a mode: every mode counts as much as any other
    x_(P,k) = DCT of a patch of ``patch^2`` points, orthonormal, k by rising frequency
    code_(P,k) = number of the bin of x_(P,k);     bins are equally likely under the distribution F_k of x_(.,k)

and back: ``x = F_k^-1((code + u) / bins)`` with u uniform in (0, 1), the inverse DCT, times d. So codes that are drawn
at random have the distribution of every coefficient and the spectrum of the innovations by themselves, to the error of
the estimates of F and d: what a model of the codes has to learn is how they depend on one another and on the state.

A code may hold a band of modes only (`above`), so that a coarse one and finer ones make a pyramid: large scales are not
local in white points, and what is to be learned of them would be spread thin.

The grid of the patches is the smallest multiple of the patch that resolves the modes. What it holds beyond them, and
modes of which the innovations have nothing (the mean of a vorticity), is filled with white noise by the coder and
dropped by the decoder, so that the points are white whatever the patch. A shift by a patch only moves the codes.

The transform is that of JPEG (Ahmed, Natarajan and Rao 1974, https://doi.org/10.1109/T-C.1974.223784); whitening first
is ours: a turbulent spectrum falls by many decades, and an error of half a bin in a large scale would drown the small.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from domains.turbulence.modes import to_modes, to_points

_EMPTY = 1e-6  # of the largest mode: below it a mode holds rounding only
_INSIDE = 4  # knots of F^-1 in a bin
_TAIL = 10  # further knots in the first and the last bin, each half as far from the end as the one before


class InnovationCodec(nn.Module):
    """The code of the head of this file; it has buffers, no parameters.

    Args:
        modes: (m_y, m_x) or (m_x,) of the innovations.
        patch: points of a patch along each axis.
        bins: number of equally likely bins, 2 or more.
        kept: coefficients K of a patch that are coded, those of the lowest frequencies; the others are drawn from their
            distribution. By default all.
        above: (a_y, a_x) or (a_x,): modes up to these along all axes are left to another code; by default none.

    Example:
        >>> codec = InnovationCodec((10, 10), patch=3, bins=16)
        >>> codec.grid, codec.positions, codec.tokens
        ((21, 21), (7, 7), 9)
        >>> c = to_modes(torch.randn(50, 21, 21), (10, 10))
        >>> codec.fit(c)
        >>> codes = codec.encode(c)
        >>> codes.shape, int(codes.min()), int(codes.max())
        (torch.Size([50, 49, 9]), 0, 15)
    """

    deviation: Tensor
    levels: Tensor
    shares: Tensor
    transform: Tensor
    band: Tensor

    def __init__(
        self, modes: Sequence[int], patch: int = 4, bins: int = 32, kept: int = 0, above: Sequence[int] = ()
    ) -> None:
        super().__init__()
        self.modes = tuple(int(m) for m in modes)
        if len(self.modes) not in (1, 2) or min(self.modes) < 1:
            raise ValueError(f"modes: expected one or two numbers of 1 or more, got {self.modes}")
        if patch < 1 or bins < 2:
            raise ValueError(f"patch, bins: expected 1 or more and 2 or more, got {patch} and {bins}")
        self.patch, self.bins = patch, bins
        self.size = patch ** len(self.modes)
        if not 0 <= kept <= self.size:
            raise ValueError(f"kept: expected 0 for all, or up to {self.size} coefficients of a patch, got {kept}")
        self.tokens = kept or self.size
        self.positions = tuple(-(-(2 * m + 1) // patch) for m in self.modes)
        self.grid = tuple(patch * n for n in self.positions)
        inside = [place / (_INSIDE * bins) for place in range(_INSIDE * bins + 1)]
        ends = [2.0**-j / (_INSIDE * bins) for j in range(1, _TAIL + 1)]
        shares = torch.tensor(sorted([*inside, *ends, *(1 - end for end in ends)]), dtype=torch.float64)
        self.register_buffer("shares", shares)
        self.register_buffer("levels", torch.zeros(self.size, len(shares)))
        self.register_buffer("deviation", torch.zeros(self.modes[-1] + 1, *(2 * m + 1 for m in self.modes[:-1])))
        self.register_buffer("band", _band(self.modes, tuple(above)), persistent=False)
        self.register_buffer("transform", _patch_transform(patch, len(self.modes)), persistent=False)

    @property
    def length(self) -> int:
        """Number P of patches."""
        return math.prod(self.positions)

    def fit(self, coefficients: Tensor, generator: torch.Generator | None = None) -> None:
        """Set the deviation of every mode and the distribution of every coefficient from examples.

        Args:
            coefficients: ``(N, ...)`` of innovations, complex, see `modes.to_modes`.
            generator: of what is filled in.

        Raises:
            ValueError: a shape does not fit, or all examples are zero.
        """
        self._check(coefficients)
        deviation = coefficients.abs().double().square().mean(0).sqrt() * self.band
        if not float(deviation.max()) > 0:
            raise ValueError("coefficients: expected innovations that are not all zero")
        self.deviation.copy_(torch.where(deviation > _EMPTY * deviation.max(), deviation, 0.0))
        values = self.patches(coefficients, generator).flatten(0, 1).double().sort(0).values
        place = self.shares * (len(values) - 1)
        below = place.floor().long().clamp(max=len(values) - 2)
        part = (place - below)[:, None]
        self.levels.copy_(((1 - part) * values[below] + part * values[below + 1]).T)

    def patches(self, coefficients: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """White coefficients of patches ``(N, P, patch^D)`` before they are coded, by rising frequency.

        Args:
            coefficients: ``(N, ...)``.
            generator: of what is filled in, on the CPU.
        """
        self._check(coefficients)
        there = self.deviation > 0
        scaled = coefficients * torch.where(there, 1 / self.deviation.clamp(min=1e-30), 0.0)
        noise = torch.randn(len(coefficients), *self.grid, generator=generator).to(scaled.real)
        beyond = noise - to_points(to_modes(noise, self.modes) * there, self.grid)
        fields = to_points(scaled, self.grid) * math.prod(self.grid) ** -0.5 + beyond
        return self._cut(fields) @ self.transform.T.to(fields.dtype)

    def from_patches(self, values: Tensor) -> Tensor:
        """Coefficients ``(N, ...)`` of innovations from white coefficients of patches: undoes `patches`."""
        fields = self._joined(values @ self.transform.to(values.dtype))
        return to_modes(fields, self.modes) * (self.deviation * math.prod(self.grid) ** 0.5)

    def encode(self, coefficients: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Codes ``(N, P, K)`` in 0 .. bins - 1, int64, of innovations; arguments as of `patches`."""
        values = self.patches(coefficients, generator)[..., : self.tokens]
        # In float64: a share in float32 lies beyond its knot where the bins are no power of two.
        edge = torch.arange(1, self.bins, dtype=torch.float64, device=values.device) / self.bins
        edges = self.levels[: self.tokens, torch.searchsorted(self.shares, edge - 1e-9)]
        by_coefficient = values.movedim(-1, 0).flatten(1).contiguous()
        codes = torch.searchsorted(edges.to(values.dtype).contiguous(), by_coefficient)
        return codes.reshape(self.tokens, *values.shape[:-1]).movedim(0, -1)

    def decode(self, codes: Tensor, uniform: Tensor) -> Tensor:
        """Innovations ``(N, ...)``, coefficients, that have codes ``(N, P, K)``.

        Args:
            codes: of `encode`, or drawn from a model.
            uniform: numbers in (0, 1) ``(N, P, patch^D)``: places inside the bins, and shares of the coefficients that
                are not coded.

        Raises:
            ValueError: a shape does not fit.
        """
        wanted = (len(codes), self.length)
        if tuple(codes.shape) != (*wanted, self.tokens) or tuple(uniform.shape) != (*wanted, self.size):
            raise ValueError(
                f"codes, uniform: expected (N, {self.length}, {self.tokens}) and (N, {self.length}, {self.size}), "
                f"got {tuple(codes.shape)} and {tuple(uniform.shape)}"
            )
        share = torch.cat([(codes + uniform[..., : self.tokens]) / self.bins, uniform[..., self.tokens :]], -1).double()
        above = torch.searchsorted(self.shares, share).clamp(1, len(self.shares) - 1)
        part = (share - self.shares[above - 1]) / (self.shares[above] - self.shares[above - 1])
        row = torch.arange(self.size, device=codes.device)
        values = torch.lerp(self.levels[row, above - 1], self.levels[row, above], part.to(self.levels.dtype))
        return self.from_patches(values)

    def _cut(self, fields: Tensor) -> Tensor:
        """``(N, P, patch^D)`` points of patches of fields ``(N, *grid)``, in raster order."""
        if len(self.modes) == 1:
            return fields.unflatten(1, (-1, self.patch))
        cut = fields.unflatten(2, (-1, self.patch)).unflatten(1, (-1, self.patch))
        return cut.transpose(2, 3).flatten(3, 4).flatten(1, 2)

    def _joined(self, points: Tensor) -> Tensor:
        if len(self.modes) == 1:
            return points.flatten(1)
        cut = points.unflatten(2, (self.patch, self.patch)).unflatten(1, self.positions)
        return cut.transpose(2, 3).flatten(3, 4).flatten(1, 2)

    def cut(self, fields: Tensor) -> Tensor:
        """Points of the patches ``(N, P, F patch^D)`` of F fields ``(N, F, *grid)`` on the grid of the code."""
        flat = self._cut(fields.flatten(0, 1)).unflatten(0, fields.shape[:2])
        return flat.transpose(1, 2).flatten(2)

    def _check(self, coefficients: Tensor) -> None:
        if tuple(coefficients.shape[1:]) != tuple(self.deviation.shape) or not coefficients.is_complex():
            raise ValueError(
                f"coefficients: expected complex (N, {', '.join(map(str, self.deviation.shape))}), "
                f"got {tuple(coefficients.shape)} of {coefficients.dtype}"
            )


def _band(modes: tuple[int, ...], above: tuple[int, ...]) -> Tensor:
    """Which coefficients are coded, bool: those of the modes that are not all up to ``above``."""
    kept = torch.ones(modes[-1] + 1, *(2 * m + 1 for m in modes[:-1]), dtype=torch.bool)
    if above:
        inside = torch.arange(modes[-1] + 1) <= above[-1]
        if len(modes) == 2:
            q = torch.arange(2 * modes[0] + 1)
            inside = inside[:, None] & (torch.minimum(q, 2 * modes[0] + 1 - q) <= above[0])
        kept &= ~inside
    return kept


def _patch_transform(patch: int, dimensions: int) -> Tensor:
    """Orthonormal DCT-II of a patch, rows by rising frequency, ``(patch^D, patch^D)`` float64."""
    k = torch.arange(patch, dtype=torch.float64)
    one = torch.cos(math.pi / patch * k[:, None] * (k + 0.5)) * (2 / patch) ** 0.5
    one[0] *= 0.5**0.5
    if dimensions == 1:
        return one
    frequency = (k[:, None] + k).flatten()
    order = torch.argsort(frequency, stable=True)
    return torch.kron(one, one)[order]
