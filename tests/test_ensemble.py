"""Ensembles: the k best, and greedy selection."""

import flax.linen as nn
import jax
import numpy as np
import optax
import pytest
import sklearn.metrics as sk
from problems import LR, MLP, blobs, mlp_learner, quadratic
from sklearn.datasets import load_digits
from solo import plain_loop, xent

import vtune as vt

pytestmark = pytest.mark.slow

DATA = blobs(rows=200, features=4)
X, Y = np.asarray(DATA.arrays["x"]), np.asarray(DATA.arrays["y"])
VALID = np.asarray(DATA.valid)


@pytest.fixture(scope="module")
def sweep():
    learner = vt.flax_learner(
        lambda h: MLP(width=h["width"]),
        optimizer=lambda h: optax.adam(h["lr"]),
        loss=xent,
        metrics={"accuracy": vt.metrics.accuracy, "auc": vt.metrics.roc_auc("ovr")},
    )
    space = {**LR, "width": vt.Categorical([2, 3])}
    return vt.tune(
        learner, space, DATA, search=vt.Halton(10), epochs=4, batch_size=25, metric="loss"
    )


def log_loss(logits):
    return float(xent(logits, {"y": Y[VALID]}, None).mean())


def test_the_best_are_averaged(sweep):
    three = sweep.ensemble(3)
    assert [m.index for m in three.members] == sweep.ranking[:3].tolist()
    assert three.weights.tolist() == [1 / 3] * 3
    expected = np.mean([sweep.predict(X, int(i)) for i in sweep.ranking[:3]], axis=0)
    np.testing.assert_allclose(three.predict(X), expected, rtol=1e-5, atol=1e-6)
    assert three.score == pytest.approx(log_loss(expected[VALID]), rel=1e-5)
    one = sweep.ensemble(1)
    assert one.score == pytest.approx(sweep.best.score, rel=1e-5)
    assert "loss=" in repr(three)


def test_an_ensemble_predicts_what_plain_loops_do(x64):
    data = blobs(rows=100)
    optimizer = lambda h: optax.sgd(h["lr"])
    learner = vt.flax_learner(MLP(), optimizer=optimizer, loss=xent)
    sweep = vt.tune(learner, LR, data, search=vt.Halton(3), epochs=2, batch_size=25)
    both, x = sweep.ensemble(2), np.asarray(data.arrays["x"])
    train = plain_loop(lambda h: MLP(), optimizer)
    outputs = []
    for member in both.members:
        options = {"seed": 0, "id": member.index, "steps": 6, "batch_size": 25}
        variables, _, _ = train(member.hparams, data, **options)
        outputs.append(MLP().apply(variables, x))
    np.testing.assert_allclose(both.predict(x), np.mean(outputs, axis=0), atol=1e-9)


def test_probabilities_are_averaged_as_probabilities(sweep):
    three = sweep.ensemble("best", 3, combine="probabilities")
    each = [jax.nn.softmax(sweep.predict(X, int(i))) for i in sweep.ranking[:3]]
    np.testing.assert_allclose(np.exp(three.predict(X)), np.mean(each, axis=0), rtol=1e-4)
    assert three.score == pytest.approx(log_loss(three.predict(X)[VALID]), rel=1e-4)


@pytest.mark.parametrize("combine", ["outputs", "probabilities"])
def test_greedy_selection_is_the_slow_one(sweep, combine):
    """Every candidate tried in turn, with scikit-learn's score."""
    k = 5
    logits = np.stack([sweep.predict(X[VALID], i) for i in range(len(sweep))]).astype(np.float64)
    shares = logits if combine == "outputs" else np.asarray(jax.nn.softmax(logits, axis=-1))

    def score(members):
        mean = np.mean(shares[list(members)], axis=0)
        p = mean if combine == "probabilities" else np.asarray(jax.nn.softmax(mean, axis=-1))
        return -sk.log_loss(Y[VALID], p, labels=range(3))

    bag, scores = [], []
    for _ in range(k):
        bag.append(max(range(len(sweep)), key=lambda i: score([*bag, i])))
        scores.append(score(bag))
    bag = bag[: 1 + max(range(k), key=lambda n: (scores[n], n))]
    found = sweep.ensemble("greedy", k, combine=combine)
    counts = {i: bag.count(i) / len(bag) for i in bag}
    weights = dict(zip([m.index for m in found.members], found.weights, strict=True))
    assert weights == pytest.approx(counts)
    assert found.score == pytest.approx(-max(scores), rel=1e-4)
    assert found.score <= sweep.best.score + 1e-6  # never worse on the rows it was chosen by


def test_other_metrics_lead_too_and_rows_are_joined(sweep):
    learner = sweep.learner
    by_auc = vt.tune(
        learner,
        {**LR, "width": 2},
        DATA,
        search=vt.Halton(6),
        epochs=2,
        batch_size=25,
        metric="auc",
        mode="max",
    )
    greedy = by_auc.ensemble("greedy", 4)
    logits = np.asarray(greedy.predict(X[VALID]), np.float64)
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = sk.roc_auc_score(Y[VALID], p, multi_class="ovr")
    assert greedy.score == pytest.approx(expected, abs=1e-5)
    assert greedy.score >= by_auc.best.score - 1e-6


def test_diverged_and_dropped_members_are_left_out():
    learner = mlp_learner()
    given = [{"lr": lr} for lr in (0.05, 1e30, 0.08)]
    wild = vt.tune(
        learner,
        {"lr": vt.Float(1e-3, 1e30, log=True)},
        DATA,
        search=vt.Given(given),
        epochs=2,
        batch_size=25,
    )
    assert {m.index for m in wild.ensemble("greedy", 6).members} <= {0, 2}
    with pytest.raises(ValueError, match=r"3 members asked for, 2 have a finite score"):
        wild.ensemble(3)
    halved = vt.tune(
        learner, LR, DATA, search=vt.Halton(8), refiner=vt.Halving(2), epochs=4, batch_size=25
    )
    left = [m.index for m in halved if m.status == "completed"]
    assert {m.index for m in halved.ensemble("greedy", 4).members} <= set(left)


