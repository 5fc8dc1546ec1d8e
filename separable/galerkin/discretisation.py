"""From a problem as it is written to its discrete system: terms become fields at the quadrature nodes.

Two forms are built from the same *fields* (terms with values at the quadrature nodes):

weak form            A_j^(s)[k, l] = int c N_k^(q) N_l^(p),         b_j^(t)[k] = int f N_k
minimal residual     minimise ||L u - f||^2 in L2 of all coordinates, whose stationarity is a symmetric weak form with
                     the S^2 terms  int (c_s N_k^(p_s)) (c_s' N_l^(p_s')); ||L u - f||^2 = u.A u - 2 b.u + ||f||^2
                     is then the residual, exactly. The equation's own norm makes this stable for parabolic problems
                     (maximal regularity) and hyperbolic ones (energy estimate); second derivatives need splines of
                     degree 2 or more.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch

from separable.galerkin.axes import Axis, evaluate
from separable.galerkin.problem import Array, At, Field, Problem, Source, Term
from separable.galerkin.separate import separate
from separable.galerkin.system import Factors, System

_MOST_AT_NODES = 10_000_000  # samples of a field at the axes' own nodes; above, fewer are fitted


@dataclasses.dataclass(frozen=True)
class Symbol:
    """One coordinate's share of an operator term: ``c(x) d^trial u d^test v``; ``values (Q,)``, or a point."""

    trial: int
    test: int
    values: Array | None  # None is one
    point: float | None = None
    key: object = None  # symbols of equal key are the same


@dataclasses.dataclass
class Data:
    """One separable term of a right-hand side: per coordinate node values ``(Q,)`` (None is one) or a point."""

    factor: float
    values: list[Array | None]
    points: list[float | None]
    tests: list[int]


