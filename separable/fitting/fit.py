"""`separable.fit`: train a separable layer on data without gradient descent."""

import functools
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from tqdm import tqdm

from separable.fitting import alternating_least_squares
from separable.fitting.gauss_newton import LevenbergMarquardt, learned_parameters
from separable.fitting.report import FitReport, Step
from separable.fitting.rows import Rows
from separable.fitting.state import Seen, State
from separable.layers import LearnedCoordinates, SeparableLayer

Method = Literal["auto", "alternating_least_squares", "gauss_newton"]

# Largest number of parameters, and of parameters times rows, for which "auto" polishes with joint steps.
_JOINT_PARAMETERS, _JOINT_WORK = 3000, 3e8


def fit(
    layer: SeparableLayer,
    x: Any,
    y: Any = None,
    *,
    weights: Any = None,
    ridge: float = 1e-10,
    roughness: float = 0.0,
    validation: float | Sequence[Any] | None = None,
    method: Method = "auto",
    rank_growth: bool = True,
    max_steps: int = 100,
    tolerance: float = 1e-3,
    patience: int = 3,
    batch_size: int = 65536,
    starts: int = 1,
    seed: int = 0,
    progress: bool = False,
) -> FitReport:
    """Fit a layer to data in closed form; the layer is changed in place.

    The work is done in float64 whatever the layer's dtype. The start values of the layer do not matter: ranks are
    grown from one, each new term starting small; with ``rank_growth`` off the layer's present values are the start.

    Args:
        layer: What is fitted. Coefficients, core and bias always are; learned coordinates and learned atoms only by
            Gauss-Newton.
        x: Inputs ``(N, D_in)`` as a tensor, array, memory map or HDF5 data set, or an iterable of batches ``(x, y)``
            or ``(x, y, w)`` that can be iterated many times (then ``y`` is None). Memory stays bounded by one batch,
            but for a ``validation`` that is a share.
        y: Targets ``(N,)`` or ``(N, O)``. The squared errors of all outputs are added up: bring outputs of different
            units to one scale first, or small ones are not learned and the error of the report does not show it.
        weights: Weights ``(N,)`` of the squared errors.
        ridge: Penalty on the size of coefficients, relative to each block's own scale. The default only makes
            degenerate data well posed; 1e-4 to 1e-2 damps noise.
        roughness: Penalty on second derivatives of the one-coordinate functions, relative likewise. Sweeps know it,
            joint steps do not.
        validation: Share of the rows to hold out, for which all are read into memory, or ``(x, y)``; the state that is
            best on them is returned.
        method: ``alternating_least_squares``, ``gauss_newton`` (all parameters jointly), or ``auto``: alternating
            sweeps, then joint steps where the layer is small enough (3000 parameters) or learns coordinates. With a
            roughness ``auto`` takes sweeps alone, so that what is learned by Gauss-Newton stays as it is.
        rank_growth: Grow the rank from one to the layer's.
        max_steps: Sweeps at each rank, and joint steps, at most.
        tolerance: A stage ends when an iteration lowers the error by less than this share.
        patience: Iterations without a better validation error after which a stage ends.
        batch_size: Rows handled at once.
        starts: With learned coordinates, how many starting points of them to try (the layer's own first); the best fit
            is kept. A direction at right angles to the right one is a dead end for a single start.
        seed: Of the held-out rows, new terms and starting points.
        progress: Whether to show a progress bar with the error.

    Returns:
        The path of errors and why the fit stopped.

    Raises:
        ValueError: On shapes that do not fit, no rows, NaN or infinite values (the place is named), negative weights
            or a setting outside its range.
        TypeError: If batches can be iterated only once.

    Example:
        >>> import torch, separable
        >>> from separable.atoms import BSpline
        >>> from separable.interactions import CanonicalPolyadic
        >>> x = torch.rand(2000, 3, generator=torch.Generator().manual_seed(0))
        >>> y = torch.sin(3 * x[:, 0]) * x[:, 1] + x[:, 2] ** 2
        >>> layer = separable.SeparableLayer(3, 1, atoms=BSpline(6), interaction=CanonicalPolyadic(rank=2))
        >>> separable.fit(layer, x, y).training < 1e-3
        True
    """
    began = time.perf_counter()
    _check(ridge, roughness, max_steps, tolerance, patience, starts, method)
    learns = bool(layer.coordinates is not None or list(layer.expansion.atom_parameters.parameters()))
    expected = _expected(layer)
    held_out = None
    if isinstance(validation, Sequence):
        held_out = Rows(*validation, **expected, batch_size=batch_size)
    elif validation is not None:
        x, y, weights, held_out = _split(x, y, weights, validation, seed, batch_size, layer)
    rows = Rows(x, y, weights, **expected, batch_size=batch_size)
    best: _Run | None = None
    for start in range(starts if layer.coordinates is not None else 1):
        run = _Run(
            layer,
            rows,
            held_out,
            ridge=ridge,
            roughness=roughness,
            max_steps=max_steps,
            tolerance=tolerance,
            patience=patience,
            seed=seed + start,
            progress=progress,
            began=began,
        )
        if start:
            run.redraw_coordinates()
        small = run.state.parameters <= _JOINT_PARAMETERS and run.state.parameters * rows.count <= _JOINT_WORK
        joint = method == "gauss_newton" or (method == "auto" and roughness == 0 and (learns or small))
        run.train(sweeps=method != "gauss_newton", joint=joint, rank_growth=rank_growth)
        run.bar.close()
        if best is None or run.best_error < best.best_error:
            best = run
    assert best is not None
    return best.finish()


