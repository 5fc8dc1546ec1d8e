"""The functional analysis of variance of a canonical polyadic layer over the features of a table.

Features are taken as independent, each distributed as in the training rows. With the functions ``phi_f (K_f,)`` of
feature f, their means m_f and covariances G_f, and the layer's coefficients ``C_f (K_f, R)`` and readout A (R, O),

    main effect  g_f  = (phi_f - m_f)' C_f (A * a_f),             a_f  = product of the other features' C' m
    pair effect  h_fg = (phi_f - m_f)' C_f diag(A b_fg) C_g' (phi_g - m_g),    b_fg without f and g
    variances    v' G_f v,   tr(M' G_f M G_g)

for full products; for order 1 the a are one and pairs are none, for order 2 ``a_f = 1 + sum of the others' C'm`` and
b is one. Effects are uncorrelated, have mean zero, and their variances add up to that of the function; what mains and
pairs leave are interactions of three features and more (Sobol 1993; Hooker 2007).

A feature that can be missing has two coordinates, the number and its gap, which are anything but independent: for full
products and order 1 they are one feature here, with the functions of both. For order 2 the gap is a feature.
"""

import dataclasses

import numpy as np
import torch
from numpy.typing import NDArray

from separable.estimators.columns import Column, Columns
from separable.estimators.some_rows import some_rows
from separable.interactions import CanonicalPolyadic
from separable.layers import SeparableLayer

Array = NDArray[np.float64]

_ROWS = 20_000  # that stand for the distribution of the features


@dataclasses.dataclass(frozen=True)
class _Part:
    """One feature: coefficients C ``(K, R)``, mean m ``(K,)`` and covariance G ``(K, K)`` of its functions."""

    coefficients: Array
    mean: Array
    covariance: Array

    @property
    def level(self) -> Array:
        """``C' m (R,)``."""
        found: Array = self.mean @ self.coefficients
        return found


