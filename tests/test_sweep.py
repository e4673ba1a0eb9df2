"""Results: members, table, prediction, progress, Ctrl-C."""

import contextlib
import copy
import dataclasses
import json
import os
import pickle
import signal
import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
import pytest
from problems import LR, MLP, blobs, mlp_learner, quadratic
from solo import xent

import vtune as vt
from vtune.results.costs import costs_of

DATA = blobs()
SPACE = {**LR, "width": vt.Categorical([4, 8]), "note": "fixed"}


@pytest.fixture(scope="module")
def sweep():
    learner = vt.flax_learner(
        lambda h: MLP(width=h["width"] + 0 * len(h["note"])),
        optimizer=lambda h: optax.sgd(h["lr"]),
        loss=xent,
        metrics={"accuracy": vt.metrics.accuracy},
    )
    return vt.tune(
        learner,
        SPACE,
        DATA,
        search=vt.Random(7),
        epochs=3,
        batch_size=16,
        eval_batch_size=5,
        metric="accuracy",
        mode="max",
    )


def test_members_keep_their_order(sweep):
    assert len(sweep) == 7
    assert [m.index for m in sweep] == list(range(7))
    assert [m.hparams["width"] for m in sweep] == [4, 8, 4, 8, 4, 8, 4]
    assert list(sweep[0].hparams) == ["lr", "width", "note"]
    assert isinstance(sweep[0].hparams["lr"], float)
    assert sweep[-1].index == 6
    with pytest.raises(IndexError, match="no member 7: the sweep has 7"):
        sweep[7]


def test_variables_go_straight_into_apply(sweep):
    x = np.asarray(DATA.arrays["x"])
    for member in (sweep[0], sweep[1]):
        logits = MLP(width=member.hparams["width"]).apply(member.variables, x)
        np.testing.assert_allclose(member.predict(x), logits, atol=1e-6)


def test_history_is_the_score_on_the_validation_rows(sweep):
    valid = np.asarray(DATA.valid)
    x, y = (np.asarray(DATA.arrays[k])[valid] for k in "xy")
    assert list(sweep.history) == ["accuracy", "loss", "train/loss"]
    for member in sweep:
        logits = member.predict(x)
        accuracy = float(np.mean(np.argmax(logits, -1) == y))
        assert member.score == pytest.approx(accuracy, abs=1e-6)
        loss = float(np.mean(xent(logits, {"y": y}, None)))
        assert member.history["loss"][-1] == pytest.approx(loss, abs=1e-5)


def test_what_was_recorded_stays(sweep):
    for recorded in (sweep.history["loss"], sweep.settings["lr"], sweep.parents):
        with pytest.raises(ValueError, match="read-only"):
            recorded[0, 0] = 5


def test_best_has_the_best_last_score(sweep):
    last = sweep.history["accuracy"][-1]
    assert sweep.best.score == last.max()
    assert sweep.best.index == int(last.argmax())
    assert list(last[sweep.ranking]) == sorted(last, reverse=True)


def test_predict_takes_arrays_dicts_and_members(sweep):
    x = np.asarray(DATA.arrays["x"])[:13]
    best = sweep.predict(x)
    assert best.shape == (13, 3)
    np.testing.assert_array_equal(best, sweep.predict({"x": x}))
    np.testing.assert_array_equal(sweep.predict(x, member=3), sweep[3].predict(x))
    one = sweep.predict(x[:1])
    np.testing.assert_allclose(one, best[:1], atol=1e-6)
    with pytest.raises(ValueError, match="'x' holds 1 NaN"):
        sweep.predict(np.where(np.arange(6) == 2, np.nan, x[:1]))
    with pytest.raises(ValueError, match="all arrays must have the same number of rows"):
        sweep.predict({"x": x[:0]})
    with pytest.raises(ValueError, match=r"'x' has shape \[6\]; in training a row was \[6\]"):
        sweep.predict(x[0])
    with pytest.raises(TypeError, match=r"sweep.members\[:3\]"):
        sweep[:3]


