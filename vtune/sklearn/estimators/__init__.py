"""scikit-learn's estimators, trained by vtune: linear models and small networks."""

from vtune.sklearn.estimators.linear import ElasticNet, Lasso, LogisticRegression, Ridge
from vtune.sklearn.estimators.network import FlaxClassifier, FlaxRegressor

__all__ = [
    "ElasticNet",
    "FlaxClassifier",
    "FlaxRegressor",
    "Lasso",
    "LogisticRegression",
    "Ridge",
]
