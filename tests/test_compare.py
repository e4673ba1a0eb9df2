"""`vt.compare` and `sweep.summary()`: the numbers of scipy and of plain formulas, clear words."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import as_if, quadratic
from scipy import stats

import vtune as vt
from vtune.results.comparison import Comparison
from vtune.results.edges import near_edges
from vtune.results.significance import paired_t_test, t_interval

ROWS = np.random.default_rng(0).normal(size=(30, 1))


def noisy(key, h, batch):
    return jnp.ones(()) + 0.3 * jax.random.normal(key)


# Its start is drawn, so seeds differ.
CHANCE = quadratic()._replace(init=noisy)
# The mean of the rows by gradient steps, so folds differ.
MEAN = vt.Learner(
    init=noisy,
    step=lambda key, h, m, batch: (m + h["lr"] * (batch["x"].mean() - m), {}),
    measure=lambda key, h, m, batch, weight: jnp.stack(
        [jnp.sum(weight * (batch["x"][:, 0] - m) ** 2), jnp.sum(weight)]
    ),
    score=lambda total: {"mse": total[0] / total[1], "other": -total[0]},
)


def lr(low, high):
    return {"lr": vt.Float(low, high)}


SLOW = lr(0.01, 0.2)


def by_seed(space=SLOW, **options):
    options = {"search": vt.Halton(4), "steps": 4, "rounds": 2, "seeds": 5, **options}
    return vt.tune(CHANCE, space, **{"metric": "loss", **options}, progress=False)


def by_fold(space=SLOW, rows=ROWS, split=0, **options):
    data = vt.kfold({"x": rows}, k=5, seed=split)
    options = {"search": vt.Halton(3), "steps": 4, "rounds": 1, "batch_size": 8, **options}
    return vt.tune(MEAN, space, data, **{"metric": "mse", "seeds": 2, **options}, progress=False)


@pytest.fixture(scope="module")
def sweeps():
    """Sweeps that share two programs."""
    return types.SimpleNamespace(
        seeds=by_seed(),
        fast=by_seed(lr(0.5, 0.9)),
        reseeded=by_seed(seed=7),
        folds=by_fold(),
        fast_folds=by_fold(lr(0.5, 0.9)),
        other_rows=by_fold(rows=ROWS + 1),
    )


@pytest.fixture(scope="module")
def single():
    return by_seed(seeds=None)


def splits(sweep):
    """[folds, seeds] of the best member's last round."""
    return sweep.history[f"{sweep.metric_name}/splits"][-1, sweep.best.index].astype(float)


def test_seeds_are_compared_by_a_paired_t_test(sweeps):
    compared = vt.compare({"slow": sweeps.seeds, "fast": sweeps.fast})
    slow, fast = compared.rows["slow"], compared.rows["fast"]
    a, b = splits(sweeps.seeds)[0], splits(sweeps.fast)[0]
    assert compared.best == "fast"  # the smaller loss
    assert (fast.test, fast.difference) == ("the best", 0)
    assert slow.test == "paired t-test over seeds"
    assert slow.p == pytest.approx(stats.ttest_rel(a, b).pvalue, rel=1e-9)
    assert slow.difference == pytest.approx(a.mean() - b.mean(), rel=1e-9)
    for row, values in ((slow, a), (fast, b)):
        assert (row.mean, row.std) == pytest.approx((values.mean(), values.std()), rel=1e-9)
        expected = stats.t.interval(0.95, 4, values.mean(), stats.sem(values))
        assert (row.low, row.high) == pytest.approx(expected, rel=1e-9)
        assert row.interval == "Student's t over 5 seeds"
        assert row.trainings == "5 seeds"
    wide = vt.compare({"slow": sweeps.seeds, "fast": sweeps.fast}, confidence=0.5).rows["slow"]
    expected = stats.t.interval(0.5, 4, a.mean(), stats.sem(a))
    assert (wide.low, wide.high) == pytest.approx(expected, rel=1e-9)


def test_folds_are_compared_by_the_corrected_resampled_t_test(sweeps):
    """Nadeau and Bengio (2003), written out: the variance is (1/5 + 6/24) times the sample's."""
    compared = vt.compare({"slow": sweeps.folds, "fast": sweeps.fast_folds})
    row = compared.rows["slow"]
    a, b = splits(sweeps.folds).mean(axis=1), splits(sweeps.fast_folds).mean(axis=1)
    d = a - b
    t = d.mean() / np.sqrt((1 / 5 + 6 / 24) * d.var(ddof=1))
    assert row.p == pytest.approx(2 * stats.t.sf(abs(t), 4), rel=1e-9)
    assert row.p > stats.ttest_rel(a, b).pvalue
    assert row.test == "corrected resampled t-test over folds"
    half = stats.t.ppf(0.975, 4) * np.sqrt((1 / 5 + 6 / 24) * a.var(ddof=1))
    assert (row.low, row.high) == pytest.approx((a.mean() - half, a.mean() + half), rel=1e-9)
    assert row.interval == "corrected resampled t over 5 folds"
    assert row.trainings == "5 folds × 2 seeds"
    assert row.std == pytest.approx(splits(sweeps.folds).std())


