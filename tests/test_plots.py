"""`vt.plots`: what is drawn is read off the artists, not off pixels."""

import dataclasses
import itertools
import json
import re
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

import vtune as vt
from vtune.plots.expected_best import expected_best, quantile_best
from vtune.plots.hyperparameters import Hyperparameter
from vtune.plots.lineage import copies
from vtune.report.page import page
from vtune.report.pictures import chosen

SPACE = {
    "lr": vt.Float(1e-4, 1.0, log=True),
    "dropout": vt.Float(0.0, 0.5),
    "width": vt.Categorical([16, "wide"]),
}


FLAT = {"lr": SPACE["lr"], "dropout": 0.0}
DATA = vt.kfold({"x": np.arange(12.0)}, k=3)


def learner(names=("lr", "dropout")):
    """Known curves in the place of a training: best at lr 1e-2, NaN from 0.5 on.

    After s steps the accuracy is 1 - (log10 lr + 2)^2 / 10 - dropout / 10 - 0.3 / s, and less by a
    hundredth of the mean of the rows it is measured on, where there are rows.
    """

    def step(key, h, count, batch):
        return jnp.where(h["lr"] < 0.5, count + 1, jnp.nan), {}

    def measure(key, h, count, batch, weight):
        far = (jnp.log10(h["lr"]) + 2) ** 2 / 10
        others = sum(h[name] * 1.0 for name in names[1:]) / 10
        rows, hard = 1.0, 0.0
        if batch is not None:
            rows, hard = weight.sum(), (batch["x"] * weight).sum() / 100
        accuracy = rows * (1 - far - others - 0.3 / count) - hard
        wide = 0.1 * rows if h.get("width") == "wide" else 0.0
        return jnp.stack([accuracy, rows - accuracy + wide, rows])

    def score(total):
        accuracy, loss = total[:2] / total[2]
        return {"accuracy": accuracy, "loss": loss, "odd": loss}

    return vt.Learner(
        init=lambda key, h, batch: jnp.zeros(()), step=step, measure=measure, score=score
    )


LEARNER = learner()
# Two of a structure in turn; member 0 is the best, member 3 diverges at once.
SETTINGS = [
    {"lr": lr, "dropout": dropout, "width": width}
    for lr, dropout, width in [
        (1e-2, 0.0, 16),
        (1e-3, 0.1, "wide"),
        (1e-1, 0.2, 16),
        (1.0, 0.3, "wide"),
        (1e-4, 0.4, 16),
        (0.3, 0.5, "wide"),
        (2e-2, 0.05, 16),
    ]
]
FINITE = [0, 1, 2, 4, 5, 6]


def train(members=8, rounds=4, space=SPACE, **options):
    given = {"search": vt.Halton(members), "steps": rounds, "rounds": rounds, **options}
    return vt.tune(given.pop("learner", LEARNER), space, metric="accuracy", **given)


def folded(members=6):
    """Folds of which each has its own difficulty, the mean of its rows."""
    return train(members, 2, data=DATA, seeds=2, batch_size=4)


@pytest.fixture(scope="module")
def sweep():
    return train(search=vt.Given(SETTINGS))


@pytest.fixture(scope="module")
def dead():
    """The same program; every member diverges."""
    return train(search=vt.Given([{**setting, "lr": 1.0} for setting in SETTINGS]))


@pytest.fixture(scope="module")
def alone():
    """One member, one round."""
    return train(search=vt.Given(SETTINGS[:1]), rounds=1)


@pytest.fixture(scope="module")
def pbt():
    return train(8, 6, FLAT, refiner=vt.PBT(perturbation_interval=2))


@pytest.fixture(scope="module")
def halved():
    return train(9, 5, FLAT, refiner=vt.Halving())


@pytest.fixture(scope="module")
def cross_validated():
    return folded()


def expected(member, steps=4):
    """The accuracy of a setting after so many steps, by the formula."""
    h = SETTINGS[member]
    return 1 - (np.log10(h["lr"]) + 2) ** 2 / 10 - h["dropout"] / 10 - 0.3 / steps


BEST = np.array([np.nan if i == 3 else expected(i) for i in range(7)])


def only(figure):
    (axes,) = [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]
    return axes