def _check(
    ridge: float, roughness: float, max_steps: int, tolerance: float, patience: int, starts: int, method: str
) -> None:
    if not ridge >= 0 or not roughness >= 0:
        raise ValueError(f"fit: ridge and roughness are at least 0, got {ridge} and {roughness}")
    if min(max_steps, patience, starts) < 1 or not 0 < tolerance < 1:
        raise ValueError(
            f"fit: max_steps, patience and starts are at least 1 and tolerance is between 0 and 1, "
            f"got {max_steps}, {patience}, {starts} and {tolerance}"
        )
    if method not in ("auto", "alternating_least_squares", "gauss_newton"):
        raise ValueError(f"fit: method is auto, alternating_least_squares or gauss_newton; got {method!r}")
    if method == "gauss_newton" and roughness > 0:
        raise ValueError(f"fit: gauss_newton knows no roughness, got {roughness}; alternating_least_squares does")


def _split(
    x: Any, y: Any, weights: Any, share: float, seed: int, batch_size: int, layer: SeparableLayer
) -> tuple[Any, Any, Any, Rows]:
    if not 0 < share < 1:
        raise ValueError(f"fit: validation is a share between 0 and 1 or a pair (x, y), got {share}")
    if y is None:
        raise ValueError("fit: rows that arrive in batches cannot be split; give validation=(x, y)")
    # Checked before splitting, so that errors name rows of the data as given.
    expected = _expected(layer)
    every = Rows(x, y, weights, **expected, batch_size=max(batch_size, len(x)))
    assert every.single is not None
    order = torch.randperm(every.count, generator=torch.Generator().manual_seed(seed)).to(layer.core.device)
    count = round(share * every.count)
    if not 0 < count < every.count:
        raise ValueError(f"fit: a share of {share} of {every.count} rows leaves no validation or no training rows")
    held, kept = order[:count], order[count:]
    bx, by, bw = every.single
    return bx[kept], by[kept], bw[kept], Rows(bx[held], by[held], bw[held], **expected)


def _expected(layer: SeparableLayer) -> dict[str, Any]:
    """What rows for the layer are like; learned coordinates leave the ranges of the inputs open."""
    domain = None if layer.coordinates is not None else [atom.domain for atom in layer.atoms]
    sizes = {"inputs": layer.in_features, "outputs": layer.out_features}
    return {**sizes, "domain": domain, "device": layer.core.device}


def _rank(state: State) -> int:
    """The interaction's rank, the largest of several; of one that names none, the core's."""
    rank = getattr(state.interaction, "rank", tuple(state.core.shape[:-1]))
    return max(rank, default=1) if isinstance(rank, tuple) else int(rank)


