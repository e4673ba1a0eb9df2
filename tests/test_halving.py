"""Populations that shrink: successive halving and Hyperband inside the one program."""

import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import reference
from problems import MLP, blobs, mlp_learner, quadratic
from solo import largest_difference, xent

import vtune as vt

pytestmark = pytest.mark.slow

DATA = blobs()
RATES = {"lr": vt.Float(1e-3, 1.5, log=True)}


def counting():
    """quadratic, each step counted on the host as it is executed."""
    executed = []
    base = quadratic()

    def step(key, h, x, batch):
        jax.debug.callback(lambda: executed.append(1))
        return base.step(key, h, x, batch)

    return base._replace(step=step), executed


@pytest.mark.parametrize(
    ("refiner", "n", "rounds", "steps"),
    [
        (vt.Halving(), 27, 9, 18),
        (vt.Halving(2, 2), 13, 11, 11),
        (vt.Hyperband(max_rounds=9), 17, 9, 27),
    ],
    ids=str,
)
def test_only_the_schedules_steps_are_executed(refiner, n, rounds, steps):
    learner, executed = counting()
    sweep = vt.tune(
        learner,
        RATES,
        search=vt.Halton(n),
        refiner=refiner,
        steps=steps,
        rounds=rounds,
        layout=vt.Layout(1, 1),
    )
    jax.effects_barrier()
    sizes, ends = sweep.n_candidates_, sweep.n_resources_
    expected = sum(
        size * (end - start) * steps // rounds
        for size, start, end in zip(sizes, [0, *ends], ends, strict=False)
    )
    assert len(executed) == expected
    assert expected == np.isfinite(sweep.history["loss"]).sum() * steps // rounds
    assert expected < n * steps * 0.6


def test_sizes_and_resources_are_scikit_learns():
    from sklearn.base import BaseEstimator
    from sklearn.experimental import enable_halving_search_cv  # noqa: F401
    from sklearn.model_selection import HalvingGridSearchCV

    class Dummy(BaseEstimator):
        def __init__(self, a=0, rounds=1):
            self.a, self.rounds = a, rounds

        def fit(self, x, y=None):
            return self

        def score(self, x, y=None):
            return self.a

    # What ends it: the rounds in the first four, the number of settings in the others, whose last
    # ones train on where scikit-learn's stop.
    cases = ((20, 9, 3, 1), (80, 27, 3, 1), (50, 16, 2, 2), (7, 4, 2, 1))
    for n, rounds, factor, least in (*cases, (20, 27, 3, 1), (7, 8, 2, 1), (80, 81, 3, 1)):
        theirs = HalvingGridSearchCV(
            Dummy(),
            {"a": list(range(n))},
            factor=factor,
            resource="rounds",
            min_resources=least,
            max_resources=rounds,
            cv=2,
            refit=False,
        ).fit(np.zeros((8, 1)), np.zeros(8))
        rungs = vt.Halving(factor, least).rungs(n, rounds)
        assert [rung.size for rung in rungs] == theirs.n_candidates_
        ends = np.cumsum([rung.rounds for rung in rungs])
        assert ends.tolist() == [*theirs.n_resources_[:-1], rounds]
    ours = vt.tune(
        quadratic(), RATES, search=vt.Halton(7), refiner=vt.Halving(2), steps=4, rounds=4
    )
    assert (ours.n_candidates_, ours.n_resources_) == ([7, 4, 2], [1, 2, 4])


def test_the_last_ones_train_to_the_end():
    assert vt.Halving().rungs(9, 50) == (vt.Rung(9, 1), vt.Rung(3, 2), vt.Rung(1, 47))
    assert vt.Halving(min_rounds=4).rungs(30, 13) == (vt.Rung(30, 4), vt.Rung(10, 9))
    assert [r.size for r in vt.Halving().rungs(243, 243)] == [243, 81, 27, 9, 3, 1]


def test_hyperbands_brackets_are_the_papers():
    refiner = vt.Hyperband(max_rounds=81)
    assert refiner.brackets == ((81, 27, 9, 3, 1), (34, 11, 3, 1), (15, 5, 1), (8, 2), (5,))
    assert refiner.size == 143
    assert refiner.rungs(143, 81) == (
        vt.Rung(143, 1),
        vt.Rung(27 + 34 + 15 + 8 + 5, 2),
        vt.Rung(9 + 11 + 15 + 8 + 5, 6),
        vt.Rung(3 + 3 + 5 + 8 + 5, 18),
        vt.Rung(1 + 1 + 1 + 2 + 5, 54),
    )
    assert vt.Hyperband(max_rounds=10).rungs(17, 10)[-1] == vt.Rung(1 + 1 + 3, 7)
    assert vt.Hyperband(max_rounds=16, reduction_factor=4).brackets == ((16, 4, 1), (6, 1), (3,))


