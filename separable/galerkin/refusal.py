"""Ill-posed problems, refused before anything is solved, with the reason."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from separable.galerkin.discretisation import Discretisation, Symbol
from separable.galerkin.problem import Array, Problem

_SAMPLES = 4000


def refuse(problem: Problem, discrete: Discretisation, least_squares: bool) -> None:
    """Raise if the problem cannot have one stable solution.

    Raises:
        ValueError: A diffusivity is negative somewhere, an evolution runs backward in time, an end that needs a
            condition has none, or constants solve the homogeneous problem.
    """
    if least_squares and not problem.is_equation:
        raise ValueError(
            "solve: method='least squares' needs the equation itself (no derivatives of the test function, no At); "
            "write second derivatives as (2, 0)"
        )
    for j, coordinate in enumerate(problem.coordinates):
        smooth = getattr(coordinate.atom, "degree", 99)
        taken = [order for _, symbols in discrete.terms for order in (symbols[j].trial, symbols[j].test)]
        taken += [o.get(coordinate.name, 0) for product in problem.products for o in (product.first, product.second)]
        highest = max(taken)
        if type(coordinate.atom).__name__ == "BSpline" and smooth < highest:
            raise ValueError(
                f"solve: the operator takes derivative {highest} along {coordinate.name}, whose splines have degree "
                f"{smooth}; use a degree of at least {highest}"
            )
    _refuse_missing(problem, discrete)
    _refuse_signs(problem, discrete)


def _refuse_missing(problem: Problem, discrete: Discretisation) -> None:
    names = problem.names
    if problem.is_equation and not problem.products:
        for j, coordinate in enumerate(problem.coordinates):
            highest = max(symbols[j].trial for _, symbols in discrete.terms)
            ends = {"free": 0, "value": 1, "slope": 1, "both": 2}
            held = ends[coordinate.left] + ends[coordinate.right]
            plain = any(all(s.trial == 0 for s in symbols) for _, symbols in discrete.terms)
            if highest > 0 and held < min(highest, 1 if plain else 2) and not coordinate.periodic:
                raise ValueError(
                    f"solve: the equation has derivative {highest} along {names[j]}, which has {held} conditions; "
                    "state initial or boundary conditions (left=, right=)"
                )
    kills = all(any(s.trial > 0 for s in symbols) for _, symbols in discrete.terms)
    differentiated = [
        c for j, c in enumerate(problem.coordinates) if any(s[j].trial or s[j].test for _, s in discrete.terms)
    ]
    if kills and all({c.left, c.right} <= {"free", "slope"} for c in differentiated):
        raise ValueError(
            "solve: constants solve the homogeneous problem, so the solution is not determined: no end of "
            f"{', '.join(c.name for c in differentiated)} is held and no term is without derivatives"
        )


def _refuse_signs(problem: Problem, discrete: Discretisation) -> None:
    names = problem.names
    random = np.random.default_rng(0)
    picks = [random.integers(0, len(a.nodes), _SAMPLES) for a in discrete.axes]

    def sampled(wanted: Sequence[tuple[int, int]]) -> Array | None:
        total, found = np.zeros(_SAMPLES), False
        for factor, symbols in discrete.terms:
            if [(s.trial, s.test) for s in symbols] != list(wanted) or any(s.point is not None for s in symbols):
                continue
            found = True
            total += factor * _product(symbols, picks)
        return total if found else None

    def orders(j: int, trial: int, test: int) -> list[tuple[int, int]]:
        return [(trial, test) if i == j else (0, 0) for i in range(len(names))]

    def where(index: int) -> str:
        return ", ".join(f"{n} = {a.nodes[p[index]]:.4g}" for n, a, p in zip(names, discrete.axes, picks, strict=True))

    for j, name in enumerate(names):
        values = sampled(orders(j, 1, 1))
        if values is not None and values.min() < 0:
            worst = int(values.argmin())
            raise ValueError(
                f"solve: negative diffusivity: the coefficient of du/d{name} dv/d{name} is {values[worst]:.4g} at "
                f"{where(worst)} (if the whole equation has the other sign, multiply it by -1)"
            )
    if not problem.is_equation:
        return
    for t, coordinate in enumerate(problem.coordinates):
        speed = sampled(orders(t, 1, 0))
        ends = (coordinate.left, coordinate.right)
        if speed is None or ends not in (("value", "free"), ("free", "value")) or sampled(orders(t, 2, 0)) is not None:
            continue
        onward = 1.0 if coordinate.left == "value" else -1.0  # a value held at the right end is carried to the left
        for j, name in enumerate(names):
            values = sampled(orders(j, 2, 0))
            if values is None or j == t:
                continue
            wrong = onward * values * speed
            if wrong.max() > 0:
                worst = int(wrong.argmax())
                raise ValueError(
                    f"solve: negative diffusivity: d2u/d{name}2 has the coefficient {values[worst]:.4g} beside "
                    f"{speed[worst]:.4g} du/d{coordinate.name} at {where(worst)}, which runs diffusion backward from "
                    f"the {'left' if onward > 0 else 'right'} end of {coordinate.name}, where u is held"
                )


def _product(symbols: Sequence[Symbol], picks: Sequence[Any]) -> Array:
    value = np.ones(_SAMPLES)
    for symbol, pick in zip(symbols, picks, strict=True):
        if symbol.values is not None:
            value = value * symbol.values[pick]
    return value