def labelled(axes, text):
    """The artist whose label in the legend begins with a text."""
    handles, labels = axes.get_legend_handles_labels()
    (found,) = [
        handle for handle, label in zip(handles, labels, strict=True) if label.startswith(text)
    ]
    return found


def with_history(sweep, **changes):
    """A sweep in whose history values are others: `name=[(place, value), ...]`."""
    history = {name: values.copy() for name, values in sweep.history.items()}
    for name, places in changes.items():
        for place, value in places:
            history[name.replace("_", "/")][place] = value
    records = sweep.trained.records._replace(history=history)
    return vt.Sweep(dataclasses.replace(sweep.trained, records=records))


def points(axes, text=None):
    """Offsets of the points with a label; of the crowd, which has none, when it is None."""
    if text is not None:
        return np.asarray(labelled(axes, text).get_offsets())
    return np.asarray(axes.collections[0].get_offsets())


def vertical(axes):
    """Where lines stand upright through the whole axes."""
    return [line.get_xdata()[0] for line in axes.lines if list(line.get_ydata()) == [0, 1]]


def test_curves(sweep):
    axes = only(vt.plots.curves(sweep, 2))
    best, second = (line for line in axes.lines if line.get_label().startswith("member "))
    rounds = np.arange(4)
    np.testing.assert_allclose(best.get_ydata(), 1 - 0.3 / (rounds + 1), rtol=1e-5)
    np.testing.assert_allclose(best.get_xdata(), rounds)
    np.testing.assert_allclose(second.get_ydata(), sweep.history["accuracy"][:, 6])
    late = np.std([0.9, 0.925])
    assert best.get_label() == f"member 0: 0.925 ± {late:.2g} late"
    assert best.get_linestyle() != second.get_linestyle()
    assert best.get_marker() != second.get_marker()
    crowd = labelled(axes, "4 others").get_segments()
    np.testing.assert_allclose(crowd[0][:, 1], sweep.history["accuracy"][:, 1])
    assert labelled(axes, "1 diverged in the first round").get_marker() == "x"
    low, high = axes.get_ylim()
    assert low < 0.7 < 0.925 < high  # the best from its first round on
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("round", "accuracy")


def test_curves_of_another_metric_of_a_halved_sweep(halved):
    axes = only(vt.plots.curves(halved, 1, metric="loss"))
    dropped = labelled(axes, "5 dropped")
    ends = halved.trained.lived - 1
    for column, value in zip(dropped.get_xdata(), dropped.get_ydata(), strict=True):
        assert value in halved.history["loss"][int(column), ends == column]


def test_many_curves_are_bands(sweep, monkeypatch):
    monkeypatch.setattr(sys.modules["vtune.plots.curves"], "LINES", 3)
    axes = only(vt.plots.curves(sweep, 2))
    others = sweep.history["accuracy"][:, [1, 2, 4, 5]]
    for label, q in (("nine tenths", (5, 95)), ("half", (25, 75))):
        (path,) = labelled(axes, label).get_paths()
        drawn = path.vertices[path.vertices[:, 0] == 2][:, 1]
        np.testing.assert_allclose([drawn.min(), drawn.max()], np.percentile(others[2], q))
    np.testing.assert_allclose(labelled(axes, "median").get_ydata(), np.median(others, axis=1))


def test_axis(sweep):
    figure = vt.plots.axis(sweep)
    rate, dropout, width = figure.axes
    assert [axes.get_xlabel() for axes in figure.axes] == ["lr", "dropout", "width"]
    assert (rate.get_xscale(), dropout.get_xscale()) == ("log", "linear")
    settings = np.array([[h["lr"], h["dropout"]] for h in SETTINGS])
    for column, axes in enumerate((rate, dropout)):
        np.testing.assert_allclose(points(axes)[:, 0], settings[FINITE, column], rtol=1e-6)
        np.testing.assert_allclose(points(axes)[:, 1], BEST[FINITE], rtol=1e-5)
        np.testing.assert_allclose(
            points(axes, "member 0, the best"), [[settings[0, column], 0.925]]
        )
        assert points(axes, "1 diverged")[0][0] == pytest.approx(settings[3, column])
        assert labelled(axes, "1 diverged").get_transform() != axes.transData  # at the edge
    assert vertical(rate) == pytest.approx([1e-4, 1.0])
    assert vertical(dropout) == pytest.approx([0.0, 0.5])
    assert [text.get_text() for text in width.get_xticklabels()] == ["16", "wide"]
    wide = np.array([h["width"] == "wide" for h in SETTINGS])
    assert (np.round(points(width)[:, 0]) == wide[FINITE]).all()
    assert len(np.unique(points(width)[:, 0])) == len(FINITE)  # spread
    assert rate.get_ylim()[1] > 0.925


