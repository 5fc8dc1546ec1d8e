"""`SeparableRegressor`: a table of numbers and categories to a number, as a separable layer."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import stdtrit
from sklearn.base import RegressorMixin
from sklearn.utils.validation import check_is_fitted

from separable.estimators.choice import richer_is_better, split
from separable.estimators.conversion import as_layer
from separable.estimators.estimator import SeparableEstimator
from separable.estimators.families import Gaussian
from separable.estimators.product_model import ProductModel, fit_product_model
from separable.estimators.smooth_model import SmoothModel, fit_smooth_model
from separable.fitting.links import LINKS, Link

Array = NDArray[np.float64]


class SeparableRegressor(RegressorMixin, SeparableEstimator):  # type: ignore[misc]
    """Regression with a separable layer that explains itself and can be inverted.

    Two models are at hand. The *smooth* one is a sum of functions of single features and of the pairs that matter,
    with every smoothness chosen by restricted maximum likelihood: for noisy data, with standard errors. The *grown* one
    is a short sum of products of functions of all features (`separable.grow`): for clean data and physics.

    Args:
        order: ``auto`` tries both models on held-out rows and takes the grown one if it is better beyond doubt (of
            fewer than 250 rows, or with `max_parameters` too few for any, the smooth one). 1 is the smooth model
            without pairs, 2 with the pairs that matter, None the grown model.
        max_interactions: The most pairs in the smooth model.
        intervals: Knot intervals of a feature in the smooth model, at most; smoothing makes more of them harmless.
        degree: Of its splines.
        categorical_features: ``auto`` takes strings, booleans and pandas categories; or names, positions or one
            boolean for each column.
        links: Transforms of the target that the grown model may try; see `separable.grow`.
        max_parameters: The most numbers in the layer as it grows, on which a category has a rank; tables with a number
            for every category and product take the place of the ranks afterwards. None sets no limit but half the rows.
        effort: Work the growth may do, about seconds.
        random_state: Of the held-out rows; an integer makes fits repeatable.

    Attributes:
        layer_: The model as a `SeparableLayer` in float64 on the columns that `encode` gives, on the scale of
            ``link_``: for `separable.invert`, derivatives, integrals and saving. The last index of a category is
            *unknown*, and 1 in a gap's column *missing*: bounds keep an inverse off them, as `Surrogate` does.
        link_: ``predict`` is ``link_.inverse(layer_(encode(X)))``; the identity for the smooth model.
        order_: 1, 2 or None: what was fitted.
        model_: The smooth or the grown model with its details.
        columns_: Kinds, categories and names of the columns.
        held_out_errors_: With ``auto``, root mean square errors of both models on the held-out rows; else empty.

    Missing numbers and unknown categories are allowed everywhere: see `separable.estimators.columns`. Weights count
    rows: a weight of 2 is the row twice.

    Example:
        >>> import numpy as np, separable
        >>> x = np.random.default_rng(0).random((400, 3))
        >>> y = np.sin(6 * x[:, 0]) + x[:, 1] + 0.1 * np.random.default_rng(1).normal(size=400)
        >>> model = separable.SeparableRegressor(order=2).fit(x, y)
        >>> bool(model.score(x, y) > 0.97), list(model.interaction_strengths_)[0]
        (True, ('x0',))
        >>> separable.invert(model.layer_, 1.0, n_solutions=3).reachable
        True
    """

    link_: Link
    order_: int | None

    def __init__(
        self,
        order: Any = "auto",
        *,
        max_interactions: int = 10,
        intervals: int = 20,
        degree: int = 3,
        categorical_features: Any = "auto",
        links: Sequence[str] = ("identity", "log", "reciprocal", "square"),
        max_parameters: int | None = None,
        effort: float = 1.0,
        random_state: Any = 0,
    ) -> None:
        self.order = order
        self.max_interactions = max_interactions
        self.intervals = intervals
        self.degree = degree
        self.categorical_features = categorical_features
        self.links = links
        self.max_parameters = max_parameters
        self.effort = effort
        self.random_state = random_state

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "SeparableRegressor":
        """Fit the model.

        Args:
            X: A pandas data frame or an array ``(N, D)`` of numbers, categories and gaps.
            y: Targets ``(N,)``.
            sample_weight: Weights ``(N,)`` that count rows.

        Returns:
            The estimator.

        Raises:
            ValueError: On shapes that do not fit, infinite values, targets that are missing, negative weights, or a
                setting outside its range.
            TypeError: If a column holds what is neither a number nor a category.
        """
        self._check_parameters()
        table, y = self._training_table(X, y)
        z, weights, seen = self._prepare(table, sample_weight)
        y, seed = np.asarray(y, dtype=np.float64)[seen], self._seed()
        self.held_out_errors_: dict[str, float] = {}
        grown = self.order is None
        if self._compared(z):
            grown = self._grown_is_better(z, y, weights, seed)
        if grown:
            self._keep_grown(self._grow(z, y, weights, seed))
        else:
            self._keep_smooth(self._smooth(z, y, weights), y, weights)
        self._conclude(z, weights)
        return self

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if isinstance(self.links, str) or not self.links or not all(link in LINKS for link in self.links):
            raise ValueError(f"{type(self).__name__}: links are some of {', '.join(LINKS)}; got {self.links!r}")

    def _smooth(self, z: Array, y: Array, weights: Array) -> SmoothModel:
        return fit_smooth_model(
            z,
            weights,
            Gaussian(_standard(y, weights)[0]),
            tables=self.columns_.tables,
            gaps=self.columns_.gaps,
            intervals=self.intervals,
            degree=self.degree,
            max_pairs=0 if self.order == 1 else self.max_interactions,
        )

    def _grow(self, z: Array, y: Array, weights: Array, seed: int) -> ProductModel:
        return fit_product_model(
            z,
            y,
            weights,
            tables=self.columns_.tables,
            links=self.links,
            max_parameters=self.max_parameters,
            effort=self.effort,
            seed=seed,
        )

    def _grown_is_better(self, z: Array, y: Array, weights: Array, seed: int) -> bool:
        training, judges = split(weights, np.random.default_rng(seed))
        errors = {}
        for name, fit in (("smooth", self._keep_smooth_of), ("grown", self._keep_grown_of)):
            fit(z[training], y[training], weights[training], seed)
            errors[name] = (self._predicted(z[judges]) - y[judges]) ** 2
        share = weights[judges] / weights[judges].sum()
        self.held_out_errors_ = {name: float(np.sqrt(share @ squares)) for name, squares in errors.items()}
        return richer_is_better(errors["smooth"], errors["grown"], weights[judges])

    def _keep_smooth_of(self, z: Array, y: Array, weights: Array, seed: int) -> None:
        del seed
        self._keep_smooth(self._smooth(z, y, weights), y, weights)

    def _keep_grown_of(self, z: Array, y: Array, weights: Array, seed: int) -> None:
        self._keep_grown(self._grow(z, y, weights, seed))

    def _keep_smooth(self, model: SmoothModel, y: Array, weights: Array) -> None:
        _, origin, unit = _standard(y, weights)
        fills = {column.coordinate: column.fill for column in self.columns_.features}
        self.model_, self.scale_, self.order_ = model, unit, 2 if model.terms.pairs else 1
        self.layer_ = as_layer(model, fills, scale=unit, shift=origin)
        self.link_, self._reach = LINKS["identity"], (-np.inf, np.inf)

    def _keep_grown(self, model: ProductModel) -> None:
        self.model_, self.scale_, self.order_ = model, 1.0, None
        self.layer_, self.link_, self._reach = model.layer, model.link, model.reach

    def _unit(self) -> str:
        return "effect" if self.link_.name == "identity" else f"effect on {self.link_.name} of the target"

    def _predicted(self, z: Array) -> Array:
        outputs = torch.from_numpy(self._layer_outputs(z)[:, 0])
        found: Array = self.link_.inverse(outputs.clamp(*self._reach)).numpy()
        return found

    def predict(self, X: Any) -> Array:
        """Predictions ``(N,)`` for a table of the columns that were fitted."""
        check_is_fitted(self)
        return self._predicted(self.encode(X))

    def predict_interval(self, X: Any, coverage: float = 0.95) -> Array:
        """Limits between which a new target is expected to lie, from the errors of the model and of the target.

        Quantiles of Student's law with the degrees of freedom that the fit has left, since the error was estimated.

        For a category that training has not seen they are as wide as categories differ in the effect of their column,
        and wider where training missed some, or had rare ones, whose effect stands for it and is far from the mean of
        all. That categories may differ in pairs as well is not counted, and a column of one tells nothing of others.
        Where a number is missing though training missed none, they are as wide as the numbers of training make them.

        Args:
            X: A table of the columns that were fitted.
            coverage: Share of the new targets that should lie within, assuming errors of equal normal distribution.

        Returns:
            Lower and upper limits, ``(N, 2)``.

        Raises:
            ValueError: If the model is a grown one, which has no error theory, the fit has no degree of freedom left,
                or the coverage is not between 0 and 1.
        """
        check_is_fitted(self)
        if not 0 < coverage < 1:
            raise ValueError(f"predict_interval: coverage is between 0 and 1, got {coverage}")
        if not isinstance(self.model_, SmoothModel):
            raise ValueError("predict_interval needs the smooth model (order 1 or 2); this fit is a grown product")
        if self.model_.spare < 1:
            raise ValueError(
                f"predict_interval: expected 1 degree of freedom or more to estimate the error of a target from, the "
                f"fit leaves {max(0.0, self.model_.spare):.1f}; give more rows or fewer columns"
            )
        table = self._table(X)
        z = self.columns_.encode(table)
        centre, error = self._predicted(z), self.scale_ * self.model_.errors(z, self.columns_.unknown(table))[:, 0]
        power = error**2 + self.scale_**2 * self.model_.variance + self._blind(z, self.columns_.guessed(table), centre)
        width = stdtrit(self.model_.spare, 0.5 + 0.5 * coverage) * np.sqrt(power)
        return np.stack([centre - width, centre + width], axis=1)

    def _blind(self, z: Array, guessed: NDArray[np.bool_], centre: Array) -> Array:
        """Mean square ``(N,)`` by which predictions move with the numbers that stand in guessed places."""
        found = np.zeros(len(z))
        for column, support in zip(self._decomposition.features, self._supports, strict=True):
            rows = np.flatnonzero(guessed[:, column.coordinate])
            if len(rows) and support.numbers is not None:
                moved, middles = z[rows], support.numbers[1::2]  # of fifty parts of equally many training rows
                for number in middles:
                    moved[:, column.coordinate] = number
                    found[rows] += (self._predicted(moved) - centre[rows]) ** 2 / len(middles)
        return found


def _standard(y: Array, weights: Array) -> tuple[Array, float, float]:
    """The targets in their spread about their mean, and both, without overflow; a constant is zero in units of one."""
    size = max(float(np.abs(y).max()), 1e-300)
    share = weights / weights.sum()
    origin = float(share @ (y / size))
    spread = float(np.sqrt(share @ (y / size - origin) ** 2))
    if spread * size <= 1e-300 or spread <= 1e-15:
        return np.zeros(len(y)), origin * size, 1.0
    return (y - origin * size) / (spread * size), origin * size, spread * size