def test_table_has_values_bests_and_status(sweep):
    table = sweep.table()
    assert list(table.columns) == [
        *("accuracy", "lr", "width", "note"),
        *("accuracy/best", "accuracy/best_round"),
        *("loss", "loss/best", "loss/best_round"),
        *("train/loss", "train/loss/best", "train/loss/best_round"),
        "status",
    ]
    for i in range(7):
        curve = sweep.history["loss"][:, i]
        assert table["loss"][i] == curve[-1]
        assert table["loss/best"][i] == curve.min()
        assert curve[table["loss/best_round"][i]] == curve.min()
        assert table["accuracy/best"][i] == sweep.history["accuracy"][:, i].max()
        assert table["status"][i] == "completed"
        assert table["lr"][i] == sweep[i].hparams["lr"]


def test_top_is_the_table_of_the_best(sweep):
    assert list(sweep.top(3).index) == list(sweep.ranking[:3])
    assert sweep.top(3)["accuracy"].is_monotonic_decreasing
    assert list(sweep.top(3)) == ["accuracy", "lr", "width", "note", "loss", "status"]
    with pd.option_context("display.width", 80, "display.max_columns", 0):  # as in a terminal
        assert "..." not in repr(sweep.top(3))
    assert "<table" in sweep._repr_html_()
    with pytest.raises(ValueError, match=r"top: n=0 must be a whole number"):
        sweep.top(0)


@pytest.mark.parametrize(
    ("names", "modes"),
    [
        (("accuracy", "params"), {}),
        (("train/loss", "accuracy/best", "flops"), {}),
        (("params", "loss"), {"loss": "max"}),
        (("width", "lr"), {"width": "min", "lr": "max"}),
    ],
)
def test_pareto_is_of_those_that_nobody_dominates(sweep, names, modes):
    front, table = sweep.pareto(*names, modes=modes or None), sweep.table()
    for cost in {"params", "flops"}.intersection(names):
        table[cost] = costs_of(sweep.trained, cost)
    best = {"accuracy/best": "max", "accuracy": "max"} | modes
    worth = np.array([table[n] if best.get(n) == "max" else -table[n] for n in names]).T
    beaten = [((worth >= w).all(axis=1) & (worth > w).any(axis=1)).any() for w in worth]
    assert sorted(front.index) == np.flatnonzero(~np.array(beaten)).tolist()
    for name in names:
        np.testing.assert_array_equal(front[name], table[name][front.index])
    assert (np.diff(worth[front.index][:, 0]) <= 0).all()
    others = [n for n in ("accuracy", "lr", "width", "note", "loss", "status") if n not in names]
    assert list(front) == [*names, *others]


def test_pareto_leaves_out_who_has_no_value(sweep):
    history = {name: values.copy() for name, values in sweep.history.items()}
    history["loss"][-1, [1, 3]] = np.nan, -np.inf
    records = sweep.trained.records._replace(history=history)
    own = SimpleNamespace(objectives=(("loss", "min"), (len, "min"), ("accuracy", "max")))
    holed = vt.Sweep(dataclasses.replace(sweep.trained, records=records, refiner=own))
    front = holed.pareto()
    assert list(front)[:2] == ["loss", "accuracy"]
    assert np.isfinite(front["loss"]).all()
    assert front.equals(holed.pareto("loss", "accuracy"))
    nothing = {name: values * np.nan for name, values in history.items()}
    records = sweep.trained.records._replace(history=nothing)
    empty = vt.Sweep(dataclasses.replace(sweep.trained, records=records))
    assert len(empty.pareto("loss", "accuracy")) == 0