def test_axis_marks_what_its_limits_cut_off(sweep):
    axes = only(vt.plots.axis(sweep, "lr"))
    low, _ = axes.get_ylim()
    cut = [i for i in FINITE if BEST[i] < low]
    assert cut
    worse = points(axes, f"{len(cut)} worse than shown")
    assert worse[:, 0] == pytest.approx([SETTINGS[i]["lr"] for i in cut])
    assert (BEST[np.setdiff1d(FINITE, cut)] >= low).all()


def test_lower_is_better_where_the_metric_says_so(sweep):
    axes = only(vt.plots.axis(sweep, "lr", metric="loss"))
    lowest = sweep.history["loss"][:, FINITE].min(axis=0)
    np.testing.assert_allclose(points(axes)[:, 1], lowest)
    assert points(axes, "1 diverged")[0][1] > 0.9  # where the bad losses are
    np.testing.assert_allclose(
        points(only(vt.plots.axis(sweep, "lr", metric="odd", mode="max")))[:, 1],
        sweep.history["odd"][:, FINITE].max(axis=0),
    )


def test_isolation(sweep):
    axes = only(vt.plots.isolation(sweep, "lr", buckets=4))
    line = labelled(axes, "best of each part")
    np.testing.assert_allclose(line.get_xdata(), [1e-4, 1e-3, 1e-2, 0.1], rtol=1e-6)
    by_decade = [[4], [1], [0, 6], [2, 5]]
    np.testing.assert_allclose(
        line.get_ydata(), [max(BEST[members]) for members in by_decade], rtol=1e-5
    )
    np.testing.assert_allclose(
        sorted(x for x in vertical(axes) if 1e-4 < x < 1), [1e-3, 1e-2, 1e-1]
    )


def test_parallel(sweep):
    axes = only(vt.plots.parallel(sweep))
    assert [text.get_text() for text in axes.get_xticklabels()] == [
        "lr", "dropout", "width", "best accuracy",
    ]  # fmt: skip
    best = labelled(axes, "member 0, the best")
    assert best.get_ydata()[:2] == pytest.approx([0.5, 0.0])  # 1e-2 is half of 1e-4 to 1
    (dead,) = labelled(axes, "1 diverged").get_segments()
    assert dead[:2, 1] == pytest.approx([1.0, 0.6])
    assert dead[-1, 1] < 0  # below the axis of scores
    (lines,) = [c for c in axes.collections if len(c.get_segments()) == len(FINITE)]
    ends = [segment[-1, 1] for segment in lines.get_segments()]
    assert ends == sorted(ends)  # the best on top
    assert lines.get_linewidths()[-1] == max(lines.get_linewidths())


def test_of_many_members_parallel_draws_the_best_and_some_others(sweep, monkeypatch):
    file = sys.modules["vtune.plots.parallel"]
    monkeypatch.setattr(file, "LINES", 4)
    monkeypatch.setattr(file, "BRIGHT", 2)
    axes = only(vt.plots.parallel(sweep, "lr"))
    lines = axes.collections[1].get_segments()
    heights = [(np.log10(SETTINGS[i]["lr"]) + 4) / 4 for i in (4, 2, 6, 0)]  # ranks 6, 4, 2, 1
    assert [line[0, 1] for line in lines] == pytest.approx(heights, abs=1e-6)
    assert axes.get_title() == "4 of 6 members, the 2 best among them"


