"""What the two estimators share: the table's columns, checks of the arguments, and what is shown of the fit."""

import abc
import math
import numbers
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, check_random_state, validate_data

from separable.estimators.choice import LEAST_ROWS
from separable.estimators.columns import Columns
from separable.estimators.decomposition import Decomposition
from separable.estimators.effects import ShapeFunction, Support, grid_of, shape_function
from separable.estimators.kernel_model import KernelModel
from separable.estimators.product_model import ProductModel
from separable.estimators.smooth_model import SmoothModel
from separable.fitting.growth import least_parameters
from separable.layers import SeparableLayer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

_BLOCK = 4e6  # numbers in one block of factors


class SeparableEstimator(BaseEstimator, abc.ABC):  # type: ignore[misc]
    """The base of `SeparableRegressor` and `SeparableClassifier`; never instantiated."""

    order: Any
    max_interactions: int
    intervals: int
    degree: int
    categorical_features: Any
    max_parameters: int | None
    effort: float
    random_state: Any

    layer_: SeparableLayer
    columns_: Columns
    model_: SmoothModel | ProductModel | KernelModel
    scale_: float  # unit of the smooth model's outputs

    def _check_parameters(self) -> None:
        name = type(self).__name__
        if not (self.order in (None, 1, 2) or (isinstance(self.order, str) and self.order == "auto")):
            raise ValueError(f"{name}: order is 'auto', 1, 2 or None (all coordinates), got {self.order!r}")
        for field, least in (("max_interactions", 0), ("intervals", 1), ("degree", 1)):
            value = getattr(self, field)
            if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
                raise ValueError(f"{name}: {field} is an integer of at least {least}, got {value!r}")
        effort = self.effort
        if isinstance(effort, bool) or not isinstance(effort, numbers.Real) or not 0 < effort < math.inf:
            raise ValueError(f"{name}: effort is a positive and finite number, got {effort!r}")
        most = self.max_parameters
        if most is not None and (isinstance(most, bool) or not isinstance(most, numbers.Integral) or most < 1):
            raise ValueError(f"{name}: max_parameters is None or an integer of at least 1, got {most!r}")

    def _compared(self, z: Array) -> bool:
        """Whether a grown product is tried beside the smooth model: rows can judge it, and it may be large enough."""
        if self.order != "auto" or len(z) < LEAST_ROWS:
            return False
        return self.max_parameters is None or self.max_parameters >= least_parameters(z)

    def _training_table(self, X: Any, y: Any) -> tuple[Any, Any]:
        """The table as its columns can be read, and the checked targets; names and number of columns are kept."""
        numeric = self.__sklearn_tags__().estimator_type == "regressor"
        checked, y = validate_data(self, _checkable(X), y, y_numeric=numeric, dtype=None, ensure_all_finite=False)
        return _readable(X, checked), y

    def _table(self, X: Any) -> Any:
        """A table with the columns that were fitted, as they can be read."""
        return _readable(X, validate_data(self, _checkable(X), reset=False, dtype=None, ensure_all_finite=False))

    def _prepare(self, X: Any, sample_weight: Any) -> tuple[Array, Array, NDArray[np.bool_]]:
        """Coordinates, weights and which rows have any weight."""
        weights = np.asarray(
            _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True), dtype=np.float64
        )
        seen = weights > 0
        if not seen.any():
            raise ValueError(f"{type(self).__name__}: every sample_weight is zero")
        names = getattr(self, "feature_names_in_", None)
        names = [f"x{j}" for j in range(self.n_features_in_)] if names is None else names.tolist()
        X, weights = X.iloc[seen] if hasattr(X, "iloc") else X[seen], weights[seen]
        self.columns_ = Columns.of(X, weights, names, self.categorical_features)
        z = self.columns_.encode(X)
        # Weights count rows: 2 is the row twice. Smaller ones, as where they sum to one, only compare rows.
        return z, weights * max(1.0, len(weights) / float(weights.sum())), seen

    def _conclude(self, z: Array, weights: Array) -> None:
        self.layer_.requires_grad_(False)
        self._decomposition = Decomposition(self.layer_, self.columns_, z, weights)
        self._supports = [Support.of(column, z, weights) for column in self._decomposition.features]

    def _seed(self) -> int:
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _layer_outputs(self, z: Array) -> Array:
        """Outputs ``(N, O)`` of the layer, in blocks of rows."""
        if isinstance(self.model_, KernelModel):  # the same function (the tests hold it to that) at a tenth of the cost
            return self.model_.outputs(z)
        widest = max(atom.size for atom in self.layer_.atoms)
        factors = max(widest, self.layer_.n_coordinates * self.layer_.core.shape[0])
        step = max(1, int(_BLOCK / factors))
        with torch.no_grad():
            parts = [self.layer_(torch.from_numpy(z[start : start + step])) for start in range(0, len(z), step)]
        found: Array = torch.cat(parts).numpy()
        return found

    def encode(self, X: Any) -> Array:
        """The coordinates ``(N, D')`` that ``layer_`` takes, in the order of ``columns_.names``.

        Args:
            X: A table with the columns that were fitted.
        """
        check_is_fitted(self)
        return self.columns_.encode(self._table(X))

    @property
    def shape_functions_(self) -> dict[str, ShapeFunction]:
        """For every feature its main effect: grid, values, standard errors where the model has them, and the data."""
        check_is_fitted(self)
        errors = None
        if isinstance(model := self.model_, SmoothModel):

            def errors(j: int, values: Array) -> Array:
                return self.scale_ * model.main_errors(j, values)

        return {
            column.name: shape_function(self._decomposition, f, self._supports[f], errors)
            for f, column in enumerate(self._decomposition.features)
        }

    @property
    def interaction_strengths_(self) -> dict[tuple[str, ...], float]:
        """Shares of the model's variance, largest first.

        ``(name,)`` is a feature alone, ``(name, name)`` what a pair adds to its two features, ``()`` what three and
        more add together. The features are taken as independent, distributed as in training: see `decomposition`.
        """
        check_is_fitted(self)
        return self._decomposition.strengths()

    def plot(self, max_features: int = 12, max_pairs: int = 3) -> "Figure":
        """Draw the model: strengths, functions of single features with their data, and the strongest pairs.

        Args:
            max_features: The most features to draw, strongest first.
            max_pairs: The most pairs.

        Returns:
            A matplotlib figure.

        Raises:
            ImportError: If matplotlib is not installed.
        """
        check_is_fitted(self)
        from separable.estimators.drawing import Picture, draw

        outputs = self.layer_.out_features
        labels = tuple(str(label) for label in getattr(self, "classes_", ())) if outputs > 1 else ("",)
        strengths, shapes = self.interaction_strengths_, self.shape_functions_
        return draw(Picture(strengths, shapes, self._pair, labels, self._unit()), max_features, max_pairs)

    def _pair(self, first: str, second: str) -> tuple[Array, Array, Array]:
        """Coordinates ``(n,)``, ``(m,)`` and effect ``(n, m, O)`` of a pair of features."""
        names = [column.name for column in self._decomposition.features]
        f, g = names.index(first), names.index(second)
        grids = [grid_of(self._decomposition.features[h], self._supports[h], points=60) for h in (f, g)]
        return *grids, self._decomposition.pair(f, g, *grids)  # type: ignore[return-value]

    @abc.abstractmethod
    def _unit(self) -> str:
        """What effects are measured in, for pictures."""

    def __sklearn_tags__(self) -> Any:
        """Gaps are allowed, and so are categories."""
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        return tags


def _checkable(X: Any) -> Any:
    """A data frame as objects where its dtypes make scikit-learn take all of it for numbers, words and dates too."""
    if not hasattr(X, "iloc") or X.ndim != 2:  # a series is refused there
        return X
    plain = all(isinstance(kind, np.dtype) and kind.kind not in "bmM" for kind in X.dtypes)
    return X if plain else X.astype(object)


def _readable(X: Any, checked: NDArray[Any]) -> Any:
    """A data frame as it is, anything else as an array."""
    if hasattr(X, "iloc") or checked.dtype.kind in "biufmM":
        return X if hasattr(X, "iloc") else checked
    # A list of rows of numbers and strings would become strings throughout.
    return np.asarray(checked if hasattr(X, "dtype") else X, dtype=object)
