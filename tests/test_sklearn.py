"""Estimators: scikit-learn's own checks, optima, and what people do with estimators."""

import io
import pickle
import re
import warnings

import flax.linen as nn
import jax.numpy as jnp
import joblib
import numpy as np
import optax
import pandas as pd
import pytest
from scipy import sparse
from scipy.special import softmax
from sklearn import linear_model, metrics, model_selection
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_digits, load_iris, load_wine
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator
from sklearn_data import CS, SETS

import vtune.sklearn as vs

pytestmark = pytest.mark.slow

ALL = [
    vs.LogisticRegression,
    vs.Ridge,
    vs.Lasso,
    vs.ElasticNet,
    vs.FlaxClassifier,
    vs.FlaxRegressor,
]
# A row of weight 2 is not two rows, where batches are drawn from the rows: two in all.
WEIGHTED = {
    "check_sample_weight_equivalence_on_dense_data": "rows are drawn in batches, not weights"
}
EXPECTED = {"FlaxClassifier": WEIGHTED, "FlaxRegressor": WEIGHTED}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_the_checks_of_scikit_learn(kind):
    results = check_estimator(
        kind(), expected_failed_checks=EXPECTED.get(kind.__name__, {}), on_skip=None
    )
    failed = [r["check_name"] for r in results if r["status"] == "xfail"]
    assert failed == list(EXPECTED.get(kind.__name__, {}))  # none is listed without need


# Linear models: the optimum -------------------------------------------------------------------


def objective(x, y, coef, intercept, l1, l2):
    """Of logistic regression, coef [classes or 1, features]."""
    scores = x @ coef.T + intercept
    if len(coef) == 1:
        scores = np.hstack([np.zeros_like(scores), scores])
    losses = np.logaddexp.reduce(scores, axis=1) - scores[np.arange(len(y)), y]
    return losses.sum() + l1 * np.abs(coef).sum() + l2 / 2 * (coef**2).sum()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("ratio", [0.0, 1.0, 0.4])
@pytest.mark.parametrize("name", SETS)
def test_no_solution_is_better(name, ratio):
    """The gradient says that it is the optimum, and scikit-learn finds no lower value."""
    x, y = SETS[name]()
    for C in CS:
        model = vs.LogisticRegression(C=C, l1_ratio=ratio).fit(x, y)
        l1, l2 = ratio / C, (1 - ratio) / C
        own = objective(x, y, model.coef_, model.intercept_, l1, l2)
        proba = model.predict_proba(x)
        residual = proba - np.eye(proba.shape[1])[y]
        residual = residual[:, 1:] if len(model.coef_) == 1 else residual
        slope = residual.T @ x + l2 * model.coef_
        off = np.where(
            model.coef_ != 0,
            np.abs(slope + l1 * np.sign(model.coef_)),
            np.maximum(np.abs(slope) - l1, 0),
        )
        assert off.max() / len(x) < 1e-4
        assert np.abs(residual.sum(axis=0)).max() / len(x) < 1e-5
        if ratio == 0:
            peer = linear_model.LogisticRegression(C=C, tol=1e-9, max_iter=20_000).fit(x, y)
        elif name == "iris":
            peer = linear_model.LogisticRegression(
                C=C, l1_ratio=ratio, solver="saga", max_iter=5000
            ).fit(x, y)
        else:
            continue  # saga takes long, and ends above
        theirs = objective(x, y, peer.coef_, peer.intercept_, l1, l2)
        assert own <= theirs * 1.0001
        if ratio == 0:
            np.testing.assert_allclose(own, theirs, rtol=1e-4)


