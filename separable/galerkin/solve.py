"""Solve a problem once, over all its coordinates.

Weak forms (elliptic, coercive) are solved by Galerkin projection; equations ``L u = f`` (parabolic, hyperbolic,
quadratic) by minimal residual in L2 over space, time and parameters. Quadratic terms are linearised about the present
function (Newton), whose own products become coefficients of the next system. The error is estimated from the same
problem on bases that contain the present ones (twice the intervals), with more products, started from the solution:

    estimate = || u_finer - u || / || u_finer ||            in L2 over all coordinates,

which is (1 - 2^-(p+1)) times the true error where the basis limits it and a part of it where the rank does.
"""

import numbers
import time
from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
from tqdm import tqdm

from separable.galerkin import tensor_train, trains
from separable.galerkin.alternating import State, alternate, columns, empty, enriched, l2_norm, norm, relative, sweep
from separable.galerkin.discretisation import Discretisation
from separable.galerkin.problem import At, Problem
from separable.galerkin.refusal import refuse
from separable.galerkin.solution import Solution, layer_of, layer_of_train
from separable.galerkin.system import Factors
from separable.interactions import CanonicalPolyadic

Method = Literal["auto", "galerkin", "least squares"]
Form = Literal["canonical_polyadic", "tensor_train", "auto"]
AUTO_BOND = 12  # a core costs the sixth power of the bond


