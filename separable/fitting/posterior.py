"""The posterior of a product prior: a separable mean, how sure it is at every point, and where to look next.

A Gaussian prior over separable functions of every order (`separable.fitting.product_prior`) is sized by maximum
likelihood and conditioned on N rows. On the scale of the link, ``f = g(y)`` standardised to z,

    mean       m(u) = sum_n alpha_n K(u, u_n)                       a canonical polyadic of order D, rank N
    variance   v(u) = s^2 (K(u, u) - |L^-1 K(U, u)|^2)              and s^2 nu more for a new target
    left out   z_n - m_(-n)(u_n) = alpha_n / (A^-1)_nn              without refitting

Where the next rows may be chosen, those of largest variance are: a Cholesky factorisation of the covariance of many
candidates, pivoted by the largest variance, finds them without knowing their targets.
"""

import dataclasses
import os
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.linalg import solve_triangular
from scipy.special import stdtrit
from torch import Tensor

from separable.files import refusing
from separable.fitting.checked_files import read_checked, write_checked
from separable.fitting.links import LINKS, Link
from separable.fitting.mean_layers import compressed, exact
from separable.fitting.product_prior import Array, Evidence, ProductPrior, most_likely, robust_evidence
from separable.fitting.rows import Rows, as_tensor
from separable.layers import SeparableLayer

MOST_ROWS = 3000
STAGES = (300, 80), (600, 50), (MOST_ROWS, 25)  # rows that a search of the sizes sees, and its steps
_CHUNK = 2_000_000  # kernel entries in memory at a time
_LEAST_LEFT = 1 / 8  # degrees of freedom that the sizes of a prior leave to a row; most shares of many are idle
_SIZES = "share", "fading", "bend"  # arrays of a prior


@dataclasses.dataclass(frozen=True)
class ConditionReport:
    """How the posterior was found.

    Args:
        left_out: Leave-one-out root mean square error in the unit of y, for every link tried, on the rows of the first
            stage (at most 300).
        error: The same for the chosen link, on all rows.
        noise: Standard deviation of the noise on the scale of the link, as learned.
        log_likelihood: Of all rows on the scale of the link, as the search saw it: without constants, warps penalised.
        rows: N.
        seconds: Time taken.
    """

    left_out: dict[str, float]
    error: float
    noise: float
    log_likelihood: float
    rows: int
    seconds: float

    def __str__(self) -> str:
        """One line for a log."""
        return f"leave-one-out rmse {self.error:.3g}, noise {self.noise:.3g}, {self.seconds:.2f} s ({self.rows} rows)"


