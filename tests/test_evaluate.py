"""Test rows, which neither train nor choose; members scored on them, and winners trained again."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import LR, MLP, quadratic
from solo import xent

import vtune as vt
from vtune.data.draw import draw_groups
from vtune.results import evaluation
from vtune.results.trained import Trained
from vtune.runtime import processes

pytestmark = pytest.mark.slow

RNG = np.random.default_rng(0)
ROWS = 90
Y = RNG.integers(0, 3, ROWS)
X = (RNG.normal(size=(3, 6))[Y] * 2 + RNG.normal(size=(ROWS, 6)) + 5).astype(np.float32)
ARRAYS = {"x": X, "y": Y, "z": np.where(np.arange(ROWS) % 4 == 0, 9, Y).astype(np.uint8)}
METRICS = {
    "accuracy": vt.metrics.accuracy,
    "matrix": vt.metrics.confusion_matrix,
    "marked": vt.metrics.accuracy(target="z", ignore=9),
}
LEARNER = vt.flax_learner(
    lambda h: MLP(width=h["width"]),
    optimizer=lambda h: optax.sgd(h["lr"]),
    loss=xent,
    metrics=METRICS,
)
SPACE = {"lr": vt.Float(1e-3, 1e30, log=True), "width": vt.Categorical([4, 8])}
SETTINGS = [{"lr": lr, "width": w} for lr, w in ((0.3, 4), (1e30, 4), (0.1, 8), (0.01, 8))]
OPTIONS = {"epochs": 2, "batch_size": 16, "eval_batch_size": 11, "metric": "accuracy"}


def held_out(arrays=ARRAYS):
    return vt.standardize(vt.holdout(arrays, 0.3, test=0.2, stratify="y"), "x")


def tuned(data, **options):
    return vt.tune(LEARNER, SPACE, data, **{"search": vt.Given(SETTINGS), **OPTIONS, **options})


def on(rows, arrays=ARRAYS):
    return {name: values[rows] for name, values in arrays.items()}


@pytest.fixture(scope="module")
def sweep():
    return tuned(held_out())


@pytest.fixture(scope="module")
def folded():
    """Two folds, two seeds, two of the four members dropped."""
    data = vt.standardize(vt.kfold(ARRAYS, 2, test=0.2), "x")
    learner = vt.flax_learner(
        MLP(), optimizer=lambda h: optax.sgd(h["lr"]), loss=xent, metrics=METRICS
    )
    return vt.tune(
        learner,
        LR,
        data,
        search=vt.Random(4),
        refiner=vt.Halving(2),
        seeds=2,
        **{**OPTIONS, "metric": "marked"},
    )


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda sweep, x: sweep.evaluate(), "evaluate: called in a function"),
        (lambda sweep, x: sweep.rerun(0), "called in a function"),
        (lambda sweep, x: sweep.retrain(1, 2), "called in a function"),
        (lambda sweep, x: sweep.ensemble(1), "ensemble: called in a function"),
        (lambda sweep, x: vt.extend(sweep, epochs=1), "extend: called in a function"),
        (lambda sweep, x: sweep.predict(x), "predict: x= holds arrays"),
    ],
    ids=["evaluate", "rerun", "retrain", "ensemble", "extend", "predict"],
)
def test_where_jax_traces_it_is_said_at_once(sweep, call, says, refused):
    with refused(TypeError, f"{says} that JAX traces; vtune compiles and runs programs of its own"):
        jax.jit(lambda x: call(sweep, x))(X)


# rows ----------------------------------------------------------------------------------------


def parts_of(data):
    return [np.asarray(rows).tolist() for rows in (data.train, data.valid, data.test)]


def test_every_row_is_in_one_part():
    for data in (
        vt.holdout(ARRAYS, 0.3, test=0.2),
        vt.holdout(ARRAYS, 0.3, test=0.2, stratify="y"),
    ):
        train, valid, test = parts_of(data)
        assert sorted(train + valid + test) == list(range(ROWS))
        assert (len(valid), len(test)) == (27, 18)
        assert repr(data).endswith("train 45 rows, valid 27, test 18)")
    counts = [np.bincount(Y[rows]) / len(rows) for rows in (train, valid, test)]
    np.testing.assert_allclose(counts[1:], [counts[0]] * 2, atol=0.05)


def test_validation_rows_are_the_same_with_and_without_a_test():
    for stratify in (None, "y"):
        with_test = vt.holdout(ARRAYS, 0.3, 5, stratify, test=0.2)
        without = vt.holdout(ARRAYS, 0.3, 5, stratify)
        np.testing.assert_array_equal(with_test.valid, without.valid)
        assert without.test is None


def test_splits_of_ones_own_take_a_test_set():
    data = vt.from_splits(on(slice(0, 40)), on(slice(40, 70)), test=on(slice(70, ROWS)))
    assert parts_of(data) == [list(range(40)), list(range(40, 70)), list(range(70, ROWS))]
    np.testing.assert_array_equal(data.arrays["x"], X)
    with pytest.raises(ValueError, match=r"'x' is .* in train and .*\[5\] in test; make them"):
        vt.from_splits(on(slice(0, 9)), on(slice(0, 9)), test={**ARRAYS, "x": X[:, :5]})


def test_folds_leave_the_test_rows_out():
    groups = np.arange(ROWS) // 5
    for options in ({}, {"stratify": "y"}, {"groups": groups}):
        data = vt.kfold(ARRAYS, 3, test=0.2, **options)
        assert len(data.test) in range(18, 23)
        held = np.concatenate([data.fold(i)[1] for i in range(3)])
        assert sorted([*held, *data.test]) == list(range(ROWS))
        assert all(not np.isin(data.fold(i)[0], data.test).any() for i in range(3))
    assert not np.isin(groups[data.test], groups[held]).any()
    for same in (data, vt.standardize(data, "x")):
        assert repr(same).endswith("test 20)")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: vt.holdout(ARRAYS, test=1.5), r"test=1.5 must lie between 0 and 1"),
        (lambda: vt.holdout(ARRAYS, 0.5, test=0.5), r"cannot be split into 45 .* 45 to test"),
        (lambda: vt.kfold(ARRAYS, 3, test=0), r"test=0 must lie between 0 and 1"),
        (lambda: vt.kfold(ARRAYS, [([0], [1])], test=0.2), r"test= needs a number k"),
        (
            lambda: vt.kfold(ARRAYS, 3, groups=[0] * (ROWS - 2) + [1, 2], test=0.2),
            r"takes 2 of 90 rows, .* and leaves 1 of the groups for 3 folds; take a smaller",
        ),
        (lambda: rare(1, stratify="y"), r"label 7 occurs once; stratify= needs two of each, one"),
        (
            lambda: rare(2, stratify="y", test=0.2),
            r"label 7 occurs twice; stratify= needs three of",
        ),
    ],
)
def test_wrong_shares_are_named(make, says):
    with pytest.raises(ValueError, match=says):
        make()


def rare(count, **options):
    return vt.holdout({"y": np.where(np.arange(ROWS) < count, 7, Y)}, 0.4, **options)


def test_shares_do_not_depend_on_chance():
    groups = np.repeat(np.arange(11), [60, *[3] * 10])
    for seed in range(20):
        drawn = draw_groups(np.random.default_rng(seed), groups, 18)
        assert len(drawn) == 18
        assert not np.isin(groups[drawn], np.delete(groups, drawn)).any()
        assert len(rare(3, stratify="y", test=0.2, seed=seed).test) == 18
    few = draw_groups(np.random.default_rng(0), np.repeat([0, 1], [9, 4]), 2)
    assert few.tolist() == [9, 10, 11, 12]


def test_scaling_never_looks_at_test_rows():
    for make in (held_out, lambda a: vt.standardize(vt.kfold(a, 3, test=0.2), "x")):
        data = make(ARRAYS)
        spoilt = X.copy()
        spoilt[data.test] = 1e6
        again = make({**ARRAYS, "x": spoilt})
        jax.tree.map(np.testing.assert_array_equal, again.scaling["x"], data.scaling["x"])
        np.testing.assert_array_equal(again.test, data.test)
        replaced = again.replace(again.arrays, again.scaling)
        np.testing.assert_array_equal(replaced.test, data.test)


def test_predictions_of_a_scaled_entry_come_back_in_its_units():
    when = 1.7e9 + 100.0 * X.astype(np.float64)
    for make in (held_out, lambda a: vt.standardize(vt.kfold(a, 3, test=0.2), "x")):
        data = make({**ARRAYS, "x": when})
        for fold in range(3) if data.folded else (None,):
            scaled = data.scale({"x": when}, *(() if fold is None else (fold,)))["x"]
            for held in (scaled, jnp.asarray(scaled), scaled.tolist()):
                np.testing.assert_allclose(data.unscale("x", held, fold), when, rtol=0, atol=1e-3)
            traced = jax.jit(lambda v, d=data, fold=fold: d.unscale("x", v, fold))(scaled)
            np.testing.assert_allclose(traced, when, rtol=1e-6)
        with pytest.raises(ValueError, match=r"unscale: 'y' is not scaled; those are \['x'\]"):
            data.unscale("y", Y)
    for fold in (None, 3, -1):
        with pytest.raises(ValueError, match=rf"each fold; say which of 0 to 2, got fold={fold}"):
            data.unscale("x", scaled, fold)


def test_test_rows_never_reach_training_or_validation(sweep, compilations):
    spoilt = {**ARRAYS, "x": X.copy(), "y": Y.copy()}
    spoilt["x"][sweep.data.test] = -1e4
    spoilt["y"][sweep.data.test] = 0
    data = held_out(ARRAYS)
    replaced = dict(data.arrays) | {"y": jax.device_put(spoilt["y"].astype(np.int32))}
    replaced["x"] = jax.device_put(
        np.where(np.isin(np.arange(ROWS), data.test)[:, None], 1e4, data.arrays["x"])
    )
    with compilations() as seen:
        other = tuned(data.replace(replaced, data.scaling, {}).with_test(data.test))
    assert seen.count == 0
    for name, values in sweep.history.items():
        np.testing.assert_array_equal(values, other.history[name])
    assert not np.array_equal(sweep.evaluate()["loss"], other.evaluate()["loss"])


# scores ----------------------------------------------------------------------------------------


def test_members_are_scored_on_the_test_rows(sweep):
    scores, test = sweep.evaluate(), sweep.data.test
    best = sweep.best.index
    said = f"the best, member {best}: accuracy {scores['accuracy'][best]:.4g})"
    assert (
        repr(scores) == f"Evaluation(4 members on 18 rows: accuracy, loss, marked, matrix; {said}"
    )
    assert scores["matrix"].shape == (4, 3, 3)
    kept = ARRAYS["z"][test] != 9
    for member in sweep:
        if member.status != "completed":
            continue
        out = np.asarray(member.predict(X[test]))
        right = out.argmax(-1) == Y[test]
        assert scores["accuracy"][member.index] == pytest.approx(right.mean(), abs=1e-6)
        assert scores["marked"][member.index] == pytest.approx(right[kept].mean(), abs=1e-6)
        assert scores["matrix"][member.index].sum() == len(test)
        loss = np.mean(xent(out, {"y": Y[test]}, None))
        assert scores["loss"][member.index] == pytest.approx(float(loss), abs=1e-5)
    assert sweep[1].status.startswith("diverged")
    assert all(np.isnan(values[1]).all() for values in scores.values())
    table = scores.table()
    assert list(table.columns) == ["accuracy", "loss", "marked"]
    np.testing.assert_array_equal(table["loss"], scores["loss"])
    with pytest.raises(KeyError, match=r"'acc' is not one of \['accuracy'"):
        scores["acc"]


def test_new_rows_are_scored_as_recorded(sweep, compilations):
    valid = np.asarray(sweep.data.valid)
    scores = sweep.evaluate(on(valid))
    for name in ("accuracy", "loss", "marked", "matrix"):
        np.testing.assert_allclose(scores[name], sweep.history[name][-1], atol=1e-6)
    with compilations() as seen:
        again = sweep.evaluate({name: values[valid] for name, values in ARRAYS.items()})
    assert seen.count == 0
    np.testing.assert_array_equal(again["loss"], scores["loss"])


def loaded(sweep):
    """The sweep as `vt.load` gives it, without its data."""
    assert isinstance(sweep.trained, Trained)
    return vt.Sweep(dataclasses.replace(sweep.trained, data=None))


def test_a_loaded_sweep_takes_data(sweep, folded):
    for one in (sweep, folded):
        np.testing.assert_array_equal(
            loaded(one).evaluate(one.data)["loss"], one.evaluate()["loss"]
        )
        rows = on(one.data.test)
        np.testing.assert_allclose(
            loaded(one).evaluate(rows)["loss"], one.evaluate()["loss"], atol=1e-6
        )


def test_one_of_several_processes_scores_a_loaded_sweep_alone(sweep, monkeypatch):
    """With its own device: a program of all devices would wait for the others."""
    plans, program = [], evaluation._program
    as_read = [jax.tree.map(np.asarray, population) for population in sweep.trained.populations]
    trained = dataclasses.replace(sweep.trained, data=None, populations=tuple(as_read))
    monkeypatch.setattr(processes, "several", lambda: True)
    spied = lambda plan, held: (plans.append(plan), program(plan, held))[1]
    monkeypatch.setattr(evaluation, "_program", spied)
    scores = vt.Sweep(trained).evaluate(sweep.data)
    np.testing.assert_allclose(scores["loss"], sweep.evaluate()["loss"], atol=1e-6)
    assert [plan.layout.devices for plan in plans] == [1, 1]


def test_folds_and_seeds_are_scored_each(folded):
    scores, test = folded.evaluate(), folded.data.test
    assert [m.status.startswith("dropped") for m in folded].count(True) == 2
    assert list(folded.top(1)) == ["marked", "marked/std", "lr", "accuracy", "loss", "status"]
    assert np.isnan(scores["marked"]).sum() == 2
    kept = ARRAYS["z"][test] != 9
    for member in folded:
        if member.status == "completed":
            right = np.asarray(member.predict(X[test])).argmax(-1) == Y[test]
            expected = right[..., kept].mean(-1)
            splits = scores["marked/splits"][member.index]
            np.testing.assert_allclose(splits, expected, atol=1e-6)
            assert scores["marked"][member.index] == pytest.approx(expected.mean(), abs=1e-6)
            assert scores.table()["marked/std"][member.index] == pytest.approx(expected.std())
    for fold in range(2):  # and in training the marked rows did not count either
        valid = folded.data.fold(fold)[1]
        valid = valid[ARRAYS["z"][valid] != 9]
        right = np.asarray(folded.best.predict(X[valid])).argmax(-1)[fold] == Y[valid]
        recorded = folded.best.history["marked/splits"][-1, fold]
        np.testing.assert_allclose(recorded, right.mean(-1), atol=1e-6)


FAR = X.astype(np.float64) * 1e300


def unchecked(sweep):
    """The same sweep with metrics that check no labels."""
    trained = sweep.trained
    learner = trained.plan.learner._replace(check=None)
    plan = dataclasses.replace(trained.plan, learner=learner)
    return vt.Sweep(dataclasses.replace(trained, plan=plan))


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda s, f: s.evaluate({"x": X, "y": Y}), ValueError, r"\['z'\] is missing; give all"),
        (lambda s, f: s.evaluate({**ARRAYS, "x": X[:, :5]}), ValueError, r"'x' has shape \[90, 5"),
        (lambda s, f: s.evaluate({**ARRAYS, "y": Y + 7}), ValueError, r"labels .* run from 7 to 9"),
        (
            lambda s, f: unchecked(s).evaluate({**ARRAYS, "y": Y + 7}),
            ValueError,
            r"batch\['y'\] runs from 7 to 9 and indexes an axis of length 3",
        ),
        (
            lambda s, f: s.evaluate({**ARRAYS, "y": Y + 0.5}),
            TypeError,
            r"evaluate: 'y' holds numbers that are not whole",
        ),
        *(
            (lambda s, f, i=i: (s, f)[i].evaluate({**ARRAYS, "x": FAR}), ValueError, says)
            for i, says in enumerate(
                (r"numbers beyond float32 once it is scaled", r"540 numbers beyond float32; look")
            )
        ),
        (lambda s, f: s.predict(FAR), ValueError, r"predict: 'x' .* beyond float32 once"),
        (lambda s, f: s.evaluate(X), TypeError, r"ndarray is neither a vt.Data nor a dict"),
        (lambda s, f: s.evaluate(vt.holdout(ARRAYS)), ValueError, r"no test rows; hold some out"),
        (lambda s, f: s.evaluate(f.data), ValueError, r"have 2 folds, .* with no folds"),
        (
            lambda s, f: s.evaluate(vt.holdout(ARRAYS, test=0.1)),
            ValueError,
            r"trained on data whose 'x' was scaled",
        ),
        (lambda s, f: loaded(s).evaluate(), ValueError, r"a loaded sweep holds no data"),
        (lambda s, f: loaded(s).retrain(1), ValueError, r"retrain: a loaded sweep holds no data"),
        (lambda s, f: s.retrain(4), ValueError, r"top=4, but 3 members trained to the end"),
        (lambda s, f: s.retrain(0), ValueError, r"top=0 must be a whole number"),
        (lambda s, f: s.retrain(seeds=0), ValueError, r"seeds=0 must be a whole number"),
        (lambda s, f: s.retrain(2, seed=0), ValueError, r"seed=0 is the search's own"),
    ],
)
def test_what_cannot_be_scored_or_retrained_is_named(sweep, folded, call, error, says):
    with pytest.raises(error, match=says):
        call(sweep, folded)


# winners ---------------------------------------------------------------------------------------


def test_winners_are_trained_again_over_fresh_seeds(sweep, compilations):
    again = sweep.retrain(top=2, seeds=3)
    first, second = sweep.ranking[:2]
    assert again.members == (first, second)
    assert {sweep[i].hparams["width"] for i in again.members} == {4, 8}  # both structures
    np.testing.assert_array_equal(again.searched, sweep.scores[[first, second]])
    settings = [sweep[i].hparams for i in again.members]
    with compilations() as seen:
        by_hand = tuned(sweep.data, search=vt.Given(settings), seeds=3, seed=1)
    assert seen.count == 0
    for name, values in by_hand.history.items():
        np.testing.assert_array_equal(again.sweep.history[name], values)
    table = again.table()
    assert list(table.columns) == [
        *("accuracy", "accuracy/std", "test/accuracy", "test/accuracy/std"),
        *("searched", "lr", "width"),
    ]
    assert table["accuracy"].is_monotonic_decreasing
    splits = again.sweep.history["accuracy/splits"][-1, :, 0]
    np.testing.assert_allclose(table["accuracy"].loc[list(again.members)], splits.mean(1))
    np.testing.assert_allclose(table["accuracy/std"].loc[list(again.members)], splits.std(1))
    tested = again.sweep.evaluate()["accuracy"]
    np.testing.assert_array_equal(table["test/accuracy"].loc[list(again.members)], tested)
    assert repr(again).startswith("Retrained(members [")
    assert "<table" in again._repr_html_()


def test_winners_of_a_refined_search_are_trained_on_their_schedules():
    space = {"lr": vt.Float(0.01, 0.5), "train/loss": vt.Categorical(["a", "b"])}
    options = {"search": vt.Random(12), "steps": 8, "rounds": 4, "refiner": vt.PBT()}
    with pytest.warns(UserWarning, match="'train/loss' in the space: never read"):
        sweep = vt.tune(quadratic(), space, **options)
    kinds = [sweep[i].hparams["train/loss"] for i in sweep.ranking]
    top = next(i for i, kind in enumerate(kinds) if kind != kinds[0])
    assert top > 1
    assert np.ptp(sweep.schedule(int(sweep.ranking[0]))["lr"]) > 0
    again = sweep.retrain(top=top, seeds=1)
    np.testing.assert_allclose(  # nothing is drawn but the settings
        again.sweep.history["loss"][-1], sweep.history["loss"][-1][list(again.members)], rtol=1e-6
    )
    assert again.test is None
    assert again.table()["loss/std"].tolist() == [0] * top
    assert list(again.table())[3:] == ["lr", "hparams/train/loss"]  # as in the sweep's table
    with pytest.raises(ValueError, match=r"the learner makes its own data"):
        sweep.evaluate()
    with pytest.raises(ValueError, match=r"retrain: the sweep was trained without data"):
        sweep.retrain(data=held_out())
    with pytest.raises(ValueError, match=r"of 2 structures; take fewer"):
        sweep.retrain(top=12)