def test_a_loaded_sweep_is_given_its_data(sweep, tmp_path):
    sweep.save(tmp_path / "run")
    loaded = vt.load(tmp_path / "run", sweep.learner)
    with pytest.raises(ValueError, match=r"holds no data; give ensemble\(..., data=...\)"):
        loaded.ensemble(2)
    assert loaded.ensemble(2, data=DATA).score == pytest.approx(sweep.ensemble(2).score, rel=1e-6)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("most", 3), r"ensemble: kind='most' must be one of .* write ensemble\(5\) or"),
        (("greedy", 10**9), r"k=1000000000 picks are more than 10,000; give fewer"),
        (("greedy",), r"k=None must be a whole number"),
        ((0,), r"k=0 must be a whole number, 1 or more"),
        ((11,), r"11 members asked for, 10 have a finite score"),
    ],
)
def test_wrong_calls_are_named(sweep, arguments, says):
    with pytest.raises(ValueError, match=says):
        sweep.ensemble(*arguments)
    with pytest.raises(ValueError, match=r"combine='votes' must be one of"):
        sweep.ensemble(2, combine="votes")


def test_a_learner_that_cannot_judge_says_so():
    plain = vt.tune(quadratic(), LR, search=vt.Halton(2), steps=1)
    for data in (None, DATA):
        with pytest.raises(ValueError, match=r"this learner cannot judge outputs"):
            plain.ensemble(1, data=data)


def test_a_single_logit_has_probabilities_too():
    y = (Y > 0).astype(int)
    learner = vt.flax_learner(
        MLP(classes=1),
        optimizer=lambda h: optax.adam(h["lr"]),
        loss=lambda o, b, h: optax.sigmoid_binary_cross_entropy(o[:, 0], b["y"]),
        metrics={"accuracy": vt.metrics.accuracy},
    )
    sweep = vt.tune(
        learner,
        LR,
        vt.holdout({"x": X, "y": y}, seed=0),
        search=vt.Halton(3),
        epochs=1,
        batch_size=25,
    )
    both = sweep.ensemble(2, combine="probabilities")
    each = [jax.nn.sigmoid(m.predict(X)) for m in both.members]
    np.testing.assert_allclose(jax.nn.sigmoid(both.predict(X)), np.mean(each, 0), rtol=1e-4)


def test_labels_of_their_own_and_sure_logits():
    """Five yes-or-no labels a row are no classes; a logit of 30 comes back as it went."""
    y = np.stack([c == Y for c in (0, 1, 2, 1, 0)], axis=1).astype(np.int32)
    learner = vt.flax_learner(
        Sure(),
        optimizer=lambda h: optax.sgd(h["lr"]),
        loss=lambda o, b, h: optax.sigmoid_binary_cross_entropy(o, b["y"]),
    )
    data = vt.holdout({"x": X, "y": y}, seed=0)
    sweep = vt.tune(learner, LR, data, search=vt.Halton(2), epochs=1, batch_size=25)
    own = sweep.best.predict(X)
    assert float(own.max()) > 20
    back = sweep.ensemble(1, combine="probabilities").predict(X)
    np.testing.assert_allclose(back, own, rtol=1e-4, atol=1e-4)


class Sure(nn.Module):
    @nn.compact
    def __call__(self, x):
        return 10 * nn.Dense(5)(x)


class TwoHeads(nn.Module):
    @nn.compact
    def __call__(self, x):
        return {"logits": nn.Dense(3)(x), "spread": nn.Dense(1)(x)}


def test_models_of_several_outputs():
    learner = vt.flax_learner(
        TwoHeads(),
        optimizer=lambda h: optax.adam(h["lr"]),
        loss=lambda o, b, h: xent(o["logits"], b, h),
    )
    sweep = vt.tune(learner, LR, DATA, search=vt.Halton(3), epochs=2, batch_size=25)
    greedy = sweep.ensemble("greedy", 3)
    each = [m.predict(X) for m in greedy.members]
    mean = jax.tree.map(lambda *a: np.average(a, axis=0, weights=greedy.weights), *each)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    jax.tree.map(close, greedy.predict(X), mean)
    with pytest.raises(TypeError, match=r"needs one array of logits"):
        sweep.ensemble(2, combine="probabilities")


def test_greedy_selection_helps_on_rows_that_nobody_saw():
    """The mean over five seeds; one program for all."""
    x, y = load_digits(return_X_y=True)
    learner = vt.flax_learner(
        MLP(width=16, classes=10),
        optimizer=lambda h: optax.adam(h["lr"]),
        loss=xent,
        metrics={"accuracy": vt.metrics.accuracy},
    )
    best, together = [], []
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(len(x))
        seen, test = order[:1200], order[1200:]
        sweep = vt.tune(
            learner,
            LR,
            vt.holdout({"x": x[seen] / 16, "y": y[seen]}, fraction=0.25, seed=seed),
            search=vt.Halton(16),
            epochs=5,
            batch_size=32,
            metric="accuracy",
            seed=seed,
        )
        right = lambda out, test=test: np.mean(np.argmax(out, axis=-1) == y[test])
        best.append(right(sweep.predict(x[test] / 16)))
        together.append(right(sweep.ensemble("greedy", 8).predict(x[test] / 16)))
    assert np.mean(together) >= np.mean(best)
