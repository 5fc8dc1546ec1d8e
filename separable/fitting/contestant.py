"""A growing sum of products on the scale of one link: every move is kept or dropped by the error on held-out rows.

A move first *prunes* degrees that contribute little, then tries more terms (`widen`: rank-one terms fitted to the
residual by weighted alternating least squares), richer bases (`enrich`: each coordinate refitted alone on each richer
basis, those that gain most are taken), and after a failure both at once, low degrees rising by two. A few joint steps
judge each try; the best one gets more.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import torch

from separable.atoms import BSpline
from separable.fitting.links import LINKS, Link
from separable.fitting.orthonormal import Array, Axis, Basis
from separable.fitting.product_sums import Errors, ProductSum, Work, environments, refine

_ROWS_PER_PARAMETER = 20  # of the start, at least
_KEPT_BELOW = 0.95  # a move counts when the error falls below this share
_PATIENCE = 3  # moves in vain before a search stops
_PRUNED_BELOW = 0.2  # degrees that together contribute less than this share of the present error go


@dataclasses.dataclass(frozen=True)
class Sample:
    """The rows of a search, shuffled, with targets in units of their spread.

    Args:
        axes: The D coordinates.
        target: Training targets ``(N,)``.
        weight: Roots of the training rows' weights.
        held_out_target: Targets of the rows that judge.
        held_out_weight: Roots of their weights, of mean one among them.
    """

    axes: Sequence[Axis]
    target: Array
    weight: Array
    held_out_target: Array
    held_out_weight: Array


class Contestant:
    """The growing model of one link and one start.

    Args:
        link: The scale on which the sum of products is sought.
        sample: The rows; shared among contestants.
        start: Degree and rank of the first structure; less where rows are few.
        most: The most parameters of the layer.
        tolerance: Error, relative to the spread of the targets, at which the search ends.
        work: Budget, shared among contestants.
        random: Source of the start values of new terms.
        watch: Called after every move.
    """

    def __init__(
        self,
        link: Link,
        sample: Sample,
        start: tuple[int, int],
        most: int,
        tolerance: float,
        work: Work,
        random: np.random.Generator,
        watch: Callable[["Contestant"], None],
    ) -> None:
        self.link, self.axes, self.tolerance, self.work, self._random = link, sample.axes, tolerance, work, random
        self._watch, self._in_vain, self.stopped = watch, 0, ""
        rows = len(sample.target)
        self._most = min(most, rows // 2)
        self._judge = Errors(sample.held_out_target, sample.held_out_weight, link)
        goal = link.forward(torch.from_numpy(sample.target))
        weight = sample.weight * link.weight(link.guarded(goal, slope=True)).numpy()
        self._errors = Errors(goal.numpy(), weight, LINKS["identity"])
        atoms, rank = self._start(*start, min(most, rows // _ROWS_PER_PARAMETER))
        level = float(np.sum(weight**2 * self._errors.target) / np.sum(weight**2))
        empty = tuple(
            np.zeros((axis.basis(atom).training.shape[1], 0)) for axis, atom in zip(self.axes, atoms, strict=True)
        )
        self.model, self.error = self._refined(self._widened(ProductSum(level, atoms, empty), rank), steps=12)
        self._conclude(moved=True)

    def _start(self, degree: int, rank: int, room: int) -> tuple[tuple[BSpline, ...], int]:
        while True:
            atoms = tuple(axis.atom(degree) for axis in self.axes)
            if degree + rank == 2 or 1 + rank * (1 + sum(atom.size for atom in atoms)) <= room:
                return atoms, rank
            degree, rank = (degree - 1, rank) if degree > rank else (degree, rank - 1)

    @property
    def bases(self) -> list[Basis]:
        """The present bases of all coordinates."""
        return self._bases(self.model)

    def _bases(self, model: ProductSum) -> list[Basis]:
        return [axis.basis(atom) for axis, atom in zip(self.axes, model.atoms, strict=True)]

    def _training(self, model: ProductSum) -> list[Array]:
        return [basis.training for basis in self._bases(model)]

    def _refined(self, model: ProductSum, steps: int, damping: float = 1e-3) -> tuple[ProductSum, float]:
        """Joint steps on the first rows only (the sample is shuffled): four an unknown, and at least 1000."""
        rows = slice(max(1000, 4 * model.unknowns))
        return refine(
            model,
            [q[rows] for q in self._training(model)],
            self._errors.part(rows),
            ([basis.held_out for basis in self._bases(model)], self._judge),
            self.work,
            steps=steps,
            enough=0.1 * self.tolerance,
            damping=damping,
        )

    def step(self) -> None:
        """One move."""
        pruned = self._pruned(self.model)
        splines = sum(atom.size for atom in pruned.atoms)
        tries = []
        for more in (max(1, pruned.rank // 3), 1):
            if pruned.parameters + more * (1 + splines) <= self._most:
                tries.append(self._widened(pruned, more))
                break
        enriched = self._enriched(pruned)
        if enriched is not None:
            tries.append(enriched)
            if self._in_vain and enriched.parameters + 1 + sum(atom.size for atom in enriched.atoms) <= self._most:
                tries.append(self._widened(enriched, 1))
        if tries:
            found = min((self._refined(model, steps=4) for model in tries), key=lambda outcome: outcome[1])
            if found[1] > self.tolerance:
                found = self._refined(found[0], steps=8, damping=1e-4)
            if found[1] < _KEPT_BELOW * self.error:
                (self.model, self.error), self._in_vain = found, 0
            else:
                self._in_vain += 1
                if found[1] < self.error and found[0].parameters <= self.model.parameters:
                    self.model, self.error = found
        self._conclude(moved=bool(tries))

    def _conclude(self, moved: bool) -> None:
        if self.error < self.tolerance:
            self.stopped = "tolerance"
        elif not moved:
            self.stopped = "parameters"
        elif self._in_vain == _PATIENCE:
            self.stopped = "validation"
        elif not self.work.left:
            self.stopped = "effort"
        self._watch(self)

    def _residual(self, model: ProductSum) -> tuple[list[Array], Array]:
        """Environments of all coordinates, and the residual on the link's scale."""
        around, product = environments(model.factors(self._training(model)))
        return around, self._errors.target - model.bias - product.sum(1)

    def _pruned(self, model: ProductSum) -> ProductSum:
        """Without the highest degrees of a coordinate as long as what they contribute is small against the error."""
        around, residual = self._residual(model)
        allowed = _PRUNED_BELOW * float(np.sqrt(np.mean((self._errors.weight * residual) ** 2)))
        atoms, coefficients = list(model.atoms), list(model.coefficients)
        for j, (axis, atom, basis) in enumerate(zip(self.axes, model.atoms, self._training(model), strict=True)):
            if atom.intervals > 1:
                continue
            kept, lost = len(coefficients[j]), 0.0
            while kept > 2:
                column = basis[:, kept - 1] * (around[j] @ coefficients[j][kept - 1])
                lost += float(np.mean((self._errors.weight * column) ** 2))
                if lost**0.5 > allowed:
                    break
                kept -= 1
            if kept < len(coefficients[j]):
                atoms[j] = axis.atom(kept - 1)
                coefficients[j] = axis.moved(coefficients[j], atom, atoms[j])
        return ProductSum(model.bias, tuple(atoms), tuple(coefficients))

    def _widened(self, model: ProductSum, count: int) -> ProductSum:
        """With more terms, each fitted to what is left."""
        _, residual = self._residual(model)
        new = _terms(self._training(model), residual, self._errors.weight, count, self._random)
        coefficients = tuple(np.hstack(pair) for pair in zip(model.coefficients, new, strict=True))
        return ProductSum(model.bias, model.atoms, coefficients)

    def _enriched(self, model: ProductSum, rows: int = 1500) -> ProductSum | None:
        """With the richer bases that gain at least half as much as the best one, as far as there is room."""
        around, residual = self._residual(model)
        goal, weight = (self._errors.weight * residual)[:rows], self._errors.weight[:rows, None]
        gains = []
        for j, (axis, old) in enumerate(zip(self.axes, model.atoms, strict=True)):
            environment = (around[j][:rows] * weight)[:, None, :]
            for new in axis.richer(old, leap=self._in_vain > 0):
                basis = axis.basis(new).training
                extra = (new.size - old.size) * model.rank
                if basis.shape[1] <= len(model.coefficients[j]) or model.parameters + extra > self._most:
                    continue
                design = (environment * basis[:rows, :, None]).reshape(len(goal), -1)
                normal, gradient = _ridged(design.T @ design, 1e-10), design.T @ goal
                gains.append((float(gradient @ np.linalg.solve(normal, gradient)), j, new, extra))
        if not gains:
            return None
        gains.sort(key=lambda gain: gain[0], reverse=True)
        atoms, coefficients, size, taken = list(model.atoms), list(model.coefficients), model.parameters, set[int]()
        for gain, j, new, extra in gains:
            if j not in taken and gain >= 0.5 * gains[0][0] and size + extra <= self._most:
                taken.add(j)
                size += extra
                coefficients[j] = self.axes[j].moved(coefficients[j], atoms[j], new)
                atoms[j] = new
        return ProductSum(model.bias, tuple(atoms), tuple(coefficients))


