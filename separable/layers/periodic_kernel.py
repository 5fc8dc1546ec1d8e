"""The filters of a periodic convolution: R outer products of one-coordinate filters between pairs of channels."""

import functools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from separable.atoms import Atom
from separable.layers.factorised import CanonicalPolyadicMatrix


class PeriodicKernel(nn.Module):
    """The filters between C and O channels as a sum of R terms, on any grid that resolves them.

    Args:
        in_channels: Number C of channels that go in.
        out_channels: Number O of channels that come out.
        rank: Number R of terms.
        sizes: Number of taps in each dimension, or None with atoms.
        atoms: The atom of each dimension, or None with taps.
        periods: Length L_j of the period in each dimension, in the unit of the atoms' domains.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        rank: int,
        sizes: tuple[int, ...] | None,
        atoms: tuple[Atom, ...] | None,
        periods: tuple[float, ...],
        like: dict[str, object],
    ) -> None:
        super().__init__()
        self.sizes, self.atoms, self.periods = sizes, atoms, periods
        lengths = sizes if atoms is None else [atom.size for atom in atoms]
        assert lengths is not None
        self.output_mix = nn.Parameter(torch.empty(out_channels, rank, **like))  # type: ignore[call-overload]
        self.input_mix = nn.Parameter(torch.empty(rank, in_channels, **like))  # type: ignore[call-overload]
        self.filters = nn.ParameterList(
            nn.Parameter(torch.empty(rank, length, **like))  # type: ignore[call-overload]
            for length in lengths
        )

    def reset_parameters(self, gain: float, generator: torch.Generator | None) -> None:
        """Normal start values for which a resolved field of variance one leaves with a variance near ``gain^2``."""
        rank, channels = self.input_mix.shape
        nn.init.normal_(self.output_mix, std=gain * rank**-0.5, generator=generator)
        nn.init.normal_(self.input_mix, std=channels**-0.5, generator=generator)
        for j, filters in enumerate(self.filters):
            variance = 1 / filters.shape[1]
            if self.atoms is not None:
                # The mean squared gain over the frequencies that K functions on a width w resolve is w c' G c / K.
                lower, upper = self.atoms[j].domain
                trace = float(self.atoms[j].gram().diagonal().sum())
                variance = filters.shape[1] / ((upper - lower) * trace)
            nn.init.normal_(filters, std=variance**0.5, generator=generator)

    def require_resolved(self, grid: Sequence[int]) -> None:
        """Refuse a grid that is smaller than the taps or coarser than the atoms.

        Raises:
            ValueError: If it is.
        """
        for j, n in enumerate(grid):
            if self.sizes is not None and n < self.sizes[j]:
                raise ValueError(
                    f"SeparableConvolution: dimension {j} has {n} points, fewer than its {self.sizes[j]} taps"
                )
            if self.atoms is not None:
                lower, upper = self.atoms[j].domain
                points = n * (upper - lower) / self.periods[j]
                if points < self.atoms[j].size * (1 - 1e-9):
                    raise ValueError(
                        f"SeparableConvolution: dimension {j} has {n} points, {points:g} of them in the filter's "
                        f"domain, which cannot carry {self.atoms[j].size} functions ({self.atoms[j]})"
                    )

    def taps(self, j: int, n: int) -> Tensor:
        """Values ``(R, n)`` of the filters of dimension j at offsets 0, 1, .., n - 1 spacings, round the circle."""
        filters = self.filters[j]
        if self.sizes is not None:
            return nn.functional.pad(filters, (0, n - self.sizes[j])).roll(-(self.sizes[j] // 2), -1)
        values: Tensor = filters @ self._sampling(j, n).to(filters).T
        return values

    def _sampling(self, j: int, n: int) -> Tensor:
        """The matrix ``(n, K)`` from the coefficients of dimension j to the values at n offsets."""
        if self.atoms is not None:
            # Compiled code traces the computation itself: it would bypass the cache with a warning.
            sampled = _sampled_atom.__wrapped__ if torch.compiler.is_compiling() else _sampled_atom
            return sampled(self.atoms[j], self.periods[j], n)
        assert self.sizes is not None
        return _placed_taps(self.sizes[j], n)

    def filtered(self, spectrum: Tensor, grid: Sequence[int]) -> Tensor:
        """Half spectra ``(m, O, .., n_d // 2 + 1)`` of the filtered fields from those of ``m`` fields."""
        *axes, last = [
            (torch.fft.rfft if j == len(grid) - 1 else torch.fft.fft)(self.taps(j, n)) for j, n in enumerate(grid)
        ]
        outputs, rank = self.output_mix.shape
        channels = self.input_mix.shape[1]
        if _prefers_pairs(spectrum.shape[0], outputs * channels, rank):
            pairs = (self.output_mix[:, None] * self.input_mix.T).reshape(-1, rank)
            lead = pairs.to(last.dtype)
            for axis in axes:
                lead = lead[..., None, :] * axis.T
            kernel = (lead @ last).reshape(outputs, channels, *spectrum.shape[2:])
            total: Tensor = kernel[:, 0] * spectrum[:, None, 0]
            for c in range(1, channels):
                total = total + kernel[:, c] * spectrum[:, None, c]
            return total
        transfer = last
        for axis in reversed(axes):
            transfer = axis.reshape(*axis.shape, *[1] * (transfer.ndim - 1)) * transfer[:, None]
        terms = _mix(self.input_mix, spectrum) * transfer
        return _mix(self.output_mix, terms)

    def stencil(self) -> Tensor:
        """The filters ``(O, C, ..)`` at their own taps only."""
        product = (self.output_mix[:, None] * self.input_mix.T).flatten(0, 1)
        for taps in list(self.filters)[:-1]:
            product = (product[:, None] * taps.T).flatten(0, 1)
        sizes = [taps.shape[1] for taps in self.filters]
        stencil: Tensor = product @ self.filters[-1]
        return stencil.reshape(len(self.output_mix), self.input_mix.shape[1], *sizes)

    def dense(self, grid: Sequence[int]) -> Tensor:
        """The filters ``(O, C, n_1, .., n_d)`` at every offset of a grid (slow; the definition)."""
        product = (self.output_mix[:, None] * self.input_mix.T).reshape(-1, self.output_mix.shape[1])
        for j, n in enumerate(grid):
            product = (product[:, None] * self.taps(j, n).T).flatten(0, 1)
        return product.sum(-1).reshape(len(self.output_mix), self.input_mix.shape[1], *grid)

    def fit(self, kernel: Tensor) -> float:
        """Set the terms to approximate given filters, to start from physics.

        The filters are projected onto what taps or atoms can hold. In one and two dimensions each pair of channels is
        then split by its singular values, of which the R largest over all pairs are kept; in three, alternating least
        squares. Computed in float64.

        Args:
            kernel: Filters ``(O, C, n_1, .., n_d)`` at offsets 0, 1, .. round the circle.

        Returns:
            The relative error in the Frobenius norm.

        Raises:
            ValueError: If the shape does not fit, or the grid does not resolve the filters.
        """
        outputs, channels = len(self.output_mix), self.input_mix.shape[1]
        grid, rank = kernel.shape[2:], self.output_mix.shape[1]
        if kernel.shape[:2] != (outputs, channels) or len(grid) != len(self.filters):
            raise ValueError(
                f"PeriodicKernel.fit: expected filters ({outputs}, {channels}, + {len(self.filters)} grid axes), "
                f"got {tuple(kernel.shape)}"
            )
        self.require_resolved(grid)
        kernel = kernel.detach().double()
        rest, triangles = kernel, []
        for j, n in enumerate(grid):  # an orthonormal basis of each dimension makes the projection a least-squares fit
            basis, triangle = torch.linalg.qr(self._sampling(j, n).to(kernel))
            rest = torch.tensordot(rest, basis, dims=([2], [0]))
            triangles.append(triangle)
        columns: list[Tensor]
        if len(grid) == 3:
            shape = [triangle.shape[1] for triangle in triangles]
            terms = CanonicalPolyadicMatrix((outputs, channels), shape, rank, {"dtype": torch.float64})
            terms.fit(rest.reshape(outputs * channels, -1).cpu())
            (out, into), columns = (f.detach() for f in terms.row_factors), [f.detach() for f in terms.column_factors]
        else:
            out, into, columns = _largest_terms(rest, rank)
        with torch.no_grad():
            self.output_mix.copy_(out)
            self.input_mix.copy_(into.T)
            for filters, column, triangle in zip(self.filters, columns, triangles, strict=True):
                filters.copy_(torch.linalg.solve_triangular(triangle, column.to(triangle), upper=True).T)
            error = (self.dense(grid).double() - kernel).norm() / kernel.norm().clamp(min=1e-300)
        return float(error)


def at_least_one(fields: Tensor) -> Tensor:
    """The fields ``(m, ..)``, with one of zeros where there are none: Fourier transforms refuse an empty batch."""
    return fields if fields.shape[0] else torch.cat([fields, fields.new_zeros(1, *fields.shape[1:])])


def _prefers_pairs(fields: int, pairs: int, rank: int) -> bool:
    """Whether to form the spectrum of every pair's filter first, rather than to filter R fields and mix them.

    Forming costs about 0.4 a pair and term, using it 1 a pair and field, and filtering and mixing 10 a term and field,
    in units of one complex product over the grid (fitted to 11 shapes on one core, 64^2 and 128^2 points). An export is
    for any number of fields, and mixes them.
    """
    if torch.compiler.is_exporting():
        return False
    return pairs * (0.4 * rank + fields) < 10 * rank * fields


def _mix(matrix: Tensor, spectrum: Tensor) -> Tensor:
    """``matrix (p, q)`` applied to the channels of ``spectrum (m, q, ..)``, as real numbers."""
    real = torch.view_as_real(spectrum).reshape(*spectrum.shape[:2], -1)
    mixed = (matrix @ real).reshape(spectrum.shape[0], len(matrix), *spectrum.shape[2:], 2)
    return torch.view_as_complex(mixed)


def _largest_terms(kernel: Tensor, rank: int) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Singular vectors of every pair's filter ``(O, C, n_1[, n_2])``; the R largest over all pairs."""
    outputs, channels, *grid = kernel.shape
    matrices = kernel.reshape(outputs * channels, grid[0], -1)
    u, s, vh = torch.linalg.svd(matrices, full_matrices=False)
    order = s.flatten().argsort(descending=True)[:rank]
    pair, which = order // s.shape[1], order % s.shape[1]
    out, into = kernel.new_zeros(outputs, rank), kernel.new_zeros(channels, rank)
    columns = [kernel.new_zeros(n, rank) for n in grid]
    # Each term's size is shared equally by its parts.
    parts = len(grid) + 2
    for r, (p, k) in enumerate(zip(pair.tolist(), which.tolist(), strict=True)):
        size = s[p, k] ** (1 / parts)
        out[p // channels, r], into[p % channels, r] = size, size
        columns[0][:, r] = u[p, :, k] * size
        if len(grid) == 2:
            columns[1][:, r] = vh[p, k] * size
        else:
            columns[0][:, r] *= vh[p, k, 0]
    return out, into, columns


@functools.lru_cache(maxsize=64)
def _sampled_atom(atom: Atom, period: float, n: int) -> Tensor:
    """The atom times the spacing at n offsets round the circle, ``(n, K)``, float64; zero beyond its domain."""
    lower, upper = atom.domain
    with torch.inference_mode(False):  # what is kept here must serve training too
        offset = torch.arange(n, dtype=torch.float64, device="cpu") * (period / n)
        along = torch.remainder(offset - lower, period)
        along = torch.where(along > period * (1 - 1e-12), torch.zeros_like(along), along)
        inside = along <= (upper - lower) * (1 + 1e-12)
        position = (lower + along).clamp(lower, upper)
        return atom(position) * inside[:, None] * (period / n)


def _placed_taps(size: int, n: int) -> Tensor:
    """The matrix ``(n, size)`` that puts taps at offsets from ``-(size // 2)`` round a circle of n points."""
    place = (torch.arange(size, device="cpu") - size // 2) % n
    return torch.eye(n, dtype=torch.float64, device="cpu")[:, place]
