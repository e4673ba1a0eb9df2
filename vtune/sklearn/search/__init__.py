"""scikit-learn's searches, whose candidates and splits are trained in one program."""

from vtune.sklearn.search.search import (
    GridSearchCV,
    HalvingGridSearchCV,
    HalvingRandomSearchCV,
    RandomizedSearchCV,
    one_standard_error,
)

__all__ = [
    "GridSearchCV",
    "HalvingGridSearchCV",
    "HalvingRandomSearchCV",
    "RandomizedSearchCV",
    "one_standard_error",
]