def _terms(
    bases: Sequence[Array],
    residual: Array,
    weight: Array,
    count: int,
    random: np.random.Generator,
    tries: int = 3,
    sweeps: int = 4,
    rows: int = 1000,
) -> list[Array]:
    """Coefficients ``(K_j, count)`` of products, one fitted after the other, the best of a few random starts each."""
    bases, residual, weight = [q[:rows] for q in bases], residual[:rows].copy(), weight[:rows]
    bend = 0.5 * min(1.0, (10 / len(bases)) ** 0.5)  # products of many factors stay of order one
    found = [np.zeros((q.shape[1], count)) for q in bases]
    for term in range(count):
        lowest, best = float("inf"), None
        for _ in range(tries):
            columns = []
            for q in bases:  # one plus a little of degrees one and two
                column = np.zeros(q.shape[1])
                column[0] = 1.0
                bent = min(2, len(column) - 1)
                column[1 : 1 + bent] = bend * random.normal(size=bent)
                columns.append(column)
            _alternate(bases, columns, residual, weight, sweeps)
            product = np.prod([q @ c for q, c in zip(bases, columns, strict=True)], axis=0)
            error = float(np.sum((weight * (residual - product)) ** 2))
            if error < lowest:
                lowest, best = error, (columns, product)
        if best is not None:
            residual -= best[1]
            for j, column in enumerate(best[0]):
                found[j][:, term] = column
    return found


def _alternate(bases: Sequence[Array], columns: list[Array], residual: Array, weight: Array, sweeps: int) -> None:
    """Weighted alternating least squares on one product, in place."""
    factors = [q @ c for q, c in zip(bases, columns, strict=True)]
    for _ in range(sweeps):
        for j, q in enumerate(bases):
            others = weight.copy()
            for i, factor in enumerate(factors):
                if i != j:
                    others *= factor
            design = q * others[:, None]
            solved = np.linalg.solve(_ridged(design.T @ design, 1e-6), design.T @ (weight * residual))
            columns[j] = solved.astype(np.float64, copy=False)
            factors[j] = q @ columns[j]
            if j < len(bases) - 1:  # the last factor carries the size
                size = np.sqrt(np.mean(factors[j] ** 2)) + 1e-300
                columns[j] /= size
                factors[j] /= size


def _ridged(normal: Array, share: float) -> Array:
    """A normal matrix with a share of its mean diagonal added, in place; never singular."""
    normal[np.diag_indices_from(normal)] += share * np.trace(normal) / len(normal) + 1e-300
    return normal