def solve(
    problem: Problem,
    *,
    rank: int = 40,
    tolerance: float = 1e-6,
    sweeps: int = 6,
    method: Method = "auto",
    interaction: Form = "canonical_polyadic",
    start: Solution | None = None,
    newton: int = 30,
    step: int | None = None,
    estimate: bool = True,
    progress: bool = True,
    seed: int = 0,
) -> Solution:
    """Solve a problem over all its coordinates.

    Args:
        problem: The problem.
        rank: Most products, or largest bond of a tensor train. The lift adds its own.
        tolerance: Relative residual at which to stop; for quadratic problems also the relative change of a Newton step.
        sweeps: Most sweeps at each rank; three times as many at the last.
        method: ``galerkin`` for weak forms, ``least squares`` (minimal residual) for equations; ``auto`` chooses the
            second when no test function is differentiated, and for quadratic terms, which take no other.
        interaction: ``canonical_polyadic``, a sum of products; ``tensor_train``, for linear problems (see
            `separable.galerkin.tensor_train`); ``auto`` first seeks a sum of products, and where that ends above the
            tolerance in three or more coordinates also a train with bonds of at most ``AUTO_BOND``, and returns the
            one with the smaller residual.
        start: A solution of a similar problem on the same coordinates and lift to start from (continuation in a
            parameter), a sum of products, of ``rank`` at most.
        newton: Most Newton steps of a quadratic problem.
        step: Products added at once; by default a quarter of those present.
        estimate: Whether to estimate the error (about the cost of a few sweeps on bases twice as fine).
        progress: Whether to show a bar with rank and residual.
        seed: Start values.

    Returns:
        The solution; interrupted (Ctrl-C), the best so far.

    Raises:
        ValueError: If the problem is ill-posed, with the reason (see `separable.galerkin.refusal`), or an argument is
            out of its range.
    """
    for name, number in (("rank", rank), ("sweeps", sweeps), ("newton", newton), ("step", step)):
        if number is not None and not (isinstance(number, numbers.Integral) and number >= 1):
            raise ValueError(f"solve: {name} is a whole number of at least 1, got {number}")
    if not tolerance >= 0:
        raise ValueError(f"solve: tolerance is at least 0, got {tolerance}")
    if method not in get_args(Method):
        raise ValueError(f"solve: method is one of {get_args(Method)}, got {method!r}")
    if method == "galerkin" and problem.products:
        raise ValueError("solve: quadratic terms (products) are solved by minimal residual, not by method='galerkin'")
    if interaction not in get_args(Form):
        raise ValueError(f"solve: interaction is one of {get_args(Form)}, got {interaction!r}")
    if interaction == "tensor_train" and (problem.products or start is not None):
        raise ValueError("solve: a tensor train takes neither quadratic terms (products) nor a start")
    least_squares = problem.is_equation and any(
        e[0] for t in problem.terms for e in t.entries.values() if not isinstance(e, At)
    )
    if method != "auto":
        least_squares = method == "least squares"
    least_squares = least_squares or bool(problem.products)
    discrete = Discretisation(problem)
    refuse(problem, discrete, least_squares)
    began = time.perf_counter()
    random = np.random.default_rng(seed)
    bar = tqdm(desc=problem.name, unit=" sweeps", disable=not progress)

    def report(state: State) -> None:
        bar.set_postfix(rank=state.rank, residual=f"{state.residual:.2e}")
        bar.update()

    train = interaction == "tensor_train"
    nothing = trains.zero(discrete.axes) if train else empty(discrete.axes)
    state = State(nothing if start is None else _started(discrete, start, rank))
    estimated, seconds = float("nan"), 0.0

    def grow(form: Callable[..., State], state: State, most: int) -> None:
        form(system, state, rank=most, tolerance=tolerance, sweeps=sweeps, random=random, report=report, step=step)

    with bar:
        try:
            if problem.products:
                _newton(discrete, state, rank, tolerance, sweeps, newton, random, report, step)
            else:
                system = discrete.system(least_squares)
                if not len(system.data_scales):
                    state.factors, state.residual = nothing, 0.0
                    state.stopped = "there is no source: the solution is the lift"
                elif train:
                    grow(tensor_train.alternate, state, rank)
                else:
                    grow(alternate, state, rank)
                    if interaction == "auto" and state.residual > tolerance and len(discrete.axes) > 2:
                        other = State(trains.zero(discrete.axes))
                        grow(tensor_train.alternate, other, min(rank, AUTO_BOND))
                        other.stopped += f" (a tensor train; {state.rank} products left {state.residual:.1e})"
                        if other.residual < state.residual:
                            state, train = other, True
            seconds = time.perf_counter() - began
            if estimate and not state.history:
                estimated = 0.0 if discrete.lift is None else estimated
            elif estimate:
                bar.set_description(f"{problem.name}: error estimate")
                try:
                    if train:
                        estimated = tensor_train.estimate(problem, discrete, state.factors, least_squares, random)
                    else:
                        estimated = _estimate(problem, discrete, state, least_squares, random)
                except ValueError as error:  # such as a field too large to sample twice as finely
                    state.stopped += f"; no error estimate: {error}"
        except KeyboardInterrupt:
            seconds = seconds or time.perf_counter() - began
            state.stopped = state.stopped or "interrupted: the best so far"
    atoms = [axis.atom for axis in discrete.axes]
    if train:
        layer = layer_of_train(atoms, tensor_train.full(discrete, state.factors))
    else:
        layer = layer_of(atoms, full(discrete, state.factors))
    return Solution(
        layer=layer,
        names=problem.names,
        units=tuple(c.unit for c in problem.coordinates),
        name=problem.name,
        error_estimate=estimated,
        residual=state.residual,
        history=tuple(state.history),
        stopped=state.stopped,
        seconds=seconds,
        separation_error=discrete.separation_error,
    )


def full(discrete: Discretisation, factors: Factors) -> Factors:
    """Atom coefficients ``(K_j, R + L)`` of the unknown: free part and lift."""
    own = [axis.extension @ f for axis, f in zip(discrete.axes, factors, strict=True)]
    return own if discrete.lift is None else [np.hstack(pair) for pair in zip(own, discrete.lift, strict=True)]


def _started(discrete: Discretisation, start: Solution, rank: int) -> Factors:
    if tuple(a.atom for a in discrete.axes) != tuple(start.layer.atoms):
        raise ValueError("solve: start has other coordinates or atoms than the problem")
    if not isinstance(start.layer.interaction, CanonicalPolyadic):
        raise ValueError("solve: start is a sum of products, got a tensor train; solve it as canonical_polyadic")
    lifted = 0 if discrete.lift is None else discrete.lift[0].shape[1]
    core = start.layer.core.detach().numpy()[:, 0]
    if len(core) - lifted > rank:
        raise ValueError(f"solve: start has {len(core) - lifted} products, more than rank={rank}")
    factors = []
    for j, axis in enumerate(discrete.axes):
        given = start.layer.expansion.coefficient(j).detach().numpy()
        given = given[:, : given.shape[1] - lifted] * (core[: given.shape[1] - lifted] if j == 0 else 1.0)
        factors.append(np.linalg.lstsq(axis.extension, given, rcond=None)[0])
    return _unit(discrete, factors)