@pytest.mark.parametrize(
    ("names", "modes", "says"),
    [
        ((), None, r"the sweep has no objectives of its own; name two or more.*'params', 'flops'"),
        (("loss",), None, r"'loss' alone; name two or more, such as sweep.pareto\("),
        (("loss", "acuracy"), None, r"'acuracy' is not one of .*; did you mean 'accuracy'\?"),
        (("loss", 3), None, r"3 is not a name; write sweep.pareto\("),
        ((["loss", "accuracy"],), None, r"\['loss', 'accuracy'\] is not a name"),
        (("loss", "loss"), None, r"\['loss', 'loss'\] has a name twice"),
        (
            ("loss", "width"),
            None,
            r"higher values of 'width' are better is not known; write mode",
        ),
        (("loss", "status"), {"status": "max"}, r"'status' holds 'completed', which is no number"),
        (("loss", "width"), {"lr": "max"}, r"modes= has 'lr', which is not one of \['loss', 'wid"),
        (("loss", "width"), {"width": "up"}, r"mode='up' must be \"max\""),
        (("loss", "width"), ("min", "max"), r"modes=\('min', 'max'\) must be a dict of names"),
    ],
)
def test_bad_paretos_are_named(sweep, names, modes, says):
    with pytest.raises((TypeError, ValueError), match=says):
        sweep.pareto(*names, modes=modes)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("best_params_", r"'Sweep' object has no attribute 'best_params_'; write sweep.best.hpar"),
        ("trials", r"write sweep.table\(\)"),
        ("to_pandas", r"write sweep.table\(\)"),
        ("score", r"write sweep.evaluate\(\)"),
        ("rankings", r"did you mean 'ranking'\?"),
        ("xyz", r"has no attribute 'xyz'$"),
    ],
)
def test_names_looked_for_are_answered(sweep, name, says):
    assert not hasattr(sweep, name)
    with pytest.raises(AttributeError, match=says):
        getattr(sweep, name)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("f1_score", "f1"),
        ("mean_squared_error", "mse"),
        ("AUC", "roc_auc"),
        ("mAP", "mean_average_precision"),
        ("mean_pinball_loss", "pinball_loss"),
        ("bpc", "bits_per_character"),
        ("Perplexity", "perplexity"),
        ("accurcy", "accuracy"),
    ],
)
def test_metrics_of_other_libraries_are_answered(name, meant):
    with pytest.raises(AttributeError, match=f"'{name}'; did you mean '{meant}'?"):
        getattr(vt.metrics, name)


def test_names_looked_for_on_a_member_are_answered(sweep):
    with pytest.raises(AttributeError, match=r'write member.hparams, or member.variables\["params'):
        sweep.best.params  # noqa: B018
    with pytest.raises(AttributeError, match=r"did you mean 'predict'"):
        sweep.best.predictt  # noqa: B018


LOOKUPS = {
    "history": (lambda s: s.history["acc"], r"'acc' is not one of \['accuracy', 'loss', 'train/"),
    "near": (lambda s: s.history["val_loss"], r"did you mean 'loss'\?"),
    "a member's history": (lambda s: s.best.history["acc"], r"did you mean 'accuracy'\?"),
    "settings": (lambda s: s.settings["learning_rate"], r"'learning_rate' is not one of \['lr'\]$"),
    "hparams": (
        lambda s: s.best.hparams["with"],
        r"of \['lr', 'width', 'note'\]; did you mean 'wi",
    ),
    "schedule": (lambda s: s.schedule(0)["l"], r"'l' is not one of .*; did you mean 'lr'\?"),
    "no text": (lambda s: s.history[0], r"^0 is not one of \['accuracy', 'loss', 'train/loss'\]$"),
}


@pytest.mark.parametrize("where", LOOKUPS)
def test_a_wrong_name_is_answered_with_those_there_are(sweep, where):
    call, says = LOOKUPS[where]
    with pytest.raises(KeyError, match=says):
        call(sweep)


def test_what_has_names_is_a_dict_still(sweep):
    history, hparams = sweep.history, sweep.best.hparams
    history["mine"] = history.pop("loss")  # one's own copy
    assert list(sweep.history) == ["accuracy", "loss", "train/loss"]
    assert json.dumps(hparams) == json.dumps(dict(hparams))
    for one in (hparams, pickle.loads(pickle.dumps(hparams)), copy.deepcopy(hparams)):
        assert one == dict(hparams)
        assert jax.tree.leaves(one) == jax.tree.leaves(dict(hparams))
    paths = lambda tree: [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(tree)]
    assert paths(hparams) == paths(dict(hparams))
    assert jax.tree.map(lambda leaf: leaf, hparams) == hparams
    assert sweep.history.get("acc") is None