def test_a_single_training_has_neither_interval_nor_test(single):
    compared = vt.compare({"a": single, "b": by_seed(lr(0.5, 0.9), seeds=None)})
    row = compared.rows["a"]
    assert (row.std, row.low, row.p) == (None, None, None)
    assert row.interval == "none, of a single training"
    assert row.test == "no test: a single training each; give seeds=, or vt.kfold"
    assert row.difference == pytest.approx(single.best.score - compared.rows["b"].mean)
    assert compared.comparable


def test_what_cannot_be_compared_is_said(sweeps, single):
    def said(other, sweep=sweeps.folds):
        compared = vt.compare({"a": sweep, "b": other})
        row = next(row for row in compared.rows.values() if row.test != "the best")
        assert row.p is None
        return compared.comparable, row.test

    assert said(sweeps.other_rows) == (False, "not comparable: other data, 'x' has other values")
    split = by_fold(split=1)
    assert said(split) == (
        False,
        "not comparable: the rows are split in another way (another seed or fraction)",
    )
    assert said(sweeps.seeds) == (False, "not comparable: the metric is loss, there mse")
    assert said(sweeps.reseeded, sweeps.seeds)[0]
    assert "no test: seed=" in said(sweeps.reseeded, sweeps.seeds)[1]
    assert said(single, sweeps.seeds)[1] == "no test: seeds=5, there 1"
    own = lambda metrics: metrics["loss"]
    ours = by_seed(metric=own, mode="min")
    assert said(by_seed(metric=own, mode="min"), ours)[0]
    reason = "not comparable: metric= was a function, and whether it was the same cannot be told"
    assert said(as_if(ours, metric=lambda m: m["loss"]), ours) == (False, reason)
    assert said(as_if(sweeps.seeds, mode="max"), sweeps.seeds) == (
        False,
        'not comparable: mode="max", there "min"',
    )


def test_equal_and_diverged_sweeps(sweeps):
    both = vt.compare({"a": sweeps.seeds, "b": sweeps.seeds})
    same = both.rows["b"]
    assert both.verdict == ""
    assert (same.difference, same.p) == (0, None)
    assert same.test == "no test: all trainings differ by the same"
    with pytest.warns(UserWarning, match="no member has a finite loss"):
        dead = by_seed(lr(1e30, 1e31))
    compared = vt.compare({"dead": dead, "a": sweeps.seeds, "b": sweeps.fast})
    row = compared.rows["dead"]
    assert (row.mean, row.member, row.test) == (None, None, "no member has a finite score")
    assert compared.best == "b"
    assert vt.compare({"a": dead, "b": dead}).best is None
    assert "best: no member has a finite loss" in dead.summary()
    assert "4 diverged" in dead.summary()


def test_it_prints_and_is_a_frame(sweeps):
    pandas = pytest.importorskip("pandas")
    compared = vt.compare({"slow": sweeps.seeds, "<b>": sweeps.fast})
    lines = repr(compared).splitlines()
    assert lines[0].split() == ["mean", "±", "std", "95%", "interval", "over", "member"] + [
        "difference"
    ]
    row = compared.rows["slow"]
    assert f"loss {row.mean:.4g} ± {row.std:.2g}" in lines[1]
    assert f"p = {row.p:.2g}, paired t-test" in lines[1]
    assert lines[2].endswith("the best")
    assert 0.05 <= row.p < 0.1
    assert lines[3].startswith("verdict: <b> and slow are not told apart (p ≥ 0.05): ")
    less = vt.compare({"slow": sweeps.seeds, "<b>": sweeps.fast}, confidence=0.9)
    assert less.verdict == "<b> is better than slow (p < 0.1)"
    rounded = compared.rows["slow"]._replace(difference=-1.2e-8, mean=0.5)
    assert ["0, p = " in repr(Comparison({"slow": rounded}, 0.95, "<b>"))] == [True]
    frame = compared.frame
    assert isinstance(frame, pandas.DataFrame)
    assert frame.loc["slow", "p"] == row.p
    assert list(frame.index) == ["slow", "<b>"]
    assert "&lt;b&gt;" in compared._repr_html_()
    assert "the best of many" in lines[-1]
    again = {
        name: by_seed(search=vt.Given([{"lr": rate}])) for name, rate in (("a", 0.1), ("b", 0.2))
    }
    assert "the best of many" not in repr(vt.compare(again))  # of one setting each