def test_heat(sweep):
    axes = only(vt.plots.heat(sweep, "lr", "width", buckets=4))
    mesh = next(c for c in axes.collections if hasattr(c, "get_coordinates"))
    cells = np.ma.filled(mesh.get_array(), np.nan)
    nan = np.nan
    seen = [[BEST[4], nan, BEST[0], BEST[2]], [nan, BEST[1], nan, BEST[5]]]
    np.testing.assert_allclose(cells, seen, rtol=1e-5)
    np.testing.assert_allclose(mesh.get_coordinates()[0, :, 0], [1e-4, 1e-3, 1e-2, 1e-1, 1])
    assert sorted(text.get_text() for text in axes.texts) == sorted(
        f"{value:.3g}" for value in np.ravel(seen) if np.isfinite(value)
    )
    frame = axes.lines[-1].get_xydata()
    np.testing.assert_allclose([frame.min(axis=0), frame.max(axis=0)], [[1e-2, -0.5], [0.1, 0.5]])
    dead = only(vt.plots.heat(sweep, "dropout", "lr", buckets=10))
    (crosses,) = [c for c in dead.collections if isinstance(c, PathCollection)]
    np.testing.assert_allclose(crosses.get_offsets(), [[0.325, 10**-0.2]], rtol=1e-6)


def test_the_values_of_a_grid_have_a_part_each():
    at = np.tile(np.float32([1e-4, 1e-3, 1e-2, 0.1, 1.0]), 3).astype(float)
    one = Hyperparameter("lr", at, log=True, range=(1e-4, 1.0))
    np.testing.assert_allclose(one.bounds(8)[1:-1], np.sqrt(10) * np.array([1e-4, 1e-3, 0.01, 0.1]))
    np.testing.assert_array_equal(one.bucket(8), np.tile(np.arange(5), 3))
    np.testing.assert_array_equal(one.bucket(4), np.tile([0, 1, 2, 3, 3], 3))  # on the bounds
    holed = dataclasses.replace(one, at=np.where(np.arange(15) == 2, np.nan, at))
    assert list(holed.bucket(4)[:4]) == [0, 1, -1, 3]


# Of EmpiricalDistribution in opda 0.8.0, average_tuning_curve and quantile_tuning_curve.
SCORES = np.array([0.31, 0.92, 0.55, 0.55, 0.78, 0.12, 0.86])
DRAWS = np.array([1, 2, 3, 5, 7, 20])
MEANS = [0.5842857142857143, 0.7365306122448978, 0.8039941690962099, 0.8628839174153626]
MEANS += [0.8874025642862606, 0.9171519572083157]
MEANS_OF_LOWEST = [0.5842857142857143, 0.4320408163265306, 0.34725947521865885]
MEANS_OF_LOWEST += [0.25601178080561665, 0.20797494484198148, 0.1289928400651466]
QUANTILES = {
    0.05: [0.12, 0.31, 0.55, 0.55, 0.78, 0.92],
    0.5: [0.55, 0.78, 0.86, 0.92, 0.92, 0.92],
    0.95: [0.92, 0.92, 0.92, 0.92, 0.92, 0.92],
}


def test_the_expected_best_is_that_of_opda():
    np.testing.assert_allclose(expected_best(SCORES, DRAWS), MEANS, rtol=0, atol=1e-12)
    lowest = -expected_best(-SCORES, DRAWS)
    np.testing.assert_allclose(lowest, MEANS_OF_LOWEST, rtol=0, atol=1e-12)
    for q, values in QUANTILES.items():
        np.testing.assert_array_equal(quantile_best(SCORES, DRAWS, q), values)
    pairs = [max(a, b) for a in SCORES for b in SCORES]
    assert expected_best(SCORES, [2])[0] == pytest.approx(np.mean(pairs))


def test_best_of_k(sweep):
    axes = only(vt.plots.best_of_k(sweep, 12, label="ours"))
    line = labelled(axes, "ours")
    counted = np.where(np.isnan(BEST), np.nanmin(BEST), BEST)  # who failed is as the worst
    np.testing.assert_array_equal(line.get_xdata(), np.arange(1, 13))
    np.testing.assert_allclose(line.get_ydata(), expected_best(counted, range(1, 13)), rtol=1e-5)
    assert line.get_ydata()[0] == pytest.approx(counted.mean(), rel=1e-5)
    vertices = axes.collections[0].get_paths()[0].vertices
    at_one = vertices[vertices[:, 0] == 1][:, 1]
    assert [at_one.min(), at_one.max()] == pytest.approx([counted.min(), counted.max()], rel=1e-5)
    losses = only(vt.plots.best_of_k(sweep, metric="loss"))
    assert (np.diff(labelled(losses, "7 members, 1 of them failed").get_ydata()) < 0).all()
    vt.plots.best_of_k(sweep, label="another", ax=axes)
    assert labelled(axes, "another").get_linestyle() != line.get_linestyle()


