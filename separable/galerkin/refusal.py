"""Ill-posed problems, refused before anything is solved, with the reason."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from separable.atoms import BSpline
from separable.galerkin.discretisation import Discretisation
from separable.galerkin.problem import Array, At, Problem, Term

Orders = tuple[tuple[int, int] | At, ...]
_SAMPLES = 4000
_ENDS = {"free": 0, "value": 1, "slope": 1, "both": 2}  # conditions at an end


def refuse(problem: Problem, discrete: Discretisation, least_squares: bool) -> None:
    """Raise if the problem cannot have one stable solution.

    Raises:
        ValueError: A diffusivity is negative somewhere, an evolution runs backward in time, an end that needs a
            condition has none, more is held than the equation lets one choose, constants or linear functions solve the
            homogeneous problem, or splines are too rough for the operator.
    """
    if least_squares and not problem.is_equation:
        raise ValueError(
            "solve: method='least squares' needs the equation itself (no derivatives of the test function, no At); "
            "write second derivatives as (2, 0)"
        )
    _refuse_rough(problem, discrete)
    _refuse_missing(problem, discrete)
    _refuse_held(problem, discrete)
    _refuse_signs(problem, discrete)
    if not problem.is_equation:
        _refuse_mechanisms(problem, discrete)
        _refuse_evolutions(problem, discrete)


def _refuse_rough(problem: Problem, discrete: Discretisation) -> None:
    """Derivative m of a function is square integrable where the function has m - 1 continuous ones."""
    for j, coordinate in enumerate(problem.coordinates):
        atom = coordinate.atom
        taken = [order for _, symbols in discrete.terms for order in (symbols[j].trial, symbols[j].test)]
        taken += [o.get(coordinate.name, 0) for product in problem.products for o in (product.first, product.second)]
        highest = max(taken, default=0)
        if not isinstance(atom, BSpline) or not highest:
            continue
        if atom.degree < highest:
            raise ValueError(
                f"solve: the operator takes derivative {highest} along {coordinate.name}, whose splines have degree "
                f"{atom.degree}; use a degree of at least {highest}"
            )
        knots, times = np.unique(atom.breakpoints, return_counts=True)
        for knot, often in zip(knots[1:-1], times[1:-1], strict=True):
            if atom.degree - often < highest - 1:
                raise ValueError(
                    f"solve: the operator takes derivative {highest} along {coordinate.name}, whose splines of degree "
                    f"{atom.degree} have a knot {often} times at {knot:g}; use a degree of at least "
                    f"{highest + often - 1}, or the knot fewer times"
                )


def _refuse_missing(problem: Problem, discrete: Discretisation) -> None:
    names = problem.names
    factors = [dict(orders) for product in problem.products for orders in (product.first, product.second)]
    for j, coordinate in enumerate(problem.coordinates if problem.is_equation else ()):
        highest = max((symbols[j].trial for _, symbols in discrete.terms), default=0)
        if any(orders.get(coordinate.name, 0) > highest for orders in factors):
            continue  # the solution itself says where such an equation needs a condition, and may vanish there
        held = _ENDS[coordinate.left] + _ENDS[coordinate.right]
        if held < highest and not coordinate.periodic:
            if held and _degenerate(problem, discrete, j, highest):
                continue
            raise ValueError(
                f"solve: the equation has derivative {highest} along {names[j]}, which has {held} conditions; "
                "state initial or boundary conditions (left=, right=)"
            )
    kills = all(any(s.trial > 0 for s in symbols) for _, symbols in discrete.terms)
    kills = kills and all(any(product.first.values()) or any(product.second.values()) for product in problem.products)
    differentiated = [
        c
        for j, c in enumerate(problem.coordinates)
        if any(s[j].trial or s[j].test for _, s in discrete.terms) or any(orders.get(c.name) for orders in factors)
    ]
    if kills and all({c.left, c.right} <= {"free", "slope"} for c in differentiated):
        raise ValueError(
            "solve: constants solve the homogeneous problem, so the solution is not determined: no end of "
            f"{', '.join(c.name for c in differentiated)} is held and no term is without derivatives"
        )


def _refuse_held(problem: Problem, discrete: Discretisation) -> None:
    """An equation of order m along a coordinate has m conditions there; with more it has no solution for most data."""
    places = _places(discrete)
    factors = [dict(orders) for product in problem.products for orders in (product.first, product.second)]
    for j, coordinate in enumerate(problem.coordinates if problem.is_equation else ()):
        name, held = coordinate.name, _ENDS[coordinate.left] + _ENDS[coordinate.right]
        taken = [symbols[j].trial for _, symbols in discrete.terms] + [orders.get(name, 0) for orders in factors]
        highest = max(taken, default=0)
        if held <= highest:
            continue
        running = {p for p in (_orders(problem, term) for term in problem.terms) if p[j] == (1, 0)}
        speed = np.asarray(sum(_total(problem, pattern, places) for pattern in running))
        if highest == 1 and not factors and not (np.all(speed > 0) or np.all(speed < 0)):
            continue  # what is carried comes in at both ends
        raise ValueError(
            f"solve: the equation has derivative {highest} along {name}, which takes {highest} conditions, and {held} "
            f"are held; got left={coordinate.left!r}, right={coordinate.right!r}"
        )


def _refuse_mechanisms(problem: Problem, discrete: Discretisation) -> None:
    """A beam that is held at one point turns about it: the function x - a is of no energy where all terms bend."""
    for j, coordinate in enumerate(problem.coordinates):
        others = [c for c in problem.coordinates if c is not coordinate]
        bends = all(any(s.trial > (1 if i == j else 0) for i, s in enumerate(symbols)) for _, symbols in discrete.terms)
        turns = {coordinate.left, coordinate.right} == {"value", "free"}
        if bends and turns and all({c.left, c.right} <= {"free", "slope"} for c in others):
            raise ValueError(
                f"solve: linear functions of {coordinate.name} solve the homogeneous problem, so the solution is not "
                "determined: hold the other end too (value), or the slope with the value (both)"
            )


def _refuse_evolutions(problem: Problem, discrete: Discretisation) -> None:
    """Weak forms in which a coordinate is only run along, as time is, need one condition there, where it comes from."""
    places = _places(discrete)
    patterns = {_orders(problem, term) for term in problem.terms}
    diffuses = any((1, 1) in pattern for pattern in patterns)
    for t, coordinate in enumerate(problem.coordinates):
        name, along = coordinate.name, {pattern[t] for pattern in patterns}
        if coordinate.periodic or (1, 0) not in along or not along <= {(0, 0), (1, 0)}:
            continue
        running = [pattern for pattern in patterns if pattern[t] == (1, 0)]
        if any(order != (0, 0) for pattern in running for i, order in enumerate(pattern) if i != t):
            continue
        speed = np.asarray(sum(_total(problem, pattern, places) for pattern in running))
        if not (np.all(speed > 0) or np.all(speed < 0)):
            continue  # it comes from both ends or from none
        onward = bool(speed[0] > 0)
        held = [end in ("value", "both") for end in (coordinate.left, coordinate.right)]
        if not any(held):
            raise ValueError(f"solve: derivative 1 along {name} needs a condition at one end; state left= or right=")
        if all(held):
            raise ValueError(f"solve: derivative 1 along {name} takes a condition at one end, both ends are held")
        if diffuses and held[0] != onward:
            raise ValueError(
                f"solve: {name} runs to the {'right' if onward else 'left'} while u diffuses, so that it is held at "
                f"the {'left' if onward else 'right'} end; got left={coordinate.left!r}, right={coordinate.right!r}"
            )


def _degenerate(problem: Problem, discrete: Discretisation, j: int, order: int) -> bool:
    """Whether the highest derivative along coordinate j drops out at a free end, as ``s^2 u_ss`` does at s = 0.

    The terms without a derivative along j then hold u there, and no condition is missing.
    """
    coordinate, places = problem.coordinates[j], _places(discrete)
    patterns = {_orders(problem, term) for term in problem.terms}
    highest = [p for p in patterns if p[j] == (order, 0)]
    fades = []
    for end, place in zip((coordinate.left, coordinate.right), coordinate.atom.domain, strict=True):
        there = {**places, coordinate.name: np.full(_SAMPLES, place)}
        with np.errstate(all="ignore"):  # a coefficient may be infinite at the end, where it is not integrated
            left = [np.abs(_total(problem, p, there)).max() for p in highest]
        inside = [np.abs(_total(problem, p, places)).max() for p in highest]
        fades.append(end == "free" and all(a <= 1e-12 * b for a, b in zip(left, inside, strict=True)))
    return any(fades) and any(p[j] == (0, 0) for p in patterns)


def _refuse_signs(problem: Problem, discrete: Discretisation) -> None:
    names, places = problem.names, _places(discrete)
    present = {_orders(problem, term) for term in problem.terms}

    def sampled(wanted: Orders) -> Array | None:
        return _total(problem, wanted, places) if wanted in present else None

    def orders(j: int, trial: int, test: int) -> Orders:
        return tuple((trial, test) if i == j else (0, 0) for i in range(len(names)))

    def where(index: int) -> str:
        return ", ".join(f"{n} = {places[n][index]:.4g}" for n in names)

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


def _places(discrete: Discretisation) -> dict[str, Array]:
    """Random nodes of every coordinate, ``(_SAMPLES,)`` each."""
    random = np.random.default_rng(0)
    return {a.coordinate.name: a.nodes[random.integers(0, len(a.nodes), _SAMPLES)] for a in discrete.axes}


def _orders(problem: Problem, term: Term) -> Orders:
    """Trial and test derivative along each coordinate, or the point at which the term is taken."""
    entries = (term.entries.get(name, (0, 0)) for name in problem.names)
    return tuple(e if isinstance(e, At) else (e[0], e[1]) for e in entries)


def _total(problem: Problem, orders: Orders, places: Mapping[str, Array]) -> Array:
    """The coefficient with which the operator has these derivatives, as it was stated: fields not yet separated."""
    total = np.zeros(_SAMPLES)
    for term in problem.terms:
        if _orders(problem, term) != orders:
            continue
        profiles: list[tuple[str, Any]] = [
            (n, e[2]) for n, e in term.entries.items() if not isinstance(e, At) and len(e) == 3
        ]
        value = np.full(_SAMPLES, term.factor)
        if field := term.coefficient:
            profiles += field.entries.items()
            value = value * field.function(**{n: places[n] for n in field.names})
        for name, profile in profiles:
            value = value * (profile(places[name]) if callable(profile) else profile)
        total += value
    return total