def test_loaded_sweeps_compare_alike(sweeps, tmp_path):
    for name in ("folds", "fast_folds", "other_rows"):
        getattr(sweeps, name).save(tmp_path / name)
    read = {name: vt.read(tmp_path / name) for name in ("folds", "fast_folds", "other_rows")}
    whole = {name: getattr(sweeps, name) for name in read}
    assert vt.compare(read).rows == vt.compare(whole).rows
    assert vt.compare({**read, "folds": sweeps.folds}).rows == vt.compare(whole).rows
    assert read["folds"].summary() == sweeps.folds.summary()


@pytest.mark.parametrize(
    ("sweeps_given", "options", "says"),
    [
        ([1, 2], {}, r"sweeps must be a dict of sweeps by name, got list; write vt\.compare\("),
        ({}, {}, "0 sweep given; give two or more"),
        ({"a": None}, {}, "1 sweep given; give two or more"),
        ({"a": "runs/a", "b": 1}, {}, r"'a' must be a sweep, got str; write vt\.read\('runs/a'\)"),
        ({"a": 3, "b": 1}, {}, r"'a' must be a sweep, got int; give what vt\.tune, vt\.load"),
        ({1: 3, 2: 1}, {}, "the name 1 must be a text"),
    ],
)
def test_bad_arguments_are_named(sweeps_given, options, says):
    with pytest.raises((TypeError, ValueError), match=f"compare: {says}"):
        vt.compare(sweeps_given, **options)


def test_bad_confidences_and_members_are_named(sweeps):
    pair = {"a": sweeps.seeds, "b": sweeps.fast}
    for confidence in (95, 0, 1.0, "0.9", None, np.nan):
        with pytest.raises(ValueError, match=r"must be a number between 0 and 1, such as 0\.95"):
            vt.compare(pair, confidence=confidence)
    with pytest.raises(TypeError, match="'b' must be a sweep, got Member; give the whole sweep"):
        vt.compare({"a": sweeps.seeds, "b": sweeps.fast.best})


def test_intervals_hold_as_often_as_they_say():
    """Of means of 4 normal values, in 2,000 draws."""
    draws = np.random.default_rng(0).normal(3, 2, (2000, 4))
    held = [low < 3 < high for low, high in (t_interval(values, 0.9) for values in draws)]
    assert np.mean(held) == pytest.approx(0.9, abs=0.02)
    assert np.isnan(paired_t_test(np.full(4, 0.5)))


def test_a_summary_says_what_was_run(sweeps):
    lines = sweeps.folds.summary().splitlines()
    best = sweeps.folds.best
    assert len(lines) <= 10
    assert lines[0] == "3 members, 1 round, 4 steps, drawn by Halton, seed 0"
    assert lines[1] == "compared by mse (min); 5 folds × 2 seeds each"
    spread = splits(sweeps.folds).std()
    assert lines[2] == f"best: member {best.index}, mse {best.score:.4g} ± {spread:.2g}"
    assert lines[3] == f"  lr={best.hparams['lr']:.4g}"
    second = sweeps.folds[int(sweeps.folds.ranking[1])]
    assert lines[4].startswith(f"second: member {second.index}, mse {second.score:.4g} ± ")
    assert lines[5] == "0 diverged, 0 dropped, 0 stopped"
    assert lines[-1].startswith("seconds: ")


def test_a_summary_counts_the_dropped_and_names_the_edge():
    space = {
        "lr": vt.Ordinal([0.1, 0.2, 0.5, 5.0]),
        "flat": vt.Ordinal([1.0, 2.0]),
        "log": vt.Float(1e-3, 10, log=True),
        "one": vt.Float(1, 1),
    }
    rate = lambda h: h["lr"] + 0 * (h["flat"] + h["log"] + h["one"])
    sweep = vt.tune(
        quadratic()._replace(step=lambda key, h, x, batch: (x - rate(h) * x, {})),
        space,
        search=vt.Given(
            [
                {"lr": lr, "flat": 1.0, "log": log, "one": 1.0}
                for lr, log in ((0.1, 0.1), (0.2, 0.1), (0.5, 9.0), (5.0, 0.1))
            ]
        ),
        refiner=vt.Halving(reduction_factor=2),
        steps=20,
        rounds=2,
        progress=False,
    )
    assert "drawn by Given, refined by Halving, seed 0" in sweep.summary()
    dropped = sum(member.status.startswith("dropped") for member in sweep)
    assert dropped >= 2
    assert f", {dropped} dropped, " in sweep.summary()
    assert sweep.best.hparams["lr"] == 0.5
    found = near_edges(sweep.trained, sweep.best.index)
    assert [(near.name, near.edge) for near in found] == [("log", "upper")]
    assert "near an edge: log=9 is at the upper end of 0.001 to 10" in sweep.summary()
    first = near_edges(sweep.trained, 0)  # 0.1 lies in the middle of 0.001 to 10
    assert [(near.name, near.edge, near.low, near.high) for near in first] == [
        ("lr", "lower", 0.1, 5.0)
    ]
