"""`separable.grow`: find the structure of a separable layer from data, terms, bases and link by validation.

    y = h(f),     f(x) = b + sum_(r=1..R) prod_(j=1..D) p_jr(x_j)

The link h, the number of terms R and a spline basis for every coordinate are all chosen on held-out rows. One small
model for each link starts a race; after every round of moves only those near the best stay. The winner is refined
on all rows with the loss on the scale of y. No gradient descent: every step is a joint linear solve.
"""

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from separable.fitting.contestant import Contestant, Sample
from separable.fitting.grown import Grown, GrowthReport, Move
from separable.fitting.links import LINKS, Identity, Link
from separable.fitting.orthonormal import Array, Axis, values
from separable.fitting.product_sums import Errors, ProductSum, Work, refine
from separable.fitting.rows import Rows
from separable.interactions import CanonicalPolyadic
from separable.layers import SeparableLayer

_EFFORT = 1.2e10  # multiply-adds of one unit of effort, about a second on one core
_SEARCH_ROWS = 10_000  # the search sees at most so many rows; the last refinement sees all
_STARTS = (3, 2), (7, 4)  # degree and rank; the second only where the first explains little:
_LITTLE = 0.05  # an error, relative to the targets' spread, after the first round
_MOVES = (3, 3, 4, 99)  # of each contestant in a round, after which
_STAYING = (3, 2, 1, 1)  # so many stay,
_WITHIN = (10.0, 5.0, 3.0, 1.0)  # of those within this factor of the best
_FEW = 20  # held-out rows that are wanted
_MARGIN = 1.1  # a link other than the identity must be this much better


def grow(
    x: Any,
    y: Any,
    *,
    weights: Any = None,
    max_parameters: int | None = None,
    links: Sequence[str] = ("identity", "log", "reciprocal", "square"),
    validation: float = 0.13,
    tolerance: float = 1e-6,
    seed: int = 0,
    effort: float = 1.0,
    progress: bool = False,
) -> Grown:
    """Grow a separable layer of the size and form that the data ask for.

    The search is done in float64 on the CPU, on 10,000 of the rows where there are more; the last refinement sees all.
    Use it where the structure is unknown; use `separable.fit` for a layer of given structure, several outputs, other
    interactions or data that do not fit in memory.

    Args:
        x: Inputs ``(N, D)``.
        y: Targets ``(N,)`` or ``(N, 1)``. Several outputs have structures of their own: grow one layer for each.
        weights: Weights ``(N,)`` of the squared errors; rows of weight zero are left out.
        max_parameters: The most numbers in the layer (its ``n_parameters``); None sets no limit but half the rows.
        links: Names of the transforms of the target that may be tried; those that the data do not allow (a logarithm
            of negative targets) are left out.
        validation: Share of the rows that judges the structure; of fewer than 150 rows up to a quarter, and where
            that leaves fewer than ten, the identity is the only link tried.
        tolerance: Validation error, relative to the spread of the targets, at which the search ends.
        seed: Of the held-out rows and of new terms. Equal seeds give equal results.
        effort: Work the search may do, in units of about one second on one core; the last refinement may do as much.
        progress: Whether to show a bar of the effort spent, with the error.

    Returns:
        The layer, its link, a predictor and the path of the search.

    Raises:
        ValueError: On shapes that do not fit, several outputs, no rows, NaN or infinite values (the place is named),
            negative weights, an unknown link, links none of which the data allow, or a setting outside its range.

    Example:
        >>> import torch, separable
        >>> x = 1 + torch.rand(500, 3, generator=torch.Generator().manual_seed(0))
        >>> y = x[:, 0] / (x[:, 1] + x[:, 2] ** 2)
        >>> grown = separable.grow(x, y)
        >>> grown.link.name, bool((grown.predict(x) - y).abs().max() < 1e-5)
        ('reciprocal', True)
    """
    started = time.perf_counter()
    chosen = _check(links, validation, tolerance, effort)
    inputs, targets, row_weights = _rows(x, y, weights)
    largest = float(np.abs(targets).max())
    spread = largest * float(np.std(targets / largest)) if largest > 0 else 0.0
    if spread <= 1e-14 * largest:  # a constant up to rounding: nothing to search
        return _constant(inputs, targets, row_weights, started)
    given = torch.from_numpy(targets)
    allowed = [link for link in chosen if link.valid(given)]
    if not allowed:
        needs = ", ".join(f"{link.name}: {link.requires}" for link in chosen)
        raise ValueError(f"grow: no link fits targets from {targets.min():g} to {targets.max():g} ({needs})")

    if LINKS["identity"] in allowed and _judges(len(targets), validation) < _FEW // 2:
        allowed = [LINKS["identity"]]  # so few held-out rows would choose a link by chance
    targets = targets / spread
    random = np.random.default_rng(seed)
    axes, sample = _sample(inputs, targets, row_weights, validation, random)
    least = _least(axes)
    most = len(targets) if max_parameters is None else max_parameters
    if max_parameters is not None and max_parameters < least:
        raise ValueError(f"grow: the least layer for these data has {least} parameters, max_parameters={most}")

    work, path = Work(_EFFORT * effort), list[Move]()
    bar = tqdm(desc="grow", total=100, unit="%", disable=not progress)

    def watch(contestant: Contestant) -> None:
        model = contestant.model
        bases = tuple((atom.degree, atom.intervals) for atom in model.atoms)
        seconds, error = time.perf_counter() - started, contestant.error * spread
        path.append(Move(contestant.link.name, model.rank, bases, model.parameters, error, seconds))
        bar.update(min(100, round(100 * work.spent / work.limit)) - bar.n)
        bar.set_postfix_str(f"{contestant.link.name}, rank {model.rank}, error {error:.2g}")

    def enter(link: Link, start: tuple[int, int]) -> Contestant:
        return Contestant(link, sample, start, most, tolerance, work, random, watch)

    # A step that is too bold may overflow; it is then refused, so numpy need not warn of it.
    with np.errstate(all="ignore"), bar:
        with _one_thread():
            winner = _race(allowed, enter)
        with contextlib.nullcontext() if len(targets) > _SEARCH_ROWS else _one_thread():
            model, training = _polished(winner, inputs, targets, row_weights, Work(work.limit))
    link, stopped, held_out = winner.link, winner.stopped, winner.error * spread
    layer = _layer(model, [basis.transform for basis in winner.bases], link, spread)
    goals = link.forward(given)
    seconds = time.perf_counter() - started
    report = GrowthReport(tuple(path), stopped, training * spread, held_out, len(targets), layer.n_parameters, seconds)
    return Grown(layer, link, link.reach(float(goals.min()), float(goals.max())), report)