def test_lineage(pbt):
    axes = only(vt.plots.lineage(pbt))
    segments = labelled(axes, f"{len(copies(pbt.parents))} copies").get_segments()
    seen = [
        [(number - 1, pbt.parents[number, member]), (number, member)]
        for number in range(1, 6)
        for member in range(8)
        if pbt.parents[number, member] != member
    ]
    assert len(seen) > 0
    np.testing.assert_array_equal(sorted(np.array(segments).tolist()), sorted(map(_floats, seen)))
    path = labelled(axes, f"weights of member {pbt.best.index}")
    np.testing.assert_array_equal(path.get_ydata(), pbt.lineage(pbt.best.index))
    other = only(pbt.plot.lineage(3))
    np.testing.assert_array_equal(
        labelled(other, "weights of member 3").get_ydata(), pbt.lineage(3)
    )


def _floats(ends):
    return [[float(number) for number in end] for end in ends]


def test_of_many_members_the_lineage_draws_the_paths_of_the_best(pbt, monkeypatch):
    file = sys.modules["vtune.plots.lineage"]
    monkeypatch.setattr(file, "ALL", 4)
    monkeypatch.setattr(file, "PATHS", 2)
    axes = only(vt.plots.lineage(pbt))
    steps = {
        ((number, path[number]), (number + 1, path[number + 1]))
        for path in (pbt.lineage(int(i)).tolist() for i in pbt.ranking[:2])
        for number in range(5)
    }
    segments = labelled(axes, "the paths to the 2 best of 8 members").get_segments()
    assert {tuple(map(tuple, segment.astype(int).tolist())) for segment in segments} == steps


def test_schedule(pbt, sweep):
    axes = only(vt.plots.schedule(pbt))
    winner = pbt.best.index
    path = labelled(axes, f"weights of member {winner}")
    np.testing.assert_allclose(path.get_ydata(), pbt.schedule(winner)["lr"])
    moved = axes.lines[-1].get_xdata()
    np.testing.assert_array_equal(moved, np.flatnonzero(np.diff(pbt.lineage(winner))) + 1)
    assert axes.get_yscale() == "log"
    across = [line.get_ydata()[0] for line in axes.lines if list(line.get_xdata()) == [0, 1]]
    assert across == pytest.approx([1e-4, 1.0])
    assert [a.get_ylabel() for a in sweep.plot.schedule(member=2).axes] == ["lr", "dropout"]


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (5e-4, 4e-3, ["0.0005", "0.001", "0.002"]),
        (6e-4, 6e-3, ["0.001", "0.002", "0.005"]),
        (0.03, 0.1, ["0.04", "0.06", "0.08", "0.1"]),
        (1e-4, 1e-1, []),  # matplotlib's own: powers of ten
    ],
)
def test_short_logarithmic_axes_have_plain_numbers(low, high, said):
    one = Hyperparameter("lr", np.array([low, high]), log=True, range=(low, high))
    axes = Figure().subplots()
    one.draw_axis(axes)
    begin, end = axes.get_xlim()
    shown = [
        label.get_text()
        for label, place in zip(axes.get_xticklabels(), axes.get_xticks(), strict=True)
        if begin <= place <= end and "$" not in label.get_text()
    ]
    assert shown == said
    assert all(not label.get_text() for label in axes.get_xticklabels(minor=True)) or not said


def test_rungs(halved):
    axes = only(vt.plots.rungs(halved))
    values, bounds, _ = labelled(axes, "trained").get_data()
    np.testing.assert_array_equal(values, (halved.parents >= 0).sum(axis=1))
    np.testing.assert_array_equal(bounds, np.arange(6) - 0.5)
    sizes = [int(text.get_text().split(" × ")[0]) for text in axes.texts]
    assert sizes == halved.n_candidates_
    done = int((halved.parents >= 0).sum())
    assert axes.get_title() == f"{done} of 45 member-rounds ({done / 45:.0%})"


