"""Folds and seeds: each training equals a plain loop on its fold; members move as one."""

import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import LR, MLP, mlp_learner, quadratic
from sklearn import model_selection
from solo import largest_difference, plain_loop, xent

import vtune as vt

pytestmark = pytest.mark.slow

SETTINGS = {"lr": vt.Float(0.01, 0.3, log=True), "rate": vt.Float(0.0, 0.5)}


class Net(nn.Module):
    """With batch statistics (their momentum exact in float32, which Flax begins in), dropout."""

    rate: object

    @nn.compact
    def __call__(self, x, train=False):
        like = {"dtype": x.dtype, "param_dtype": x.dtype}
        x = nn.Dense(6, use_bias=False, **like)(x)
        x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.5, **like)(x))
        x = vt.nn.Dropout(self.rate)(x, deterministic=not train)
        return nn.Dense(3, **like)(x)


class Times(nn.Module):
    """x times a weight, which is 1."""

    @nn.compact
    def __call__(self, x):
        return x * self.param("w", nn.initializers.ones, ())


def arrays(rows=67, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, rows)
    x = rng.normal(size=(3, 5))[y] * 1.5 + rng.normal(size=(rows, 5))
    return {"x": x, "y": y}


def net_learner(**options):
    return vt.flax_learner(
        lambda h: Net(h["rate"]),
        optimizer=momentum,
        loss=xent,
        metrics={"accuracy": vt.metrics.accuracy},
        **options,
    )


def tune(learner, space, data, n=3, **options):
    options = {"epochs": 3, "batch_size": 8, "metric": "accuracy", **options}
    return vt.tune(learner, space, data, search=vt.Halton(n), **options)


def momentum(h):
    return optax.sgd(h["lr"], momentum=0.9)


NET = net_learner()
NET_LOOP = plain_loop(lambda h: Net(h["rate"]), momentum, "train")
PLAIN = mlp_learner()


def scaled_folds(own=None):
    """Four unequal folds (17, 17, 17, 16 rows held out) of scaled rows."""
    return vt.standardize(vt.kfold(own or arrays(), 4, seed=1), "x")


def same(a, b):
    pairs = zip(*(jax.tree.leaves([m.variables for m in s.members]) for s in (a, b)), strict=True)
    return all(np.array_equal(x, y) for x, y in pairs)


# A training equals a plain loop ---------------------------------------------------------------


