"""A coordinate made discrete: tables of its functions at quadrature nodes, and its one-coordinate matrices.

The free functions are ``N_k = sum_l B_l E_lk``, with the boundary conditions built into E (for an open B-spline a value
at an end is one coefficient, which is dropped). For coefficients ``c_m`` given at the nodes,

    A_m[k, l] = int c_m N_k^(test) N_l^(trial) dx         a band of width 2 b + 1 for B-splines of degree b

is stored by diagonals, ``(M, 2 b + 1, n)`` with ``[m, b + l - k, k] = A_m[k, l]``, or densely ``(M, n, n)`` where the
functions overlap too much for a band to pay.
"""

import numpy as np
import scipy.linalg
import scipy.sparse
import scipy.sparse.linalg
import torch

from separable.atoms import Atom, BSpline
from separable.galerkin.problem import Array, Coordinate, Profile, real

_HELD: dict[str, tuple[int, ...]] = {"free": (), "value": (0,), "slope": (1,), "both": (0, 1)}  # derivatives


class Axis:
    """One coordinate's quadrature, function tables and matrices, all float64 numpy.

    Args:
        coordinate: The coordinate.

    Attributes:
        nodes: Quadrature nodes ``(Q,)``.
        weights: Their weights ``(Q,)``.
        extension: E ``(K, n)``, from free coefficients to the atom's.
        size: Number n of free functions.
        bandwidth: b, or None where matrices are dense.
    """

    def __init__(self, coordinate: Coordinate) -> None:
        self.coordinate, self.atom = coordinate, coordinate.atom
        if isinstance(self.atom, BSpline):
            points = max(2 * self.atom.degree + 1, self.atom.degree + 4)
        else:
            points = self.atom.quadrature_points + 8
        nodes, weights = self.atom.quadrature(points)
        self.nodes, self.weights = nodes.numpy(), weights.numpy()
        self.extension = _extension(coordinate)
        self.size = self.extension.shape[1]
        if self.size == 0:
            raise ValueError(f"{coordinate.name}: the conditions leave no free function; use more intervals")
        self._tables: dict[int, Array] = {}
        self.bandwidth: int | None = None
        self._windows()
        self.mass = self.matrices(np.ones((1, len(self.nodes))), 0, 0)
        dense = self.dense(self.mass)[0]
        spectrum = scipy.linalg.eigvalsh(dense)
        if spectrum[0] <= 1e-14 * spectrum[-1]:
            raise ValueError(
                f"{coordinate.name}: the functions {self.atom} with left={coordinate.left!r}, "
                f"right={coordinate.right!r} are linearly dependent (singular coordinate matrix)"
            )
        self._lower = scipy.linalg.cholesky(dense, lower=True)

    def table(self, derivative: int) -> Array:
        """Values ``(Q, n)`` of the free functions' derivative at the nodes."""
        if derivative not in self._tables:
            self._tables[derivative] = self.atom(torch.from_numpy(self.nodes), derivative).numpy() @ self.extension
        return self._tables[derivative]

    def at(self, position: float, derivative: int) -> Array:
        """Values ``(n,)`` of the free functions' derivative at one position."""
        values = self.atom(torch.tensor([position], dtype=torch.float64), derivative).numpy()
        return np.asarray((values @ self.extension)[0])

    def _windows(self) -> None:
        """Find, for each smooth piece, the few functions that live on it, if they are few and neighbours."""
        if not isinstance(self.atom, BSpline) or self.atom.periodic:
            return
        ends = np.unique(self.atom.breakpoints)
        pieces = len(ends) - 1
        alive = np.abs(self.table(0)).reshape(pieces, -1, self.size).max(axis=1) > 0
        first = alive.argmax(axis=1)
        last = self.size - 1 - alive[:, ::-1].argmax(axis=1)
        width = int((last - first).max()) + 1
        if 2 * width > self.size:
            return
        self.bandwidth = width - 1
        self._first = np.minimum(first, self.size - width)
        self._width, self._pieces = width, pieces
        # scatter[(e, a, b) -> (diagonal, row)]
        e, a, b = np.meshgrid(np.arange(pieces), np.arange(width), np.arange(width), indexing="ij")
        row, diagonal = self._first[e] + a, self.bandwidth + b - a
        target = (diagonal * self.size + row).ravel()
        self._scatter = scipy.sparse.csr_matrix(
            (np.ones(target.size), (np.arange(target.size), target)),
            shape=(target.size, (2 * self.bandwidth + 1) * self.size),
        )

    def _local(self, derivative: int) -> Array:
        """Values ``(pieces, q, width)`` of the functions in each piece's window."""
        table = self.table(derivative).reshape(self._pieces, -1, self.size)
        columns = self._first[:, None] + np.arange(self._width)
        return np.take_along_axis(table, np.broadcast_to(columns[:, None], (*table.shape[:2], self._width)), axis=2)

    def matrices(self, coefficients: Array, trial: int, test: int) -> Array:
        """Matrices A_m for coefficients ``(M, Q)`` at the nodes, as diagonals or dense (see the file's head)."""
        weighted = coefficients * self.weights
        if self.bandwidth is None:
            rows, columns = self.table(test), self.table(trial)
            return np.stack([(rows * w[:, None]).T @ columns for w in weighted])
        pair = self._local(test)[..., :, None] * self._local(trial)[..., None, :]
        pair = pair.reshape(self._pieces, pair.shape[1], -1)
        cells = weighted.reshape(len(weighted), self._pieces, -1).transpose(1, 0, 2) @ pair  # (e, M, w w)
        flat = cells.transpose(1, 0, 2).reshape(len(weighted), -1)
        return np.asarray(flat @ self._scatter).reshape(len(weighted), 2 * self.bandwidth + 1, self.size)

    def point_matrix(self, position: float, trial: int, test: int) -> Array:
        """The matrix ``N_k^(test)(x) N_l^(trial)(x)`` at one position, ``(1, ..)`` in this axis's storage."""
        dense = np.outer(self.at(position, test), self.at(position, trial))
        if self.bandwidth is None:
            return dense[None]
        b, n = self.bandwidth, self.size
        bands = np.zeros((1, 2 * b + 1, n))
        for offset in range(-b, b + 1):
            rows = np.arange(max(0, -offset), min(n, n - offset))
            bands[0, b + offset, rows] = dense[rows, rows + offset]
        return bands

    def vectors(self, values: Array, test: int) -> Array:
        """Functionals ``int f_t N_k^(test) dx``, shape ``(n, T)``, for values ``(T, Q)`` at the nodes."""
        return np.asarray(self.table(test).T @ (values * self.weights).T)

    def dense(self, matrices: Array) -> Array:
        """The matrices as ``(M, n, n)``."""
        if self.bandwidth is None:
            return matrices
        b, n = self.bandwidth, self.size
        full = np.zeros((len(matrices), n, n))
        for offset in range(-b, b + 1):
            rows = np.arange(max(0, -offset), min(n, n - offset))
            full[:, rows, rows + offset] = matrices[:, b + offset, rows]
        return full

    def apply(self, matrices: Array, factor: Array) -> Array:
        """Products ``A_m U``, shape ``(M, n, R)``, for ``U (n, R)``."""
        if self.bandwidth is None:
            return np.asarray(matrices @ factor)
        b, n = self.bandwidth, self.size
        product = np.zeros((len(matrices), n, factor.shape[1]))
        for offset in range(-b, b + 1):
            lo, hi = max(0, -offset), min(n, n - offset)
            product[:, lo:hi] += matrices[:, b + offset, lo:hi, None] * factor[lo + offset : hi + offset]
        return product

    def combined(self, matrices: Array, factor: Array, weights: Array) -> Array:
        """``sum_m A_m U W_m^T``, shape ``(n, R_v)``, for ``U (n, R_u)`` and ``W (M, R_v, R_u)``."""
        mixed = np.asarray(factor @ weights.transpose(0, 2, 1))  # (M, n, R_v)
        if self.bandwidth is None:
            return np.asarray((matrices @ mixed).sum(axis=0))
        b, n = self.bandwidth, self.size
        total = np.zeros(mixed.shape[1:])
        for offset in range(-b, b + 1):
            lo, hi = max(0, -offset), min(n, n - offset)
            total[lo:hi] += np.einsum("mk,mkg->kg", matrices[:, b + offset, lo:hi], mixed[:, lo + offset : hi + offset])
        return total

    def grams(self, matrices: Array, test: Array, trial: Array) -> Array:
        """``V^T A_m U``, shape ``(M, R_v, R_u)``, for ``V (n, R_v)`` and ``U (n, R_u)``."""
        b, n, count = self.bandwidth, self.size, len(matrices)
        pairs = test.shape[1] * trial.shape[1]
        if b is not None and count > 32 and (2 * b + 1) * n * pairs < 6e7:
            # many matrices: one matrix product over (diagonal, row)
            padded = np.zeros((n + 2 * b, trial.shape[1]))
            padded[b : n + b] = trial
            products = np.stack([test[:, :, None] * padded[o : o + n, None, :] for o in range(2 * b + 1)])
            flat = matrices.reshape(count, -1) @ products.reshape((2 * b + 1) * n, pairs)
            return np.asarray(flat.reshape(count, test.shape[1], trial.shape[1]))
        chunk = max(1, int(2e7 // max(1, trial.size)))
        return np.concatenate(
            [test.T @ self.apply(matrices[i : i + chunk], trial) for i in range(0, max(1, count), chunk)]
        )

    def norms(self, factor: Array) -> Array:
        """L2 norms ``(R,)`` of the functions with coefficients ``factor (n, R)``."""
        squares = np.einsum("nr,nr->r", factor, self.apply(self.mass, factor)[0])
        return np.asarray(np.sqrt(np.maximum(squares, 0.0)))

    def orthonormal(self, factor: Array) -> tuple[Array, Array]:
        """``factor = Q T`` with Q orthonormal in L2."""
        q, t = np.linalg.qr(self.euclidean(factor))
        return self.coefficients(q), t

    def euclidean(self, factor: Array) -> Array:
        """Columns whose Euclidean inner products are the functions' L2 inner products."""
        return np.asarray(self._lower.T @ factor)

    def coefficients(self, columns: Array) -> Array:
        """The coefficients of which `euclidean` made these columns."""
        return np.asarray(scipy.linalg.solve_triangular(self._lower, columns, lower=True, trans="T"))

    def dual(self, functionals: Array) -> Array:
        """Columns whose Euclidean inner products are those of the functionals' Riesz representatives in L2."""
        return np.asarray(scipy.linalg.solve_triangular(self._lower, functionals, lower=True))

    def project(self, profile: Profile) -> Array:
        """Coefficients ``(K,)`` of the atom's own functions, conditions ignored, that approximate a function.

        A weighted least-squares fit, see `fitted`; an open B-spline matches the values at both ends exactly.
        """
        values = evaluate(self.coordinate.name, profile, self.nodes)
        if isinstance(self.atom, BSpline) and not self.atom.periodic and self.atom.degree > 0:
            return self.fitted(values, evaluate(self.coordinate.name, profile, np.array(self.atom.domain)))
        return self.fitted(values)

    def fitted(self, values: Array, ends: Array | None = None) -> Array:
        """Coefficients ``(K,)`` of the atom's own functions that approximate values ``(Q,)`` at the nodes.

        A weighted least-squares fit that has the values and slopes which the coordinate holds at its ends: those of
        the polynomial through the nodes of the smooth piece there.

        Args:
            values: At the nodes.
            ends: ``(2,)``, the values at both ends, which are then matched whether they are held or not.
        """
        root = np.sqrt(self.weights)
        basis = self.atom(torch.from_numpy(self.nodes)).numpy() * root[:, None]
        rows, wanted = [], []
        pieces = np.searchsorted(np.unique(self.atom.breakpoints)[1:-1], self.nodes)
        for side, place, hold in zip(
            (0, -1), self.atom.domain, (self.coordinate.left, self.coordinate.right), strict=True
        ):
            orders = {*_HELD[hold], *(() if ends is None else (0,))}
            if not orders:
                continue
            piece = pieces == pieces[side]
            near = np.polynomial.Legendre.fit(self.nodes[piece], values[piece], int(piece.sum()) - 1)
            for order in sorted(orders):
                rows.append(self.atom(torch.tensor(place, dtype=torch.float64), order).numpy())
                wanted.append(ends[side] if ends is not None and order == 0 else near.deriv(order)(place))
        if not rows:
            return np.asarray(scipy.linalg.lstsq(basis, values * root)[0])
        held = np.stack(rows)
        fixed = np.linalg.pinv(held) @ np.array(wanted)
        free = scipy.linalg.null_space(held)
        return np.asarray(fixed + free @ scipy.linalg.lstsq(basis @ free, values * root - basis @ fixed)[0])

    def atom_fit(self, other: Atom, coefficients: Array) -> Array:
        """Coefficients ``(K, R)`` in this atom of functions given in another atom that it contains."""
        root = np.sqrt(self.weights)[:, None]
        nodes = torch.from_numpy(self.nodes)
        basis, values = self.atom(nodes).numpy() * root, other(nodes).numpy() @ coefficients * root
        return np.asarray(scipy.linalg.lstsq(basis, values)[0])

    def solve(self, matrices: Array, weights: Array, rhs: Array, start: Array, ridge: float, symmetric: bool) -> Array:
        """Solve ``sum_m W_m kron A_m`` for a factor ``(n, R)``.

        Args:
            matrices: M coordinate matrices.
            weights: W ``(M, R, R)``; first index the test term.
            rhs: Right-hand side ``(n, R)``.
            start: Present factor ``(n, R)``; a small proximal term keeps the solution near it in directions that the
                system does not determine (nearly parallel terms), and vanishes at a fixed point.
            ridge: Size of the proximal term relative to the diagonal.
            symmetric: Whether the system is symmetric positive definite.
        """
        n, rank = rhs.shape
        b = self.bandwidth
        diagonal_weights = np.einsum("mrr->mr", weights)
        if b is None:
            main = np.einsum("mkk->mk", matrices)
        else:
            main = matrices[:, b]
        shift = ridge * np.abs(main.T @ diagonal_weights)  # (n, R)
        right = (rhs + shift * start).ravel()
        if b is None or (b + 1) * 3 > n:
            full = np.tensordot(self.dense(matrices), weights, axes=(0, 0)).transpose(0, 2, 1, 3).reshape(n * rank, -1)
            full[np.diag_indices(n * rank)] += shift.ravel()
            if symmetric:
                try:
                    factor = scipy.linalg.cho_factor(full, lower=True, check_finite=False)
                    return np.asarray(scipy.linalg.cho_solve(factor, right, check_finite=False)).reshape(n, rank)
                except np.linalg.LinAlgError:
                    pass
            return np.asarray(scipy.linalg.solve(full, right, check_finite=False)).reshape(n, rank)
        offsets = range(0, b + 1) if symmetric else range(-b, b + 1)
        half = (b + 1) * rank - 1
        band = np.zeros((half + 1 if symmetric else 2 * half + 1, n * rank))
        flat = weights.reshape(len(weights), -1)
        for offset in offsets:
            lo, hi = max(0, -offset), min(n, n - offset)
            blocks = (matrices[:, b + offset, lo:hi].T @ flat).reshape(hi - lo, rank, rank)  # (rows, r, r')
            for column in range(rank):
                top = half - offset * rank - column
                stop = min(rank, half + 1 - top) if symmetric else rank
                band[top : top + stop, (lo + offset) * rank + column : (hi + offset) * rank : rank] = blocks[
                    :, :stop, column
                ].T
        band[half] += shift.ravel()
        if symmetric:
            try:
                return np.asarray(
                    scipy.linalg.solveh_banded(band, right, overwrite_ab=False, check_finite=False)
                ).reshape(n, rank)
            except np.linalg.LinAlgError:
                lower = np.zeros((half, n * rank))
                for k in range(1, half + 1):  # the matrix is indefinite to rounding: solve it as a general one
                    lower[k - 1, : n * rank - k] = band[half - k, k:]
                band = np.concatenate([band, lower])
        return np.asarray(scipy.linalg.solve_banded((half, half), band, right, check_finite=False)).reshape(n, rank)


def evaluate(name: str, profile: Profile | float, nodes: Array) -> Array:
    """A coefficient function at a copy of the nodes ``(Q,)``, refused unless real, finite and of the right shape."""
    values = real(f"{name}: a coefficient or source", profile(nodes.copy()) if callable(profile) else profile)
    try:
        values = np.broadcast_to(values, nodes.shape)
    except ValueError:
        raise ValueError(
            f"{name}: a function of {name} returns one value for each node {nodes.shape}, got {values.shape}"
        ) from None
    if not np.isfinite(values).all():
        wrong = int(np.flatnonzero(~np.isfinite(values))[0])
        raise ValueError(f"{name}: a coefficient or source is {values[wrong]} at {name} = {nodes[wrong]:g}")
    return values


def _extension(coordinate: Coordinate) -> Array:
    """E ``(K, n)``: combinations of the atom's functions that satisfy the homogeneous end conditions."""
    atom, (lower, upper) = coordinate.atom, coordinate.atom.domain
    size = atom.size
    if isinstance(atom, BSpline) and not atom.periodic and atom.degree >= 1:
        matrix = np.eye(size)
        drop = {"free": 0, "slope": 0, "value": 1, "both": 2}
        if coordinate.left == "slope":  # u'(a) is a multiple of c_1 - c_0
            matrix[0, 1] = 1.0
        if coordinate.right == "slope":
            matrix[-1, -2] = 1.0
        left = 1 if coordinate.left == "slope" else drop[coordinate.left]
        right = 1 if coordinate.right == "slope" else drop[coordinate.right]
        return matrix[:, left : size - right]
    rows = [(lower, m) for m in _HELD[coordinate.left]] + [(upper, m) for m in _HELD[coordinate.right]]
    if not rows:
        return np.eye(size)
    held = np.stack([atom(torch.tensor(x, dtype=torch.float64), m).numpy() for x, m in rows])
    return np.asarray(scipy.linalg.null_space(held / np.abs(held).max(axis=1, keepdims=True)))