def test_both_spellings_of_the_penalty():
    x, y = load_iris(return_X_y=True)
    fit = lambda **params: vs.LogisticRegression(C=0.5, **params).fit(x, y).coef_
    np.testing.assert_array_equal(fit(penalty="l1"), fit(l1_ratio=1))
    np.testing.assert_array_equal(fit(penalty="l2"), fit())
    np.testing.assert_array_equal(fit(penalty="elasticnet", l1_ratio=0.3), fit(l1_ratio=0.3))
    free = lambda **params: vs.LogisticRegression(max_iter=200, tol=1e-2, **params).fit(x, y).coef_
    np.testing.assert_array_equal(free(penalty=None), free(C=np.inf))


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (vs.Ridge(alpha=0.5), linear_model.Ridge(alpha=0.5)),
        (vs.Ridge(alpha=0.0), linear_model.LinearRegression()),
        (vs.Lasso(alpha=0.3), linear_model.Lasso(alpha=0.3, tol=1e-10)),
        (vs.ElasticNet(0.05, l1_ratio=0.7), linear_model.ElasticNet(0.05, l1_ratio=0.7, tol=1e-10)),
    ],
    ids=lambda m: type(m).__name__,
)  # fmt: skip
def test_regressors_equal_those_of_scikit_learn(ours, theirs, intercept):
    x, y = load_diabetes(return_X_y=True)
    weight = np.random.default_rng(0).integers(0, 4, len(y)).astype(float)
    both = np.c_[y, y[::-1]]
    for target, options in ((y, {}), (y, {"sample_weight": weight}), (both, {})):
        a = ours.set_params(fit_intercept=intercept).fit(x, target, **options)
        b = theirs.set_params(fit_intercept=intercept).fit(x, target, **options)
        np.testing.assert_allclose(a.coef_, b.coef_, atol=2e-4)
        np.testing.assert_allclose(a.intercept_, b.intercept_, atol=1e-5)
        assert a.predict(x).shape == b.predict(x).shape


def test_class_weights_and_sample_weights_of_logistic_regression():
    x, y = load_wine(return_X_y=True)
    x = StandardScaler().fit_transform(x)
    weight = np.random.default_rng(0).uniform(0, 2, len(y))
    for how in ("balanced", {0: 1.0, 1: 5.0, 2: 0.5}):
        ours = vs.LogisticRegression(class_weight=how).fit(x, y, weight)
        theirs = linear_model.LogisticRegression(class_weight=how, tol=1e-10, max_iter=5000)
        theirs.fit(x, y, weight)
        np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-3)


def test_it_says_when_it_did_not_converge():
    from sklearn.exceptions import ConvergenceWarning

    x, y = load_iris(return_X_y=True)
    with pytest.warns(ConvergenceWarning, match="after max_iter=3 iterations"):
        vs.LogisticRegression(max_iter=3).fit(x, y)


def test_warm_start_begins_at_the_last_weights():
    x, y = load_iris(return_X_y=True)
    model = vs.LogisticRegression(warm_start=True).fit(x, y)
    first = int(model.n_iter_[0])
    assert model.fit(x, y).n_iter_[0] <= 2 < first
    net = vs.FlaxClassifier(warm_start=True, max_epochs=3, random_state=0).fit(x, y)
    before = net.loss_curve_[-1]
    assert net.fit(x, y).loss_curve_[0] < before * 1.05
    cold = vs.FlaxClassifier(max_epochs=3, random_state=0).fit(x, y).fit(x, y)
    assert cold.loss_curve_[0] > before


# Networks -------------------------------------------------------------------------------------


def test_losses_of_outputs_in_half_precision_are_taken_in_single():
    """All rows in one batch and nothing learned, so that the loss is that of what it predicts."""
    x, y = load_iris(return_X_y=True)
    module, options = lambda n_outputs: nn.Dense(n_outputs, dtype=jnp.bfloat16), {"lr": 1e-12}
    options |= {"module": module, "max_epochs": 1, "batch_size": len(x), "random_state": 0}
    model = vs.FlaxClassifier(**options).fit(x.astype(np.float32), y)
    outputs = module(3).apply(model.variables_, x.astype(np.float32))
    expected = metrics.log_loss(y, softmax(np.asarray(outputs, np.float64), axis=1))
    assert model.loss_curve_[0] == pytest.approx(expected, rel=1e-5)
    assert model.decision_function(x).dtype == np.float32


