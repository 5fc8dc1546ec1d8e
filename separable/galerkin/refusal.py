"""Ill-posed problems, refused before anything is solved, with the reason."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from separable.atoms import BSpline
from separable.galerkin.discretisation import Discretisation
from separable.galerkin.problem import Array, At, Field, Problem, Term
from separable.galerkin.system import NDArrayInt

Orders = tuple[tuple[int, int] | At, ...]
_SAMPLES = 4000
_ENDS = {"free": 0, "value": 1, "slope": 1, "both": 2}  # conditions at an end


def refuse(problem: Problem, discrete: Discretisation, least_squares: bool) -> None:
    """Raise if the problem cannot have one stable solution.

    Raises:
        ValueError: A diffusivity is negative somewhere, an evolution runs backward in time, an end that needs a
            condition has none, more is held than the equation lets one choose, a slope is held that the weak form
            itself determines, constants or linear functions solve the homogeneous problem, or splines are too rough for
            the operator.
    """
    if least_squares and not problem.is_equation:
        raise ValueError(
            "solve: method='least squares' needs the equation itself (no derivatives of the test function, no At); "
            "write second derivatives as (2, 0)"
        )
    _refuse_rough(problem, discrete)
    _refuse_against(problem, discrete)
    _refuse_missing(problem, discrete)
    _refuse_held(problem, discrete)
    _refuse_signs(problem, discrete)
    if not problem.is_equation:
        _refuse_mechanisms(problem, discrete)
        _refuse_natural(problem, discrete)
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
    for j, coordinate in enumerate(problem.coordinates):
        mine = [symbols[j] for _, symbols in discrete.terms]
        highest = max(symbol.trial for symbol in mine)
        strong = highest > 1 and all(symbol.point is None and not symbol.test for symbol in mine)
        if coordinate.periodic or not (problem.is_equation or strong):
            continue  # what is integrated by parts has natural conditions
        if any(orders.get(coordinate.name, 0) > highest for orders in factors):
            continue  # the solution itself says where such an equation needs a condition, and may vanish there
        held = _ENDS[coordinate.left] + _ENDS[coordinate.right]
        if highest > 1:
            needed = highest - (highest + 1) // 2 * _degenerate(problem, discrete, j, highest)
        else:
            needed = 0 if _leaves(problem, discrete, j, all) else highest
        if held < needed:
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
    factors = [dict(orders) for product in problem.products for orders in (product.first, product.second)]
    for j, coordinate in enumerate(problem.coordinates if problem.is_equation else ()):
        name, held = coordinate.name, _ENDS[coordinate.left] + _ENDS[coordinate.right]
        taken = [symbols[j].trial for _, symbols in discrete.terms] + [orders.get(name, 0) for orders in factors]
        highest = max(taken, default=0)
        if held <= highest:
            continue
        at_both = _ENDS[coordinate.left] == _ENDS[coordinate.right] == 1
        squared = any(orders.get(name) for orders in factors)  # carried by the solution itself, which says where to
        if highest == 1 and at_both and (squared or not _leaves(problem, discrete, j, any)):
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
    entries = [entry for term in problem.terms for entry in _orders(problem, term) if not isinstance(entry, At)]
    diffuses = any(trial == test > 0 for trial, test in entries)
    for t, speed in _speeds(problem, _places(discrete)).items():
        coordinate = problem.coordinates[t]
        name = coordinate.name
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


def _refuse_natural(problem: Problem, discrete: Discretisation) -> None:
    """A weak form of first derivatives says itself what the slope at an end is: nothing else can be held there."""
    places, values = _places(discrete), _lifted(problem, _places(discrete))
    steps = np.linspace(0, 1, 6)
    slope = np.linalg.solve(np.vander(steps, increasing=True).T, np.eye(6)[1])  # weights of a derivative at 0
    for j, coordinate in enumerate(problem.coordinates):
        name, atom = coordinate.name, coordinate.atom
        if max(max(symbols[j].trial, symbols[j].test) for _, symbols in discrete.terms) > 1:
            continue
        for side, hold in ((0, coordinate.left), (-1, coordinate.right)):
            if hold not in ("slope", "both"):
                continue
            found = 0.0
            if hold == "slope":
                knots = np.unique(atom.breakpoints)
                reach = (knots[side] - knots[1 if side == 0 else -2]) * (len(knots) - 1) / (-4 * atom.size)
                near = [_lifted(problem, {**places, name: np.full(_SAMPLES, knots[side] + s * reach)}) for s in steps]
                change = slope @ (np.stack(near) - near[0]) / reach
                length = knots[-1] - knots[0]
                rounding = 1e-6 * np.ptp(values) / length + 1e-13 * np.abs(values).max() / abs(reach)
                found = float(change[np.abs(change).argmax()])
                if abs(found) <= rounding:
                    continue
            raise ValueError(
                f"solve: a slope is natural in a weak form of first derivatives: expected {name} free at "
                f"{atom.domain[side]:g}, or value, or slope with a lift that has none, got {hold!r}"
                + (f" with a slope of {found:.4g}" if found else "")
                + f"; state a flux as Source({{{name!r}: At({atom.domain[side]:g})}})"
            )


def _refuse_against(problem: Problem, discrete: Discretisation) -> None:
    """What is carried along one coordinate from where it is held is not carried along another to where it is held."""
    directions = _directions(problem, _speeds(problem, _places(discrete)))
    onward, against = ([n for n, d in directions.items() if d == sign] for sign in (1.0, -1.0))
    if onward and against:
        wrong = min(against, onward, key=len)
        raise ValueError(
            f"solve: u is held where it comes in along {', '.join(onward)} and where it leaves along "
            f"{', '.join(against)}; hold {', '.join(wrong)} at the other end"
        )


def _speeds(problem: Problem, places: Mapping[str, Array]) -> dict[int, Array]:
    """The speeds along coordinates that are only run along, as time is: u_j enters alone, and no other derivative."""
    patterns = {_orders(problem, term) for term in problem.terms}
    speeds = {}
    for t, coordinate in enumerate(problem.coordinates):
        running = [pattern for pattern in patterns if pattern[t] == (1, 0)]
        alone = all(order == (0, 0) for pattern in running for i, order in enumerate(pattern) if i != t)
        only = {pattern[t] for pattern in patterns} <= {(0, 0), (1, 0)}
        squared = any(o.get(coordinate.name) for product in problem.products for o in (product.first, product.second))
        if running and alone and only and not squared and not coordinate.periodic:
            speeds[t] = _total(problem, running[0], places)
    return speeds


def _directions(problem: Problem, speeds: Mapping[int, Array]) -> dict[str, float]:
    """For coordinates held at one end: 1 where u comes from there, -1 where it is carried there."""
    directions = {}
    for t, speed in speeds.items():
        coordinate = problem.coordinates[t]
        ends = (coordinate.left, coordinate.right)
        if ends in (("value", "free"), ("free", "value")) and (np.all(speed > 0) or np.all(speed < 0)):
            directions[coordinate.name] = float(np.sign(speed[0])) * (1.0 if coordinate.left == "value" else -1.0)
    return directions


def _leaves(problem: Problem, discrete: Discretisation, j: int, ends: Callable[[Iterable[bool]], bool]) -> bool:
    """Whether what is carried leaves at all (or any) of coordinate j's ends, or stands still there.

    From where an equation of first order carries u, the way its coordinates are held tells, or the sign of
    ``c - div(speed) / 2`` beside ``speed . grad u + c u`` (Friedrichs, Comm. Pure Appl. Math. 11, 1958). Where neither
    does, all ends must be left in one of the directions, or some end in both.
    """
    coordinate, places = problem.coordinates[j], _places(discrete)
    speeds = _speeds(problem, places)
    if j not in speeds:
        return ends is any
    outward = []
    for sign, end in zip((-1.0, 1.0), coordinate.atom.domain, strict=True):
        with np.errstate(all="ignore"):
            outward.append(sign * _speeds(problem, {**places, coordinate.name: np.full(_SAMPLES, end)})[j])
    told = set(_directions(problem, speeds).values()) or _positive(problem, discrete, speeds)
    left = [ends(bool(np.all(direction * out >= 0)) for out in outward) for direction in told or (1.0, -1.0)]
    return any(left) if ends is all else all(left)


def _positive(problem: Problem, discrete: Discretisation, speeds: Mapping[int, Array]) -> set[float]:
    """The sign of ``c - div(speed) / 2``, where it has one and the equation is of first order and linear."""
    places, names = _places(discrete), problem.names
    here = tuple((0, 0) for _ in names)
    derivatives = [p for p in (_orders(problem, term) for term in problem.terms) if p != here]
    if problem.products or not all(any(p[t] == (1, 0) for t in speeds) for p in derivatives):
        return set()
    total = _total(problem, here, places)
    for t in speeds:
        lower, upper = problem.coordinates[t].atom.domain
        step = 1e-4 * (upper - lower)
        ends = [np.clip(places[names[t]] + sign * step, lower, upper) for sign in (-1, 1)]
        before, after = (_speeds(problem, {**places, names[t]: end})[t] for end in ends)
        total = total - (after - before) / (ends[1] - ends[0]) / 2
    return {float(np.sign(total[0]))} if np.all(total > 0) or np.all(total < 0) else set()


def _degenerate(problem: Problem, discrete: Discretisation, j: int, order: int) -> int:
    """At how many free ends the highest derivative along coordinate j drops out, as ``s^2 u_ss`` does at s = 0.

    What is left of the equation there, and that u is smooth, stand for a condition.
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
    return sum(fades)