def test_folds(cross_validated):
    sweep = cross_validated
    axes = only(vt.plots.folds(sweep, 3))
    best = sweep.ranking[:3]
    splits = sweep.history["accuracy/splits"][-1, best]  # [3 members, 3 folds, 2 seeds]
    for fold in range(3):
        drawn = labelled(axes, f"fold {fold}").get_ydata()
        np.testing.assert_allclose(drawn, splits[:, fold].ravel())
    (bars,) = [c for c in axes.containers if c.get_label().startswith("mean")]
    np.testing.assert_allclose(bars[0].get_ydata(), splits.mean(axis=(1, 2)), rtol=1e-6)
    lowest = bars[2][0].get_segments()[0][0, 1]
    assert lowest == pytest.approx(splits[0].mean() - splits[0].std(), rel=1e-5)
    assert [text.get_text() for text in axes.get_xticklabels()] == list(map(str, best))
    markers = {labelled(axes, f"fold {fold}").get_marker() for fold in range(3)}
    assert len(markers) == 3


def test_pareto(sweep):
    axes = only(vt.plots.pareto(sweep, "loss"))
    last = {name: sweep.history[name][-1, FINITE] for name in ("loss", "accuracy")}
    np.testing.assert_allclose(points(axes), np.column_stack(list(last.values())))
    front = labelled(axes, "1 on the front").get_xydata()
    assert front == pytest.approx(np.array([[0.075, 0.925]]))  # best in both
    assert points(axes, "member 0, the best") == pytest.approx(front)
    assert list(sweep.pareto("loss", "accuracy").index) == [0]
    assert 3 not in sweep.pareto("lr", "loss", modes={"lr": "max"}).index
    reached = {"lr": "max", "dropout": "max"}  # which it has, too, though it diverged
    assert list(sweep.pareto(*reached, modes=reached).index) == [5]


def test_a_page_has_the_pictures_that_make_sense(pbt, halved, cross_validated):
    """Those of other sweeps are in `tests/test_report.py`."""
    names = lambda one: [picture.draw.__name__ for picture in chosen(one)]
    assert names(pbt) == ["curves", "axis", "isolation", "lineage", "schedule", "time"]
    assert names(halved) == ["curves", "axis", "isolation", "best_of_k", "rungs", "time"]
    assert names(cross_validated) == ["curves", "axis", "folds", "best_of_k", "time"]
    text = page(cross_validated)
    assert "3 folds × 2 seeds" in text
    assert re.search(r"[\d.]+ to [\d.]+", text.split('id="best"')[1].split("</table>")[0])
    assert page(pbt).count("<svg") == len(names(pbt))


def test_time(sweep, halved):
    axes = only(vt.plots.time(sweep))
    line = labelled(axes, "7 members, 4 rounds")
    compiling, running = sweep.timing
    np.testing.assert_allclose(line.get_xdata(), compiling + running * np.arange(1, 5) / 4)
    np.testing.assert_allclose(line.get_ydata(), 1 - 0.3 / np.arange(1, 5), rtol=1e-5)
    vt.plots.time(halved, label="halved", ax=axes)
    second = labelled(axes, "halved")
    work = (halved.parents >= 0).sum(axis=1)
    spent = (second.get_xdata() - halved.timing.compile) / halved.timing.run
    np.testing.assert_allclose(spent, np.cumsum(work) / work.sum(), rtol=1e-3)
    assert axes.get_xlim()[1] >= second.get_xdata()[-1]


@pytest.mark.parametrize("name", vt.plots.__all__)
def test_one_member_and_one_round_and_nobody_alive(name, alone, dead):
    """Every picture is still drawn, and says what is the matter."""
    for sweep in (alone, dead):
        if name == "folds":
            continue  # a single training each, which is an error
        figure = getattr(sweep.plot, name)()
        figure.draw_without_rendering()
        if sweep is dead and name not in ("schedule", "rungs"):
            said = [text.get_text() for axes in figure.axes for text in axes.texts]
            said += [axes.get_title() for axes in figure.axes]
            assert any(text.startswith("no member has a finite accuracy") for text in said)