class Conv(nn.Module):
    """With batch statistics, for [rows, 8, 8, 1]."""

    n_outputs: int
    features: int = 4

    @nn.compact
    def __call__(self, x, train=False):
        # Without a bias: BatchNorm takes it out, so Adam would walk it about by rounding alone.
        x = nn.Conv(self.features, (3, 3), use_bias=False)(x)
        x = nn.BatchNorm(use_running_average=not train)(x)
        return nn.Dense(self.n_outputs)(nn.relu(x).mean(axis=(1, 2)))


def test_a_module_of_ones_own_with_images_and_batch_statistics():
    x, y = load_digits(return_X_y=True)
    x, y = (x / 16).reshape(-1, 8, 8, 1)[:400], y[:400]
    model = vs.FlaxClassifier(
        Conv, module__features=8, optimizer="adamw", optimizer__weight_decay=1e-3, lr=1e-2,
        max_epochs=30, batch_size=50, random_state=0,
    ).fit(x, y)  # fmt: skip
    assert model.score(x, y) > 0.4  # of ten classes
    assert "batch_stats" in model.variables_
    assert model.module_ == Conv(n_outputs=10, features=8)
    made = model.module_.apply(model.variables_, x[:5].astype(np.float32))
    np.testing.assert_allclose(made, model.decision_function(x[:5]), atol=1e-4)


def test_modules_may_be_functions_or_instances():
    x, y = load_iris(return_X_y=True)
    instance = nn.Sequential([nn.Dense(8), nn.relu, nn.Dense(3)])
    made = lambda n_outputs, wide=4: nn.Sequential([nn.Dense(wide), nn.tanh, nn.Dense(n_outputs)])
    for model in (
        vs.FlaxClassifier(instance, random_state=1, lr=1e-2),
        vs.FlaxClassifier(made, module__wide=6, random_state=1, lr=1e-2, optimizer=optax.lion),
    ):
        assert model.fit(x, y).score(x, y) > 0.9


def test_equal_seeds_give_equal_networks_and_no_second_compilation(compilations):
    x, y = load_iris(return_X_y=True)
    fit = lambda seed, lr=1e-2: vs.FlaxClassifier(lr=lr, max_epochs=3, random_state=seed).fit(x, y)
    a = fit(0).predict_proba(x)
    with compilations() as again:
        b, c = fit(0).predict_proba(x), fit(1).predict_proba(x)
        fit(2, lr=1e-3)
    assert again.count == 0
    np.testing.assert_array_equal(a, b)
    assert (a != c).any()


def test_dropout_of_the_default_network_is_traced(compilations):
    x, y = load_iris(return_X_y=True)
    fit = lambda rate: vs.FlaxClassifier(module__dropout=rate, max_epochs=3, random_state=0).fit(
        x, y
    )
    a = fit(0.5).loss_curve_
    with compilations() as again:
        b = fit(0.1).loss_curve_
    assert again.count == 0
    assert a[0] != b[0]


def test_regressor_and_several_targets():
    x, y = load_diabetes(return_X_y=True)
    x, y = StandardScaler().fit_transform(x), (y - y.mean()) / y.std()
    model = vs.FlaxRegressor(random_state=0, max_epochs=30, lr=3e-3).fit(x, y)
    assert model.score(x, y) > 0.5
    both = vs.FlaxRegressor(random_state=0, max_epochs=30, lr=3e-3).fit(x, np.c_[y, -y])
    assert both.predict(x).shape == (442, 2)
    assert both.score(x, np.c_[y, -y]) > 0.5


