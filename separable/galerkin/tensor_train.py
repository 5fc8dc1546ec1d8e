"""Alternating solves for a tensor train: sweeps over cores, ranks grown from the remainder, rounding.

A train is D cores ``G_j (n_j, r_(j-1), r_j)`` of free coefficients, ``r_0 = r_D = 1``:

    u = sum_k  G_1[k_1] G_2[k_2] .. G_D[k_D]  N_(k_1)(x_1) .. N_(k_D)(x_D)

With the cores left of j orthonormal from the left and those right of it from the right (in L2), ``u`` is linear in
``G_j`` and the projected problem of the operator ``A = sum_s A_1^(s) kron .. kron A_D^(s)`` is

    sum_s  (L_s kron R_s) kron A_j^(s)  vec G_j  =  sum_t  b_j^(t) kron (l_t kron r_t)

with L_s, l_t the products of everything before coordinate j and R_s, r_t after it: the system that `Axis.solve` takes,
for ``r_(j-1) r_j`` columns. One *sweep* goes through all coordinates and back (Holtz, Rohwedder and Schneider, SIAM J.
Sci. Comput. 34, 2012). A sweep keeps the ranks; they grow by a train of small rank that is first fitted to the
remainder ``b - A u`` (Dolgov and Savostyanov, SIAM J. Sci. Comput. 36, 2014, whose ALS(t+z) adds the remainder itself,
which for differential operators is rough) and shrink by rounding (see `separable.galerkin.trains`).

Cost of a core: ``n b^2 r^6`` (b the bandwidth of the coordinate's matrices). Chains of couplings need small ranks r
where a sum of products needs about ``r^(D-1)`` terms; the order of the coordinates matters.
"""

from collections.abc import Callable

import numpy as np

from separable.galerkin.alternating import RIDGE, State, columns, relative
from separable.galerkin.discretisation import Discretisation
from separable.galerkin.problem import Array, Problem
from separable.galerkin.system import System
from separable.galerkin.trains import Train, bond, hand_left, hand_right, joined, norm, of_products, rounded, zero

_WIDEST = 1500  # bond of b - A u up to which its norm is computed