def test_values_that_are_nan_without_divergence(sweep):
    end = (slice(2, None), 4)
    holed = with_history(
        sweep,
        accuracy=[((1, 2), np.nan), ((slice(None), 5), np.inf), (end, np.nan)],
        loss=[(end, np.nan)],
    )
    axes = only(vt.plots.axis(holed, "lr"))
    assert points(axes, "1 without a finite score")[0][0] == pytest.approx(0.3)
    assert len(points(axes)) == 5
    assert points(axes, "1 diverged")[0][0] == pytest.approx(1.0)
    curves = only(vt.plots.curves(holed, 4))
    assert list(np.isnan(labelled(curves, "member 2").get_ydata())) == [False, True, False, False]
    lost = labelled(curves, "1 without a finite score at the end")
    assert lost.get_xydata() == pytest.approx(np.array([[1, sweep.history["accuracy"][1, 4]]]))
    axes = only(vt.plots.pareto(holed, "loss"))
    assert len(points(axes)) == 4
    assert labelled(axes, "2 without a finite score").get_marker() == "+"
    assert labelled(axes, "1 diverged").get_marker() == "x"


def test_pareto_marks_what_its_limits_cut_off(sweep):
    far = with_history(sweep, loss=[((-1, 4), 9.0)], accuracy=[((-1, 1), -9.0)])
    axes = only(vt.plots.pareto(far, "loss"))
    right, bottom = axes.get_xlim()[1], axes.get_ylim()[0]
    x, y = sweep.history["loss"][-1], sweep.history["accuracy"][-1]
    below, beside = axes.collections[1:3]
    assert below.get_label() == "2 worse than shown"
    np.testing.assert_allclose(below.get_offsets(), [[x[1], bottom]], rtol=1e-6)
    np.testing.assert_allclose(beside.get_offsets(), [[right, y[4]]], rtol=1e-6)


def test_folds_in_a_small_place(cross_validated):
    """Fewer numbers stand below it, upright; the legend covers no score."""
    holed = with_history(cross_validated, accuracy_splits=[((-1, 3, 0), np.nan)])
    figure = Figure(figsize=(0.5, 3))
    axes = only(vt.plots.folds(holed, ax=figure.subplots()))
    shown = [i for i in holed.ranking if i != 3 and np.isfinite(holed[int(i)].score)]
    labels = axes.get_xticklabels()
    assert [text.get_text() for text in labels] == list(map(str, shown[::2]))
    assert list(axes.get_xticks()) == [0, 2]
    assert labels[0].get_rotation() == 90
    assert axes.get_title() == "4 best of 6 members,\neach of 3 folds × 2 seeds"
    assert labelled(axes, "1 without a finite score").get_marker() == "+"
    low, high = axes.get_ylim()
    scores = holed.history["accuracy/splits"][-1, shown]
    assert (scores.max() - low) / (high - low) < 0.9
    wide = only(vt.plots.folds(cross_validated))
    assert {text.get_rotation() for text in wide.get_xticklabels()} == {0}


def test_of_many_hyperparameters_those_that_matter_are_drawn():
    names = ("lr", *(f"h{i}" for i in range(13)))
    space = {name: vt.Float(0.0, 1e-3) for name in names} | {"lr": SPACE["lr"]}
    sweep = train(24, 1, space, learner=learner(names))
    figure = vt.plots.axis(sweep)
    assert figure.axes[0].get_xlabel() == "lr"
    assert len(figure.axes) == 12
    assert figure.get_suptitle().startswith("12 of 14 hyperparameters")
    assert [axes.get_xlabel() for axes in vt.plots.axis(sweep, ["h3", "h1"]).axes] == ["h3", "h1"]
    assert len(only(vt.plots.parallel(sweep)).get_xticklabels()) == 13


@pytest.mark.filterwarnings("ignore:.*never read by the model:UserWarning")
def test_names_are_drawn_as_they_are():
    """Nothing in them is a formula, and what is too long is cut."""
    names = ("lr", "$\\frac$" + "n" * 300)
    space = {"lr": SPACE["lr"], names[1]: vt.Categorical(["$a$", "b" * 50, "b" * 51])}
    other = {"lr": SPACE["lr"], "dropout": 0.0, "only": vt.Float(0.0, 1.0)}
    union = [{**space, "dropout": 0.0}, other]
    figure = train(8, 1, union).plot.axis()
    figure.draw_without_rendering()
    rate, hostile, only_half = figure.axes
    assert hostile.get_xlabel() == r"\$\frac\$" + "n" * 20 + "…"
    ticks = [text.get_text() for text in hostile.get_xticklabels()]
    assert ticks == [r"\$a\$ 0", "b" * 17 + "… 1", "b" * 17 + "… 2"]
    assert only_half.get_title() == "6 of 8 members have none"
    assert rate.get_title() == ""


