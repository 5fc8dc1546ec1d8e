"""`SeparableClassifier`: a table of numbers and categories to probabilities of classes, as a separable layer."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit, softmax
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from separable.estimators.choice import LEAST_ROWS, richer_is_better, split
from separable.estimators.conversion import as_layer
from separable.estimators.copies import merged
from separable.estimators.estimator import SeparableEstimator
from separable.estimators.families import Bernoulli, Softmax
from separable.estimators.kernel_model import KernelModel, fit_kernel_model
from separable.estimators.product_model import ProductModel, fit_product_model
from separable.estimators.smooth_model import SmoothModel, fit_smooth_model

Array = NDArray[np.float64]

_KERNEL_ROWS = 4000  # its cost grows with their cube
_SMOOTH_COLUMNS = 3000  # coordinates times functions times classes, beyond which only the kernel model is tried
_ROUNDS = 3  # of growth on working targets, at most
_WITHIN = 1.5  # times the smooth model's loss, beyond which a product is given up
_LARGEST = 5.0  # logits on which working targets rest: a row on the wrong side has one of exp(5), which others outweigh


class SeparableClassifier(ClassifierMixin, SeparableEstimator):  # type: ignore[misc]
    """Classification with a separable layer of logits that explains itself and can be inverted.

    For two classes the smooth model of `SeparableRegressor` is fitted by penalised logistic likelihood, and compared
    with a grown product. For more, the smooth model has an output for each class; up to 4000 distinct rows a Gaussian
    prior over functions of all pairs is tried too (`separable.estimators.kernel_model`), and leave-one-out log loss
    decides; copies of a row are left out with it (`separable.estimators.copies`). Probabilities are calibrated: both
    are fitted or tempered by log loss.

    Args:
        order: ``auto`` as above (the grown product is tried from 250 rows on, if `max_parameters` are enough for one,
            and judged by held-out log loss). 1 is the smooth model without pairs, 2 with the pairs that matter, None
            the grown product, for two classes.
        max_interactions: The most pairs in the smooth model.
        intervals: Knot intervals of a feature, at most.
        degree: Of the splines.
        categorical_features: ``auto`` takes strings, booleans and pandas categories; or names, positions or one
            boolean for each column.
        max_parameters: The most numbers in the layer as it grows, on which a category has a rank; tables with a number
            for every category and product take the place of the ranks afterwards. None sets no limit but half the rows.
        effort: Work the growth may do, about seconds.
        random_state: Of the held-out rows; an integer makes fits repeatable.

    Attributes:
        classes_: The classes.
        layer_: The logits as a `SeparableLayer` in float64 on the columns that `encode` gives: one output, the logit of
            the second class, or one for each of more classes.
        order_: 1, 2 or None: what was fitted.
        model_: The smooth, grown or kernel model with its details.
        columns_: Kinds, categories and names of the columns.
        held_out_errors_: Log losses of the models that were compared; else empty.

    Missing numbers and unknown categories are allowed everywhere: see `separable.estimators.columns`. Weights count
    rows: a weight of 2 is the row twice.

    Example:
        >>> import numpy as np, separable
        >>> x = np.random.default_rng(0).random((200, 2))
        >>> y = np.where(np.abs(x[:, 0] - 0.5) < 0.2 + 0.2 * x[:, 1], "in", "out")
        >>> model = separable.SeparableClassifier().fit(x, y)
        >>> model.score(x, y) > 0.95, model.predict_proba(x[:2]).shape
        (True, (2, 2))
    """

    classes_: NDArray[Any]
    order_: int | None

    def __init__(
        self,
        order: Any = "auto",
        *,
        max_interactions: int = 10,
        intervals: int = 20,
        degree: int = 3,
        categorical_features: Any = "auto",
        max_parameters: int | None = None,
        effort: float = 1.0,
        random_state: Any = 0,
    ) -> None:
        self.order = order
        self.max_interactions = max_interactions
        self.intervals = intervals
        self.degree = degree
        self.categorical_features = categorical_features
        self.max_parameters = max_parameters
        self.effort = effort
        self.random_state = random_state

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "SeparableClassifier":
        """Fit the model.

        Args:
            X: A pandas data frame or an array ``(N, D)`` of numbers, categories and gaps.
            y: Classes ``(N,)``.
            sample_weight: Weights ``(N,)`` that count rows.

        Returns:
            The estimator.

        Raises:
            ValueError: On shapes that do not fit, infinite values, fewer than two classes, negative weights, a grown
                product of more than two classes, or a setting outside its range.
            TypeError: If a column holds what is neither a number nor a category.
        """
        self._check_parameters()
        table, y = self._training_table(X, y)
        check_classification_targets(y)
        z, weights, seen = self._prepare(table, sample_weight)
        self.classes_, index = np.unique(np.asarray(y)[seen], return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"SeparableClassifier: needs rows of at least two classes, got one class, {self.classes_[0]!r}"
            )
        if self.order is None and len(self.classes_) > 2:
            raise ValueError(
                f"SeparableClassifier: order=None, a grown product, is for two classes; got {len(self.classes_)}. "
                "Use order='auto', 1 or 2"
            )
        self.held_out_errors_: dict[str, float] = {}
        self.scale_, seed = 1.0, self._seed()
        if len(self.classes_) == 2:
            self._fit_two(z, index.astype(np.float64), weights, seed)
        else:
            self._fit_many(z, np.eye(len(self.classes_))[index], weights, seed)
        self._conclude(z, weights)
        return self

    def _smooth(self, z: Array, y: Array, weights: Array, left: Array | None = None) -> SmoothModel:
        return fit_smooth_model(
            z,
            weights,
            Bernoulli(y) if y.ndim == 1 else Softmax(y),
            tables=self.columns_.tables,
            gaps=self.columns_.gaps,
            intervals=self.intervals,
            degree=self.degree,
            max_pairs=0 if self.order == 1 else self.max_interactions,
            left=left,
        )

    def _fit_two(self, z: Array, y: Array, weights: Array, seed: int) -> None:
        rounds = 0
        if self._compared(z) or self.order is None:
            rounds = self._rounds(z, y, weights, seed)
        smooth = self._smooth(z, y, weights)
        if rounds == 0:
            self._keep_smooth(smooth)
            return
        for _ in itertools.islice(self._growing(z, y, weights, seed, smooth), rounds):
            pass

    def _growing(self, z: Array, y: Array, weights: Array, seed: int, pilot: SmoothModel) -> Iterator[None]:
        """Keep one product after another, grown on the working targets of the logistic likelihood at the last one.

        The first is grown at the pilot's logits. Each has its own in the scale of least log loss.
        """
        outputs = pilot.outputs(z)
        for _ in range(_ROUNDS):
            weight, target = Bernoulli(y).working(np.clip(outputs, -_LARGEST, _LARGEST), 0)
            model = fit_product_model(
                z,
                target,
                weights * weight,
                tables=self.columns_.tables,
                links=("identity",),
                max_parameters=self.max_parameters,
                effort=self.effort,
                seed=seed,
            )
            self._keep_grown(model)
            outputs = self._layer_outputs(z)
            scale = minimize_scalar(
                lambda log, logits: weights @ Bernoulli(y).loss(np.exp(log) * logits),
                bounds=(-4.0, 1.0),
                method="bounded",
                args=(outputs,),
            )
            with torch.no_grad():
                for part in (model.layer.core, *([] if model.layer.bias is None else [model.layer.bias])):
                    part.mul_(float(np.exp(scale.x)))
            outputs = np.exp(scale.x) * outputs
            yield

    def _rounds(self, z: Array, y: Array, weights: Array, seed: int) -> int:
        """The round whose product has the least loss of held-out rows; 0 where the smooth model is as good.

        Rows that it was grown on say little: rounds that separate them grow worse for all others.
        """
        training, judges = split(weights, np.random.default_rng(seed))
        if len(z) < LEAST_ROWS or len(np.unique(y[training])) < 2:
            return int(self.order is None)
        judged, share = Bernoulli(y[judges]), weights[judges] / weights[judges].sum()
        smooth = self._smooth(z[training], y[training], weights[training])
        simple = judged.loss(smooth.outputs(z[judges]))
        losses, means = list[Array](), list[float]()
        for _ in self._growing(z[training], y[training], weights[training], seed, smooth):
            losses.append(judged.loss(self._layer_outputs(z[judges])))
            means.append(float(share @ losses[-1]))
            if means[-1] > min(means) or means[-1] > _WITHIN * (share @ simple):
                break
        best = int(np.argmin(means))
        if self.order is None:
            return 1 + best
        self.held_out_errors_ = {"smooth": float(share @ simple), "grown": means[best]}
        return 1 + best if richer_is_better(simple, losses[best], weights[judges]) else 0

    def _fit_many(self, z: Array, y: Array, weights: Array, seed: int) -> None:
        z, y, weights, left = merged(z, y, weights, self.columns_.tables)
        kernel = None
        if self.order == "auto" and len(z) <= _KERNEL_ROWS:
            kernel = fit_kernel_model(
                z,
                y,
                weights,
                left,
                tables=self.columns_.tables,
                intervals=self.intervals,
                degree=self.degree,
                random=np.random.default_rng(seed),
            )
            self.held_out_errors_["kernel"] = kernel.left_out
            if z.shape[1] * min(self.intervals, len(z) // 12) * y.shape[1] > _SMOOTH_COLUMNS:
                self._keep_kernel(kernel)
                return
        smooth = self._smooth(z, y, weights, left)
        if kernel is not None:
            self.held_out_errors_["smooth"] = smooth.left_out
            if kernel.left_out < smooth.left_out:
                self._keep_kernel(kernel)
                return
        self._keep_smooth(smooth)

    def _keep_smooth(self, model: SmoothModel) -> None:
        fills = {column.coordinate: column.fill for column in self.columns_.features}
        self.model_, self.order_ = model, 2 if model.terms.pairs else 1
        self.layer_ = as_layer(model, fills)

    def _keep_grown(self, model: ProductModel) -> None:
        self.model_, self.order_, self.layer_ = model, None, model.layer

    def _keep_kernel(self, model: KernelModel) -> None:
        self.model_, self.order_, self.layer_ = model, 2, model.layer()

    def _unit(self) -> str:
        return "effect on the logit" + (f" of {self.classes_[1]}" if len(self.classes_) == 2 else "")

    def decision_function(self, X: Any) -> Array:
        """Logits: ``(N,)`` of the second of two classes, or ``(N, C)`` whose sum over the classes is zero."""
        check_is_fitted(self)
        outputs = self._layer_outputs(self.encode(X))
        return outputs[:, 0] if len(self.classes_) == 2 else outputs

    def predict_proba(self, X: Any) -> Array:
        """Probabilities ``(N, C)`` of the classes."""
        logits = self.decision_function(X)
        if logits.ndim == 2:
            return np.asarray(softmax(logits, axis=1))
        second = expit(logits)
        return np.stack([1 - second, second], axis=1)

    def predict(self, X: Any) -> NDArray[Any]:
        """The most probable classes ``(N,)``."""
        logits = self.decision_function(X)
        chosen = logits.argmax(1) if logits.ndim == 2 else (logits > 0).astype(np.int64)
        found: NDArray[Any] = self.classes_[chosen]
        return found