class Decomposition:
    """Effects of a layer.

    Args:
        layer: A layer with a canonical polyadic interaction of order 1, 2 or None.
        columns: The columns of the table that it was fitted to.
        z: Training coordinates ``(N, D)``.
        weights: Their weights ``(N,)``.
    """

    def __init__(self, layer: SeparableLayer, columns: Columns, z: Array, weights: Array) -> None:
        assert isinstance(layer.interaction, CanonicalPolyadic)
        assert layer.interaction.order in (1, 2, None)
        self.order, self._layer = layer.interaction.order, layer
        self.features = _separate(columns.features) if self.order == 2 else columns.features
        rows = some_rows(len(z), _ROWS)
        z, weights = z[rows], weights[rows]
        self._readout: Array = layer.core.detach().numpy()
        self._parts = [self._part(column, z, weights / weights.sum()) for column in self.features]
        levels = np.stack([part.level for part in self._parts])
        if self.order == 1:
            self._around = np.ones_like(levels)
        elif self.order == 2:
            self._around = 1 + levels.sum(0) - levels
        else:
            self._around = np.stack([np.delete(levels, f, axis=0).prod(0) for f in range(len(levels))])
        self._levels = levels

    def _functions(self, column: Column, values: Array, gap: Array) -> Array:
        """Functions ``(N, K_f)`` of a feature at values of its coordinate and of its gap."""
        own = self._layer.expansion.basis(torch.from_numpy(np.ascontiguousarray(values)), column.coordinate).numpy()
        if column.gap is None:
            return np.asarray(own)
        other = self._layer.expansion.basis(torch.from_numpy(np.ascontiguousarray(gap)), column.gap).numpy()
        if self.order == 1:
            return np.concatenate([own, other], axis=1)
        return np.asarray((own[:, :, None] * other[:, None, :]).reshape(len(own), -1))

    def _part(self, column: Column, z: Array, share: Array) -> _Part:
        gap = np.zeros(len(z)) if column.gap is None else z[:, column.gap]
        functions = self._functions(column, z[:, column.coordinate], gap)
        coefficients = self._layer.expansion.coefficient(column.coordinate).detach().numpy()
        if column.gap is not None:
            other = self._layer.expansion.coefficient(column.gap).detach().numpy()
            if self.order == 1:
                coefficients = np.concatenate([coefficients, other])
            else:
                coefficients = (coefficients[:, None, :] * other[None]).reshape(-1, coefficients.shape[1])
        mean = share @ functions
        centred = functions - mean
        return _Part(coefficients, mean, centred.T @ (centred * share[:, None]))

    def main(self, f: int, values: Array, missing: bool = False) -> Array:
        """Main effect ``(N, O)`` of feature f at values ``(N,)`` of its coordinate, or where it is missing."""
        functions = self._functions(self.features[f], values, np.full(len(values), float(missing)))
        return (functions - self._parts[f].mean) @ self._main_coefficients(f)

    def pair(self, f: int, g: int, first: Array, second: Array) -> Array:
        """Pair effect ``(n, m, O)`` on the grid of values ``(n,)`` of feature f and ``(m,)`` of feature g."""
        left = self._functions(self.features[f], first, np.zeros(len(first))) - self._parts[f].mean
        right = self._functions(self.features[g], second, np.zeros(len(second))) - self._parts[g].mean
        outputs = self._readout.shape[1]
        return np.stack([left @ self._pair_coefficients(f, g, o) @ right.T for o in range(outputs)], axis=-1)

    def _main_coefficients(self, f: int) -> Array:
        found: Array = self._parts[f].coefficients @ (self._readout * self._around[f][:, None])
        return found

    def _pair_coefficients(self, f: int, g: int, output: int) -> Array:
        around = np.ones(len(self._readout))
        if self.order is None:
            others = [h for h in range(len(self._levels)) if h not in (f, g)]
            around = self._levels[others].prod(0)
        weight = self._readout[:, output] * around
        found: Array = (self._parts[f].coefficients * weight) @ self._parts[g].coefficients.T
        return found

    def main_variance(self, f: int) -> float:
        """Variance of a main effect, summed over outputs."""
        v = self._main_coefficients(f)
        return max(0.0, float(np.sum(v * (self._parts[f].covariance @ v))))

    def pair_variance(self, f: int, g: int) -> float:
        """Variance of a pair effect, summed over outputs."""
        if self.order == 1:
            return 0.0
        total = 0.0
        for output in range(self._readout.shape[1]):
            m = self._pair_coefficients(f, g, output)
            total += float(np.sum(m * (self._parts[f].covariance @ m @ self._parts[g].covariance)))
        return max(0.0, total)

    def variance(self) -> float | None:
        """Variance of the whole function, summed over outputs; None where mains and pairs are all there is."""
        if self.order is not None:
            return None
        # E f^2 - (E f)^2 as a telescoping sum over features, free of the cancellation in the difference.
        everywhere, spread = np.ones((len(self._readout),) * 2), np.zeros((len(self._readout),) * 2)
        for part in self._parts:
            level = np.outer(part.level, part.level)
            around = part.coefficients.T @ part.covariance @ part.coefficients
            spread = spread * (level + around) + everywhere * around
            everywhere = everywhere * level
        return float(np.einsum("ro,rs,so->", self._readout, spread, self._readout))

    def strengths(self) -> dict[tuple[str, ...], float]:
        """Shares of the variance, largest first: ``(name,)`` of features, ``(name, name)`` of pairs, ``()`` the rest.

        Pairs whose share is below 1e-12 are left out; a constant function has strengths 0.
        """
        names = [column.name for column in self.features]
        found: dict[tuple[str, ...], float] = {(name,): self.main_variance(f) for f, name in enumerate(names)}
        for f, name in enumerate(names):
            for g in range(f + 1, len(names)):
                found[name, names[g]] = self.pair_variance(f, g)
        known = sum(found.values())
        total = self.variance()
        total = known if total is None else max(known, total)
        shares = {key: value / total if total > 0 else 0.0 for key, value in found.items()}
        shares = {key: value for key, value in shares.items() if len(key) == 1 or value > 1e-12}
        if total > 0 and (rest := 1 - known / total) > 1e-9:
            shares[()] = rest
        return dict(sorted(shares.items(), key=lambda item: -item[1]))


def _separate(features: tuple[Column, ...]) -> tuple[Column, ...]:
    """Features with their gaps as features of their own."""
    found = []
    for column in features:
        found.append(dataclasses.replace(column, gap=None))
        if column.gap is not None:
            found.append(Column(f"{column.name} is missing", column.place, column.gap, ("no",)))
    return tuple(found)
