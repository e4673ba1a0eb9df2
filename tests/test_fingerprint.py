"""Other data, another learner, other columns: named, where shapes alone would not tell."""

import dataclasses
import json

import flax.linen as nn
import jax
import numpy as np
import optax
import pytest
from problems import LR, mlp_learner
from solo import xent

import vtune as vt
from vtune.results.fingerprint import data_difference, data_fingerprint, learner_fingerprint
from vtune.saved_files import manifest_checksum

pandas = pytest.importorskip("pandas")


def arrays(rows=48, features=4):
    rng = np.random.default_rng(0)
    x = pandas.DataFrame(rng.normal(size=(rows, features)), columns=list("abcdefgh")[:features])
    return {"x": x, "y": rng.integers(0, 3, rows)}


def data(seed=0, **changes):
    return vt.holdout({**arrays(), **changes}, seed=seed)


class Net(nn.Module):
    act: object = nn.relu

    @nn.compact
    def __call__(self, x):
        return nn.Dense(3)(self.act(nn.Dense(4)(x)))


def learner(model=Net(), rate=1.0, loss=xent):  # noqa: B008 (modules are values)
    return vt.flax_learner(
        model, optimizer=lambda h: optax.sgd(rate * h["lr"]), loss=loss, metrics=METRICS
    )


METRICS = {"accuracy": vt.metrics.accuracy}


@pytest.fixture(scope="module")
def sweep():
    return vt.tune(learner(), LR, data(), search=vt.Random(2), epochs=1, batch_size=12)


@pytest.fixture(scope="module")
def run(sweep, tmp_path_factory):
    run = tmp_path_factory.mktemp("identity") / "run"
    sweep.save(run)
    return run


@pytest.fixture(scope="module")
def back(run):
    return vt.load(run, learner())


X = arrays()["x"]
OTHERS = {
    "values": (lambda: data(x=X + 1e-3), "'x' has other values"),
    "labels": (lambda: data(y=1 - arrays()["y"] % 2), "'y' has other values"),
    "columns": (lambda: data(x=X[["a", "b", "c"]]), r"a row of 'x' is float32\[3\], there .*\[4\]"),
    "types": (
        lambda: data(y=arrays()["y"].astype(np.uint8)),
        r"'y' is uint8\[\], there it was int",
    ),
    "entries": (lambda: data(z=np.ones(48)), r"the entries \['x', 'y', 'z'\], those had"),
    "split": (lambda: data(seed=1), "the rows are split in another way"),
    "a dict": (arrays, "data must be a vt.Data, got dict"),
}


@pytest.mark.parametrize("other", OTHERS)
def test_other_data_are_named(sweep, back, other, compilations):
    make, says = OTHERS[other]
    given = make()
    with compilations() as seen:
        for whose in (sweep, back):
            for go_on in (
                lambda s: s.rerun(0, given),
                lambda s: vt.extend(s, epochs=1, data=given),
                lambda s: s.retrain(1, seeds=1, data=given),
                lambda s: s.ensemble(2, data=given),
            ):
                with pytest.raises((TypeError, ValueError), match=says):
                    go_on(whose)
    assert seen.count == 0


TESTED = {
    "split": (
        lambda: vt.holdout(arrays(), test=0.4),
        "split in another way .* have been trained on",
    ),
    "columns": (lambda: vt.holdout({**arrays(), "x": X[list("dcba")]}, test=0.4), "another order"),
    "labels": (
        lambda: vt.holdout({"x": X, "y": 7 + arrays()["y"]}, test=0.4),
        "labels .* run from 7 to 9",
    ),
    "types": (
        lambda: vt.holdout({"x": X, "y": arrays()["y"].astype(np.uint8)}, test=0.4),
        r"'y' is uint8\[\], there it was int",
    ),
    "entries": (lambda: vt.holdout({"x": X}, test=0.4), r"the entries \['x'\], those had"),
}


@pytest.mark.parametrize("other", TESTED)
def test_test_rows_unlike_those_trained_on_are_named(sweep, back, other):
    make, says = TESTED[other]
    for whose in (sweep, back):
        with pytest.raises(ValueError, match=says):
            whose.evaluate(make())


