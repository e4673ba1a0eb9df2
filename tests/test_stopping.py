"""Own numbers of epochs, patience, and the best weights kept."""

from dataclasses import dataclass, field
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import LR, MLP, blobs, mlp_learner
from solo import largest_difference, plain_loop, xent

import vtune as vt
from vtune.engine.carry import Carry
from vtune.engine.early_stopping import over_rounds
from vtune.engine.population import Population
from vtune.refine.base import Refinement, Rung, no_memory
from vtune.tuning.duration import stopping_of

pytestmark = pytest.mark.slow

LAYOUTS = [None, "vmap", vt.Layout(chunk=1, devices=1)]
EPOCHS = {**LR, "epochs": vt.Int(1, 6)}


def scripted(scores):
    """A learner whose score after round r is what the script says; its state counts the steps."""
    script = jnp.asarray(scores, float)
    return vt.Learner(
        init=lambda key, h, batch: jnp.int32(0),
        step=lambda key, h, count, batch: (count + 1, {"seen": count.astype(float)}),
        measure=lambda key, h, count, batch, weight: script[h["which"], count - 1],
        score=lambda total: {"score": total},
    )


SCRIPT = [
    [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],  # always better
    [3.0, 1.0, 2.0, 3.0, 9.0, 9.0],  # stops after round 2 with patience 2, misses the 9
    [1.0, 5.0, 4.0, 5.0, 1.0, 9.0],  # an equal score is no improvement: stops after round 3
    [np.nan, 8.0, 8.0, 8.0, 8.0, 8.0],
]


@pytest.mark.parametrize(
    ("keep", "layout"), [("last", None), (None, None), *(("best", own) for own in LAYOUTS)], ids=str
)
def test_patience(keep, layout):
    space = {"which": vt.Ordinal([0, 1, 2])}
    sweep = vt.tune(
        scripted(SCRIPT),
        space,
        search=vt.Grid(),
        steps=6,
        rounds=6,
        metric="score",
        mode="max",
        patience=2,
        keep=keep,
        layout=layout,
    )
    assert [m.status for m in sweep] == [
        "completed",
        "stopped after round 2",
        "stopped after round 3",
    ]
    best = keep != "last"
    assert [m.score for m in sweep] == ([6, 3, 5] if best else [6, 2, 5])
    assert [int(m.state) for m in sweep] == ([6, 1, 2] if best else [6, 3, 4])
    nan = np.isnan(sweep.history["score"])
    assert nan.sum(axis=0).tolist() == [0, 3, 2]
    assert nan[3:, 1].all()
    assert np.isnan(sweep.history["train/seen"]).tolist() == nan.tolist()
    table = sweep.table()
    assert table["status"].tolist() == [m.status for m in sweep]
    assert table["score"].tolist() == [m.score for m in sweep]
    assert table["score/best"].tolist() == [6, 3, 5]
    assert sweep.best.index == 0
    again = sweep.rerun(1)
    assert (again.score, int(again.state)) == (sweep[1].score, int(sweep[1].state))
    assert len(sweep.lineage(1)) == (1 if best else 3)


def test_the_best_weights_are_kept_without_patience_too():
    sweep = vt.tune(
        scripted(SCRIPT),
        {"which": vt.Ordinal([0, 1, 2, 3])},
        search=vt.Given([{"which": 1}, {"which": 2}]),
        steps=4,
        rounds=4,
        metric="score",
        mode="max",
        keep="best",
    )
    assert [m.status for m in sweep] == ["completed"] * 2
    assert [(m.score, int(m.state)) for m in sweep] == [(3, 1), (5, 2)]


def test_a_member_that_diverged_is_not_brought_back():
    learner = scripted(SCRIPT)._replace(variables=None)
    sweep = vt.tune(
        learner,
        {"which": vt.Ordinal([0, 3])},
        search=vt.Grid(),
        steps=6,
        rounds=6,
        metric="score",
        mode="max",
        patience=3,
    )
    assert sweep[1].status == "diverged at step 0"
    assert np.isnan(sweep[1].score)
    assert sweep.best.index == 0


def decaying(h):
    """An optimizer whose schedule is as long as the member trains."""
    return optax.adam(vt.schedules.cosine(h["lr"], h["total_steps"], warmup=0.2))