def test_table_without_pandas_names_the_extra(sweep, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"pip install 'vtune\[plot\]'"):
        sweep.table()
    assert sweep._repr_html_() is None


def test_scores_may_be_a_function_of_the_metrics():
    sweep = vt.tune(
        mlp_learner(),
        LR,
        DATA,
        search=vt.Random(3),
        epochs=2,
        batch_size=16,
        metric=lambda m: m["accuracy"] - m["loss"],
        mode="max",
    )
    expected = sweep.history["accuracy"] - sweep.history["loss"]
    np.testing.assert_allclose(sweep.history["score"], expected, rtol=1e-6)
    assert sweep.best.score == sweep.history["score"][-1].max()


def test_a_union_of_spaces_shares_one_table():
    learner = vt.flax_learner(
        MLP(),
        optimizer=lambda h: (
            optax.sgd(h["lr"]) if h["kind"] == "sgd" else optax.adam(0.1, b1=h["b1"])
        ),
        loss=xent,
    )
    space = [{"kind": "sgd", **LR}, {"kind": "adam", "b1": vt.Float(0.5, 0.9)}]
    sweep = vt.tune(learner, space, DATA, search=vt.Random(4), epochs=1, batch_size=16)
    assert [m.hparams["kind"] for m in sweep] == ["sgd", "adam", "sgd", "adam"]
    assert list(sweep.table()["b1"].isna()) == [True, False, True, False]
    assert "b1" not in sweep[0].hparams