def test_equal_data_are_the_same_data(sweep):
    assert data_difference(data_fingerprint(sweep.data), data_fingerprint(data())) is None
    scaled = [vt.standardize(data(x=X + shift), "x") for shift in (0, 1e-9, 1e-2 * X**2)]
    prints = [data_fingerprint(d) for d in scaled]
    assert data_difference(*prints[:2]) is None  # another machine may round the scale differently
    assert data_difference(prints[0], prints[2]) == "'x' has other values"


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (lambda: learner(Net(nn.tanh)), "its step and measure and predict compute something else"),
        (lambda: learner(rate=2.0), "its init and step compute something else"),
        (lambda: learner(loss=lambda o, b, h: 2 * xent(o, b, h)), "its step and measure compute"),
        (lambda: mlp_learner(), "does not fit this learner"),
    ],
    ids=["model", "optimizer", "loss", "shapes"],
)
def test_another_learner_is_named(run, other, says):
    with pytest.raises(ValueError, match=says):
        vt.load(run, other())
    if "fit" not in says:
        assert len(vt.load(run, other(), check=False)) == 2


def test_constants_inside_a_jitted_function_count(sweep):
    def fingerprint(constant):
        inner = jax.jit(lambda loss: loss * jax.numpy.asarray(constant).sum())
        other = learner(loss=lambda o, b, h: inner(xent(o, b, h)))
        return learner_fingerprint(
            dataclasses.replace(sweep.trained.plan, learner=other), sweep.trained.rows
        )

    ones = np.ones(3, np.float32)
    found = fingerprint(ones)
    assert found == fingerprint(ones.copy())
    other = fingerprint(2 * ones)
    assert [name for name in found if found[name] != other[name]] == ["step", "measure"]


def test_a_learner_is_traced_once_where_it_is_loaded(run):
    seen, plain = [], learner()
    counted = lambda name: lambda *a: (seen.append(name), getattr(plain, name)(*a))[1]
    vt.load(run, plain._replace(init=counted("init"), measure=counted("measure")))
    assert seen == ["init", "measure"]


def test_only_equal_versions_are_compared(back, sweep, tmp_path):
    sweep.save(tmp_path / "run")
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    manifest["identity"]["versions"]["optax"] = "0.0.1"
    manifest["checksums"]["manifest"] = manifest_checksum(manifest)
    (tmp_path / "run" / "manifest.json").write_text(json.dumps(manifest))
    assert len(vt.load(tmp_path / "run", learner(rate=2.0))) == 2
    assert back.trained.provenance["data"] == data_fingerprint(sweep.data)
    back.save(tmp_path / "again")  # a loaded sweep hands on what it knows of its data
    assert vt.read(tmp_path / "again").trained.provenance["data"] == data_fingerprint(sweep.data)


def test_other_precision_is_named(run, x64):
    del x64
    with pytest.raises(
        ValueError, match=r"jax_enable_x64=False, here it is True; write jax\.config"
    ):
        vt.load(run, learner())


@pytest.mark.parametrize(
    ("x", "says"),
    [
        (X[list("dcba")], r"columns in another order than in training; give frame\[\['a', 'b'"),
        (X[["a", "b", "c"]], r"the frame 'x' lacks \['d'\]; give the columns"),
        (X.rename(columns={"a": "z"}), r"lacks \['a'\] and also has \['z'\]"),
        (X.to_numpy()[:, :3], r"shape \[48, 3\]; in training a row was \[4\]"),
        (X.to_numpy().astype(str), "of type <U"),
        ([[1.0, 2.0], [3.0]], "'x' holds rows of different shapes"),
        ({"z": X}, r"trained on the entries \['x', 'y'\], got \['z'\]"),
        ({"x": X, "y": np.full(48, 0.5)}, "'y' holds numbers that are not whole"),
        (np.full((2, 4), 1e300), "'x' holds 8 numbers beyond float32; look"),
        ({"x": X, "id": np.full(48, 2**40)}, "'id' holds 48 numbers beyond int32; look"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_rows_that_the_model_was_not_trained_on_are_named(sweep, x, says):
    with pytest.raises((TypeError, ValueError), match=says):
        sweep.predict(x)


def test_frames_arrays_and_other_byte_orders_predict_the_same(sweep, back):
    expected = sweep.predict(X)
    array = X.to_numpy()
    for x in (array, array.astype(">f8"), {"x": array.astype(">f4")}):
        np.testing.assert_allclose(sweep.predict(x), expected, rtol=1e-6)
    np.testing.assert_array_equal(back.predict(X), expected)
    with pytest.raises(ValueError, match="another order"):
        back.predict(X[list("dcba")])


def test_sets_with_other_columns_are_not_joined():
    train = arrays()
    with pytest.raises(ValueError, match=r"from_splits: valid: the frame 'x' .* another order"):
        vt.from_splits(train, {**train, "x": X[list("dcba")]})
    folds = vt.kfold(train, [(np.arange(24), np.arange(24, 48))])
    for kept in (folds, vt.standardize(folds, "x"), vt.standardize(data(), "x")):
        assert kept.columns == {"x": ("a", "b", "c", "d")}
