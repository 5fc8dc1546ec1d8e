"""Sums of splines over the coordinates, without storing the values of the atoms.

    y[n, r] = sum_d sum_k C[d, k, r] B_k(x[n, d])          x (N, D), C (D, K, R), y (N, R)

At a point only p + 1 of the K = intervals + p functions of degree p are not zero, so that the table of atom values
(N, D K), which the plain form multiplies by C, is mostly zeros and large. Here y and its gradients

    dC[d, k, r] = sum_n B_k(x[n, d]) g[n, r]          dx[n, d] = sum_k B'_k(x[n, d]) sum_r C[d, k, r] g[n, r]

are each made from the p + 1 alone, in the cheaper of two ways (`_prefers_sparse`):

* dense: a tile of the table that fits the cache is filled and multiplied, then forgotten;
* sparse: rows of C (for dC: of g) are gathered and added, which `torch.nn.functional.embedding_bag` does in one pass.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from separable.atoms import BSpline
from separable.layers.derivatives import looked_into, of_plain, plain_gradient
from separable.layers.spline_points import Points, carried

TILE = 1 << 18  # numbers in a tile: 1 MiB in float32, what one core's cache holds (2^17 to 2^19 differ by 5 %)
SHARE = 4  # tiles a thread where there are several: below, starting them costs more than they save
WIDTH = 512  # columns of a dense tile: deep enough for a matrix product to run at full speed
SPARSE = 2.2  # K / (p + 1) from which the sparse way wins for y and dC in float32, twice that in float64
SPARSE_DX = 32  # K from which it wins for dx, whatever the degree and the type
SORTED_BITS = 14  # 2^14 rows are sorted together, so that interval and row make one 32-bit key
FEWEST_ROWS = 64  # below, preparing C costs more than the table


def spline_sums(atom: BSpline, x: Tensor, coefficients: Tensor) -> Tensor:
    """Sum over the coordinates of their spline functions.

    Open splines on the CPU in float32 and float64 take the fast way. Everything else, and whatever looks into the
    computation (torch.compile, torch.func, forward-mode derivatives, batched gradients, autocast), gets the plain one,
    as do second derivatives.

    Args:
        atom: The splines of every coordinate.
        x: Coordinates ``(..., D)``.
        coefficients: C ``(D, K, R)``.

    Returns:
        Values ``(..., R)``.
    """
    if atom.periodic or not _is_plain_cpu(x, coefficients):
        return plain_sums(atom, x, coefficients)
    rows = x.reshape(-1, x.shape[-1]).contiguous()
    if len(rows) < FEWEST_ROWS or not coefficients.numel():
        return plain_sums(atom, x, coefficients)
    y: Tensor = _Sums.apply(rows, coefficients, atom)  # type: ignore[no-untyped-call]
    return y.reshape(*x.shape[:-1], y.shape[-1])


def plain_sums(atom: BSpline, x: Tensor, coefficients: Tensor) -> Tensor:
    """The definition of `spline_sums`: one matrix product with the table of atom values."""
    return atom(x).flatten(-2) @ coefficients.flatten(0, 1)


def _is_plain_cpu(x: Tensor, coefficients: Tensor) -> bool:
    """Whether both are float32 or float64 on the CPU and nobody traces, transforms or casts what is done to them."""
    return (
        all(type(t) in (Tensor, torch.nn.Parameter) for t in (x, coefficients))
        and x.device.type == coefficients.device.type == "cpu"
        and x.dtype == coefficients.dtype
        and x.dtype in (torch.float32, torch.float64)
        and not torch.is_autocast_enabled("cpu")
        and not looked_into(x, coefficients)
    )


def _prefers_sparse(atom: BSpline, x: Tensor) -> bool:
    """Whether so few of the K functions are alive that gathering beats multiplying; later where numbers are wide."""
    return atom.size >= SPARSE * (atom.degree + 1) * x.element_size() / 4


class _Sums(torch.autograd.Function):
    """`plain_sums` of a spline, with gradients that evaluate the atoms anew."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, coefficients: Tensor, atom: BSpline) -> Tensor:
        c = carried(coefficients, atom)
        ctx.save_for_backward(x, coefficients, c)
        ctx.atom = atom
        return (_sparse_sums if _prefers_sparse(atom, x) else _dense_sums)(Points(atom, x), c)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, coefficients, c = ctx.saved_tensors
        atom: BSpline = ctx.atom
        want_x, want_c, _ = ctx.needs_input_grad
        if of_plain(g):
            dx, dc = plain_gradient(lambda x, c: plain_sums(atom, x, c), (x, coefficients), (want_x, want_c), g)
            return dx, dc, None
        g = g.contiguous()  # the gradient of a sum arrives expanded
        points, dx, dc = Points(atom, x), None, None
        if want_x:
            dx = (_sparse_dx if atom.size >= SPARSE_DX else _dense_dx)(points, c, g)
        if want_c:
            dc = (_sparse_dc if _prefers_sparse(atom, x) else _dense_dc)(points, c, g)
            dc = carried(dc, atom, back=True)
        return dx, dc, None


# The dense way: tiles of the table


def _numbers() -> int:
    """Numbers in a tile."""
    threads = torch.get_num_threads()
    return TILE if threads == 1 else SHARE * threads * TILE


def _tiles(x: Tensor, columns: int, rows: int) -> Iterator[tuple[slice, slice]]:
    """Slices of rows and of coordinates; coordinates change last, so that their part of C stays in the cache."""
    for d in range(0, x.shape[1], columns):
        for n in range(0, x.shape[0], rows):
            yield slice(n, n + rows), slice(d, d + columns)