# What people do with estimators -----------------------------------------------------------------


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_clone_pickle_and_joblib(kind):
    x, y = load_iris(return_X_y=True)
    model = clone(kind().set_params(**({"max_epochs": 3} if "Flax" in kind.__name__ else {})))
    model.fit(x, y)
    file = io.BytesIO()
    joblib.dump(model, file)
    file.seek(0)
    for other in (pickle.loads(pickle.dumps(model)), joblib.load(file)):
        np.testing.assert_array_equal(other.predict(x), model.predict(x))
    assert clone(model).get_params() == model.get_params()


def test_parameters_of_module_and_optimizer_are_parameters():
    model = vs.FlaxClassifier(module__width=8, optimizer__b1=0.8)
    assert model.get_params()["module__width"] == 8
    assert clone(model).get_params() == model.get_params()
    model.set_params(module__depth=2, lr=0.1)
    assert (model.module__depth, model.lr) == (2, 0.1)
    assert "module__depth=2" in repr(model)
    with pytest.raises(ValueError, match="Invalid parameter 'widht'"):
        model.set_params(widht=3)


def test_pandas_string_labels_and_cross_val_predict():
    x, y = load_iris(return_X_y=True, as_frame=True)
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    model = vs.LogisticRegression().fit(x, names)
    assert list(model.feature_names_in_) == list(x.columns)
    assert model.n_features_in_ == 4
    assert set(model.predict(x)) == set(names)
    pipe = make_pipeline(StandardScaler(), vs.LogisticRegression())
    ours = model_selection.cross_val_predict(pipe, x, names, cv=5)
    peer = make_pipeline(StandardScaler(), linear_model.LogisticRegression(tol=1e-8))
    assert (ours == model_selection.cross_val_predict(peer, x, names, cv=5)).mean() > 0.99
    proba = model_selection.cross_val_predict(pipe, x, names, cv=3, method="predict_proba")
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    with pytest.raises(ValueError, match="feature names"):
        model.predict(x.rename(columns={x.columns[0]: "other"}))


X, Y = np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 2
WRONG = [
    (vs.LogisticRegression(C=0), "C=0 must be above 0"),
    (vs.LogisticRegression(C=-1), "C=-1 must be a number"),
    (vs.LogisticRegression(C="1"), "C='1' must be a number"),
    (vs.LogisticRegression(penalty="l3"), "penalty='l3' must be"),
    (vs.LogisticRegression(l1_ratio=1.5), "l1_ratio=1.5 must be a number, from 0 to 1"),
    (vs.LogisticRegression(max_iter=0), "max_iter=0 must be a whole number"),
    (vs.LogisticRegression(fit_intercept="no"), "fit_intercept='no' must be True or False"),
    (vs.FlaxClassifier(warm_start="no"), "warm_start='no' must be True or False"),
    (vs.LogisticRegression(tol=-1.0), "tol=-1.0 must be a number"),
    (vs.LogisticRegression(class_weight="equal"), "class_weight='equal' must be"),
    (vs.LogisticRegression(class_weight=[1, 2]), "class_weight=[1, 2] must be"),
    (vs.LogisticRegression(class_weight={0: -1}), "class_weight[0]=-1 must be a number, 0 or more"),
    (vs.LogisticRegression(class_weight={0: "a"}), "class_weight[0]='a' must be a number"),
    (vs.LogisticRegression(class_weight={1: np.nan}), "class_weight[1]=nan must be a number"),
    (vs.LogisticRegression(fit_intercept="no"), "fit_intercept='no' must be True or False"),
    (vs.Ridge(warm_start="yes"), "warm_start='yes' must be True or False"),
    (vs.Ridge(alpha=-1), "alpha=-1 must be a number"),
    (vs.Lasso(alpha=np.inf), "alpha=inf must be a number"),
    (vs.FlaxClassifier(lr=-1), "lr=-1 must be a number"),
    (vs.FlaxClassifier(max_epochs=0), "max_epochs=0 must be a whole number"),
    (vs.FlaxClassifier(batch_size=2.5), "batch_size=2.5 must be a whole number"),
    (vs.FlaxClassifier(optimizer="adamm"), "optimizer='adamm' must be the name of an Optax"),
    (vs.FlaxClassifier(module=3), "module=3 must be a flax.linen.Module"),
    (vs.FlaxClassifier(module__widht=3), "module__widht is no parameter of MLP; it takes"),
    (vs.FlaxClassifier(width=3), "no parameter 'width'; those of the module are module__width"),
    (vs.FlaxClassifier(module__activation="rleu"), "module__activation='rleu' must be one of"),
    (vs.FlaxClassifier(nn.Dense(5)), "the module returned [20, 5], not [rows, 2]"),
]