def test_survivors_are_those_of_the_reference_and_keep_their_weights():
    """Ids go with their members: a survivor's history is that of plain search, with dropout (the
    odd members) and without."""
    space = {"lr": vt.Float(1e-3, 1.0, log=True), "rate": vt.Float(0.0, 0.6)}
    learner = vt.flax_learner(
        lambda h: MLP(rate=h["rate"]), optimizer=lambda h: optax.sgd(h["lr"]), loss=xent
    )
    rates = np.geomspace(1e-3, 1.0, 14)[np.random.default_rng(0).permutation(14)]
    given = [{"lr": float(lr), "rate": 0.1 * (i % 6) * (i % 2)} for i, lr in enumerate(rates)]
    options = {"search": vt.Given(given), "epochs": 9, "batch_size": 16, "seed": 5}
    plain = vt.tune(learner, space, DATA, **options)
    halved = vt.tune(learner, space, DATA, refiner=vt.Halving(), **options)
    kept, start = np.arange(14), 0
    for end in (1, 3, 9):
        seen = halved.history["loss"][start:end]
        np.testing.assert_allclose(
            seen[:, kept], plain.history["loss"][start:end][:, kept], rtol=1e-5
        )
        gone = np.setdiff1d(np.arange(14), kept)
        assert np.isnan(seen[:, gone]).all()
        assert (halved.parents[start:end, gone] == -1).all()
        np.testing.assert_array_equal(
            halved.parents[start:end, kept], np.tile(kept, (end - start, 1))
        )
        kept = kept[reference.halving(-plain.history["loss"][end - 1][kept], 3)]
        start = end
    assert halved.n_candidates_ == [14, 5, 2]
    survivors = np.flatnonzero(np.isfinite(halved.history["loss"][-1]))
    assert halved.best.index == survivors[np.argmin(plain.history["loss"][-1][survivors])]
    for index in survivors:
        gap = largest_difference(halved[int(index)].variables, plain[int(index)].variables)
        assert gap < 1e-4


def test_what_is_left_of_the_dropped(tmp_path):
    learner = mlp_learner()
    sweep = vt.tune(
        learner,
        {"lr": vt.Float(1e-3, 1.0, log=True)},
        DATA,
        search=vt.Halton(10),
        refiner=vt.Halving(),
        epochs=4,
        batch_size=16,
    )
    assert len(sweep) == 10
    table = sweep.table()
    assert (table["status"] == "dropped after round 0").sum() == 6
    assert (table["status"] == "completed").sum() == 4
    np.testing.assert_array_equal(
        table["loss"], [sweep.history["loss"][sweep.trained.lived[i] - 1, i] for i in range(10)]
    )
    assert table["loss"].notna().all()
    ranking = sweep.ranking
    assert [sweep[int(i)].status for i in ranking[:4]] == ["completed"] * 4
    index = int(ranking[-1])
    dropped = sweep[index]
    assert dropped.score == sweep.history["loss"][0, index]
    assert dropped.hparams["lr"] == pytest.approx(float(sweep.settings["lr"][0, index]))
    assert len(sweep.lineage(index)) == 1
    for ask in (lambda: dropped.variables, lambda: dropped.predict(np.zeros((1, 6)))):
        with pytest.raises(ValueError, match=rf"member {index} was dropped after round 0.*rerun"):
            ask()
    again = sweep.rerun(index)
    assert again.status == "dropped after round 0"
    assert float(again.score) == pytest.approx(dropped.score, rel=1e-5)
    assert again.record.records.history["loss"].shape == (1, 1)

    sweep.save(tmp_path / "run")
    back = vt.load(tmp_path / "run", learner)
    assert [m.status for m in back] == [m.status for m in sweep]
    assert back.n_candidates_ == [10, 4]
    assert largest_difference(back.best.variables, sweep.best.variables) == 0
    assert back.best.index == sweep.best.index
    with pytest.raises(ValueError, match="was dropped"):
        _ = back[index].variables


def test_the_best_is_of_the_final_rung():
    """What was dropped early may have looked better then than the best at the end."""
    learner = vt.Learner(
        init=lambda key, h, batch: jnp.zeros(()),
        step=lambda key, h, x, batch: (x + 1, {}),
        measure=lambda key, h, x, batch, weight: jnp.where(x == 1, h["a"], h["a"] - 10),
        score=lambda total: {"score": total},
    )
    space = {"a": vt.Ordinal([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])}
    sweep = vt.tune(
        learner,
        space,
        search=vt.Grid(),
        refiner=vt.Halving(),
        steps=3,
        rounds=3,
        metric="score",
        mode="max",
    )
    assert sweep.best.index == 5
    assert sweep.best.score == -4
    assert sweep[3].score == 4
    assert sweep.ranking.tolist() == [5, 4, 3, 2, 1, 0]
    assert float(sweep.table()["score/best"].max()) == 6