@pytest.mark.usefixtures("x64")
def test_each_training_equals_a_plain_loop_on_its_fold():
    data = scaled_folds()
    assert sorted(data.valid_sizes) == [16, 17, 17, 17]
    sweep = tune(NET, SETTINGS, data, seeds=2, seed=5, eval_batch_size=6)
    for member in (sweep[0], sweep[2]):
        scores = member.history["accuracy/splits"][-1]
        for fold, repeat in [(0, 0), (3, 1), (2, 0)]:
            variables, losses, metrics = NET_LOOP(
                member.hparams, data, seed=5, id=member.index, steps=3 * (50 // 8),
                batch_size=8, fold=fold, repeat=repeat,
            )  # fmt: skip
            own = jax.tree.map(lambda a, f=fold, r=repeat: a[f, r], member.variables)
            assert largest_difference(own, variables) < 1e-9
            np.testing.assert_allclose(scores[fold, repeat], metrics["accuracy"], atol=1e-9)
            each = member.history["train/loss/splits"][:, fold, repeat]
            np.testing.assert_allclose(each, np.reshape(losses, (3, -1)).mean(1), atol=1e-9)
        np.testing.assert_allclose(member.score, scores.mean(), atol=1e-12)


@pytest.mark.usefixtures("x64")
def test_whatever_the_layout():
    """Which never looks at the model, so that a small one will do."""
    data = scaled_folds()
    options = {"seeds": 2, "epochs": 2, "eval_batch_size": 6}
    expected = tune(PLAIN, LR, data, **options)
    for layout in ("vmap", 2, vt.Layout(1, devices=1)):
        sweep = tune(PLAIN, LR, data, layout=layout, **options)
        for name, values in expected.history.items():
            np.testing.assert_allclose(sweep.history[name], values, rtol=1e-9)
        for one, other in zip(sweep, expected, strict=True):
            assert largest_difference(one.variables, other.variables) < 1e-9


@pytest.mark.usefixtures("x64")
def test_seeds_without_folds_share_the_rows_of_the_plain_rule():
    data = vt.holdout(arrays(), seed=3)
    sweep = tune(PLAIN, LR, data, seeds=3)
    loop = plain_loop(lambda h: MLP(), lambda h: optax.sgd(h["lr"]))
    for repeat in range(3):
        variables, _, _ = loop(
            sweep[1].hparams, data, seed=0, id=1, steps=3 * (54 // 8), batch_size=8, repeat=repeat
        )
        own = jax.tree.map(lambda a, r=repeat: a[0, r], sweep[1].variables)
        assert largest_difference(own, variables) < 1e-9
    assert sweep.history["accuracy/splits"].shape == (3, 3, 1, 3)
    one = tune(PLAIN, LR, data, seeds=1)
    assert "accuracy/splits" not in one.history  # a single training, as without seeds=


def test_learners_that_make_their_own_data_take_seeds():
    sweep = vt.tune(quadratic(), LR, search=vt.Halton(4), steps=5, seeds=2)
    lr = sweep.settings["lr"][0]
    np.testing.assert_allclose(sweep.history["loss"][0], (1 - lr) ** 10 / 2, rtol=1e-5)
    assert sweep.history["loss/splits"].shape == (1, 4, 1, 2)


@pytest.mark.usefixtures("x64")
def test_metrics_that_need_all_rows_see_those_of_their_fold_only():
    """ROC-AUC keeps rows; what fills up the smaller folds weighs nothing."""
    from sklearn.metrics import roc_auc_score

    own = arrays()
    own["y"] = (own["y"] > 0).astype(np.int32)
    learner = vt.flax_learner(
        MLP(classes=2), optimizer=lambda h: optax.sgd(h["lr"]), loss=xent,
        metrics={"auc": vt.metrics.roc_auc},
    )  # fmt: skip
    data = vt.kfold(own, 4, stratify="y")
    sweep = tune(learner, LR, data, metric="auc", eval_batch_size=5)
    for fold in range(4):
        rows = data.fold(fold)[1]
        logits = np.asarray(sweep[0].predict(own["x"][rows]))[fold, 0]
        expected = roc_auc_score(own["y"][rows], logits[:, 1] - logits[:, 0])
        seen = sweep[0].history["auc/splits"][-1, fold, 0]
        np.testing.assert_allclose(seen, expected, atol=1e-6)


# Folds of unlike size -------------------------------------------------------------------------

UNLIKE = [(np.arange(40), [60, 61, 62]), (np.arange(9), [9, 10]), (np.arange(20, 40), [41, 50])]
PER_EPOCH = (5, 1, 2)  # steps, in batches of 8 rows


def cosine(h):
    return optax.sgd(vt.schedules.cosine(h["lr"], h["total_steps"], warmup=0.2))


COSINE = vt.flax_learner(
    MLP(), optimizer=cosine, loss=xent, metrics={"accuracy": vt.metrics.accuracy}
)


def check_folds(sweep, data, steps, loop, **known):
    """Compares every fold of every member with a plain loop that takes `steps(member, fold)`."""
    for member in sweep:
        for fold in range(3):
            n = steps(member, fold)
            h = {**member.hparams, "total_steps": n, "steps_per_epoch": PER_EPOCH[fold]}
            variables, losses, metrics = loop(
                h, data, id=member.index, steps=n, batch_size=8, fold=fold, **known
            )
            own = jax.tree.map(lambda a, f=fold: a[f, 0], member.variables)
            assert largest_difference(own, variables) < 1e-9
            seen = member.history["accuracy/splits"][:, fold, 0]
            np.testing.assert_allclose(seen[~np.isnan(seen)][-1], metrics["accuracy"], atol=1e-9)
            each = member.history["train/loss/splits"][:, fold, 0]
            each = each[~np.isnan(each)]
            means = [np.mean(part) for part in np.split(np.asarray(losses), len(each))]
            np.testing.assert_allclose(each, means, atol=1e-9)


@pytest.mark.usefixtures("x64")
def test_folds_of_unlike_size_take_the_steps_of_their_own_epochs():
    """With schedules over their own steps, beside members with their own epochs, and again."""
    data = vt.standardize(vt.kfold(arrays(), UNLIKE), "x")
    space = {"lr": vt.Ordinal([0.1, 0.3]), "epochs": vt.Ordinal([2, 4])}
    sweep = vt.tune(
        COSINE, space, data, search=vt.Grid(), epochs=lambda h: h["epochs"], batch_size=8,
        metric="accuracy", seed=3,
    )  # fmt: skip
    assert [member.hparams["epochs"] for member in sweep] == [2, 4, 2, 4]
    loop = plain_loop(lambda h: MLP(), cosine)
    steps = lambda member, fold: int(member.hparams["epochs"]) * PER_EPOCH[fold]
    check_folds(sweep, data, steps, loop, seed=3)
    again = sweep.rerun(2)
    assert largest_difference(again.variables, sweep[2].variables) < 1e-12


@pytest.mark.usefixtures("x64")
def test_steps_are_those_of_every_fold_whatever_its_size():
    data = vt.kfold(arrays(), UNLIKE)
    sweep = tune(PLAIN, LR, data, n=2, epochs=None, steps=12, rounds=2, layout="vmap")
    loop = plain_loop(lambda h: MLP(), lambda h: optax.sgd(h["lr"]))
    check_folds(sweep, data, lambda member, fold: 12, loop, seed=0)
    with pytest.raises(ValueError, match="rounds=4 is above the 3 steps of the smallest fold"):
        tune(PLAIN, LR, data, rounds=4)
    schedule = lambda h: optax.sgd(optax.cosine_decay_schedule(0.1, h["total_steps"]))
    plain = vt.flax_learner(MLP(), optimizer=schedule, loss=xent)
    says = "'total_steps' is traced(.|\n)*folds of unlike size"
    with pytest.raises(TypeError, match=says):
        tune(plain, {"lr": 1.0}, data, n=1, metric="loss")


@pytest.mark.usefixtures("x64")
def test_folds_of_unlike_size_are_extended_and_saved(tmp_path):
    data = vt.kfold(arrays(), UNLIKE)
    whole = tune(PLAIN, LR, data, n=2)
    begun = tune(PLAIN, LR, data, n=2, epochs=2)
    begun.save(tmp_path / "run")
    longer = vt.extend(vt.load(tmp_path / "run", PLAIN), epochs=1, data=data)
    for name, values in whole.history.items():
        np.testing.assert_allclose(longer.history[name], values, rtol=1e-12)
    for a, b in zip(whole, longer, strict=True):
        assert largest_difference(a.variables, b.variables) < 1e-12
    assert whole.schedule(0).options["epochs"] == 3  # which a replay takes
    like = vt.kfold(arrays(), [*UNLIKE[:2], (np.arange(20, 31), [41, 50])])
    longer.save(tmp_path / "run", overwrite=True)
    again = vt.load(tmp_path / "run", PLAIN)
    assert again.trained.plan.cohorts == longer.trained.plan.cohorts
    assert largest_difference(again[1].state, longer[1].state) == 0
    with pytest.raises(ValueError, match=re.escape("(5, 1, 1) steps an epoch, the sweep had")):
        whole.rerun(1, data=like)


@pytest.mark.parametrize(("size", "taken"), [(None, 2), (5, 2), (1, 1)])
def test_a_loss_of_whole_batches_counts_every_row_of_every_fold(size, taken):
    """In batches of the training batch's size, which the smallest fold can fill."""
    own = {"x": np.arange(1, 8, dtype=np.float32)}
    data = vt.kfold(own, [(np.arange(3, 7), [0, 1, 2]), (np.arange(4), [5, 6])])
    learner = vt.flax_learner(
        Times(),
        optimizer=lambda h: optax.sgd(0.0 * h["lr"]),
        batch_loss=lambda out, b, h: jnp.max(out),
    )
    sweep = vt.tune(
        learner, LR, data, search=vt.Halton(1), epochs=1, batch_size=2, eval_batch_size=size
    )
    expected = {2: [(2 * 2 + 3) / 3, 7], 1: [2, 6.5]}[taken]  # of (1, 2), (3, 1); (6, 7)
    np.testing.assert_allclose(sweep.history["loss/splits"][0, 0, :, 0], expected, rtol=1e-6)


# No leak, one program, the same bits ----------------------------------------------------------


@pytest.fixture(scope="module")
def net_sweep(compilations):
    """A sweep over four scaled folds and two seeds, and how many programs it took."""
    data = scaled_folds()
    with compilations() as first:
        sweep = tune(NET, SETTINGS, data, seeds=2)
    return sweep, first.count


def test_a_held_out_row_never_reaches_its_fold(net_sweep):
    own, n = arrays(), 20
    data = scaled_folds()
    fold = next(f for f in range(4) if n in data.fold(f)[1])
    changed = {"x": own["x"].copy(), "y": own["y"].copy()}
    changed["x"][n] *= -7.0
    changed["y"][n] = (own["y"][n] + 1) % 3
    before, after = net_sweep[0], tune(NET, SETTINGS, scaled_folds(changed), seeds=2)
    for a, b in zip(before.members, after.members, strict=True):
        pick = lambda tree, f: jax.tree.map(lambda leaf: np.asarray(leaf[f]), tree)
        for x, y in zip(*(jax.tree.leaves(pick(m.variables, fold)) for m in (a, b)), strict=True):
            assert np.array_equal(x, y)
        other = [f for f in range(4) if f != fold]  # they train on it, so they differ
        assert all(largest_difference(pick(a.variables, f), pick(b.variables, f)) for f in other)


def test_all_folds_and_seeds_are_one_program(net_sweep, compilations):
    sweep, count = net_sweep
    assert count == 1
    data, other = scaled_folds(), vt.standardize(vt.kfold(arrays(seed=1), 4, seed=7), "x")
    with compilations() as second:
        tune(NET, SETTINGS, other, seeds=2, seed=3)
        again = tune(NET, SETTINGS, data, seeds=2)
    assert second.count == 0
    assert same(sweep, again)


def test_rows_are_gathered_once_for_all_settings_and_seeds():
    """The program's gathers of the inputs have the folds' axis, not the members'."""
    data = vt.kfold(arrays(), 4)
    gathered = jax.eval_shape(lambda: data.take(data.rows(0, 0, 8)[:, 0]))
    assert gathered["x"].shape == (4, 8, 5)


# Members move as one --------------------------------------------------------------------------


def test_refiners_decide_on_the_mean_and_move_all_folds():
    data = vt.kfold(arrays(), 3)
    sweep = tune(PLAIN, LR, data, n=6, refiner=vt.Halving(2), epochs=6)
    first = next(r for r in range(6) if (sweep.parents[r] < 0).any())
    means = sweep.history["accuracy/splits"][first - 1].mean(axis=(1, 2))
    np.testing.assert_allclose(means, sweep.history["accuracy"][first - 1], atol=1e-6)
    kept = np.flatnonzero(sweep.parents[first] >= 0)
    assert means[kept].min() >= np.delete(means, kept).max()
    assert np.isnan(sweep.history["accuracy/splits"][-1, np.delete(np.arange(6), kept)]).all()


@pytest.mark.usefixtures("x64")
def test_pbt_moves_the_weights_of_every_fold():
    data = vt.kfold(arrays(), 3)
    sweep = tune(PLAIN, LR, data, n=6, refiner=vt.PBT(), epochs=6)
    moved = [i for i in range(6) if len(set(sweep.lineage(i).tolist())) > 1]
    assert moved
    again = sweep.rerun(moved[0])
    assert largest_difference(again.variables, sweep[moved[0]].variables) < 1e-9


def test_patience_looks_at_the_mean():
    data = vt.kfold(arrays(), 3)
    sweep = tune(PLAIN, LR, data, n=5, patience=2, epochs=12)
    for member in sweep.members:
        score = member.history["accuracy"]
        known = score[~np.isnan(score)]
        best, since = -np.inf, 0
        for number, value in enumerate(known):
            since = 0 if value > best else since + 1
            best = max(best, value)
            assert since < 2 or number == len(known) - 1
        np.testing.assert_allclose(member.score, best)


def test_a_fold_that_diverges_takes_its_setting_out():
    own = arrays()
    data = vt.kfold(own, 3)
    bad = data.fold(1)[1][0]  # trained on in folds 0 and 2

    def loss(out, batch, h):
        broken = jnp.any(batch["row"] == bad) & (h["lr"] > 0.03)
        return jnp.where(broken, jnp.nan, xent(out, batch, h))

    with_rows = {**own, "row": np.arange(67)}
    learner = vt.flax_learner(MLP(), optimizer=lambda h: optax.sgd(h["lr"]), loss=loss)
    sweep = vt.tune(
        learner, {"lr": vt.Ordinal([0.01, 0.1])}, vt.kfold(with_rows, 3), search=vt.Grid(),
        epochs=2, batch_size=8,
    )  # fmt: skip
    assert sweep[0].status == "completed"
    assert sweep[1].status.startswith("diverged at step")
    assert np.isnan(sweep[1].score)


# What comes out -------------------------------------------------------------------------------


def test_the_table_has_mean_spread_and_each_value():
    sweep = tune(PLAIN, LR, vt.kfold(arrays(), 3), seeds=2)
    table, each = sweep.table(), sweep.history["accuracy/splits"][-1].reshape(3, 6)
    np.testing.assert_allclose(table["accuracy"], each.mean(1), rtol=1e-6)
    np.testing.assert_allclose(table["accuracy/std"], each.std(1), rtol=1e-5)
    np.testing.assert_allclose(table["accuracy/se"], each.std(1, ddof=1) / 6**0.5, rtol=1e-5)
    np.testing.assert_array_equal(table["accuracy/fold2/seed1"], each[:, 5])
    assert "loss/fold0/seed0" not in table


def test_saved_and_loaded(net_sweep, tmp_path):
    (sweep, _), own = net_sweep, arrays()
    sweep.save(tmp_path / "run")
    loaded = vt.load(tmp_path / "run", NET)
    assert same(sweep, loaded)
    np.testing.assert_array_equal(sweep.predict(own["x"]), loaded.predict(own["x"]))
    assert loaded.predict(own["x"]).shape == (4, 2, 67, 3)
    again = loaded.rerun(1, data=scaled_folds())
    assert largest_difference(again.variables, sweep[1].variables) < 1e-4
    with pytest.raises(
        ValueError, match="the data have 3 folds, the sweep was trained on data with 4"
    ):
        loaded.rerun(1, data=vt.kfold(own, 3))


def test_predict_scales_by_each_fold():
    own = arrays()
    data = vt.min_max_scale(vt.kfold(own, 3), "x")
    shift, factor = data.scaling["x"]
    for fold in range(3):
        train = own["x"][data.fold(fold)[0]]
        scaled = (train - shift[fold]) / factor[fold]
        np.testing.assert_allclose(scaled.min(0), 0, atol=1e-5)
        np.testing.assert_allclose(scaled.max(0), 1, atol=1e-5)
        np.testing.assert_allclose(data.scale({"x": train}, fold)["x"], scaled, atol=1e-5)
    sweep = tune(PLAIN, LR, data)
    own_model = jax.tree.map(lambda leaf: leaf[2, 0], sweep[0].variables)
    expected = MLP().apply(own_model, data.scale(own, 2)["x"])
    np.testing.assert_allclose(sweep[0].predict(own["x"])[2, 0], expected, atol=1e-5)


def test_an_ensemble_of_folds_is_refused():
    sweep = tune(PLAIN, LR, vt.min_max_scale(vt.kfold(arrays(), 3), "x"))
    with pytest.raises(ValueError, match="every member of this sweep is several trainings"):
        sweep.ensemble(2)


# Making folds ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "splitter"),
    [
        ({"k": 4}, model_selection.KFold(4, shuffle=True, random_state=0)),
        ({"k": 3, "seed": 5}, model_selection.KFold(3, shuffle=True, random_state=5)),
        (
            {"k": 4, "stratify": "y"},
            model_selection.StratifiedKFold(4, shuffle=True, random_state=0),
        ),
        (
            {"k": 4, "groups": "g"},
            model_selection.GroupKFold(4, shuffle=True, random_state=0),
        ),
        (
            {"k": 3, "groups": np.arange(67) // 5, "stratify": "y"},
            model_selection.StratifiedGroupKFold(3, shuffle=True, random_state=0),
        ),
        ({"k": model_selection.TimeSeriesSplit(4)}, model_selection.TimeSeriesSplit(4)),
        ({"k": model_selection.LeaveOneOut()}, model_selection.LeaveOneOut()),
        (
            {"k": model_selection.RepeatedKFold(n_splits=3, n_repeats=2, random_state=1)},
            model_selection.RepeatedKFold(n_splits=3, n_repeats=2, random_state=1),
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_folds_are_those_of_scikit_learn(options, splitter):
    own = {**arrays(), "g": np.arange(67) // 5}
    data = vt.kfold(own, **options)
    groups = own["g"] if "groups" in options else None
    pairs = list(splitter.split(own["x"], own["y"], groups))
    assert data.folds == len(pairs)
    for fold, (train, valid) in enumerate(pairs):
        np.testing.assert_array_equal(data.fold(fold)[0], train)
        np.testing.assert_array_equal(data.fold(fold)[1], valid)


def test_an_epoch_of_a_fold_is_its_own_full_batches():
    pairs = [(np.arange(40), [50, 51]), ([1, 2, 3, 4, 5, 6, 7, 8, 9], np.arange(20, 60))]
    data = vt.kfold(arrays(), pairs)
    rows = np.asarray(data.rows(0, 0, 4))
    assert rows.shape == (2, 10, 4)
    assert data.steps_by_fold(4) == (10, 2)
    own = [rows[fold, :steps].ravel().tolist() for fold, steps in enumerate((10, 2))]
    assert all(set(own[f]) <= set(np.asarray(pairs[f][0]).tolist()) for f in (0, 1))
    assert [len(set(rows)) for rows in own] == [40, 8]  # no row twice


def test_an_epoch_sees_each_row_of_a_fold_once_and_every_epoch_another_order():
    data = vt.kfold(arrays(rows=60), 3)
    first, second = (np.asarray(data.rows(2, epoch, 8)) for epoch in (0, 1))
    for fold in range(3):
        for rows in (first[fold], second[fold]):
            assert set(rows.ravel().tolist()) == set(data.fold(fold)[0].tolist())
        assert (first[fold] != second[fold]).any()
    assert sorted(map(repr, data.fold(0))) != sorted(map(repr, data.fold(1)))


WRONG = [
    ({"k": 1}, "k=1 must be a whole number from 2 to the 67 rows"),
    ({"k": 68}, "k=68 must be a whole number from 2 to the 67 rows"),
    ({"k": 2.5}, "k=2.5 must be"),
    ({"k": "5"}, "k='5' must be a whole number from 2 to the 67 rows, a splitter"),
    ({"k": model_selection.KFold}, "KFold'> must be a whole number"),
    ({"seed": -1}, "seed=-1 must be a whole number"),
    ({"stratify": "z"}, "stratify='z' is not one of ['x', 'y']"),
    ({"stratify": np.arange(67)}, "stratify=ndarray is not the name of an entry"),
    ({"stratify": "x"}, "stratify='x' has shape [67, 5], not [rows]"),
    ({"groups": [1, 2]}, "groups= has shape [2]; give one a row"),
    ({"k": []}, "no folds"),
    ({"k": [3]}, "fold 0 is int, not (training rows, validation rows)"),
    ({"k": [([0, 1], [1, 2])]}, "fold 0 trains on 1 of the rows it validates on, such as row 1"),
    ({"k": [([0, 1], np.zeros(0, int))]}, "fold 0 has no validation rows"),
    ({"k": [([0, 67], [1])]}, "fold 0: training rows go from 0 to 67; there are rows 0 to 66"),
    ({"k": [([0.0, 1.0], [2])]}, "fold 0: training rows are float64[2]; give indices"),
    ({"k": [([0, 1], [])]}, "fold 0 has no validation rows"),
    ({"k": [([0], [1])], "stratify": "y"}, "stratify= says how folds are drawn, and yours are"),
    ({"k": [([0], [1])], "groups": np.arange(67)}, "groups= says how folds are drawn"),
    ({"k": model_selection.GroupKFold(3)}, "GroupKFold needs groups=, the group of every row"),
    ({"k": model_selection.LeaveOneGroupOut()}, "LeaveOneGroupOut needs groups="),
    ({"k": model_selection.StratifiedKFold(3)}, 'StratifiedKFold needs stratify="y"'),
    ({"k": model_selection.KFold(3), "stratify": "y"}, "KFold does not look at stratify="),
    ({"k": model_selection.KFold(3), "groups": np.arange(67)}, "KFold does not look at groups="),
    ({"k": 4, "groups": np.zeros(67)}, "GroupKFold cannot split these rows: Cannot have number of"),
    ({"groups": np.where(np.arange(67) < 3, np.nan, 1.0)}, "groups= holds NaN"),
    ({"groups": [None] * 66 + ["a"]}, "groups= mixes values of several kinds"),
    ({"groups": [[1, 2], *[[1]] * 66]}, "groups= has values of different shapes"),
    ({"seed": 2**40}, "seed=1099511627776 must be below 2**32"),
    ({"k": 4, "test": 0.99}, "from 2 to the 1 rows that test= leaves"),
]


@pytest.mark.parametrize(("options", "says"), WRONG, ids=lambda value: str(value)[:50])
def test_wrong_folds_are_named(options, says):
    with pytest.raises((TypeError, ValueError), match=re.escape(says)):
        vt.kfold(arrays(), **options)


@pytest.mark.parametrize("number", [4, -5, 1.0, "a", None])
def test_a_fold_that_is_not_there_is_named(number):
    data = vt.kfold(arrays(), 4)
    with pytest.raises(IndexError, match=rf"there is no fold {number!r}: the data have 4, from 0"):
        data.fold(number)
    with pytest.raises(ValueError, match="rows: batch_size=0 must be"):
        data.rows(0, 0, 0)


def test_what_cannot_be_trained_is_named_before_compiling(compilations):
    data = vt.kfold(arrays(), 4)
    with compilations() as none:
        with pytest.raises(ValueError, match="above the 50 training rows of the smallest fold"):
            tune(PLAIN, LR, data, batch_size=51)
        for seeds in (0, 1.5, "2"):
            with pytest.raises(ValueError, match=re.escape(f"seeds={seeds!r} must be")):
                tune(PLAIN, LR, data, seeds=seeds)
        with pytest.raises(
            TypeError, match=r"the data are in folds.*write the weights of all rows"
        ):
            vt.class_weights(data)
    assert none.count == 0