@pytest.mark.parametrize(("model", "says"), WRONG, ids=lambda value: str(value)[:40])
def test_wrong_parameters_are_named_before_compiling(model, says, refused):
    with refused((TypeError, ValueError), re.escape(says)):
        model.fit(X, Y)


def test_several_labels_a_row_are_named():
    x, y = np.zeros((6, 2)), np.array([[0, 1], [1, 0], [1, 1]] * 2)
    with pytest.raises(ValueError, match=r"takes one label a row, got y of shape \[6, 2\].*Multi"):
        vs.FlaxClassifier().fit(x, y)


@pytest.mark.parametrize(
    ("weight", "says"),
    [
        (np.zeros(20), "every weight is zero"),
        (np.full(20, -1.0), "negative"),
        (np.full(20, np.inf), "infinite"),
        (-1.0, "negative"),
        (np.nan, "NaN"),
        (np.ones(3), "sample_weight has shape [3]"),
        (["a"] * 20, "sample_weight of type list does not hold numbers"),
        ({"a": 1}, "sample_weight of type dict does not hold numbers"),
        (np.ones(20) * 1j, "sample_weight of type ndarray does not hold numbers"),
    ],
    ids=lambda value: str(value)[:20],
)
@pytest.mark.parametrize("model", [vs.Ridge(), vs.FlaxClassifier()], ids=str)
def test_wrong_weights_are_named_before_compiling(model, weight, says, refused):
    with refused(ValueError, re.escape(says)):
        model.fit(X, Y, sample_weight=weight)


def test_wrong_data_is_named():
    model = vs.LogisticRegression()
    with pytest.raises(TypeError, match="dense data is required"):
        model.fit(sparse.csr_matrix(X), Y)
    with pytest.raises(ValueError, match="there is one class, 0"):
        model.fit(X, np.zeros(20, int))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match="the training diverged at step"):
            vs.FlaxRegressor(lr=1e30, optimizer="sgd", random_state=0).fit(X * 1e3, Y)
    assert metrics.accuracy_score(Y, model.fit(pd.DataFrame(X, columns=list("abc")), Y).predict(
        pd.DataFrame(X, columns=list("abc")))) > 0.4  # fmt: skip


def test_any_scale_of_features_and_targets():
    """Huge and tiny numbers neither hang nor change the answer."""
    x, y = load_diabetes(return_X_y=True)
    first = vs.Ridge(0.5).fit(x, y).coef_
    for factor, shift in [(1e-12, 0.0), (1e-6, 0.0), (1e8, 0.0), (1.0, 1e6), (1.0, 1e8)]:
        seen = vs.Ridge(0.5).fit(x, y * factor + shift).coef_ / factor
        np.testing.assert_allclose(seen, first, rtol=1e-3, atol=1e-3)
        sparse_ = vs.Lasso(0.3 * factor).fit(x, y * factor + shift).coef_ / factor
        np.testing.assert_allclose(sparse_, vs.Lasso(0.3).fit(x, y).coef_, rtol=1e-3, atol=1e-2)
    iris, labels = load_iris(return_X_y=True)
    vs.LogisticRegression().fit(iris * 1e160, labels)
    free = vs.LogisticRegression(C=1e12, max_iter=50, tol=1e-3)
    same = free.fit(iris, labels).predict(iris)
    np.testing.assert_array_equal(free.fit(iris * 1e6, labels).predict(iris * 1e6), same)