def _unit(discrete: Discretisation, factors: Factors) -> Factors:
    """Columns of norm one but in coordinate 0."""
    scaled, scale = list(factors), np.ones(factors[0].shape[1])
    for j in range(1, len(factors)):
        size = discrete.axes[j].norms(factors[j])
        size = np.where(size > 0, size, 1.0)
        scaled[j], scale = factors[j] / size, scale * size
    scaled[0] = factors[0] * scale
    return scaled


def _newton(
    discrete: Discretisation,
    state: State,
    rank: int,
    tolerance: float,
    sweeps: int,
    steps: int,
    random: np.random.Generator,
    report: Callable[[State], None],
    step: int | None,
) -> None:
    """Newton steps with a growing rank; each sweeps the linearised minimal-residual system a few times."""
    if len(discrete.axes) == 2:
        rank = min(rank, *(axis.size for axis in discrete.axes))
    settled = np.inf
    reference = None
    for number in range(steps):
        before = state.factors
        system = discrete.system(True, full(discrete, state.factors))
        if not len(system.data_scales):
            state.residual, state.stopped = 0.0, "there is no source: the solution is zero"
            return
        if state.rank < rank and (settled > tolerance or number < 2):
            more = min(step or max(2, state.rank // 6), rank - state.rank)
            state.factors = enriched(system, state.factors, more, random)
        gained = 0.0
        for _ in range(sweeps):
            previous, (state.factors, gained) = gained, sweep(system, state.factors)
            assert system.constant is not None
            reference = system.constant if reference is None else reference
            left = max(system.constant - gained, 0.0)
            state.residual = relative(left, reference)
            state.history.append((state.rank, state.residual))
            report(state)
            if abs(gained - previous) <= 0.02 * left:
                break
        change = [
            np.hstack([a, b * (-1.0 if j == 0 else 1.0)])
            for j, (a, b) in enumerate(zip(state.factors, before, strict=True))
        ]
        settled = l2_norm(discrete.axes, change) / max(_size(discrete, state.factors), 1e-300)
        if settled <= tolerance:
            state.stopped = "Newton's steps no longer change the function"
            return
    state.stopped = f"{steps} Newton steps were taken; the last changed the function by {settled:.1e}"


def _size(discrete: Discretisation, factors: Factors) -> float:
    coefficients = full(discrete, factors)
    return norm(columns(discrete, coefficients), np.ones(coefficients[0].shape[1]))


def _estimate(
    problem: Problem,
    discrete: Discretisation,
    state: State,
    least_squares: bool,
    random: np.random.Generator,
) -> float:
    finer = Discretisation(problem.refined())
    present = full(discrete, state.factors)
    carried: Factors = []
    embedded: Factors = []
    for j, axis in enumerate(finer.axes):
        values = axis.atom_fit(
            discrete.axes[j].atom, np.hstack([discrete.axes[j].extension @ state.factors[j], present[j]])
        )
        embedded.append(values[:, state.rank :])
        carried.append(np.asarray(np.linalg.lstsq(axis.extension, values[:, : state.rank], rcond=None)[0]))
    factors = _unit(finer, carried)
    for round_ in range(2):
        system = finer.system(least_squares, full(finer, factors) if problem.products else None)
        for _ in range(2):
            factors, _ = sweep(system, factors)
        if round_ == 0:
            factors = enriched(system, factors, max(1, state.rank // 4), random)
    coefficients = full(finer, factors)
    difference = [
        np.hstack([a, b * (-1.0 if j == 0 else 1.0)])
        for j, (a, b) in enumerate(zip(coefficients, embedded, strict=True))
    ]
    distance = norm(columns(finer, difference), np.ones(difference[0].shape[1]))
    return distance / max(norm(columns(finer, coefficients), np.ones(coefficients[0].shape[1])), 1e-300)
