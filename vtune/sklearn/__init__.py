"""scikit-learn's estimators and searches, trained by vtune: settings × folds in one program.

Needs the extra `sklearn`. May import all of vtune; nothing else in vtune imports it. `estimators`
are what users fit, `search` runs scikit-learn's searches over them, `training` trains both.
"""

try:
    import sklearn as _sklearn  # noqa: F401
except ImportError:
    raise ImportError("vtune.sklearn needs scikit-learn: pip install 'vtune[sklearn]'") from None

from vtune.sklearn.estimators import (
    ElasticNet,
    FlaxClassifier,
    FlaxRegressor,
    Lasso,
    LogisticRegression,
    Ridge,
)
from vtune.sklearn.search import (
    GridSearchCV,
    HalvingGridSearchCV,
    HalvingRandomSearchCV,
    RandomizedSearchCV,
    one_standard_error,
)

__all__ = [
    "ElasticNet",
    "FlaxClassifier",
    "FlaxRegressor",
    "GridSearchCV",
    "HalvingGridSearchCV",
    "HalvingRandomSearchCV",
    "Lasso",
    "LogisticRegression",
    "RandomizedSearchCV",
    "Ridge",
    "one_standard_error",
]