@dataclasses.dataclass(frozen=True)
class Posterior:
    """What the rows say: a mean, how sure it is, and where to look next.

    Args:
        link: The transform of the target; the Gaussian law holds on its scale.
        prior: The prior, with the sizes of every coordinate.
        domain: Ends of every coordinate's range; beyond them the mean is continued as straight lines.
        x: Inputs ``(N, D)``, float64.
        y: Targets ``(N,)``, float64.
        report: How it was found.
    """

    link: Link
    prior: ProductPrior
    domain: tuple[tuple[float, float], ...]
    x: Tensor
    y: Tensor
    report: ConditionReport
    _evidence: Evidence = dataclasses.field(repr=False)
    _level: tuple[float, float] = dataclasses.field(repr=False)  # mean and spread of g(y)

    @property
    def layer(self) -> SeparableLayer:
        """The mean on the scale of the link as a new layer of rank N on Chebyshev polynomials, in float64.

        Of exact data the ``alpha_n`` are large and cancel: layer and `predict` then differ by rounding, some 1e-6 of
        the spread of y where the errors are as small. `compressed` has no such cancellation.
        """
        return exact(self.prior, self.domain, self._level, self._factors(self.x), self._evidence.dual)

    def compressed(self, tolerance: float = 1e-4, *, seed: int = 0) -> SeparableLayer:
        """The mean on the scale of the link as a tensor train, some hundred times smaller than `layer`.

        The train interpolates the mean at chosen nodes; the least of some ranks is taken at which it keeps to the
        tolerance on 1000 points of the domain.

        Args:
            tolerance: Root mean square difference to the mean, relative to the spread of the link's targets.
            seed: Of the first nodes and of the points.

        Raises:
            ValueError: If no rank up to 32 reaches the tolerance; what was reached is named.
        """
        return compressed(self.prior, self.domain, self._level, self._standardised, tolerance, seed)

    def predict(self, x: Any) -> Tensor:
        """The link's inverse of the mean, ``(...)``, float64, at inputs ``(..., D)``: the posterior median of y.

        For gradients, integrals and inversion take `layer` or `compressed`.

        Raises:
            ValueError: If the last axis is not D.
        """
        mean, _ = self._moments(x, variance=False)
        return _target(mean, self.link, self.y)

    def deviation(self, x: Any, noisy: bool = True) -> Tensor:
        """Standard deviation ``(...)``, in the unit of y, at inputs ``(..., D)``.

        For a link other than the identity it is the deviation on its scale times the link's slope (first order);
        `interval` is exact for every link. Of few rows it is too small, since it takes the learned sizes of the prior
        for known; `interval` allows for them.

        Args:
            x: Inputs.
            noisy: Whether of a new target, noise included (rounding counts as noise), or of the function itself.

        Raises:
            ValueError: If the last axis is not D.
        """
        mean, variance = self._moments(x, noisy=noisy)
        return variance.sqrt() * self.link.slope(self.link.guarded(mean, _size(self.y), slope=True)).abs()

    def interval(self, x: Any, coverage: float = 0.9, noisy: bool = True) -> tuple[Tensor, Tensor]:
        """Lower and upper ends ``(...)`` between which y lies with the given probability, at inputs ``(..., D)``.

        Quantiles of Student's law. As in regression the scale is ``s^2 N / n`` and the degrees of freedom are the n
        that N rows leave when each of the 3 D + 1 sizes of the prior, which were learned as well, has taken one: at
        least one, and an eighth of the rows. Of fewer than some 10 D rows an interval of 90 % still holds too little,
        40 to 85 % (LIMITS.md). Equal targets have no spread: their intervals are of width zero.

        Args:
            x: Inputs.
            coverage: The probability.
            noisy: Whether of a new target, noise included (rounding counts as noise), or of the function itself.

        Raises:
            ValueError: If the last axis is not D, the probability is not between 0 and 1, or there is only one row.
        """
        if len(self.x) == 1:
            raise ValueError("interval: expected at least two rows, from which the spread can be learned, got 1")
        if not 0 < coverage < 1:
            raise ValueError(f"interval: coverage is between 0 and 1, got {coverage}")
        mean, variance = self._moments(x, noisy=noisy)
        rows = len(self.x)
        left = max(1.0, rows * _LEAST_LEFT, rows - len(self.prior.vector()))
        reach = float(stdtrit(left, 0.5 + 0.5 * coverage)) * (variance * rows / left).sqrt()
        ends = [_target(end, self.link, self.y) for end in (mean - reach, mean + reach)]
        return torch.minimum(*ends), torch.maximum(*ends)

    def left_out(self) -> Tensor:
        """Leave-one-out errors ``(N,)`` in the unit of y: every target less its prediction from the other rows."""
        return self.y - _left_out(self.y, self.link, self._evidence, self._level)

    def suggest(self, count: int, *, candidates: int = 8192, seed: int = 0) -> Tensor:
        """Inputs ``(count, D)`` at which y should be computed next: one after the other, that of largest variance.

        The variance is that on the scale of the link. Candidates are Sobol points; half of them are drawn towards the
        ends of the ranges, where polynomials are least sure. Give the new rows to `extended`.

        Args:
            count: How many.
            candidates: Points from which they are taken.
            seed: Of the candidates.

        Raises:
            ValueError: If the count is not between 1 and the number of candidates.
        """
        if not 1 <= count <= candidates:
            raise ValueError(f"suggest: count is from 1 to candidates={candidates}, got {count}")
        engine = torch.quasirandom.SobolEngine(len(self.domain), scramble=True, seed=seed)  # type: ignore[no-untyped-call]
        pool = engine.draw(candidates, dtype=torch.float64).numpy()
        pool[::2] = 0.5 - 0.5 * np.cos(np.pi * pool[::2])
        lower, upper = torch.tensor(self.domain, dtype=torch.float64).unbind(1)
        chosen = torch.from_numpy(pool)[_pivots(self.prior, self._factors(self.x), pool, self._evidence, count)]
        return (lower + chosen * (upper - lower)).clamp(lower, upper)  # rounding could step over an end

    def extended(self, x: Any, y: Any) -> "Posterior":
        """The posterior of these rows and more, under the same link and domain; the sizes are learned on from here.

        Args:
            x: New inputs ``(M, D)``.
            y: New targets ``(M,)``.

        Raises:
            ValueError: As `condition` does.
        """
        started = time.perf_counter()
        inputs, targets = checked_rows(x, y, self.domain)
        lower, upper = torch.tensor(self.domain, dtype=torch.float64).unbind(1)
        if bool((beyond := (inputs < lower) | (inputs > upper)).any()):
            row, j = (int(i) for i in beyond.nonzero()[0])
            low, high = self.domain[j]
            raise ValueError(
                f"condition: x is {float(inputs[row, j]):g} at row {row}, column {j}, outside the domain "
                f"[{low:g}, {high:g}]; condition on all rows again, on a domain that holds them"
            )
        inputs, targets = torch.cat([self.x, inputs]), torch.cat([self.y, targets])
        if not self.link.valid(targets):
            raise ValueError(f"condition: the link {self.link.name} needs targets that are {self.link.requires}")
        refuse_many(len(inputs))
        return learned(inputs, targets, self.domain, self.link, self.prior, STAGES[1:], self.report.left_out, started)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write ``posterior.json`` and ``posterior.safetensors``: rows and prior; the rest follows."""
        tensors = {"x": self.x, "y": self.y}
        tensors |= {name: torch.from_numpy(getattr(self.prior, name).copy()) for name in _SIZES}
        facts = {
            "link": self.link.name,
            "domain": self.domain,
            "degree": self.prior.degree,
            "noise": self.prior.noise,
            "report": dataclasses.asdict(self.report),
        }
        write_checked(folder, "posterior", facts, tensors)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> "Posterior":
        """Read what `save` wrote and condition on the rows again, at the cost of one factorisation.

        Raises:
            FileNotFoundError: If a file is missing.
            ValueError: If a file is damaged, or another version wrote it.
        """
        facts, tensors = read_checked(folder, "posterior")
        with refusing(folder, "a posterior"):
            x, y, link = tensors["x"], tensors["y"], LINKS[facts["link"]]
            sizes = {name: tensors[name].numpy() for name in _SIZES}
            prior = ProductPrior(**sizes, noise=facts["noise"], degree=facts["degree"])
            domain = tuple((float(low), float(high)) for low, high in facts["domain"])
            level, spread, z = _in_own_units(y, link)
            found = robust_evidence(prior, _unit(x, domain), z)
            return cls(link, prior, domain, x, y, ConditionReport(**facts["report"]), found, (level, spread))

    def _standardised(self, u: Array) -> Array:
        """The mean of the standardised targets, ``(M,)``, at points ``(M, D)`` of the unit cube."""
        lower, upper = torch.tensor(self.domain, dtype=torch.float64).unbind(1)
        mean, _ = self._moments(lower + torch.from_numpy(u) * (upper - lower), variance=False)
        return (mean.numpy() - self._level[0]) / (self._level[1] or 1.0)

    def _factors(self, x: Tensor) -> list[Array]:
        return self.prior.factors(_unit(x, self.domain))

    def _moments(self, x: Any, *, variance: bool = True, noisy: bool = False) -> tuple[Tensor, Tensor]:
        """Mean and variance on the scale of the link, of inputs in chunks."""
        inputs = as_tensor(x, "x").detach().to("cpu", torch.float64)
        if inputs.shape[-1:] != (len(self.domain),):
            raise ValueError(f"Posterior: expected inputs (..., {len(self.domain)}), got {tuple(inputs.shape)}")
        flat = inputs.reshape(-1, len(self.domain))
        rows, found, (level, spread) = self._factors(self.x), self._evidence, self._level
        means, variances = np.empty(len(flat)), np.zeros(len(flat))
        step = max(1, _CHUNK // len(self.x))
        for start in range(0, len(flat), step):
            part = slice(start, start + step)
            factors = self._factors(flat[part])
            kernel = self.prior.kernel(factors, rows)
            means[part] = kernel @ found.dual
            if variance:
                explained = np.square(solve_triangular(found.root, kernel.T, lower=True, overwrite_b=True)).sum(0)
                variances[part] = np.maximum(self.prior.diagonal(factors) - explained, 0)
        variances = found.variance * spread**2 * (variances + (found.nugget if noisy else 0.0))
        shape = inputs.shape[:-1]
        return torch.from_numpy(level + spread * means).reshape(shape), torch.from_numpy(variances).reshape(shape)


def learned(
    x: Tensor,
    y: Tensor,
    domain: tuple[tuple[float, float], ...],
    link: Link,
    prior: ProductPrior,
    stages: Sequence[tuple[int, int]],
    left_out: dict[str, float],
    started: float,
    seed: int = 0,
) -> Posterior:
    """Learn the sizes in stages on more and more of the rows, drawn by chance, and condition on all of them."""
    u, (level, spread, z) = _unit(x, domain), _in_own_units(y, link)
    constant = spread == 0
    order = np.random.default_rng(seed).permutation(len(y))
    for number, (rows, steps) in enumerate(stages):
        # A stage that would see no more rows than the one before is part of it.
        if not constant and (number == 0 or len(y) > stages[number - 1][0]):
            prior = most_likely(prior, u[order[:rows]], z[order[:rows]], steps)
    found = robust_evidence(prior, u, z)
    scale = (level, spread)
    error = float((y - _left_out(y, link, found, scale)).square().mean().sqrt())
    noise = scale[1] * float(np.sqrt(found.variance * found.nugget))
    report = ConditionReport(left_out, error, noise, -found.loss, len(y), time.perf_counter() - started)
    return Posterior(link, prior, domain, x, y, report, found, scale)


def _in_own_units(y: Tensor, link: Link) -> tuple[float, float, Array]:
    """Mean and spread of the targets ``(N,)`` on the scale of the link, and those in these units; a constant has none.

    Raises:
        ValueError: If the spread is not finite.
    """
    f = link.forward(y)
    level, spread = float(f.mean()), float(f.std(correction=0))
    if not np.isfinite(spread):
        raise ValueError(f"condition: the spread of targets up to {float(y.abs().max()):g} is not finite; scale them")
    if spread <= 1e-14 * max(1e-300, float(f.abs().max())):
        return level, 0.0, np.zeros(len(y))
    return level, spread, ((f - level) / spread).numpy()


def checked_rows(x: Any, y: Any, domain: Sequence[tuple[float, float]] | None) -> tuple[Tensor, Tensor]:
    """Inputs ``(N, D)`` and targets ``(N,)``, float64 copies; refused as `condition` says."""
    shape = tuple(x.shape) if hasattr(x, "shape") else np.shape(x)
    if len(shape) != 2 or shape[1] == 0 or y is None:
        raise ValueError(f"condition: expected x of shape (N, D) with targets y, got {shape}")
    if domain is not None and len(domain) != shape[1]:
        raise ValueError(f"condition: x has {shape[1]} columns, the domain {len(domain)} pairs")
    rows = Rows(x, y, inputs=shape[1], outputs=1, domain=domain, batch_size=max(1, shape[0]))
    assert rows.single is not None
    return rows.single[0].clone(), rows.single[1][:, 0].clone()


def refuse_many(rows: int) -> None:
    """Refuse more rows than a dense factorisation is meant for."""
    if rows > MOST_ROWS:
        raise ValueError(
            f"condition: the time grows with the cube of the rows, of which it takes at most {MOST_ROWS}; got {rows}. "
            "separable.fit and separable.grow take any number"
        )


def _unit(x: Tensor, domain: tuple[tuple[float, float], ...]) -> Array:
    lower, upper = np.array(domain).T
    unit: Array = (x.numpy() - lower) / (upper - lower)
    return unit


def _left_out(y: Tensor, link: Link, found: Evidence, scale: tuple[float, float]) -> Tensor:
    """Predictions ``(N,)`` of targets, every one from the other rows."""
    return _target(link.forward(y) - scale[1] * torch.from_numpy(found.dual / found.inverse.diagonal()), link, y)


def _target(f: Tensor, link: Link, y: Tensor) -> Tensor:
    """Values of y for those on the scale of the link, which may lie beyond its pole."""
    return link.inverse(link.guarded(f, _size(y)))


def _size(y: Tensor) -> float:
    return float(y.abs().max()) or 1.0


def _pivots(prior: ProductPrior, rows: list[Array], pool: Array, found: Evidence, count: int) -> list[int]:
    """Indices of the pool: a Cholesky factorisation of its posterior covariance, pivoted by the largest variance."""
    factors = prior.factors(pool)
    first = len(rows[0])
    root = np.empty((first + count, len(pool)))
    root[:first] = solve_triangular(found.root, prior.kernel(rows, factors), lower=True)
    variance = prior.diagonal(factors) - np.square(root[:first]).sum(0)
    chosen: list[int] = []
    for n in range(first, first + count):
        pivot = int(variance.argmax())
        own = prior.kernel([f[pivot : pivot + 1] for f in factors], factors)[0] - root[:n, pivot] @ root[:n]
        root[n] = own / np.sqrt(max(own[pivot], 0.0) + found.nugget)
        variance -= root[n] ** 2
        chosen.append(pivot)
        variance[chosen] = -np.inf  # a point is asked for once
    return chosen
