"""Convolutions on a periodic grid whose filters are short sums of outer products of one-coordinate filters.

For fields ``u (.., C, n_1, .., n_d)``, d = 1, 2 or 3, the filter between a pair of channels has R terms:

    k_(o,c)(s_1, .., s_d) = sum_(r=1..R) P_(o,r) Q_(c,r) prod_j a_(j,r)(s_j)                P (O, R), Q (C, R)
    (k * u)_o(x)          = sum_c sum_s k_(o,c)(s) u_c(x - s)                               offsets wrap round the grid

    order 1:   y = k * u + b
    order 2:   y = M [(k1 * u) (k2 * u)] + k * u + b         pointwise products of H filtered fields, M (O, H)

The one-coordinate filters ``a_(j,r)`` are free taps, or expansions ``a(s) = h sum_k c_k B_k(s)`` in atoms with the grid
spacing ``h = L_j / n_j``, so that the sum over offsets is the integral over the period and the same layer acts on any
resolution. Advection is of order 2: with vorticity w, ``u . grad w = sum_j (K_j * w) (d_j * w)``, where K_j are the
Biot-Savart filters, whose terms decay fast, and the derivatives d_j have one term each.

Evaluation is in Fourier space, where P and Q act as well, so that only C + O (order 2: C + 2 H + O) fields are
transformed; a few taps between many channels go through torch's dense convolution instead. One-coordinate passes over
the R terms were measured too and never won: two passes of 3 taps cost as much as the transforms.
"""

import functools
import math
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
        if _prefers_pairs(len(spectrum), outputs * channels, rank):
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