def least_parameters(x: Array) -> int:
    """Numbers that suffice for the least layer that `grow` makes of inputs ``(N, D)``."""
    return _least([Axis(column, column, float(column.min()), float(column.max())) for column in x.T])


def _least(axes: Sequence[Axis]) -> int:
    return 2 + sum(axis.atom(1).size for axis in axes)


def _one_thread() -> contextlib.AbstractContextManager[Any]:
    """One thread for small matrices: more gain little, and cost ten times the time where cores are shared.

    It needs threadpoolctl, which scikit-learn brings; without it the environment decides (OMP_NUM_THREADS).
    """
    try:
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped,import-not-found,unused-ignore]
    except ImportError:
        return contextlib.nullcontext()
    limits: contextlib.AbstractContextManager[Any] = threadpool_limits(1)
    return limits


def _check(links: Sequence[str], validation: float, tolerance: float, effort: float) -> list[Link]:
    if isinstance(links, str) or not links or not LINKS.keys() >= set(links):
        raise ValueError(f"grow: links are some of {', '.join(LINKS)}; got {links!r}")
    if not 0 < validation < 1:
        raise ValueError(f"grow: validation is a share between 0 and 1, got {validation}")
    if not 0 < tolerance < 1 or not 0 < effort < math.inf:
        raise ValueError(f"grow: 0 < tolerance < 1 and effort is positive and finite, got {tolerance} and {effort}")
    return [LINKS[name] for name in dict.fromkeys(links)]


def _rows(x: Any, y: Any, weights: Any) -> tuple[Array, Array, Array]:
    """Checked inputs ``(N, D)``, targets ``(N,)`` and weights ``(N,)`` of mean one; rows of weight zero are gone."""
    if y is None:
        raise ValueError("grow: targets are missing; the rows are held in memory, so give x and y as arrays")
    shapes = [tuple(v.shape) if hasattr(v, "shape") else np.shape(v) for v in (x, y)]
    if len(shapes[0]) != 2 or shapes[0][1] == 0:
        raise ValueError(f"grow: expected x of shape (N, D), got {shapes[0]}")
    if len(shapes[1]) == 2 and shapes[1][1] > 1:
        raise ValueError(
            f"grow: y has {shapes[1][1]} outputs, each of which has a structure of its own: grow a layer for each"
        )
    rows = Rows(x, y, weights, inputs=shapes[0][1], outputs=1, batch_size=max(1, shapes[0][0]))
    assert rows.single is not None
    inputs, targets, row_weights = (part.cpu().numpy() for part in rows.single)
    kept = row_weights > 0
    return inputs[kept], targets[kept, 0], row_weights[kept] / row_weights[kept].mean()


