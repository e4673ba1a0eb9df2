"""Whose weights a member carries, what they lived through, and training them again."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas
import pytest
from problems import MLP, blobs, mlp_learner, quadratic
from solo import largest_difference, plain_loop, xent

import vtune as vt

pytestmark = pytest.mark.slow

DATA = blobs()
SPACE = {"lr": vt.Float(1e-4, 3e-1, log=True), "rate": vt.Float(0.0, 0.5)}
STEPS = DATA.train.shape[0] // 16


def model(h):
    return MLP(rate=h["rate"])


def adam(h):
    return optax.adam(h["lr"])


@functools.lru_cache
def noisy():
    return vt.flax_learner(model, optimizer=adam, loss=xent)


def refined(learner, refiner=None, space=SPACE, n=8, data=DATA, **options):
    options = {"epochs": 8, "batch_size": 16, "seed": 3, **options}
    refiner = refiner or vt.PBT(quantile_fraction=0.5)
    return vt.tune(learner, space, data, search=vt.Halton(n), refiner=refiner, **options)


@pytest.fixture(scope="module")
def sweep():
    return refined(noisy())


def test_a_lineage_leads_back_to_the_first_round(sweep):
    moved = 0
    for index in range(8):
        path = sweep.lineage(index)
        assert path.shape == (8,)
        assert path[-1] == index
        for number in range(1, 8):
            assert sweep.parents[number, path[number]] == path[number - 1]
        moved += len(set(path.tolist())) > 1
    assert moved >= 4
    np.testing.assert_array_equal(sweep.parents[0], np.arange(8))


def test_a_schedule_is_what_the_weights_lived_through(sweep):
    index = next(i for i in range(8) if len(set(sweep.lineage(i).tolist())) > 1)
    schedule, path = sweep.schedule(index), sweep.lineage(index)
    assert list(schedule) == ["lr", "rate"]
    for name in SPACE:
        assert schedule[name].dtype == np.float32
        np.testing.assert_array_equal(schedule[name], sweep.settings[name][np.arange(8), path])
        assert len(set(schedule[name].tolist())) > 1
        assert sweep[index].hparams[name] == pytest.approx(float(schedule[name][-1]))
    assert schedule.options["batch_size"] == 16
    assert "lr" in repr(schedule)


def test_every_member_equals_a_plain_loop_along_its_lineage(x64):
    """Design 6.1 for refined members: keys of the slots stood in, hyperparameters of the round."""
    data = blobs()
    sweep = refined(vt.flax_learner(model, optimizer=adam, loss=xent), data=data)
    train = plain_loop(model, adam, "train")
    for index in range(8):
        lineage, schedule = sweep.lineage(index), sweep.schedule(index)

        def path(step, lineage=lineage, schedule=schedule):
            number = step // STEPS
            return int(lineage[number]), {k: float(schedule[k][number]) for k in SPACE}

        id, h = path(0)
        variables, losses, metrics = train(
            h, data, seed=3, id=id, steps=8 * STEPS, batch_size=16, path=path
        )
        assert largest_difference(variables, sweep[index].variables) < 1e-9
        assert abs(metrics["loss"] - sweep[index].score) < 1e-9
        means = np.reshape(losses, (8, STEPS)).mean(axis=1)
        slots = np.arange(8), lineage
        np.testing.assert_allclose(sweep.history["train/loss"][slots], means, atol=1e-9)


@pytest.mark.parametrize(
    "refiner", [vt.PBT(quantile_fraction=0.5), vt.PB2(candidates=32), vt.MFPBT((1, 2))], ids=str
)
def test_rerun_gives_the_same_weights(refiner, x64):
    sweep = refined(vt.flax_learner(model, optimizer=adam, loss=xent), refiner, data=blobs())
    assert np.any(sweep.parents[1:] != np.arange(8))
    for member in sweep:
        again = sweep.rerun(member.index)
        assert again.index == member.index
        assert again.status == "completed"
        assert again.hparams == member.hparams
        assert largest_difference(again.state, member.state) < 1e-9
        np.testing.assert_allclose(
            again.history["loss"],
            sweep.history["loss"][np.arange(8), sweep.lineage(member.index)],
            atol=1e-9,
        )


def test_rerun_in_float32(sweep, compilations):
    best = sweep.best
    again = sweep.rerun(best.index)
    pairs = zip(jax.tree.leaves(again.variables), jax.tree.leaves(best.variables), strict=True)
    for a, b in pairs:
        assert np.linalg.norm(a - b) <= 1e-4 * np.linalg.norm(b)
    with compilations() as seen:
        sweep.rerun(0)
    assert seen.count == 0  # another lineage is another argument


def test_rerun_with_several_cohorts_and_devices():
    learner = vt.flax_learner(
        lambda h: MLP(width=h["width"]), optimizer=lambda h: optax.sgd(h["lr"]), loss=xent
    )
    space = {"width": vt.Categorical([4, 8]), "lr": SPACE["lr"], "note": 1}
    with pytest.warns(UserWarning, match="'note'"):
        sweep = refined(learner, space=space, n=9)
    for index in range(9):
        assert set(sweep.lineage(index) % 2) == {index % 2}  # within its cohort
        schedule = sweep.schedule(index)
        assert list(schedule) == ["width", "lr", "note"]
        assert schedule["width"] == [[4, 8][index % 2]] * 8
        assert schedule["note"] == [1] * 8
        again = sweep.rerun(index)
        assert largest_difference(again.variables, sweep[index].variables) < 1e-5


def test_a_saved_sweep_keeps_its_lineages(sweep, tmp_path):
    sweep.save(tmp_path / "run")
    back = vt.load(tmp_path / "run", noisy())
    for index in range(8):
        np.testing.assert_array_equal(back.lineage(index), sweep.lineage(index))
        for name in SPACE:
            np.testing.assert_array_equal(
                back.schedule(index)[name], sweep.schedule(index)[name], strict=True
            )
    best = sweep.best
    again = back.rerun(best.index, data=DATA)
    assert largest_difference(again.variables, best.variables) < 1e-5


# Replay ---------------------------------------------------------------------------------------


def test_replay_of_a_schedule_without_moves_is_the_member():
    sweep = refined(noisy(), vt.refine.Keep())
    member = vt.replay(noisy(), DATA, sweep.schedule(0), seed=3)
    assert largest_difference(member.variables, sweep[0].variables) < 1e-6
    other = vt.replay(noisy(), DATA, sweep.schedule(0), seed=4)
    assert largest_difference(other.variables, sweep[0].variables) > 1e-3


def test_replay_follows_the_schedule(sweep, compilations):
    """SGD on x^2 / 2: the product of (1 - lr) over the rounds."""
    schedule = {"lr": [0.5, 0.1, 0.25]}
    learner = quadratic()
    member = vt.replay(learner, None, schedule, steps=6)
    assert float(member.variables) == pytest.approx((0.5 * 0.9 * 0.75) ** 2)
    assert len(member.history["loss"]) == 3
    assert member.status == "completed"
    assert member.hparams == {"lr": 0.25}
    with compilations() as seen:
        vt.replay(learner, None, {"lr": [0.7, 0.2, 0.3]}, steps=6)
    assert seen.count == 0

    index = sweep.best.index
    fresh = vt.replay(noisy(), DATA, sweep.schedule(index), seed=11)
    assert fresh.history["loss"].shape == (8,)
    assert fresh.score < 0.8  # it learned: chance is 1.1
    assert fresh.hparams == sweep[index].hparams


def test_replay_takes_what_is_given_first():
    sweep = refined(
        mlp_learner(), space={"lr": SPACE["lr"]}, epochs=4, metric="accuracy", mode="max"
    )
    schedule = sweep.schedule(1)
    member = vt.replay(mlp_learner(), DATA, schedule)
    assert member.record.metric_name == "accuracy"
    assert member.record.plan.mode == "max"
    member = vt.replay(mlp_learner(), DATA, schedule, epochs=2, batch_size=8, metric="loss")
    assert member.record.plan.mode == "min"
    assert member.record.plan.cohorts[0].steps == 2 * (DATA.train.shape[0] // 8)
    plain = vt.replay(mlp_learner(), DATA, {"lr": schedule["lr"]}, epochs=4, batch_size=16)
    assert (
        largest_difference(plain.variables, vt.replay(mlp_learner(), DATA, schedule).variables)
        < 1e-6
    )


@pytest.mark.parametrize(
    ("schedule", "error", "says"),
    [
        ([0.1], TypeError, r"schedule must be a sweep.schedule\(i\) or a dict, got \[0.1\]; write"),
        ({"lr": [0.1], "k": [1, 2]}, ValueError, r"lengths are \{'lr': 1, 'k': 2\}"),
        ({"lr": []}, ValueError, r"lengths are \{'lr': 0\}"),
        (
            {"lr": ["a", "b"]},
            TypeError,
            r"schedule\['lr'\] must hold one number per round, got \['a', 'b'\]",
        ),
        (
            {"lr": [0.1, float("nan")]},
            ValueError,
            r"must be finite in every round, got \[0.1, nan\]",
        ),
        ({"decay": [0.1, 0.2]}, ValueError, r"'lr' is read but not in the space"),
    ],
)
def test_bad_schedules_are_named(schedule, error, says, refused):
    learner = quadratic()
    with refused(error, says):
        vt.replay(learner, None, schedule, steps=4)


# Its steps depend on how many there will be.
COUNTING = vt.Learner(
    init=lambda key, h, batch: (jnp.ones(()), jnp.int32(0)),
    step=lambda key, h, x, batch: (
        (x[0] * (1 - h["lr"] * (1 - x[1] / h["total_steps"])), x[1] + 1),
        {},
    ),
    measure=lambda key, h, x, batch, weight: x[0] ** 2,
    score=lambda total: {"loss": total},
    variables=lambda x: x[0],
)


@pytest.mark.parametrize("steps", [40, 9])
def test_replay_of_a_dropped_members_schedule_stops_where_it_was_dropped(steps):
    rates = vt.Given([{"lr": lr} for lr in (0.01, 0.3, 0.4, 0.2)])
    space, rounds = {"lr": vt.Float(1e-3, 0.5)}, 4
    sweep = vt.tune(
        COUNTING, space, search=rates, refiner=vt.Halving(2), steps=steps, rounds=rounds
    )
    for index in range(4):
        again = vt.replay(COUNTING, None, sweep.schedule(index))
        lived = len(sweep.lineage(index))
        np.testing.assert_allclose(
            again.history["loss"], sweep.history["loss"][:lived, index], rtol=1e-6
        )
        assert again.score == pytest.approx(sweep.rerun(index).score)
        assert again.status == (
            "completed" if lived == rounds else f"stopped after round {lived - 1}"
        )


def test_replay_takes_arrays_and_columns():
    rates = [0.1, 0.2, 0.4]
    expected = vt.replay(COUNTING, None, {"lr": rates}, steps=6).score
    for own in (jnp.array(rates), pandas.Series(rates), tuple(rates), np.array(rates)):
        assert vt.replay(COUNTING, None, {"lr": own}, steps=6).score == expected


def test_a_changed_schedule_keeps_its_choices():
    learner = vt.Learner(
        init=lambda key, h, batch: jax.random.normal(key, (sum(h["layers"]),)),
        step=lambda key, h, x, batch: (x * (1 - h["lr"]), {}),
        measure=lambda key, h, x, batch, weight: jnp.sum(x**2),
        score=lambda total: {"loss": total},
        variables=lambda x: x,
    )
    space = {"lr": vt.Float(1e-3, 0.5), "layers": vt.Categorical([[1, 2], (4,)]), "note": 3}
    options = {"search": vt.Halton(8), "refiner": vt.PBT(), "steps": 6, "rounds": 3}
    with pytest.warns(UserWarning, match="'note' in the space: never read"):
        sweep = vt.tune(learner, space, **options)
    schedule = sweep.schedule(0)
    assert schedule["layers"] == [[1, 2]] * 3
    assert vt.replay(learner, None, schedule).variables.shape == (3,)  # without a warning
    changed = {**schedule, "lr": [0.1, 0.2, 0.3]}
    del changed["note"]
    assert vt.replay(learner, None, changed, steps=6).variables.shape == (3,)