class SeparableConvolution(nn.Module):
    """A circular convolution of order 1, or products of two of them (order 2), with separable filters.

    Args:
        in_channels: Number C of channels that go in.
        out_channels: Number O of channels that come out.
        rank: Number R of terms of each kernel.
        kernel_size: Number of taps, one for all dimensions or one for each, at offsets from ``-(size // 2)``; as many
            taps as grid points reach the whole period. None with atoms.
        atoms: One atom for all dimensions or one for each, instead of taps. Its domain is the range of offsets that
            the filter reaches: a whole period such as ``Fourier(domain=(0, L))``, or a neighbourhood such as
            ``BSpline(domain=(-L / 8, L / 8))``, beyond which a filter is zero by definition (the atom's own policy
            outside its domain plays no part).
        period: Length of the period in the unit of the atoms, one for all dimensions or one for each.
        dimensions: Number d of grid axes, 1 to 3.
        order: 1 or 2, see the top of the file.
        products: Number H of products for order 2; by default O.
        bias: Whether a constant is added to each output channel.
        generator: Source of random numbers for the start values.
        device: Where the parameters live.
        dtype: Type of the parameters, float32 or float64; inputs have the same.

    Attributes:
        linear: The kernel k, a `PeriodicKernel`; its ``fit`` takes given filters.
        first: For order 2 the kernel k1.
        second: For order 2 the kernel k2.
        mix: For order 2 the matrix M.

    Start values: normal, such that fields of variance one leave with a variance near one; the bias is zero.

    With Fourier atoms the layer commutes exactly with a change of resolution as long as both grids resolve inputs and
    filters, and so does order 2 at the points that both grids have. With other atoms it does so up to the error of the
    rectangle rule. Products of order 2 are taken on the grid: frequencies beyond its half alias, as in any pointwise
    product; evaluate on a finer grid and truncate where that matters.

    Set to the advection of vorticity (`PeriodicKernel.fit` of ``first`` to the two Biot-Savart filters and of
    ``second`` to the two derivatives, as in the tests), order 2 with 8, 16 and 24 terms has a relative error of 2e-2,
    6e-5 and 4e-8 on a 64 by 64 grid, and 7e-3, 3e-6 and 1e-11 on a 32 by 32 grid.

    Time of a forward and backward step over that of a circular torch.nn.Conv2d of the same reach, batch 4, 64^2 and
    128^2 points, one CPU core, rank 8 for one channel, else twice the channels: 3 taps 0.2 to 1.1, 7 taps 0.1 to 0.3
    (one channel), 0.8 to 1.6 (8 and 16 channels), 15 taps 0.05 to 0.15.

    Example:
        >>> import torch
        >>> from separable.atoms import Fourier
        >>> from separable.layers import SeparableConvolution
        >>> layer = SeparableConvolution(1, 4, rank=8, kernel_size=5)
        >>> layer(torch.randn(2, 1, 32, 48)).shape
        torch.Size([2, 4, 32, 48])
        >>> step = SeparableConvolution(1, 1, rank=8, atoms=Fourier(modes=7), order=2, products=2)
        >>> [tuple(step(torch.randn(1, n, n)).shape) for n in (16, 64)]
        [(1, 16, 16), (1, 64, 64)]
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        rank: int,
        kernel_size: int | Sequence[int] | None = None,
        *,
        atoms: Atom | Sequence[Atom] | None = None,
        period: float | Sequence[float] = 1.0,
        dimensions: int = 2,
        order: int = 1,
        products: int | None = None,
        bias: bool = True,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if dimensions not in (1, 2, 3):
            raise ValueError(f"SeparableConvolution: dimensions is 1, 2 or 3, got {dimensions!r}")
        if order not in (1, 2):
            raise ValueError(f"SeparableConvolution: order is 1 or 2, got {order!r}")
        if order == 1 and products is not None:
            raise ValueError(f"SeparableConvolution: order 1 has no products, got products={products}")
        products = out_channels if products is None else products
        if min(in_channels, out_channels, rank, products) < 1:
            raise ValueError(
                "SeparableConvolution: channels, rank and products are positive, got "
                f"{in_channels} -> {out_channels}, rank {rank}, {products} products"
            )
        if (kernel_size is None) == (atoms is None):
            raise ValueError("SeparableConvolution: give kernel_size or atoms, one of the two")
        resolved = dtype or torch.get_default_dtype()
        if resolved not in (torch.float32, torch.float64):
            raise TypeError(f"SeparableConvolution: Fourier transforms need float32 or float64, got {resolved}")
        periods = _one_each("period", period, dimensions)
        sizes = None if kernel_size is None else _one_each("kernel_size", kernel_size, dimensions)
        families = None if atoms is None else _one_each("atoms", atoms, dimensions)
        if sizes is not None and min(sizes) < 1:
            raise ValueError(f"SeparableConvolution: kernel sizes are positive, got {sizes}")
        for length, atom in zip(periods, families or (), strict=False):
            _check_atom(atom, length)
        self.in_channels, self.out_channels, self.dimensions, self.order = in_channels, out_channels, dimensions, order

        def kernel(outputs: int) -> PeriodicKernel:
            like: dict[str, object] = {"device": device, "dtype": dtype}
            return PeriodicKernel(in_channels, outputs, rank, sizes, families, periods, like)

        self.linear = kernel(out_channels)
        self.first = kernel(products) if order == 2 else None
        self.second = kernel(products) if order == 2 else None
        mix = torch.empty(out_channels, products, device=device, dtype=dtype)
        self.mix = nn.Parameter(mix) if order == 2 else None
        self.bias = nn.Parameter(torch.zeros(out_channels, device=device, dtype=dtype)) if bias else None
        self.reset_parameters(generator)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the start values."""
        self.linear.reset_parameters(1.0 if self.order == 1 else 0.5**0.5, generator)
        if self.first is not None and self.second is not None and self.mix is not None:
            self.first.reset_parameters(1.0, generator)
            self.second.reset_parameters(1.0, generator)
            nn.init.normal_(self.mix, std=(2 * self.mix.shape[1]) ** -0.5, generator=generator)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    @property
    def n_parameters(self) -> int:
        """Number of trainable numbers."""
        return sum(p.numel() for p in self.parameters())

    def extra_repr(self) -> str:
        """Sizes, for printing."""
        return (
            f"{self.in_channels}, {self.out_channels}, dimensions={self.dimensions}, order={self.order}, "
            f"{self.n_parameters} parameters"
        )

    def forward(self, u: Tensor) -> Tensor:
        """Fields ``(..., O, n_1, .., n_d)`` from fields ``(..., C, n_1, .., n_d)``.

        Raises:
            ValueError: If the channels are not C, or the grid is smaller than the taps or coarser than the atoms.
            TypeError: If the dtype is not the parameters' dtype.
        """
        d = self.dimensions
        if u.ndim < d + 1 or u.shape[-d - 1] != self.in_channels:
            raise ValueError(
                f"SeparableConvolution: expected fields (..., {self.in_channels}, + {d} grid axes), "
                f"got {tuple(u.shape)}"
            )
        if u.dtype != self.linear.input_mix.dtype:
            raise TypeError(
                f"SeparableConvolution: fields are {u.dtype}, parameters {self.linear.input_mix.dtype}; "
                "convert one of them"
            )
        lead, grid = u.shape[: -d - 1], tuple(u.shape[-d:])
        self.linear.require_resolved(grid)
        fields = self._filtered(u.reshape(-1, self.in_channels, *grid), grid)
        y: Tensor = fields[:, : self.out_channels]
        if self.mix is not None:
            first, second = fields[:, self.out_channels :].chunk(2, dim=1)
            y = y + (self.mix @ (first * second).flatten(2)).reshape(y.shape)
        if self.bias is not None:
            y = y + self.bias.reshape(-1, *[1] * d)
        return y.reshape(*lead, self.out_channels, *grid)

    def _filtered(self, u: Tensor, grid: tuple[int, ...]) -> Tensor:
        """The fields of all kernels, ``(m, O [+ 2 H], ..)``, from ``(m, C, ..)``."""
        kernels = [kernel for kernel in (self.linear, self.first, self.second) if kernel is not None]
        sizes = self.linear.sizes
        axes = tuple(range(-self.dimensions, 0))
        if sizes is not None and _prefers_stencil(self.in_channels * sum(len(k.output_mix) for k in kernels), sizes):
            # Torch correlates: the taps turn round, and offset zero, tap size // 2, becomes tap (size - 1) // 2.
            weight = torch.cat([kernel.stencil() for kernel in kernels]).flip(axes)
            margins = [margin for size in reversed(sizes) for margin in ((size - 1) // 2, size // 2)]
            convolve = (nn.functional.conv1d, nn.functional.conv2d, nn.functional.conv3d)[self.dimensions - 1]
            convolved: Tensor = convolve(nn.functional.pad(u, margins, mode="circular"), weight)
            return convolved
        spectrum = torch.fft.rfftn(u, dim=axes)
        filtered = torch.cat([kernel.filtered(spectrum, grid) for kernel in kernels], dim=1)
        fields: Tensor = torch.fft.irfftn(filtered, s=grid, dim=axes)
        return fields


def _prefers_stencil(pairs: int, sizes: Sequence[int]) -> bool:
    """Whether the taps are faster as one dense convolution of torch: few taps between many channels.

    Measured on one core in one to three dimensions: up to 5 taps a side on a plane, from 7 by 7 channels on.
    """
    return pairs >= 48 and math.prod(sizes) <= 27


def _prefers_pairs(fields: int, pairs: int, rank: int) -> bool:
    """Whether to form the spectrum of every pair's filter first, rather than to filter R fields and mix them.

    Forming costs about 0.4 a pair and term, using it 1 a pair and field, and filtering and mixing 10 a term and field,
    in units of one complex product over the grid (fitted to 11 shapes on one core, 64^2 and 128^2 points).
    """
    return pairs * (0.4 * rank + fields) < 10 * rank * fields


def _mix(matrix: Tensor, spectrum: Tensor) -> Tensor:
    """``matrix (p, q)`` applied to the channels of ``spectrum (m, q, ..)``, as real numbers."""
    real = torch.view_as_real(spectrum).reshape(*spectrum.shape[:2], -1)
    mixed = (matrix @ real).reshape(len(spectrum), len(matrix), *spectrum.shape[2:], 2)
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


def _one_each(name: str, value: object, dimensions: int) -> tuple:  # type: ignore[type-arg]
    values = tuple(value) if isinstance(value, Sequence) else (value,) * dimensions
    if len(values) != dimensions:
        raise ValueError(f"SeparableConvolution: {name} is one value or {dimensions}, got {values}")
    return values


def _check_atom(atom: Atom, period: float) -> None:
    if atom.discrete or atom.initial_parameters():
        raise ValueError(
            f"SeparableConvolution: filters need atoms of a continuous coordinate without parameters, got {atom}"
        )
    if not (math.isfinite(period) and period > 0):
        raise ValueError(f"SeparableConvolution: a period is finite and positive, got {period}")
    lower, upper = atom.domain
    if upper - lower > period * (1 + 1e-9):
        raise ValueError(
            f"SeparableConvolution: the domain [{lower:g}, {upper:g}] of the filter exceeds the period {period:g}"
        )