OWN_EPOCHS = vt.flax_learner(MLP(), optimizer=decaying, loss=xent)
DECAYING_LOOP = plain_loop(lambda h: MLP(), decaying)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_members_with_their_own_epochs_equal_solo_runs(x64, layout):
    """The schedule of each is of its own length."""
    data = blobs()
    given = [{"lr": 0.03, "epochs": n} for n in (1, 3, 6, 4)]
    sweep = vt.tune(
        OWN_EPOCHS,
        EPOCHS,
        data,
        search=vt.Given(given),
        epochs=lambda h: h["epochs"],
        batch_size=16,
        layout=layout,
    )
    assert [m.status for m in sweep] == [
        "completed after round 0",
        "completed after round 2",
        "completed",
        "completed after round 3",
    ]
    assert (~np.isnan(sweep.history["loss"])).sum(axis=0).tolist() == [1, 3, 6, 4]
    for index, setting in enumerate(given):
        steps = setting["epochs"] * (len(data.train) // 16)
        h = {"lr": 0.03, "total_steps": steps}
        variables, _, metrics = DECAYING_LOOP(h, data, seed=0, id=index, steps=steps, batch_size=16)
        assert largest_difference(variables, sweep[index].variables) < 1e-9
        assert metrics["loss"] == pytest.approx(sweep[index].score, abs=1e-9)
    if layout is None:
        replayed = vt.replay(OWN_EPOCHS, data, sweep.schedule(0), seed=0)  # one epoch of its own
        assert replayed.score == pytest.approx(sweep[0].score, abs=1e-9)


def test_epochs_may_be_structural_beside_batch_sizes(compilations):
    space = {
        **LR,
        "epochs": vt.Categorical([1, 3]),
        "batch_size": vt.Categorical([8, 16]),
    }
    options = {"epochs": lambda h: h["epochs"], "batch_size": lambda h: h["batch_size"]}
    learner = mlp_learner()
    data = blobs()
    with compilations() as first:
        sweep = vt.tune(learner, space, data, search=vt.Halton(8), **options)
    with compilations() as second:
        vt.tune(learner, space, data, search=vt.Halton(8), seed=3, **options)
    assert (first.count, second.count) == (1, 0)
    for member in sweep:
        rounds = int((~np.isnan(member.history["loss"])).sum())
        assert rounds == member.hparams["epochs"]
        assert member.status == ("completed" if rounds == 3 else "completed after round 0")


def test_another_draw_of_epochs_compiles_nothing(compilations):
    learner, counts = mlp_learner(), []
    for seed in (0, 5):
        with compilations() as seen:
            vt.tune(
                learner,
                EPOCHS,
                blobs(),
                search=vt.Random(3),
                seed=seed,
                epochs=lambda h: h["epochs"],  # a new function every time
                batch_size=16,
            )
        counts.append(seen.count)
    assert counts == [1, 0]


def test_the_best_weights_are_those_of_a_plain_loop_up_to_the_best_round(x64):
    data = blobs()
    optimizer = lambda h: optax.sgd(h["lr"])
    learner = vt.flax_learner(MLP(), optimizer=optimizer, loss=xent)
    given = [{"lr": lr} for lr in (0.05, 3.0, 8.0)]  # the large ones get worse on the way
    sweep = vt.tune(
        learner,
        {"lr": vt.Float(1e-3, 10.0, log=True)},
        data,
        search=vt.Given(given),
        epochs=8,
        batch_size=16,
        patience=3,
    )
    train = plain_loop(lambda h: MLP(), optimizer)
    rounds = sweep.table()["loss/best_round"].tolist()
    assert min(rounds) < 7  # not the last for all
    for member, best in zip(sweep, rounds, strict=True):
        steps = (best + 1) * (len(data.train) // 16)
        variables, _, metrics = train(
            member.hparams, data, seed=0, id=member.index, steps=steps, batch_size=16
        )
        assert largest_difference(variables, member.variables) < 1e-9
        assert metrics["loss"] == pytest.approx(member.score, abs=1e-9)
        assert np.nanmin(member.history["loss"]) == member.score


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Follow:
    """Before a round, all slots take these parents and their settings."""

    before: dict = field(metadata={"static": True})

    init = no_memory

    def rungs(self, size, rounds):
        return (Rung(size, rounds),)

    def refine(self, key, round, space, hparams, score, memory):
        parents = jnp.arange(len(score))
        for number, given in self.before:
            parents = jnp.where(round == number, jnp.array(given), parents)
        return Refinement(parents, {name: v[parents] for name, v in hparams.items()}), memory


def test_a_copy_takes_its_parents_best_along_and_who_has_stopped_stays():
    script = [
        [1.0, 5.0, 4.0, 3.0, 2.0, 1.0],  # best after round 1, stops after round 3
        [3.0, 2.0, 9.0, 9.0, 9.0, 9.0],  # becomes a copy of the first before round 2
        [1.0, 2.0, 3.0, 4.0, 4.5, 4.6],  # better all the time
    ]
    sweep = vt.tune(
        scripted(script),
        {"which": vt.Ordinal([0, 1, 2])},
        search=vt.Grid(),
        refiner=Follow(((2, (0, 0, 2)), (4, (2, 2, 0)), (5, (2, 2, 2)))),
        steps=6,
        rounds=6,
        metric="score",
        mode="max",
        patience=2,
        keep="best",
    )
    own = [0, 1, 2]
    assert sweep.parents.tolist() == [own, own, [0, 0, 2], own, own, own]
    ends = ["stopped after round 3", "stopped after round 3", "completed"]
    assert [m.status for m in sweep] == ends
    assert [m.score for m in sweep] == [5, 5, pytest.approx(4.6)]
    assert sweep.scores.tolist() == [m.score for m in sweep] == sweep.table()["score"].tolist()
    assert [int(m.state) for m in sweep] == [2, 2, 6]
    assert [m.hparams["which"] for m in sweep] == [0, 0, 2]
    assert sweep.settings["which"][-1].tolist() == [0, 0, 2]
    assert sweep.lineage(1).tolist() == [0, 0]
    assert np.isnan(sweep.history["score"]).sum(axis=0).tolist() == [2, 2, 0]
    again = sweep.rerun(1)
    assert (again.score, int(again.state)) == (5, 2)


@pytest.mark.parametrize(
    "refiner", [vt.PBT(perturbation_interval=2), vt.Halving(2)], ids=["PBT", "Halving"]
)
@pytest.mark.parametrize("devices", [1, 2])
def test_the_best_weights_beside_a_refiner_are_those_of_a_rerun(x64, refiner, devices, tmp_path):
    """Large rates get worse on the way. Dropped members keep their best weights, too."""
    data, learner = blobs(), mlp_learner()
    sweep = vt.tune(
        learner,
        {"lr": vt.Float(0.05, 3.0, log=True)},
        data,
        search=vt.Halton(8),
        refiner=refiner,
        epochs=8,
        batch_size=16,
        patience=3,
        keep="best",
        layout=vt.Layout(devices=devices),
    )
    rounds, _ = sweep.trained.last_trained
    assert (rounds + 1 < sweep.trained.lived).any()
    for member in sweep:
        again = sweep.rerun(member.index)
        assert again.score == pytest.approx(member.score, rel=1e-9)
        assert largest_difference(again.variables, member.variables) < 1e-9
        assert again.hparams["lr"] == pytest.approx(member.hparams["lr"], rel=1e-12)
    scores = sweep.evaluate({name: a[data.valid] for name, a in data.arrays.items()})
    assert scores["loss"].tolist() == pytest.approx([m.score for m in sweep], rel=1e-9)
    sweep.save(tmp_path)
    loaded = vt.load(tmp_path, learner)
    assert [m.status for m in loaded] == [m.status for m in sweep]
    for member, saved in zip(sweep, loaded, strict=True):
        assert saved.score == member.score
        assert largest_difference(saved.variables, member.variables) == 0


def test_patience_may_be_as_long_as_one_likes():
    assert stopping_of(10**12, None, None, 3, 3, vt.refine.Keep()).patience == 2**31 - 1


def test_a_sweep_ends_when_all_have_stopped():
    stopping = SimpleNamespace(stopping=True)
    never = SimpleNamespace(stopping=None)
    carry = Carry(Population(*[jnp.zeros(3)] * 5, stopped=jnp.full(3, -1)), (), jnp.int32(0))

    def one_round(number, carries):
        (carry,) = carries
        stopped = jnp.where(number >= jnp.arange(3), number, -1)  # the last one after round 2
        population = carry.population._replace(stopped=stopped)
        return (Carry(population, (), carry.record + 1),)

    run = [over_rounds(plan, 0, 100, one_round, (carry,))[0].record for plan in (stopping, never)]
    assert [int(rounds) for rounds in run] == [3, 100]


def test_structural_epochs_are_plain_numbers_for_schedules():
    def optimizer(h):  # Optax compares the steps in Python
        schedule = optax.cosine_decay_schedule(1.0, h["total_steps"])
        return optax.sgd(lambda step: h["lr"] * schedule(step))

    learner = vt.flax_learner(MLP(), optimizer=optimizer, loss=xent)
    space = {**LR, "epochs": vt.Categorical([1, 3])}
    sweep = vt.tune(
        learner, space, blobs(), search=vt.Halton(2), epochs=lambda h: h["epochs"], batch_size=16
    )
    for member in sweep:
        alone = vt.tune(
            learner,
            LR,
            blobs(),
            search=vt.Given([{"lr": member.hparams["lr"]}]),
            epochs=member.hparams["epochs"],
            batch_size=16,
        )
        if member.index == 0:  # the same key
            assert alone.best.score == pytest.approx(member.score, rel=1e-5)
        assert sweep.rerun(member.index).score == pytest.approx(member.score, rel=1e-5)


def test_stopping_survives_saving(tmp_path):
    learner = scripted(SCRIPT)
    options = {"steps": 6, "rounds": 6, "metric": "score", "mode": "max", "patience": 2}
    sweep = vt.tune(learner, {"which": vt.Ordinal([0, 1, 2])}, search=vt.Grid(), **options)
    sweep.save(tmp_path / "run")
    loaded = vt.load(tmp_path / "run", learner)
    assert [m.score for m in loaded] == [m.score for m in sweep]
    assert [m.status for m in loaded] == [m.status for m in sweep]
    same = lambda a, b: np.testing.assert_array_equal(a, b)
    jax.tree.map(same, [m.state for m in loaded], [m.state for m in sweep])


def test_a_loaded_sweep_trains_members_for_their_own_epochs_again(tmp_path):
    def optimizer(h):
        return optax.sgd(vt.schedules.cosine(h["lr"], h["total_steps"]))

    learner = vt.flax_learner(MLP(), optimizer=optimizer, loss=xent)
    options = {"epochs": lambda h: h["epochs"], "batch_size": 16}
    for name, epochs in (("traced", vt.Int(1, 5)), ("structural", vt.Categorical([2, 5]))):
        own = vt.tune(learner, {**LR, "epochs": epochs}, blobs(), search=vt.Halton(3), **options)
        own.save(tmp_path / name)
        loaded = vt.load(tmp_path / name, learner)
        assert [m.status for m in loaded] == [m.status for m in own]
        assert own[0].status.startswith("completed after round")
        again = loaded.rerun(0, data=blobs())
        assert again.score == pytest.approx(own[0].score, rel=1e-5)


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"patience": 0}, ValueError, r"patience=0 must be a whole number, 1 or more"),
        ({"keep": "first"}, ValueError, r"keep='first' must be \"best\" or \"last\""),
        (
            {"epochs": lambda h: h["epochs"], "refiner": vt.PBT()},
            ValueError,
            r"epochs= as a function goes with plain search only, since PBT decides which members",
        ),
        (
            {"epochs": lambda h: h["epochs"], "rounds": 2},
            ValueError,
            r"rounds=2 cannot be combined with epochs= as a function",
        ),
        ({"epochs": lambda h: h["lr"] + 1}, TypeError, r"epochs=\S+ must be a whole number; write"),
        ({"epochs": lambda h: h["epochs"] - 1}, ValueError, r"epochs=0 must be 1 or more"),
        ({"epochs": lambda h: h["length"]}, ValueError, r"epochs: hyperparameter 'length' is read"),
    ],
)
def test_what_cannot_be_is_named(options, error, says, refused):
    given = {"search": vt.Halton(4), "epochs": 4, "batch_size": 16, **options}
    with refused(error, says):
        vt.tune(mlp_learner(), EPOCHS, blobs(), **given)