class _Run:
    """One call of `fit`: the state, its best copy, and the path."""

    def __init__(
        self,
        layer: SeparableLayer,
        rows: Rows,
        held_out: Rows | None,
        *,
        ridge: float,
        roughness: float,
        max_steps: int,
        tolerance: float,
        patience: int,
        seed: int,
        progress: bool,
        began: float,
    ) -> None:
        self.layer, self.rows, self.held_out = layer, rows, held_out
        self.ridge, self.roughness = ridge, roughness
        self.max_steps, self.tolerance, self.patience = max_steps, tolerance, patience
        self.state, self.generator = State.of(layer), torch.Generator().manual_seed(seed)
        self.began, self.path, self.stopped = began, list[Step](), "budget"
        self.bar = tqdm(desc="fit", unit="step", disable=not progress)
        self.best_error, self.best = float("inf"), self._snapshot()
        self.seen_held_out: Seen | None = None

    def redraw_coordinates(self) -> None:
        """Other start values for the learned coordinates."""
        coordinates = self.state.layer.coordinates
        assert coordinates is not None
        fresh = LearnedCoordinates(**coordinates.config(), generator=self.generator, dtype=torch.float64)  # type: ignore[arg-type]
        coordinates.load_state_dict(fresh.state_dict())
        self.best = self._snapshot()

    def train(self, sweeps: bool, joint: bool, rank_growth: bool) -> None:
        """Alternating sweeps, joint steps or one after the other, at each rank on the way to the layer's.

        Joint steps at every rank matter: a term that sweeps alone place badly can hold up all later ones.
        """
        stages = self.layer.interaction.ranks() if rank_growth else [self.layer.interaction]
        in_vain = 0
        for number, interaction in enumerate(stages):
            if rank_growth and number == 0:
                self.state.restart(interaction, self.generator)
            elif rank_growth:
                self._restore()
                self.state.grow(interaction, 0.1, self.generator)
            before, last = self.best_error, number == len(stages) - 1
            if sweeps:
                seen = Seen(self.rows, self.state)
                step = functools.partial(self._sweep, seen)
                error = functools.partial(seen.root_mean_square, self.state)
                self._iterate("alternating_least_squares", step, error, last and not joint)
            if joint:
                solver = LevenbergMarquardt(self.state, self.rows, self.ridge)
                self._iterate("gauss_newton", solver.step, solver.root_mean_square, last)
            in_vain = 0 if self.best_error < before else in_vain + 1
            if self.held_out is not None and in_vain >= 2:
                break  # a higher rank only fits noise

    def _sweep(self, seen: Seen) -> bool:
        alternating_least_squares.sweep(self.state, seen, self.ridge, self.roughness)
        return True

    def _iterate(self, method: str, step: Callable[[], bool], error: Callable[[], float], last: bool) -> None:
        """Repeat a step until it no longer pays; stages before the last one are cut short."""
        limit, tolerance = (self.max_steps, self.tolerance) if last else (12, max(self.tolerance, 0.02))
        previous, lowest, since_lowest, slow = float("inf"), float("inf"), 0, 0
        self.stopped = "budget"
        for _ in range(min(limit, self.max_steps)):
            moved = step()
            training = error()
            held = self._held_out_error()
            elapsed = time.perf_counter() - self.began
            rank = _rank(self.state)
            self.path.append(Step(method, rank, training, held, elapsed))
            self.bar.set_postfix_str(str(f"{method}, rank {rank}, rmse {training:.3g}"))
            self.bar.update()
            judged = training if held is None else held
            lowest, since_lowest = (judged, 0) if judged < lowest else (lowest, since_lowest + 1)
            if judged < self.best_error:
                self.best_error, self.best = judged, self._snapshot()
            if held is not None and since_lowest >= self.patience:
                self.stopped = "validation"
                return
            slow = slow + 1 if training >= previous * (1 - tolerance) else 0
            if not moved or slow >= 3 or training == 0:
                self.stopped = "converged"
                return
            previous = training

    def _held_out_error(self) -> float | None:
        if self.held_out is None:
            return None
        if self.seen_held_out is None or learned_parameters(self.state):
            self.seen_held_out = Seen(self.held_out, self.state)
        return self.seen_held_out.root_mean_square(self.state)

    def _snapshot(self) -> tuple[State, dict[str, torch.Tensor]]:
        return self.state.clone(), {name: p.clone() for name, p in learned_parameters(self.state).items()}

    def _restore(self) -> None:
        state, learned = self.best
        self.state = state.clone()
        for name, p in learned_parameters(self.state).items():
            p.copy_(learned[name])

    def finish(self) -> FitReport:
        """Put the best state into the layer."""
        self._restore()
        if self.state.interaction != self.layer.interaction:
            self.state.grow(self.layer.interaction, 0.0, self.generator)
        self.state.write(self.layer)
        left = State.of(self.layer)  # rounded to the dtype of the layer
        return FitReport(
            path=tuple(self.path),
            stopped=self.stopped,
            training=Seen(self.rows, left).root_mean_square(left),
            validation=None if self.held_out is None else Seen(self.held_out, left).root_mean_square(left),
            rows=self.rows.count,
            parameters=left.parameters,
        )