def _sample(
    inputs: Array, targets: Array, weights: Array, share: float, random: np.random.Generator
) -> tuple[list[Axis], Sample]:
    order = random.permutation(len(targets))
    count = _judges(len(targets), share)
    judges, training = order[:count][: max(1, int(share * _SEARCH_ROWS))], order[count:][:_SEARCH_ROWS]
    low, high = inputs.min(0), inputs.max(0)
    axes = [Axis(inputs[training, j], inputs[judges, j], float(low[j]), float(high[j])) for j in range(inputs.shape[1])]
    root, own = np.sqrt(weights[training]), np.sqrt(weights[judges] / weights[judges].mean())
    return axes, Sample(axes, targets[training], root, targets[judges], own)


def _judges(rows: int, share: float) -> int:
    """Held-out rows: of few rows more than the share, since a handful judges badly."""
    return min(rows - 1, max(1, int(share * rows), min(_FEW, rows // 4)))


def _race(links: Sequence[Link], enter: Callable[[Link, tuple[int, int]], Contestant]) -> Contestant:
    """The contestant that is left after the last round, or that has reached the tolerance before."""
    field = [enter(link, _STARTS[0]) for link in links]
    for number, (moves, staying, within) in enumerate(zip(_MOVES, _STAYING, _WITHIN, strict=True)):
        if number == 1 and min(contestant.error for contestant in field) > _LITTLE:
            larger = [enter(contestant.link, _STARTS[1]) for contestant in field[:2]]
            for contestant in larger:
                _advance(contestant, _MOVES[0])
            field += larger
        for contestant in field:
            _advance(contestant, moves)
        field.sort(key=_handicapped)
        field = [contestant for contestant in field[:staying] if contestant.error <= within * field[0].error]
        if field[0].stopped == "tolerance":
            break
    return field[0]


def _advance(contestant: Contestant, moves: int) -> None:
    for _ in range(moves):
        if not contestant.stopped:
            contestant.step()


def _handicapped(contestant: Contestant) -> float:
    return contestant.error * (1.0 if isinstance(contestant.link, Identity) else _MARGIN)


def _polished(
    winner: Contestant, inputs: Array, targets: Array, weights: Array, work: Work
) -> tuple[ProductSum, float]:
    """All rows, with the loss on the scale of y; and the root mean square error there."""
    pairs = zip(winner.model.atoms, winner.bases, strict=True)
    bases = [values(atom, inputs[:, j]) @ basis.transform for j, (atom, basis) in enumerate(pairs)]
    errors = Errors(targets, np.sqrt(weights), winner.link)
    return refine(winner.model, bases, errors, (bases, errors), work, steps=10, slow=0.01, damping=1e-5)


def _layer(model: ProductSum, transforms: Sequence[Array], link: Link, spread: float) -> SeparableLayer:
    """The model as a layer in the units of the data."""
    layer = SeparableLayer(
        len(model.atoms),
        1,
        atoms=[dataclasses.replace(atom, outside="linear") for atom in model.atoms],
        interaction=CanonicalPolyadic(rank=model.rank, order=None),
        generator=torch.Generator(),  # start values are replaced; the caller's random numbers stay untouched
        dtype=torch.float64,
    )
    factor, shift = link.scaled(spread)
    assert layer.bias is not None
    with torch.no_grad():
        for j, (transform, coefficients) in enumerate(zip(transforms, model.coefficients, strict=True)):
            layer.expansion.coefficient(j).copy_(torch.from_numpy(transform @ coefficients))
        layer.core.fill_(factor)
        layer.bias.fill_(model.bias * factor + shift)
    return layer


def _constant(inputs: Array, targets: Array, weights: Array, started: float) -> Grown:
    """The layer of a constant target."""
    axes = [Axis(column, column, float(column.min()), float(column.max())) for column in inputs.T]
    level = float(weights @ targets / weights.sum())
    model = ProductSum(level, tuple(axis.atom(0) for axis in axes), tuple(np.zeros((1, 1)) for _ in axes))
    link = LINKS["identity"]
    layer = _layer(model, [np.eye(1) for _ in axes], link, 1.0)
    error = float(np.sqrt(np.mean(weights * (targets - level) ** 2)))
    seconds = time.perf_counter() - started
    report = GrowthReport((), "tolerance", error, error, len(targets), layer.n_parameters, seconds)
    return Grown(layer, link, link.reach(level, level), report)