def test_members_of_unlike_batch_size_see_the_same_epochs():
    space = {**LR, "rows": vt.Categorical([8, 16])}
    seen = {}
    learner = mlp_learner(
        optimizer=lambda h: (
            seen.setdefault(h["rows"], (h["total_steps"], h["steps_per_epoch"]))
            and optax.sgd(h["lr"])
        )
    )
    vt.tune(learner, space, DATA, search=vt.Random(2), epochs=3, batch_size=lambda h: h["rows"])
    rows = len(DATA.train)
    assert seen == {8: (3 * (rows // 8), rows // 8), 16: (3 * (rows // 16), rows // 16)}


def test_rows_metrics_see_every_row_in_order():
    """A metric that needs all rows at once: parts inside vt.metrics.PerRow are concatenated."""

    def measure(outputs, batch, weight):
        return {
            "all": vt.metrics.PerRow((outputs[:, 0], weight)),
            "sum": jnp.sum(outputs[:, 0] * weight),
        }

    def score(totals):
        values, weight = totals["all"].value
        return jnp.stack([jnp.sum(values * weight), totals["sum"], jnp.sum(weight)])

    learner = mlp_learner(metrics={"check": vt.metrics.Metric(measure, score)})
    sweep = vt.tune(
        learner, LR, DATA, search=vt.Random(3), epochs=2, batch_size=16, eval_batch_size=7
    )
    check = sweep.history["check"]
    assert check.shape == (2, 3, 3)
    np.testing.assert_allclose(check[..., 0], check[..., 1], rtol=1e-5)
    assert np.all(check[..., 2] == len(DATA.valid))
    assert "check" not in sweep.table().columns  # no scalar


def test_eval_batch_size_changes_no_score():
    scores = [
        vt.tune(
            mlp_learner(), LR, DATA, search=vt.Random(2), epochs=1, batch_size=16, eval_batch_size=n
        ).history["loss"]
        for n in (7, 1000)
    ]
    np.testing.assert_allclose(*scores, rtol=1e-5)


def test_progress_shows_compile_and_run_time_apart(capsys):
    learner, space = quadratic(), {"lr": vt.Float(0, 1)}
    options = {"search": vt.Random(3), "steps": 4, "rounds": 4}
    vt.tune(learner, space, progress=True, **options)
    shown = capsys.readouterr().err
    assert "3 members, 4 rounds: compiled in " in shown
    assert " ran in " in shown
    assert "best loss " in shown
    vt.tune(learner, space, progress=False, **options)
    assert capsys.readouterr().err == ""


def test_ctrl_c_keeps_the_rounds_done(monkeypatch):
    from vtune.runtime import segments
    from vtune.tuning import launch

    monkeypatch.setattr(segments, "SEGMENT_SECONDS", 0.0)
    calls = []

    def report(phase, done, best):
        calls.append(done)
        if phase == "run" and done == 2:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(launch, "reporter", lambda *_: contextlib.nullcontext(report))
    before = signal.getsignal(signal.SIGINT)
    with pytest.warns(UserWarning, match="interrupted: 3 of 9 rounds were run"):
        sweep = vt.tune(
            quadratic(), {"lr": vt.Ordinal([0.5, 0.25])}, search=vt.Grid(), steps=9, rounds=9
        )
    assert signal.getsignal(signal.SIGINT) is before
    np.testing.assert_allclose(sweep.history["loss"][:, 0], 0.5 * 0.25 ** np.arange(1, 4))
    assert sweep.best.hparams["lr"] == 0.5
    assert sweep[1].status == "interrupted after round 2"
    assert float(sweep.rerun(1).variables) == float(sweep[1].variables)  # as far as it came


def test_a_hyperparameter_may_be_called_like_a_metric():
    losses = {
        "mse": lambda o, y: jnp.square(o - y).mean(-1),
        "mae": lambda o, y: jnp.abs(o - y).mean(-1),
    }
    learner = mlp_learner(
        loss=lambda o, b, h: losses[h["loss"]](o, jax.nn.one_hot(b["y"], 3)), metrics={}
    )
    space = {**LR, "loss": vt.Categorical(["mse", "mae"])}
    table = vt.tune(learner, space, DATA, search=vt.Random(2), epochs=1, batch_size=16).table()
    assert list(table["hparams/loss"]) == ["mse", "mae"]
    assert table["loss"].dtype == np.float32


def test_step_metrics_are_means_of_any_type():
    learner = quadratic()._replace(
        init=lambda key, h, batch: jnp.int32(0),
        step=lambda key, h, n, batch: (n + 1, {"even": n % 4 == 0, "byte": jnp.uint8(200)}),
        measure=lambda key, h, n, batch, weight: jnp.float32(0),
    )
    with pytest.warns(UserWarning, match="never read"):
        sweep = vt.tune(learner, {"lr": 0.1}, search=vt.Random(1), steps=8, rounds=2)
    assert list(sweep.history["train/even"][:, 0]) == [0.25, 0.25]
    assert list(sweep.history["train/byte"][:, 0]) == [200, 200]


def test_learners_without_predict_say_so():
    sweep = vt.tune(quadratic(), {"lr": vt.Float(0, 1)}, search=vt.Random(2), steps=2)
    with pytest.raises(ValueError, match="has no predict function"):
        sweep.predict(np.zeros(3))
    assert sweep[0].variables == sweep[0].state
    assert jax.tree.leaves(sweep[0].state)[0].shape == ()


def test_the_best_value_of_a_column_is_finite():
    learner = vt.Learner(
        init=lambda key, h, batch: jnp.zeros(()),
        step=lambda key, h, x, batch: (x + 1, {}),
        measure=lambda key, h, x, batch, weight: jnp.where(x == h["at"], jnp.inf, x),
        score=lambda total: {"s": total, "unsaid": total, "val_error": total},
        variables=lambda x: x,
    )
    space = {"at": vt.Ordinal([1, 2, 9])}
    sweep = vt.tune(learner, space, search=vt.Grid(), steps=3, rounds=3, metric="s", mode="max")
    assert np.isinf(sweep.history["s"]).sum() == 2
    table = sweep.table()
    assert table["s/best"].tolist() == [3.0, 3.0, 3.0]
    assert table["s/best_round"].tolist() == [2, 2, 2]
    assert table["val_error/best"].tolist() == [2.0, 1.0, 1.0]  # lower is better
    assert "unsaid" in table
    assert "unsaid/best" not in table
