"""Scaling fitted on training rows only; class weights."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
import pytest
from problems import LR, MLP, xent
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.utils.class_weight import compute_class_weight
from solo import largest_difference, plain_loop

import vtune as vt
from vtune.data.scaling import check_scaling


def rows(seed=0, n=60):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4)) * [1, 100, 0.01, 0] + [0, 5000, 3, 7]
    return x, rng.integers(0, 3, n)


SCALERS = {
    "standardize": (vt.standardize, StandardScaler()),
    "min_max": (vt.min_max_scale, MinMaxScaler()),
    "range": (
        lambda data, *names: vt.min_max_scale(data, *names, low=-1, high=3),
        MinMaxScaler((-1, 3)),
    ),
}


@pytest.mark.parametrize("name", SCALERS)
def test_scaling_equals_sklearns_on_the_training_rows(name):
    scale, reference = SCALERS[name]
    x, y = rows()
    data = vt.holdout({"x": x, "y": y}, seed=1)
    scaled = scale(data, "x")
    raw = np.asarray(data.arrays["x"], np.float64)
    expected = reference.fit(raw[np.asarray(data.train)]).transform(raw)
    np.testing.assert_allclose(scaled.arrays["x"], expected, atol=2e-4)
    np.testing.assert_array_equal(scaled.arrays["y"], y)
    np.testing.assert_allclose(scaled.scale({"x": raw[:3]})["x"], expected[:3], atol=2e-4)
    # Other validation rows change nothing.
    other = x.copy()
    other[np.asarray(data.valid)] += 1e4
    moved = scale(vt.holdout({"x": other, "y": y}, seed=1), "x")
    train = np.asarray(data.train)
    np.testing.assert_array_equal(moved.arrays["x"][train], scaled.arrays["x"][train])


def test_a_scaled_member_equals_a_plain_loop_and_predicts_raw_rows(x64, tmp_path):
    x, y = rows()
    data = vt.standardize(vt.holdout({"x": x, "y": y}, seed=1), "x")
    optimizer = lambda h: optax.sgd(h["lr"])
    learner = vt.flax_learner(MLP(), optimizer=optimizer, loss=xent)
    sweep = vt.tune(learner, LR, data, search=vt.Halton(2), epochs=2, batch_size=16)
    train = plain_loop(lambda h: MLP(), optimizer)
    variables, _, metrics = train(sweep[1].hparams, data, seed=0, id=1, steps=6, batch_size=16)
    assert largest_difference(variables, sweep[1].variables) < 1e-9
    assert metrics["loss"] == pytest.approx(sweep[1].score, abs=1e-9)
    expected = MLP().apply(variables, data.arrays["x"][:5])
    frame = pd.DataFrame(x[:5]).astype("Float64")
    for same in (x[:5], x[:5].astype(">f8"), x[:5].astype(object), x[:5].tolist(), frame):
        np.testing.assert_allclose(sweep.predict(same, 1), expected, atol=1e-9)
    sweep.save(tmp_path / "run")
    loaded = vt.load(tmp_path / "run", learner)
    np.testing.assert_allclose(loaded.predict(x[:5], 1), expected, atol=1e-9)
    again = loaded.rerun(1, data=data)
    assert again.score == pytest.approx(sweep[1].score, abs=1e-9)
    for call in (lambda d: loaded.rerun(1, data=d), lambda d: loaded.ensemble(2, data=d)):
        with pytest.raises(ValueError, match=r"whose 'x' was scaled; give the same data, such as"):
            call(vt.holdout({"x": x, "y": y}, seed=1))
    plain = vt.min_max_scale(data, "y")  # several, one after the other
    assert set(plain.scaling) == {"x", "y"}


OFFSETS = [1.7e9 + np.linspace(0, 3600, 600), np.linspace(-1, 1, 600), np.full(600, 0.1)]


@pytest.mark.parametrize("whole", [False, True])
def test_numbers_far_from_0_are_scaled_before_they_are_cast(whole):
    """Unix seconds within an hour: 600 in float64, 29 in float32."""
    x = np.stack(OFFSETS, axis=1)
    x = np.round(x[:, :1]).astype(np.int64) if whole else x
    distinct = len(np.unique(x[:, 0]))
    kept = lambda values: len(np.unique(np.asarray(values)[:, 0]))
    made = {
        "holdout": vt.holdout({"x": x, "plain": x}, seed=0),
        "from_splits": vt.from_splits(
            {"x": x[:500], "plain": x[:500]}, {"x": x[500:], "plain": x[500:]}
        ),
    }
    for name, data in made.items():
        scaled = vt.standardize(data, "x")
        expected = StandardScaler().fit(x[np.asarray(data.train)]).transform(x)
        np.testing.assert_allclose(scaled.arrays["x"], expected, atol=1e-6, err_msg=name)
        np.testing.assert_allclose(scaled.scale({"x": x})["x"], expected, atol=1e-6)
        assert kept(scaled.arrays["x"]) == distinct
        later = vt.min_max_scale(scaled, "plain")  # another entry, after the first
        assert kept(later.arrays["plain"]) == distinct
    folds = vt.standardize(vt.kfold({"x": x, "y": x[:, 0] > 0}, k=3), "x")
    gathered = np.asarray(folds.take(jnp.asarray([np.arange(600)] * 3))["x"])
    for number in range(3):
        expected = StandardScaler().fit(x[folds.fold(number)[0]]).transform(x)
        np.testing.assert_allclose(gathered[number], expected, atol=2e-6)
        np.testing.assert_allclose(folds.scale({"x": x}, number)["x"], expected, atol=1e-6)
    leaves, structure = jax.tree.flatten(folds)  # as inside the program
    inside = jax.tree.unflatten(structure, jax.tree.map(jnp.asarray, leaves))
    np.testing.assert_array_equal(inside.take(jnp.asarray([np.arange(600)] * 3))["x"], gathered)


def test_data_scaled_elsewhere_are_told_apart():
    scaled = lambda x: vt.standardize(vt.holdout({"x": x}, seed=0), "x")
    x = np.stack([OFFSETS[0], 1e-9 * OFFSETS[1]], axis=1)
    known = scaled(x)
    check_scaling("rerun", known.scaling, scaled(x))
    later, wider = scaled(x + [3600, 0]), scaled(x * [1, 2])
    folds = vt.standardize(vt.kfold({"x": x}, k=3), "x")
    for other in (later, wider, folds, vt.holdout({"x": x})):
        with pytest.raises(ValueError, match=r"rerun: .* whose 'x' was scaled; give the same data"):
            check_scaling("rerun", known.scaling, other)


def test_images_may_be_scaled_and_small_types_widen():
    x = np.random.default_rng(0).integers(0, 256, (30, 4, 4)).astype(np.uint8)
    data = vt.min_max_scale(vt.holdout({"x": x, "y": np.arange(30) % 2}), "x")
    assert data.arrays["x"].dtype == np.float32
    assert float(np.asarray(data.arrays["x"])[np.asarray(data.train)].max()) == 1.0


def test_class_weights_equal_sklearns():
    x, y = rows(n=90)
    y[:40] = 2
    data = vt.holdout({"x": x, "y": y}, seed=0)
    own = y[np.asarray(data.train)]
    expected = compute_class_weight("balanced", classes=np.arange(3), y=own)
    np.testing.assert_allclose(vt.class_weights(data), expected, rtol=1e-6)
    rare = vt.from_splits(
        {"x": x[:3], "y": np.array([0, 0, 1])}, {"x": x[3:5], "y": np.array([1, 2])}
    )
    assert vt.class_weights(rare).tolist() == [0.75, 1.5, 0.0]  # 2 is only judged


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (
            lambda d: vt.standardize({"x": 1}, "x"),
            TypeError,
            r"must be a vt.Data, got dict; split the rows first",
        ),
        (
            lambda d: vt.standardize(d),
            ValueError,
            r"name the entries, such as vt.standardize\(data",
        ),
        (lambda d: vt.standardize(d, "z"), ValueError, r"'z' is not one of \['x', 'y'\]"),
        (
            lambda d: vt.standardize(vt.standardize(d, "x"), "x"),
            ValueError,
            r"'x' is scaled already",
        ),
        (
            lambda d: vt.min_max_scale(d, "x", low=1),
            ValueError,
            r"low=1 and high=1.0 must be numbers, low",
        ),
        (lambda d: vt.min_max_scale(d, "x", low="0"), ValueError, r"low='0' and high=1.0 must be"),
        (lambda d: vt.min_max_scale(d, "x", high=np.inf), ValueError, r"high=inf must be numbers"),
        (lambda d: vt.standardize(d, ["x"]), ValueError, r"\['x'\] is not one of \['x', 'y'\]"),
        (
            lambda d: vt.standardize(vt.holdout({"x": np.ones(9) * 1j}), "x"),
            TypeError,
            r"'x' holds complex numbers, which have no mean",
        ),
        (
            lambda d: jax.eval_shape(lambda d: vt.standardize(d, "x").arrays, d),
            TypeError,
            r"standardize: the data are traced, inside jax.jit",
        ),
        (
            lambda d: vt.standardize(d, "x").scale({"x": np.ones((2, 9))}),
            ValueError,
            r"scale: 'x' has shape \[2, 9\]; a row of it is \[4\]",
        ),
        (lambda d: vt.standardize(d, "x").scale(np.ones((2, 3))), TypeError, r"is not a dict of"),
        (
            lambda d: vt.standardize(d, "x").scale({"x": ["a"]}),
            TypeError,
            r"scale: entry 'x' is of type <U1",
        ),
        (
            lambda d: vt.standardize(d, "x").unscale("x", np.ones((2, 9))),
            ValueError,
            r"unscale: 'x' has shape \[2, 9\]; a row of it is \[4\]",
        ),
        (
            lambda d: vt.standardize(d, "x").unscale("x", "a"),
            TypeError,
            r"unscale: entry 'x' is of",
        ),
        (
            lambda d: vt.class_weights(vt.holdout({"y": np.array([0, 1, 2**31 - 2])})),
            ValueError,
            r"'y' goes up to 2147483646; count the classes from 0 on",
        ),
        (lambda d: vt.class_weights(d, "x"), TypeError, r"'x' must hold classes, whole numbers"),
    ],
)
def test_wrong_scaling_is_named(make, error, says):
    x, y = rows()
    with pytest.raises(error, match=says):
        make(vt.holdout({"x": x, "y": y}))