def _dense_tiles(points: Points) -> Iterator[tuple[slice, slice]]:
    x, size = points.nearest, points.atom.size
    columns = min(x.shape[1], max(1, WIDTH // size))
    return _tiles(x, columns, max(32, _numbers() // (columns * size)))


def _places(first: Tensor, size: int) -> Tensor:
    """Column of the first function in a row of the table, where coordinates lie side by side."""
    return first.add_(torch.arange(0, first.shape[1] * size, size))


def _table(points: Points, n: slice, d: slice) -> Tensor:
    """Atom values ``(n, d K)`` from those that are not zero."""
    first, values = points.alive(n, d, 0)
    size = points.atom.size
    place, table = _places(first, size), points.room("table", len(first), first.shape[1] * size).zero_()
    for j, value in enumerate(values):
        table.scatter_(1, place.add_(1) if j else place, value)
    return table


def _dense_sums(points: Points, c: Tensor) -> Tensor:
    y = c.new_zeros(len(points.nearest), c.shape[2])
    for n, d in _dense_tiles(points):
        y[n].addmm_(_table(points, n, d), c[d].flatten(0, 1))
    return y


def _dense_dc(points: Points, c: Tensor, g: Tensor) -> Tensor:
    dc = c.new_zeros(c.shape)
    for n, d in _dense_tiles(points):
        dc[d].view(-1, c.shape[2]).addmm_(_table(points, n, d).T, g[n])
    return dc


def _dense_dx(points: Points, c: Tensor, g: Tensor) -> Tensor:
    dx = torch.empty_like(points.nearest)
    for n, d in _dense_tiles(points):
        first, slopes = points.alive(n, d, 1)
        rows = c[d].flatten(0, 1)
        products = torch.mm(g[n], rows.T, out=points.room("table", len(first), len(rows)))
        place = _places(first, c.shape[1])
        total = products.gather(1, place).mul_(slopes[0])
        for slope in slopes[1:]:
            total.addcmul_(products.gather(1, place.add_(1)), slope)
        dx[n, d] = total
    return dx


# The sparse way: rows gathered and added


def _sparse_tiles(x: Tensor, size: int, rank: int, each: int) -> Iterator[tuple[slice, slice]]:
    """Tiles with ``each`` numbers a point beside the coordinates' part of C."""
    columns = min(x.shape[1], max(1, TILE // (size * rank)))
    return _tiles(x, columns, max(8, _numbers() // (columns * each)))


def _sparse_sums(points: Points, c: Tensor) -> Tensor:
    """A bag for each row of x, over all its coordinates."""
    (_, size, rank), x = c.shape, points.nearest
    y = c.new_zeros(len(x), rank)
    alive = torch.arange(size - points.atom.intervals + 1, dtype=torch.int32)[:, None]
    for n, d in _sparse_tiles(x, size, rank, 4 * len(alive)):
        first, values = points.alive(n, d, 0)
        rows = _places(first, size).int()[:, None] + alive  # (n, p + 1, d)
        weights = values.transpose(0, 1).flatten(1)
        y[n] += embedding_bag(rows.flatten(1), c[d].flatten(0, 1), mode="sum", per_sample_weights=weights)
    return y


def _sparse_dc(points: Points, c: Tensor, g: Tensor) -> Tensor:
    """The points of a coordinate are sorted by interval; then every interval is one bag of rows of g."""
    rank, intervals, x = c.shape[2], points.atom.intervals, points.nearest
    dc = c.new_zeros(c.shape)
    kind = torch.int32 if intervals < 1 << 31 - SORTED_BITS else torch.int64
    bounds = (torch.arange(intervals) << SORTED_BITS).to(kind)
    rows = min(len(x), 1 << SORTED_BITS)
    for n, d in _tiles(x, max(1, _numbers() // (2 * rows)), rows):
        first, values = points.alive(n, d, 0, flip=True)  # (d, n)
        key = (first << SORTED_BITS).add_(torch.arange(first.shape[1])).to(kind)
        key.numpy().sort(axis=1)  # ten times faster than torch.sort
        starts = torch.searchsorted(key, bounds.expand(len(key), -1).contiguous())
        starts += torch.arange(0, key.numel(), key.shape[1])[:, None]
        order = key & ((1 << SORTED_BITS) - 1)
        bags, wide = (order.flatten(), starts.flatten().to(kind)), order.long()
        for j, value in enumerate(values):
            weights = value.gather(1, wide).flatten()
            part = embedding_bag(bags[0], g[n], bags[1], mode="sum", per_sample_weights=weights)
            dc[d, j : j + intervals] += part.view(len(key), intervals, rank)
    return dc


def _sparse_dx(points: Points, c: Tensor, g: Tensor) -> Tensor:
    """A bag for each point, then its product with the row of g: multiply and sum, faster than a batched product."""
    (_, size, rank), dx = c.shape, torch.empty_like(points.nearest)
    alive = torch.arange(size - points.atom.intervals + 1, dtype=torch.int32)
    for n, d in _sparse_tiles(dx, size, rank, rank):
        first, slopes = points.alive(n, d, 1)
        rows = _places(first, size).int().view(-1, 1) + alive  # (n d, p + 1)
        weights = slopes.flatten(1).T.contiguous()
        found = embedding_bag(rows, c[d].flatten(0, 1), mode="sum", per_sample_weights=weights)
        dx[n, d] = found.view(*first.shape, rank).mul_(g[n, None]).sum(-1)
    return dx
