"""Data sets of scikit-learn, and the settings of its users' article, for tests of vtune.sklearn."""

from sklearn.datasets import load_breast_cancer, load_iris, load_wine
from sklearn.preprocessing import StandardScaler

CS = [0.001, 0.01, 0.1, 1, 10, 100]


def standardised(load):
    x, y = load(return_X_y=True)
    return StandardScaler().fit_transform(x), y


SETS = {
    "iris": lambda: load_iris(return_X_y=True),
    "wine": lambda: standardised(load_wine),
    "breast_cancer": lambda: standardised(load_breast_cancer),
}
