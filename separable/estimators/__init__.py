"""Estimators for scikit-learn: a table of data to a separable layer that explains itself and can be inverted."""

from separable.estimators.classifier import SeparableClassifier
from separable.estimators.effects import ShapeFunction
from separable.estimators.regressor import SeparableRegressor

__all__ = ["SeparableClassifier", "SeparableRegressor", "ShapeFunction"]