def test_every_cohort_ranks_its_own_members(compilations):
    learner = quadratic()
    learner = learner._replace(
        step=lambda key, h, x, batch: (x - h["lr"] * h["scale"] * x, {"loss": x})
    )
    space = {**RATES, "scale": vt.Categorical([1.0, 0.001])}
    with compilations() as seen:
        sweep = vt.tune(
            learner, space, search=vt.Halton(19), refiner=vt.Halving(), steps=9, rounds=9
        )
    assert seen.count == 1
    left = np.flatnonzero(np.isfinite(sweep.history["loss"][-1]))
    # of 10 and 9 members: 10 -> 4 -> 2 and 9 -> 3 -> 1, however bad the second cohort is
    assert [int(np.sum(left % 2 == c)) for c in (0, 1)] == [2, 1]
    assert sweep.n_candidates_ == [19, 7, 3]
    assert sweep.n_resources_ == [1, 3, 9]


def test_diverged_members_are_dropped_first():
    rates = [0.5, 1e30, 0.2, 1e30, 0.1, 1e30]
    sweep = vt.tune(
        quadratic(),
        {"lr": vt.Float(0.0, 1e30)},
        search=vt.Given([{"lr": r} for r in rates]),
        refiner=vt.Halving(2, 2),
        steps=16,
        rounds=8,
    )
    assert [sweep[i].status for i in (0, 2)] == ["completed", "completed"]
    assert sweep[4].status == "dropped after round 3"
    assert all(sweep[i].status.startswith("diverged at step") for i in (1, 3, 5))
    few = vt.tune(
        quadratic(),
        {"lr": vt.Float(0.0, 1e30)},
        search=vt.Given([{"lr": r} for r in [1e30, 1e30, 0.3, 1e30, 1e30, 1e30]]),
        refiner=vt.Halving(2, 2),
        steps=16,
        rounds=8,
    )
    assert few.best.index == 2  # others stay only because finite ones ran out
    assert np.isfinite(few.history["loss"][-1]).tolist() == [i == 2 for i in range(6)]


def test_hyperband_draws_its_own_settings_and_compiles_once(compilations):
    learner, options = quadratic(), {"steps": 9, "refiner": vt.Hyperband(max_rounds=9)}
    with compilations() as seen:
        sweep = vt.tune(learner, RATES, search=vt.Halton(), **options)
        vt.tune(learner, RATES, search=vt.Halton(), seed=1, **options)
    assert seen.count == 1
    assert len(sweep) == 17
    assert sweep.n_candidates_ == [9 + 5 + 3, 3 + 5 + 3, 1 + 1 + 3]
    assert sweep.n_resources_ == [1, 3, 9]
    # bracket by bracket, slots 0 to 8, 9 to 13, 14 to 16
    loss = (1 - np.asarray(sweep.settings["lr"][0], np.float64)) ** 2
    lived = sweep.trained.lived
    order = np.argsort(loss[:9])
    assert lived[:9][order].tolist() == [9, 3, 3, 1, 1, 1, 1, 1, 1]
    assert lived[9:14][np.argsort(loss[9:14])].tolist() == [9, 3, 3, 3, 3]
    assert lived[14:].tolist() == [9, 9, 9]
    assert len(vt.tune(learner, RATES, search=vt.Random(), **options)) == 17

    two = {**RATES, "c": vt.Categorical([1, 2])}
    with pytest.warns(UserWarning, match="'c'"):
        assert len(vt.tune(learner, two, search=vt.Halton(), **options)) == 2 * 17


def test_an_interrupted_halving_holds_the_rounds_that_were_run(monkeypatch):
    from vtune.runtime import segments

    monkeypatch.setattr(segments, "SEGMENT_SECONDS", 0.0)
    learner = quadratic()
    options = {"search": vt.Halton(9), "refiner": vt.Halving(), "steps": 9, "rounds": 9}
    whole = vt.tune(learner, RATES, **options)

    press = lambda report: os.kill(os.getpid(), signal.SIGINT) if report.stop == 3 else None
    with pytest.warns(UserWarning, match="interrupted: 3 of 9 rounds"):
        sweep = vt.tune(learner, RATES, callbacks=[press], **options)
    np.testing.assert_array_equal(sweep.history["loss"], whole.history["loss"][:3])
    statuses = {m.status for m in sweep}
    assert statuses == {"dropped after round 0", "interrupted after round 2"}
    assert sweep.n_candidates_ == [9, 3]


def test_best_says_who_has_no_score():
    learner = vt.Learner(
        init=lambda key, h, batch: jnp.zeros(()),
        step=lambda key, h, x, batch: (x + 1, {}),
        measure=lambda key, h, x, batch, weight: jnp.where(x >= 2, jnp.nan, h["lr"]),
        score=lambda total: {"loss": total},
        variables=lambda x: x,
    )
    options = {"search": vt.Halton(9), "steps": 3, "rounds": 3}
    with pytest.warns(UserWarning, match="NaN though the weights are finite, so the metric is not"):
        sweep = vt.tune(learner, RATES, refiner=vt.Halving(), **options)
    assert np.isfinite(sweep.history["loss"][0]).all()
    says = "no member that trained to the end has a finite loss .*the metric is not defined on"
    with pytest.raises(ValueError, match=says):
        _ = sweep.best