class Discretisation:
    """A problem on its axes: turns terms into fields at the nodes and builds systems from them.

    Args:
        problem: The problem.

    Attributes:
        axes: The D axes.
        lift: Lift as coefficients of the atoms ``(K_j, L)``, or None.
        separation_error: Largest relative error of a field brought to separable form.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.axes = [Axis(c) for c in problem.coordinates]
        self.separation_error = 0.0
        self.terms = [t for term in problem.terms for t in self._symbols(term)]
        self.source = [d for s in problem.sources for d in self._data(s)]
        self.lift = self._lift()

    # Fields at the nodes

    def _separated(self, field: Field) -> list[dict[str, Array]]:
        names = field.names
        axes = [self.axes[self.problem.names.index(n)] for n in names]
        whole = np.prod([float(len(a.nodes)) for a in axes]) <= _MOST_AT_NODES
        grids = [(a.nodes, a.weights) if whole else _sparser(a) for a in axes]

        def sampled(*mesh: Array) -> Array:
            return np.asarray(field.function(**dict(zip(names, mesh, strict=True))))

        factors, error = separate(
            sampled, [g[0] for g in grids], [g[1] for g in grids], tolerance=field.tolerance, rank=field.rank
        )
        if not whole:
            factors, lost = _carried(axes, grids, factors)
            error = float(np.hypot(error, lost))
            if error > field.tolerance:
                raise ValueError(
                    f"Field: a function of {', '.join(names)} is known on these atoms with a relative error of "
                    f"{error:.1e}, not {field.tolerance:.1e}; use finer atoms or a larger tolerance"
                )
        self.separation_error = max(self.separation_error, error)
        return [
            {name: values[:, r] for name, values in zip(names, factors, strict=True)}
            for r in range(factors[0].shape[1])
        ]

    def _symbols(self, term: Term) -> list[tuple[float, list[Symbol]]]:
        symbols = []
        for name, axis in zip(self.problem.names, self.axes, strict=True):
            entry = term.entries.get(name, (0, 0))
            if isinstance(entry, At):
                symbols.append(Symbol(entry.trial, entry.test, None, entry.position, ("at", entry)))
            elif len(entry) == 2:
                symbols.append(Symbol(entry[0], entry[1], None))
            else:
                values = evaluate(name, entry[2], axis.nodes)
                symbols.append(Symbol(entry[0], entry[1], values, None, values.tobytes()))
        if term.coefficient is None:
            return [(term.factor, symbols)]

        def multiply(row: list[Symbol], name: str, values: Array, key: object) -> None:
            j = self.problem.names.index(name)
            old = row[j]
            if old.point is not None:
                raise ValueError(f"Problem: a coefficient field depends on {name}, which the term takes at a point")
            both = values if old.values is None else values * old.values
            row[j] = Symbol(old.trial, old.test, both, None, (key, old.key))

        for name, profile in term.coefficient.entries.items():
            if isinstance(profile, At):
                raise ValueError(f"Problem: a coefficient field is a function; At belongs in the term, got {name}")
            values = evaluate(name, profile, self.axes[self.problem.names.index(name)].nodes)
            multiply(symbols, name, values, values.tobytes())
        expanded = []
        for number, product in enumerate(self._separated(term.coefficient)):
            row = list(symbols)
            for name, values in product.items():
                multiply(row, name, values, (id(term), number))
            expanded.append((term.factor, row))
        return expanded

    def _data(self, source: Source | Field) -> list[Data]:
        count = len(self.axes)
        data = Data(1.0, [None] * count, [None] * count, [0] * count)
        for name, profile in source.entries.items():
            j = self.problem.names.index(name)
            if isinstance(profile, At):
                data.points[j], data.tests[j] = profile.position, profile.test
            else:
                data.values[j] = evaluate(name, profile, self.axes[j].nodes)
        if isinstance(source, Source):
            data.factor = source.factor
            return [data]
        return [
            dataclasses.replace(
                data, values=[product.get(n, v) for n, v in zip(self.problem.names, data.values, strict=True)]
            )
            for product in self._separated(source)
        ]

    def _lift(self) -> Factors | None:
        columns: list[list[Array]] = [[] for _ in self.axes]
        for source in self.problem.lifts:
            if isinstance(source, Field):
                products, factor = self._separated(source), 1.0
            else:
                products, factor = [{}], source.factor
            for product in products:
                for j, (name, axis) in enumerate(zip(self.problem.names, self.axes, strict=True)):
                    profile = source.entries.get(name)
                    if isinstance(profile, At):
                        raise ValueError("Problem: a lift is a function; At belongs in a source or an operator")
                    if name in product:
                        column = axis.fitted(product[name])
                    else:
                        column = axis.atom.ones().numpy() if profile is None else axis.project(profile)
                    columns[j].append(column * (factor if j == 0 else 1.0))
        return [np.stack(c, axis=1) for c in columns] if columns[0] else None

    def tables(self, j: int, coefficients: Array, derivative: int) -> Array:
        """Values ``(R, Q)`` at axis j's nodes of a derivative of functions with the atom's coefficients ``(K, R)``."""
        axis = self.axes[j]
        return np.asarray((axis.atom(torch.from_numpy(axis.nodes), derivative).numpy() @ coefficients).T)

    # Products linearised about a present function w (atom coefficients, R terms): Q(w, u) + Q(u, w) = Q(w, w)

    def _linearised(self, present: Factors) -> tuple[list[tuple[float, list[Symbol]]], list[Data]]:
        terms: list[tuple[float, list[Symbol]]] = []
        data: list[Data] = []
        names, rank = self.problem.names, present[0].shape[1]
        for number, product in enumerate(self.problem.products):
            given = [
                evaluate(n, product.coefficients[n], a.nodes) if n in product.coefficients else 1.0
                for n, a in zip(names, self.axes, strict=True)
            ]
            first = [self.tables(j, present[j], product.first.get(n, 0)) for j, n in enumerate(names)]
            second = [self.tables(j, present[j], product.second.get(n, 0)) for j, n in enumerate(names)]
            same = dict(product.first) == dict(product.second)
            pairs = [(first, product.second, 0)] if same else [(first, product.second, 0), (second, product.first, 1)]
            for known, orders, which in pairs:
                for r in range(rank):
                    symbols = [
                        Symbol(orders.get(n, 0), 0, known[j][r] * given[j], None, (number, which, r))
                        for j, n in enumerate(names)
                    ]
                    terms.append((product.factor * (2.0 if same else 1.0), symbols))
            for r in range(rank):
                for s in range(r if same else 0, rank):
                    factor = product.factor * (2.0 if same and s > r else 1.0)
                    values = [first[j][r] * second[j][s] * given[j] for j in range(len(names))]
                    data.append(Data(factor, list(values), [None] * len(names), [0] * len(names)))
        return terms, data

    # Systems

    def system(self, least_squares: bool, present: Factors | None = None) -> System:
        """The system for the unknown less the lift, with quadratic terms linearised about ``present`` if given."""
        terms, data = list(self.terms), list(self.source)
        if self.problem.products and present is not None:
            more, known = self._linearised(present)
            terms, data = terms + more, data + known
        if self.lift is not None:
            data = data + self._lifted(terms)
        data = compressed(self.axes, data) if len(data) > 60 else data
        return self._least_squares(terms, data) if least_squares else self._weak(terms, data)

    def _lifted(self, terms: list[tuple[float, list[Symbol]]]) -> list[Data]:
        assert self.lift is not None
        data = []
        for factor, symbols in terms:
            tables = [
                self.tables(j, self.lift[j], s.trial) if s.point is None else _at(self.axes[j], self.lift[j], s)
                for j, s in enumerate(symbols)
            ]
            for column in range(self.lift[0].shape[1]):
                item = Data(-factor, [], [], [])
                for j, s in enumerate(symbols):
                    item.tests.append(s.test)
                    item.points.append(s.point)
                    if s.point is not None:
                        item.factor *= float(tables[j][column])
                        item.values.append(None)
                    else:
                        item.values.append(tables[j][column] * (1.0 if s.values is None else s.values))
                data.append(item)
        return data

    def _weak(self, terms: list[tuple[float, list[Symbol]]], data: list[Data]) -> System:
        count = len(self.axes)
        rows = np.zeros((len(terms), count), dtype=np.int64)
        matrices: list[Array] = []
        for j, axis in enumerate(self.axes):
            seen: dict[object, int] = {(0, 0, None): 0}
            mine = [axis.mass]
            for s, (_, symbols) in enumerate(terms):
                symbol = symbols[j]
                key = (symbol.trial, symbol.test, symbol.key)
                if key not in seen:
                    seen[key] = len(seen)
                    if symbol.point is not None:
                        mine.append(axis.point_matrix(symbol.point, symbol.trial, symbol.test))
                    else:
                        values = filled(axis, symbol.values)
                        mine.append(axis.matrices(values[None], symbol.trial, symbol.test))
                rows[s, j] = seen[key]
            matrices.append(np.concatenate(mine))
        scales = np.array([factor for factor, _ in terms])
        vectors = []
        for j, axis in enumerate(self.axes):
            columns = []
            for item in data:
                point = item.points[j]
                if point is not None:
                    columns.append(axis.at(point, item.tests[j]))
                else:
                    given = filled(axis, item.values[j])
                    columns.append(axis.vectors(given[None], item.tests[j])[:, 0])
            vectors.append(np.stack(columns, axis=1) if columns else np.zeros((axis.size, 0)))
        symmetric = all(s.trial == s.test for _, symbols in terms for s in symbols) and not self.problem.products
        return System(self.axes, matrices, rows, scales, vectors, np.array([d.factor for d in data]), symmetric, None)

    def _least_squares(self, terms: list[tuple[float, list[Symbol]]], data: list[Data]) -> System:
        count, number = len(self.axes), len(terms)
        if any(p is not None for item in data for p in item.points) or any(any(item.tests) for item in data):
            raise ValueError("The minimal-residual form takes no sources at a point (At); use the weak form")
        rows = np.zeros((number * number, count), dtype=np.int64)
        matrices, vectors = [], []
        for j, axis in enumerate(self.axes):
            seen: dict[object, int] = {}
            symbols: list[Symbol] = []
            index = np.zeros(number, dtype=np.int64)
            for s, (_, row) in enumerate(terms):
                key = (row[j].trial, row[j].key)
                if key not in seen:
                    seen[key] = len(seen)
                    symbols.append(row[j])
                index[s] = seen[key]
            ones = np.ones_like(axis.nodes)
            values = np.stack([filled(axis, s.values) for s in symbols])
            orders = np.array([s.trial for s in symbols])
            distinct = len(symbols)
            block: list[Array] = [axis.mass]
            place = np.zeros((distinct, distinct), dtype=np.int64)
            start = 1
            for m in np.unique(orders):
                for q in np.unique(orders):
                    trial, test = np.flatnonzero(orders == m), np.flatnonzero(orders == q)
                    product = (values[test][:, None] * values[trial][None]).reshape(-1, len(ones))
                    block.append(axis.matrices(product, int(m), int(q)))
                    place[np.ix_(test, trial)] = start + np.arange(len(product)).reshape(len(test), len(trial))
                    start += len(product)
            matrices.append(np.concatenate(block))
            plain = [p for p in range(distinct) if symbols[p].values is None and symbols[p].trial == 0]
            for p in plain:
                place[p, p] = 0
            rows[:, j] = place[index[:, None], index[None, :]].ravel()
            fields = np.stack([filled(axis, d.values[j]) for d in data]) if data else np.zeros((0, 1))
            mine = np.zeros((axis.size, distinct, len(data)))
            for p in range(distinct if data else 0):
                mine[:, p] = axis.vectors(fields * values[p], int(orders[p]))
            vectors.append(mine[:, index].reshape(axis.size, -1))
        scales = np.array([factor for factor, _ in terms])
        data_scales = np.array([d.factor for d in data])
        return System(
            self.axes,
            matrices,
            rows,
            (scales[:, None] * scales[None]).ravel(),
            vectors,
            (scales[:, None] * data_scales[None]).ravel(),
            True,
            squared_norm(self.axes, data),
        )


def filled(axis: Axis, values: Array | None) -> Array:
    """Node values ``(Q,)``, one where none are given."""
    return np.ones_like(axis.nodes) if values is None else values


def squared_norm(axes: Sequence[Axis], data: list[Data]) -> float:
    """``||f||^2`` in L2 of all coordinates, of a sum of separable terms."""
    if not data:
        return 0.0
    scales = np.array([d.factor for d in data])
    gram = np.outer(scales, scales)
    for j, axis in enumerate(axes):
        values = np.stack([filled(axis, d.values[j]) for d in data])
        gram *= (values * axis.weights) @ values.T
    return float(max(gram.sum(), 0.0))


def compressed(axes: Sequence[Axis], data: list[Data], tolerance: float = 1e-13) -> list[Data]:
    """Fewer terms for the same data of two coordinates, by a singular value decomposition."""
    if any(p is not None for d in data for p in d.points) or any(any(d.tests) for d in data):
        return data
    if len(axes) != 2:
        return data
    tables = [np.stack([filled(a, d.values[j]) for d in data], axis=1) for j, a in enumerate(axes)]
    tables[0] = tables[0] * np.array([d.factor for d in data])
    roots = [np.sqrt(a.weights)[:, None] for a in axes]
    (q0, r0), (q1, r1) = (np.linalg.qr(t * w) for t, w in zip(tables, roots, strict=True))
    left, singular, right = np.linalg.svd(r0 @ r1.T)
    kept = max(1, int((singular > tolerance * singular[0]).sum()))
    first, second = q0 @ (left[:, :kept] * singular[:kept]) / roots[0], q1 @ right[:kept].T / roots[1]
    return [Data(1.0, [first[:, r], second[:, r]], [None, None], [0, 0]) for r in range(kept)]


def _at(axis: Axis, coefficients: Array, symbol: Symbol) -> Array:
    assert symbol.point is not None
    values = axis.atom(torch.tensor([symbol.point], dtype=torch.float64), symbol.trial).numpy()
    return np.asarray((values @ coefficients)[0])


def _sparser(axis: Axis) -> tuple[Array, Array]:
    """Fewer nodes and weights, but more than there are functions, so that a fit shows its error."""
    nodes, weights = axis.atom.quadrature(axis.atom.quadrature_points + 1)
    return nodes.numpy(), weights.numpy()


def _carried(axes: Sequence[Axis], grids: Sequence[tuple[Array, Array]], factors: Factors) -> tuple[Factors, float]:
    """The atoms' least-squares fits to a sum of products with samples ``(n, R)``.

    Returns:
        Values ``(Q, R)`` at the axes' own nodes, and the relative L2 error of the fit.
    """
    carried, fits, rests, samples = [], [], [], []
    for axis, (nodes, weights), factor in zip(axes, grids, factors, strict=True):
        root = np.sqrt(weights)[:, None]
        basis = axis.atom(torch.from_numpy(nodes)).numpy() * root
        samples.append(factor * root)
        coefficients = np.linalg.lstsq(basis, samples[-1], rcond=None)[0]
        fits.append(basis @ coefficients)
        rests.append(samples[-1] - fits[-1])
        carried.append(np.asarray(axis.atom(torch.from_numpy(axis.nodes)).numpy() @ coefficients))

    def squared(parts: Factors) -> float:
        return float(np.prod([p.T @ p for p in parts], axis=0).sum())

    # each fit is an orthogonal projection, so that the squares of what one coordinate after the other loses add up
    lost = sum(squared([*fits[:j], rests[j], *samples[j + 1 :]]) for j in range(len(axes)))
    return carried, float(np.sqrt(max(lost, 0.0) / max(squared(samples), 1e-300)))