def test_a_slow_machine_warns_of_no_legend(sweep, monkeypatch):
    clock = itertools.count(0, 10)
    monkeypatch.setattr("matplotlib.legend.time.perf_counter", lambda: float(next(clock)))
    vt.plots.axis(sweep, "lr").draw_without_rendering()
    assert next(clock) > 10  # the time was looked at


def test_given_axes_are_drawn_on(sweep, axes):
    assert vt.plots.axis(sweep, "lr", ax=axes) is axes.figure
    assert axes.get_xlabel() == "lr"
    two = Figure().subplots(1, 2)
    assert vt.plots.schedule(sweep, ax=two) is two[0].figure
    assert [one.get_ylabel() for one in two] == ["lr", "dropout"]
    part = Figure().subfigures(1, 2)[0]
    assert vt.plots.rungs(sweep, ax=part.subplots()) is part.figure


@pytest.fixture
def axes():
    return Figure().subplots()


@pytest.mark.parametrize(
    ("draw", "error", "says"),
    [
        (lambda p, s, a: p.curves(s, metric="acuracy"), ValueError, "did you mean 'accuracy'"),
        (lambda p, s, a: p.axis(s, "learning_rate"), ValueError, "not one of the hyperparameters"),
        (lambda p, s, a: p.axis(s, "dropuot"), ValueError, "did you mean 'dropout'"),
        (lambda p, s, a: p.axis(s, []), ValueError, "leave it out"),
        (lambda p, s, a: p.axis(s, metric="odd"), ValueError, 'write mode="max" or mode="min"'),
        (lambda p, s, a: p.axis(s, mode="up"), ValueError, "mode='up' must be"),
        (lambda p, s, a: p.axis(s, ax=a), ValueError, "ax= has 1 axes for 3 panels"),
        (lambda p, s, a: p.curves(s, ax=a.figure), TypeError, "figure.subplots()"),
        (lambda p, s, a: p.curves([1]), TypeError, "list is not a sweep"),
        (lambda p, s, a: p.curves(s, top=0), ValueError, "top"),
        (lambda p, s, a: p.schedule(s, "width"), ValueError, "traced hyperparameters are ['lr'"),
        (lambda p, s, a: p.lineage(s, 99), IndexError, "no member 99"),
        (lambda p, s, a: p.heat(s, "lr", "lr"), ValueError, "name two hyperparameters"),
        (lambda p, s, a: p.pareto(s, "accuracy"), ValueError, "name two of"),
        (lambda p, s, a: p.pareto(s, "loss", modes="min"), ValueError, "must be a pair"),
        (lambda p, s, a: p.folds(s), ValueError, "data=vt.kfold(...) or seeds=3"),
        (lambda p, s, a: s.plot.axes, AttributeError, "did you mean 'axis'"),
    ],
)
def test_errors_say_what_to_write(sweep, axes, draw, error, says):
    with pytest.raises(error) as raised:
        draw(vt.plots, sweep, axes)
    assert says in str(raised.value)


def test_without_matplotlib_the_extra_is_named(sweep, monkeypatch):
    monkeypatch.delitem(sys.modules, "vtune.plots.picture")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 'vtune\[plot\]'"):
        vt.plots.curves(sweep)


def test_plots_of_what_was_read_load_matplotlib_late_and_pyplot_never(sweep, tmp_path):
    sweep.save(tmp_path / "run")
    script = f"""
import sys
import vtune as vt
read = vt.read({str(tmp_path / "run")!r})
assert vt.plots.axis and "matplotlib" not in sys.modules
import matplotlib
before = matplotlib.rcParams.copy()  # to read its backend would load pyplot
figure = read.plot.axis("lr")
figure.savefig({str(tmp_path / "axis.svg")!r})
assert figure._repr_png_().startswith(b"\\x89PNG")
assert "matplotlib.pyplot" not in sys.modules
assert matplotlib.rcParams.copy() == before
print(figure.axes[0].collections[0].get_offsets().data.tolist())
"""
    done = subprocess.run(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=True
    )
    drawn = json.loads(done.stdout)
    np.testing.assert_allclose(drawn, points(only(vt.plots.axis(sweep, "lr"))))
    assert "<svg" in (tmp_path / "axis.svg").read_text()