def alternate(
    system: System,
    state: State,
    *,
    rank: int,
    tolerance: float,
    sweeps: int,
    random: np.random.Generator,
    report: Callable[[State], None],
    step: int | None = None,
) -> State:
    """Grow, sweep and round until the residual is below the tolerance, or no longer falls, or the rank is reached.

    Args:
        system: The discrete problem.
        state: Updated in place, so that an interrupt leaves the best so far; its ``factors`` become the cores.
        rank: Largest size of a bond.
        tolerance: Relative residual to reach.
        sweeps: Most sweeps at one rank.
        random: Source of start values.
        report: Called after every sweep.
        step: Growth of the bonds at once; by default a third of their present size, at least one.

    Returns:
        The state.
    """
    train, flat, lowest = zero(system.axes), 0, np.inf
    while True:
        size = bond(train)
        train = joined(train, remainder(system, train, min(step or max(1, size // 3), rank - size), random))
        before = np.inf
        for _ in range(sweeps):
            train, gained = sweep(system, train)
            reached = measured(system, train, gained)
            if not reached >= lowest:  # one that is too wide to be measured is taken, as a sum of products would be
                state.factors, state.residual = train, reached
            state.history.append((bond(train), reached))
            report(state)
            if reached <= tolerance:
                state.stopped = "the residual reached the tolerance"
                return state
            if reached > 0.7 * before:
                break
            before = reached
        flat = flat + 1 if state.residual > 0.97 * lowest else 0
        lowest = min(lowest, state.residual)
        if flat >= 3:
            state.stopped = "the residual no longer falls with the rank"
            return state
        # far below the residual: what is rounded away is amplified by the operator
        train = rounded(system.axes, train, 1e-3 * min(tolerance, lowest), rank)
        if bond(train) >= rank:
            state.stopped = "the largest rank was reached"
            return state


def remainder(system: System, train: Train, rank: int, random: np.random.Generator, sweeps: int = 2) -> Train:
    """A train of small rank fitted to ``b - A u``."""
    last = len(train) - 1
    fresh = []
    for j, axis in enumerate(system.axes):
        start = random.standard_normal((axis.size, 1 if j == 0 else rank, 1 if j == last else rank))
        if axis.coordinate.left == axis.coordinate.right == "free":
            start = 1.0 + 0.5 * start
        fresh.append(start)
    for _ in range(sweeps):
        fresh, _ = sweep(system, fresh, train if train[0].shape[2] else None, 1e-10)
    return fresh


# One sweep


class Passage:
    """Products of ``V^T A U`` and ``V^T b`` before and after each coordinate, V the test train, U the trial train."""

    def __init__(self, system: System, test: Train, trial: Train) -> None:
        self.system, self.test, self.trial = system, test, trial
        self.rows, scales = system.all_rows()
        count = len(test)
        self.before: list[Array] = [scales[:, None, None], *[np.zeros(0)] * (count - 1)]
        self.after: list[Array] = [np.zeros(0)] * (count - 1) + [np.ones((len(scales), 1, 1))]
        self.data_before: list[Array] = [system.data_scales[:, None], *[np.zeros(0)] * (count - 1)]
        self.data_after: list[Array] = [np.zeros(0)] * (count - 1) + [np.ones((len(system.data_scales), 1))]
        for j in range(count - 1, 0, -1):
            self.back(j)

    def _grams(self, j: int) -> Array:
        test, trial = self.test[j], self.trial[j]
        grams = self.system.grams(j, test.reshape(len(test), -1), trial.reshape(len(trial), -1))
        return grams.reshape(-1, *test.shape[1:], *trial.shape[1:])

    def on(self, j: int) -> None:
        """The cores of coordinate j are settled; the pass moves right."""
        grams = self._grams(j)
        ahead = [
            np.tensordot(b, grams[m], axes=([0, 1], [0, 2]))
            for b, m in zip(self.before[j], self.rows[:, j], strict=True)
        ]
        self.before[j + 1] = np.stack(ahead)
        self.data_before[j + 1] = np.einsum(
            "ta,taA->tA", self.data_before[j], np.tensordot(self.system.data[j], self.test[j], axes=(0, 0))
        )

    def back(self, j: int) -> None:
        """The cores of coordinate j are settled; the pass moves left."""
        grams = self._grams(j)
        behind = [
            np.tensordot(grams[m], a, axes=([1, 3], [0, 1]))
            for a, m in zip(self.after[j], self.rows[:, j], strict=True)
        ]
        self.after[j - 1] = np.stack(behind)
        self.data_after[j - 1] = np.einsum(
            "taA,tA->ta", np.tensordot(self.system.data[j], self.test[j], axes=(0, 0)), self.data_after[j]
        )

    def weights(self, j: int) -> Array:
        """For each distinct matrix of coordinate j what the others multiply it with, ``(M, r r', r r')``."""
        before, after = self.before[j], self.after[j]
        shape = (before.shape[1] * after.shape[1], before.shape[2] * after.shape[2])
        weights = np.zeros((len(self.system.matrices[j]), *shape))
        for m in np.unique(self.rows[:, j]):
            mine = self.rows[:, j] == m
            product = np.tensordot(before[mine], after[mine], axes=(0, 0))  # (r, r, r', r')
            weights[m] = product.transpose(0, 2, 1, 3).reshape(shape)
        return weights

    def right(self, j: int) -> Array:
        """The right-hand side ``(n, r r')``."""
        pairs = self.data_before[j][:, :, None] * self.data_after[j][:, None, :]
        return np.asarray(self.system.data[j] @ pairs.reshape(len(pairs), -1))


def sweep(system: System, train: Train, fixed: Train | None = None, ridge: float = RIDGE) -> tuple[Train, float]:
    """Solve for every core on the way to the last coordinate and back.

    Args:
        system: The discrete problem.
        train: The train to improve.
        fixed: A train that is held and whose image is taken off the right-hand side.
        ridge: Relative size of the proximal term of `Axis.solve`.

    Returns:
        The new train, orthonormal but for its first core, and ``b.u`` of the last solve.
    """
    count, train = len(train), list(train)
    for j in range(count - 1, 0, -1):
        hand_left(system.axes, train, j)
    own = Passage(system, train, train)
    cross = None if fixed is None else Passage(system, train, fixed)
    passages = [own] if cross is None else [own, cross]

    def settle(j: int) -> float:
        axis, core = system.axes[j], train[j]
        right = own.right(j)
        if cross is not None:
            assert fixed is not None
            right = right - axis.combined(system.matrices[j], fixed[j].reshape(axis.size, -1), cross.weights(j))
        start = core.reshape(axis.size, -1)
        try:
            new = axis.solve(system.matrices[j], own.weights(j), right, start, ridge, system.symmetric)
        except np.linalg.LinAlgError:
            new = np.full_like(right, np.nan)
        if not np.isfinite(new).all():
            raise ValueError(
                f"the system of coordinate {axis.coordinate.name!r} is singular: the operator and the conditions do "
                "not determine the solution along it"
            )
        train[j] = new.reshape(core.shape)
        return float(np.sum(right * new))

    gained = settle(0)
    for j in range(count - 1):
        hand_right(system.axes, train, j)
        for passage in passages:
            passage.on(j)
        gained = settle(j + 1)
    for j in range(count - 1, 0, -1):
        hand_left(system.axes, train, j)
        for passage in passages:
            passage.back(j)
        gained = settle(j - 1)
    return train, gained


def measured(system: System, train: Train, gained: float) -> float:
    """The relative residual of either form, as `alternating.measured` defines it; NaN where it would be too large."""
    if system.constant is not None:
        return relative(system.constant - gained, system.constant)
    rows, scales = system.all_rows()
    if len(rows) * bond(train) + len(system.data_scales) > _WIDEST:
        return float("nan")
    data = [axis.dual(d) for axis, d in zip(system.axes, system.data, strict=True)]
    data[0] = data[0] * system.data_scales
    rest = of_products(data)
    images = []
    for j, (axis, core) in enumerate(zip(system.axes, train, strict=True)):
        flat = axis.apply(system.matrices[j], core.reshape(axis.size, -1))
        images.append([axis.dual(image).reshape(core.shape) for image in flat])
    size = norm(rest)
    for row, scale in zip(rows, scales, strict=True):
        rest = joined(rest, [images[j][m] for j, m in enumerate(row)], -scale)
    return norm(rest) / max(size, 1e-300)


# The whole function


def full(discrete: Discretisation, train: Train) -> Train:
    """Cores ``(K_j, r, r')`` in the atoms' coefficients: free part and lift."""
    own = [np.tensordot(axis.extension, core, axes=1) for axis, core in zip(discrete.axes, train, strict=True)]
    return own if discrete.lift is None else joined(own, of_products(discrete.lift))


def estimate(
    problem: Problem, discrete: Discretisation, train: Train, least_squares: bool, random: np.random.Generator
) -> float:
    """The estimate of `separable.galerkin.solve`, for a train: finer bases, and a quarter more rank."""
    finer = Discretisation(problem.refined())
    system = finer.system(least_squares)
    carried: Train = []
    embedded: Train = []
    for axis, old, own, present in zip(finer.axes, discrete.axes, train, full(discrete, train), strict=True):
        free = np.tensordot(old.extension, own, axes=1)
        values = axis.atom_fit(old.atom, np.hstack([free.reshape(len(free), -1), present.reshape(len(present), -1)]))
        split = own.shape[1] * own.shape[2]
        carried.append(
            np.asarray(np.linalg.lstsq(axis.extension, values[:, :split], rcond=None)[0]).reshape(-1, *own.shape[1:])
        )
        embedded.append(values[:, split:].reshape(-1, *present.shape[1:]))
    carried, _ = sweep(system, carried)
    more = max(1, bond(carried) // 4)
    carried, _ = sweep(system, joined(carried, remainder(system, carried, more, random)))
    found = full(finer, carried)

    def size(cores: Train) -> float:
        flat = columns(finer, [core.reshape(len(core), -1) for core in cores])
        return norm([c.reshape(-1, *core.shape[1:]) for c, core in zip(flat, cores, strict=True)])

    return size(joined(found, embedded, -1.0)) / max(size(found), 1e-300)
