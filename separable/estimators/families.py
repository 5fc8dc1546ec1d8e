"""Families of targets: how outputs eta (N, O) make a likelihood, and the weighted squares that stand in for it.

A step of penalised iteratively reweighted least squares replaces the log likelihood of output o by

    - sum_n w_n W_n (t_n - eta_no)^2 / 2,      W = - d2 l / d eta^2,    t = eta + (d l / d eta) / W

(McCullagh and Nelder 1989). For softmax the outputs take turns, each seeing the others as they stand, which needs no
step length: every turn lowers the penalised deviance.
"""

import abc

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logsumexp, softmax

Array = NDArray[np.float64]

_LARGEST = 30.0  # outputs on the scale of logits are kept within; beyond it nothing can be learnt


class Family(abc.ABC):
    """The interface; holds the targets.

    Args:
        y: Targets; see the families.
    """

    variance: float | None = 1.0  # of the working targets; None where it is estimated
    rounds = 100

    def __init__(self, y: Array) -> None:
        self.y = y

    @property
    def outputs(self) -> int:
        """O."""
        return 1

    def least_ridge(self, count: float) -> float:
        """One over the largest variance that a slope may have a priori, of so many rows.

        A slope of more than 7 logits in a standard deviation is not expected; few rows that happen to lie apart would
        ask for it all the same, so of ten rows it is not more than 1.5.
        """
        return 0.02 + 4 / count

    @abc.abstractmethod
    def start(self, weights: Array) -> Array:
        """Constant outputs ``(O,)`` of the model without terms."""

    @abc.abstractmethod
    def working(self, eta: Array, output: int) -> tuple[Array, Array]:
        """Weights W and targets t, each ``(N,)``, of one output."""

    @abc.abstractmethod
    def loss(self, eta: Array) -> Array:
        """Loss of every row ``(N,)`` at outputs ``(N, O)``: squared error or log loss."""

    def bounded(self, eta: Array) -> Array:
        """Outputs kept where the arithmetic has room."""
        return np.clip(eta, -_LARGEST, _LARGEST)


class Gaussian(Family):
    """Targets ``(N,)`` with an error of unknown variance; least squares, in one round."""

    variance = None
    rounds = 1

    def least_ridge(self, count: float) -> float:
        """None."""
        del count
        return 0.0

    def start(self, weights: Array) -> Array:
        """The mean."""
        return np.array([weights @ self.y / weights.sum()])

    def working(self, eta: Array, output: int) -> tuple[Array, Array]:
        """The targets themselves."""
        del output
        return np.ones(len(eta)), self.y

    def loss(self, eta: Array) -> Array:
        """Squared error."""
        found: Array = (self.y - eta[:, 0]) ** 2
        return found

    def bounded(self, eta: Array) -> Array:
        """As they are."""
        return eta


class Bernoulli(Family):
    """Targets 0 or 1, ``(N,)``; the output is the logit of 1."""

    def start(self, weights: Array) -> Array:
        """The logit of the share."""
        share = (weights @ self.y + 0.5) / (weights.sum() + 1)
        return np.array([np.log(share / (1 - share))])

    def working(self, eta: Array, output: int) -> tuple[Array, Array]:
        """The logistic likelihood's."""
        return _working(eta[:, output], expit(eta[:, output]), self.y)

    def loss(self, eta: Array) -> Array:
        """Log loss."""
        return np.logaddexp(0, (1 - 2 * self.y) * eta[:, 0])


class Softmax(Family):
    """Targets one-hot ``(N, C)``; outputs are logits of C classes, up to a common constant."""

    @property
    def outputs(self) -> int:
        """C."""
        return int(self.y.shape[1])

    def start(self, weights: Array) -> Array:
        """Logarithms of the shares."""
        shares: Array = (weights @ self.y + 0.5) / (weights.sum() + 0.5 * self.outputs)
        return np.log(shares)

    def working(self, eta: Array, output: int) -> tuple[Array, Array]:
        """One class against the others as they stand."""
        return _working(eta[:, output], softmax(eta, axis=1)[:, output], self.y[:, output])

    def loss(self, eta: Array) -> Array:
        """Log loss."""
        found: Array = logsumexp(eta, axis=1) - np.sum(self.y * eta, axis=1)
        return found


def _working(eta: Array, share: Array, y: Array) -> tuple[Array, Array]:
    weight = np.maximum(share * (1 - share), 1e-6)
    return weight, eta + (y - share) / weight