def _refuse_signs(problem: Problem, discrete: Discretisation) -> None:
    names, places = problem.names, _places(discrete)
    present = {_orders(problem, term) for term in problem.terms}

    def sampled(wanted: Orders) -> Array | None:
        return _total(problem, wanted, places) if wanted in present else None

    def orders(j: int, trial: int, test: int) -> Orders:
        return tuple((trial, test) if i == j else (0, 0) for i in range(len(names)))

    def where(index: int) -> str:
        return ", ".join(f"{n} = {places[n][index]:.4g}" for n in names)

    def decisive(j: int, tested: bool) -> tuple[Array, NDArrayInt]:
        """Of the even derivatives along j alone the coefficient of the highest that is there, and half its order m."""
        values, half = np.zeros(_SAMPLES), np.zeros(_SAMPLES, dtype=np.int64)
        for m in range(1, 1 + max(max(symbols[j].trial, symbols[j].test) for _, symbols in discrete.terms)):
            found = sampled(orders(j, m, m) if tested else orders(j, 2 * m, 0))
            if found is not None:
                values, half = np.where(found == 0, values, found), np.where(found == 0, half, m)
        return values, half

    for j, name in enumerate(names):
        values, half = decisive(j, True)
        if values.min() < 0:
            worst = int(values.argmin())
            m = half[worst]
            raise ValueError(
                f"solve: negative diffusivity: the coefficient of d{m}u/d{name}{m} dv{m}/d{name}{m} is "
                f"{values[worst]:.4g} at {where(worst)} (if the whole equation has the other sign, multiply it by -1)"
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
            if j == t:
                continue
            values, half = decisive(j, False)
            wrong = -onward * (-1.0) ** half * values * speed
            if wrong.max() > 0:
                worst = int(wrong.argmax())
                m = 2 * half[worst]
                raise ValueError(
                    f"solve: negative diffusivity: d{m}u/d{name}{m} has the coefficient {values[worst]:.4g} beside "
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
        profiles = [(n, e[2]) for n, e in term.entries.items() if not isinstance(e, At) and len(e) == 3]
        total += _multiplied(term.factor, term.coefficient, profiles, places)
    return total


def _lifted(problem: Problem, places: Mapping[str, Array]) -> Array:
    """The lift, as it was stated."""
    total = np.zeros(_SAMPLES)
    for lift in problem.lifts:
        if isinstance(lift, Field):
            total += _multiplied(1.0, lift, [], places)
        else:
            total += _multiplied(lift.factor, None, lift.entries.items(), places)
    return total


def _multiplied(
    factor: float, field: Field | None, profiles: Iterable[tuple[str, Any]], places: Mapping[str, Array]
) -> Array:
    """The product of a factor, a field with its further factors, and functions of single coordinates."""
    value = np.full(_SAMPLES, factor, dtype=np.float64)
    if field is not None:
        profiles = [*profiles, *field.entries.items()]
        value = value * field.function(**{n: places[n].copy() for n in field.names})
    for name, profile in profiles:
        value = value * (profile(places[name].copy()) if callable(profile) else profile)
    return value
