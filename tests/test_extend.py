"""A sweep that goes on is the sweep that would have been longer."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import LR, Own, blobs, mlp_learner, quadratic
from solo import largest_difference, xent

import vtune as vt
from vtune.engine.stepping import round_boundaries
from vtune.tuning.arguments import TuneArguments
from vtune.tuning.launch import Watching, run_prepared
from vtune.tuning.prepare import prepare

pytestmark = pytest.mark.slow

DATA = blobs()
SPACE = {**LR, "width": 4, "rate": vt.Float(0.1, 0.5)}


def noisy():
    """Dropout, BatchNorm and Adam: all that a member carries beside its weights."""

    class Net(nn.Module):
        width: int
        rate: object

        @nn.compact
        def __call__(self, x, train):
            x = nn.Dense(self.width, use_bias=False, dtype=x.dtype, param_dtype=x.dtype)(x)
            norm = nn.BatchNorm(not train, dtype=x.dtype, param_dtype=x.dtype)
            x = nn.relu(norm(x))
            x = vt.nn.Dropout(self.rate)(x, deterministic=not train)
            return nn.Dense(3, dtype=x.dtype, param_dtype=x.dtype)(x)

    return vt.flax_learner(
        lambda h: Net(h["width"], h["rate"]),
        optimizer=lambda h: optax.adam(h["lr"]),
        loss=xent,
        metrics={"accuracy": vt.metrics.accuracy},
    )


OPTIONS = {"search": vt.Halton(5), "batch_size": 16, "seed": 3}


def assert_same(a, b, tolerance=1e-12):
    """Whether two sweeps are one, in all that they show."""
    assert set(a.history) == set(b.history)
    for name, values in a.history.items():
        np.testing.assert_allclose(values, b.history[name], rtol=tolerance, atol=tolerance)
    assert set(a.settings) == set(b.settings)
    for name, values in a.settings.items():
        assert values.dtype == b.settings[name].dtype
        np.testing.assert_allclose(values, b.settings[name], rtol=tolerance)
    np.testing.assert_array_equal(a.parents, b.parents)
    assert [m.status for m in a] == [m.status for m in b]
    np.testing.assert_allclose(a.scores, b.scores, rtol=tolerance)
    for one, other in zip(a, b, strict=True):
        assert one.hparams == pytest.approx(other.hparams, rel=tolerance)
        if not one.status.startswith("dropped"):
            assert largest_difference(one.state, other.state) < tolerance
    assert a.n_candidates_ == b.n_candidates_


def test_it_equals_the_longer_sweep(x64):
    learner, space, data = noisy(), {**SPACE, "width": vt.Categorical([4, 8])}, blobs()
    whole = vt.tune(learner, space, data, epochs=5, **OPTIONS)
    first = vt.tune(learner, space, data, epochs=2, **OPTIONS)
    then = vt.extend(first, epochs=1)
    assert then.history["loss"].shape == (3, 5)
    last = vt.extend(then, epochs=2)
    assert_same(last, whole)
    np.testing.assert_allclose(last.table()["loss/best"], whole.table()["loss/best"])


def test_whatever_the_layout(x64):
    learner, data = noisy(), blobs()
    whole = vt.tune(learner, SPACE, data, epochs=3, layout=2, **OPTIONS)
    first = vt.tune(learner, SPACE, data, epochs=2, layout=2, **OPTIONS)
    assert_same(vt.extend(first, epochs=1), whole)
    assert_same(vt.extend(first, epochs=1, layout="auto"), whole)


def test_rounds_of_uneven_lengths(x64):
    """7 steps in 2 rounds, then 5 in 4: what the weights go through is 12 steps."""
    learner, data = noisy(), blobs()
    whole = vt.tune(learner, SPACE, data, steps=12, rounds=1, **OPTIONS)
    first = vt.tune(learner, SPACE, data, steps=7, rounds=2, **OPTIONS)
    sweep = vt.extend(first, steps=5, rounds=4)
    assert sweep.history["loss"].shape == (6, 5)
    boundaries = round_boundaries(sweep.trained.plan.cohorts[0], 6)
    np.testing.assert_array_equal(boundaries, [0, 3, 7, 8, 9, 10, 12])
    np.testing.assert_array_equal(sweep.history["loss"][:2], first.history["loss"])
    np.testing.assert_allclose(sweep.history["loss"][-1], whole.history["loss"][-1], rtol=1e-12)
    for one, other in zip(sweep, whole, strict=True):
        assert largest_difference(one.variables, other.variables) < 1e-12
    again = sweep.rerun(1)
    np.testing.assert_allclose(again.history["loss"], sweep.history["loss"][:, 1], rtol=1e-12)


def test_folds_and_seeds(x64):
    data = vt.kfold(blobs().arrays, k=3, seed=0)
    learner = noisy()
    options = {**OPTIONS, "seeds": 2}
    whole = vt.tune(learner, SPACE, data, epochs=3, **options)
    first = vt.tune(learner, SPACE, data, epochs=1, **options)
    sweep = vt.extend(first, epochs=2)
    assert sweep.history["loss/splits"].shape == (3, 5, 3, 2)
    assert_same(sweep, whole)


@pytest.mark.parametrize(
    "refiner",
    [
        vt.PBT(perturbation_interval=1, quantile_fraction=0.4),
        vt.PB2(perturbation_interval=1, quantile_fraction=0.4),
    ],
    ids=["PBT", "PB2"],
)
def test_a_refiner_goes_on_and_remembers(x64, refiner):
    learner, data = mlp_learner(), blobs()
    space = {"lr": vt.Float(1e-3, 1.0, log=True)}
    options = {**OPTIONS, "search": vt.Halton(6), "refiner": refiner}
    whole = vt.tune(learner, space, data, epochs=7, **options)
    first = vt.tune(learner, space, data, epochs=3, **options)
    sweep = vt.extend(first, epochs=4)
    if isinstance(refiner, vt.PB2):  # given again, it remembers as well
        again = vt.extend(first, epochs=4, refiner=dataclasses.replace(refiner))
        assert_same(again, sweep)
        assert int(again.trained.memories[0].count) == 5 * 6  # before rounds 2 to 6, 6 members
    assert (whole.parents[4:] != np.arange(6)).any()
    assert_same(sweep, whole, 1e-7)
    best = sweep.best.index
    np.testing.assert_array_equal(sweep.lineage(best), whole.lineage(best))
    again = sweep.rerun(best)
    assert largest_difference(again.variables, sweep[best].variables) < 1e-9


def test_another_refiner_begins_anew(x64):
    """PBT after plain search, Halving after plain search; both as if asked from there on."""
    learner, space = quadratic(), {"lr": vt.Float(0.01, 0.1)}
    first = vt.tune(learner, space, search=vt.Halton(8), steps=6, rounds=3)
    pbt = vt.extend(first, steps=4, rounds=2, refiner=vt.PBT(quantile_fraction=0.25))
    np.testing.assert_array_equal(pbt.parents[:3], np.tile(np.arange(8), (3, 1)))
    assert (pbt.parents[3] != np.arange(8)).sum() == 2
    halving = vt.extend(
        first, steps=12, rounds=6, refiner=vt.Halving(min_rounds=2, reduction_factor=2)
    )
    assert halving.n_candidates_ == [8, 4]
    assert halving.n_resources_ == [5, 9]
    kept = np.sort(np.argsort(first.history["loss"][-1])[:4])
    np.testing.assert_array_equal(np.flatnonzero(halving.parents[-1] >= 0), kept)
    for i in kept:
        lr = first[int(i)].hparams["lr"]
        assert halving[int(i)].variables == pytest.approx((1 - lr) ** 18, rel=1e-9)
        assert halving.rerun(int(i)).variables == pytest.approx((1 - lr) ** 18, rel=1e-9)
    gone = int(np.flatnonzero(halving.parents[-1] < 0)[0])
    assert halving[gone].status == "dropped after round 4"
    assert np.isfinite(halving.history["loss"][:5, gone]).all()
    assert np.isnan(halving.history["loss"][5:, gone]).all()

    fresh = vt.extend(first, steps=2, refiner=vt.PB2(quantile_fraction=0.25))
    # Round 3 is the first that it could look back from.
    assert int(fresh.trained.memories[0].count) == 0


def test_of_a_shrunk_sweep_the_others_train_on(x64):
    learner, data = mlp_learner(), blobs()
    options = {**OPTIONS, "search": vt.Halton(12)}
    plain = vt.tune(learner, LR, data, epochs=6, **options)
    refiner = vt.Halving(reduction_factor=2)
    first = vt.tune(learner, LR, data, epochs=4, refiner=refiner, **options)
    assert first.n_candidates_ == [12, 6, 3]
    sweep = vt.extend(first, epochs=2)
    assert sweep.n_candidates_ == first.n_candidates_
    assert sweep.n_resources_ == [1, 2, 6]
    for member in sweep:
        i = member.index
        if member.status.startswith("dropped"):
            assert member.status == first[i].status
            np.testing.assert_array_equal(sweep.history["loss"][:4, i], first.history["loss"][:, i])
            assert np.isnan(sweep.history["loss"][4:, i]).all()
        else:
            assert member.status == "completed"
            np.testing.assert_array_equal(sweep.parents[:, i], np.full(6, i))
            assert largest_difference(member.state, plain[i].state) < 1e-12
            np.testing.assert_allclose(sweep.history["loss"][:, i], plain.history["loss"][:, i])
    with pytest.raises(ValueError, match="members of the sweep were dropped"):
        vt.extend(first, epochs=1, refiner=vt.PBT())


def test_saved_and_loaded_in_between(x64, tmp_path):
    learner, data = mlp_learner(optimizer=lambda h: optax.adam(h["lr"])), blobs()
    whole = vt.tune(learner, LR, data, epochs=4, **OPTIONS)
    first = vt.tune(learner, LR, data, epochs=1, **OPTIONS)
    first.save(tmp_path / "a")
    loaded = vt.load(tmp_path / "a", learner)
    with pytest.raises(ValueError, match=r"a loaded sweep holds no data; give extend\(..., data="):
        vt.extend(loaded, epochs=1)
    then = vt.extend(loaded, data=data, epochs=1)
    then.save(tmp_path / "b")
    again = vt.load(tmp_path / "b", learner)
    assert_same(vt.extend(again, data=data, epochs=2), whole)
    one = again.rerun(2, data)
    assert largest_difference(one.state, then[2].state) < 1e-12


def test_a_loaded_sweep_that_was_refined_or_shrunk(x64, tmp_path):
    learner, space = quadratic(), {"lr": vt.Float(0.01, 0.1)}
    first = vt.tune(learner, space, search=vt.Halton(8), steps=4, rounds=4, refiner=vt.PBT())
    first.save(tmp_path / "pbt")
    loaded = vt.load(tmp_path / "pbt", learner)
    whole = vt.tune(learner, space, search=vt.Halton(8), steps=7, rounds=7, refiner=vt.PBT())
    assert_same(vt.extend(loaded, steps=3, rounds=3), whole)
    assert_same(vt.extend(loaded, steps=3, rounds=3, refiner=vt.PBT()), whole)

    halved = vt.tune(learner, space, search=vt.Halton(8), steps=4, rounds=4, refiner=vt.Halving())
    halved.save(tmp_path / "halving")
    loaded = vt.load(tmp_path / "halving", learner)
    assert_same(vt.extend(loaded, steps=2), vt.extend(halved, steps=2))


def interrupted(after, learner, space, **options):
    """A whole sweep, and the same as if Ctrl-C had come after so many rounds."""
    prepared = prepare(TuneArguments(learner=learner, space=space, **options))
    return run_prepared(prepared, Watching()), run_prepared(prepared, Watching(), stop_after=after)


def test_an_interrupted_sweep_goes_on_from_there(x64):
    whole, part = interrupted(2, mlp_learner(), LR, data=blobs(), epochs=5, **OPTIONS)
    assert part[0].status == "stopped after round 1"
    assert_same(vt.extend(part, epochs=3), whole)


@pytest.mark.parametrize(
    ("refiner", "after", "rounds"),
    [
        (vt.PB2(quantile_fraction=0.4, candidates=32, observations=16), 4, 6),
        (vt.Halving(reduction_factor=2), 3, 6),  # it has dropped some, and will drop more
        (vt.Hyperband(max_rounds=4, reduction_factor=2), 1, 4),
    ],
    ids=lambda value: type(value).__name__ if hasattr(value, "refine") else str(value),
)
def test_an_interrupted_refiner_goes_on_from_memory_and_from_a_file(
    x64, tmp_path, refiner, after, rounds
):
    learner, space = quadratic(), {"lr": vt.Float(0.01, 0.5)}
    search = vt.Halton() if isinstance(refiner, vt.Hyperband) else vt.Halton(8)
    options = {"search": search, "steps": rounds, "rounds": rounds, "refiner": refiner}
    whole, part = interrupted(after, learner, space, **options)
    assert (whole.parents[after:] != np.arange(len(whole))).any()
    part.save(tmp_path / "run")
    loaded = vt.load(tmp_path / "run", learner)
    left = {"steps": rounds - after, "rounds": rounds - after}
    for begun in (part, loaded):
        assert_same(vt.extend(begun, **left), whole, 1e-9)
    if len(whole.n_candidates_) > 1:
        with pytest.raises(ValueError, match=f"extend it by {rounds - after} rounds or more"):
            vt.extend(loaded, steps=1)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Counting(Own):
    """A refiner of the user's own: the best slot's rate for all, from the second call on."""

    after: float = 1.0

    def refine(self, key, round, space, hparams, score, memory):
        best = jnp.full(score.shape, jnp.argmax(score), jnp.int32)
        parents = jnp.where(memory >= self.after, best, jnp.arange(len(score)))
        rates = {name: values[parents] for name, values in hparams.items()}
        return vt.Refinement(parents.astype(jnp.int32), rates), memory + 1


def test_a_refiner_of_ones_own_goes_on_where_it_is_given_again(tmp_path):
    learner, space = quadratic(), {"lr": vt.Float(0.01, 0.5)}
    options = {"search": vt.Halton(4), "steps": 4, "rounds": 4, "refiner": Counting()}
    whole, part = interrupted(2, learner, space, **options)
    part.save(tmp_path / "run")
    loaded = vt.load(tmp_path / "run", learner)
    with pytest.raises(
        ValueError, match=r"no more of the sweep's refiner than Counting\(.*give vt"
    ):
        vt.extend(loaded, steps=2, rounds=2)
    with pytest.raises(ValueError, match="is not the one that the sweep was trained with"):
        vt.load(tmp_path / "run", learner, refiner=Counting(after=2.0))
    for check in (True, False):
        with pytest.raises(TypeError, match="refiner must have a refine method, got 5"):
            vt.load(tmp_path / "run", learner, refiner=5, check=check)
    loaded.save(tmp_path / "run", overwrite=True)  # with the refiner that it does not know
    again = vt.load(tmp_path / "run", learner, refiner=Counting())
    assert_same(vt.extend(again, steps=2, rounds=2), whole)


def test_a_loaded_sweep_that_stopped_members_stays_finished(tmp_path):
    first = vt.tune(quadratic(), {"lr": vt.Float(0.1, 0.2)}, steps=2, rounds=2, patience=2)
    first.save(tmp_path / "run")
    with pytest.raises(ValueError, match="the sweep had patience="):
        vt.extend(vt.load(tmp_path / "run", quadratic()), steps=1)


def test_who_died_stays_dead():
    learner = quadratic()
    space = {"lr": vt.Ordinal([0.1, 3.0])}
    first = vt.tune(learner, space, search=vt.Grid(), steps=200)
    assert first[1].status.startswith("diverged")
    sweep = vt.extend(first, steps=3)
    assert sweep[1].status == first[1].status
    assert sweep[0].variables == pytest.approx(0.9**203, rel=1e-4)
    assert sweep.best.index == 0


def test_the_first_sweep_stays_and_a_second_call_compiles_nothing(compilations):
    learner = mlp_learner()
    first = vt.tune(learner, LR, DATA, search=vt.Halton(4), epochs=2, batch_size=16)
    before = jax.tree.map(np.array, first[1].state)
    with compilations() as seen:
        one = vt.extend(first, epochs=2)
    assert seen.count == 1
    with compilations() as seen:
        two = vt.extend(first, epochs=2)
        other = vt.tune(learner, LR, DATA, search=vt.Halton(4), epochs=2, batch_size=16, seed=1)
        vt.extend(other, epochs=2)
    assert seen.count == 0
    for a, b in zip(jax.tree.leaves(one[1].state), jax.tree.leaves(two[1].state), strict=True):
        np.testing.assert_array_equal(a, b)
    assert largest_difference(first[1].state, before) == 0
    assert np.isfinite(first.rerun(1).score)


def test_total_steps_are_those_of_the_whole(x64):
    """A line from lr to 0 over all the steps: the second half of it is trained with."""

    def learner(shown):
        return vt.Learner(
            init=lambda key, h, batch: (jnp.float64(1.0), jnp.int32(0)),
            step=lambda key, h, state, batch: (
                (state[0] - h["lr"] * (1 - state[1] / h["total_steps"]) * state[0], state[1] + 1),
                {},
            ),
            measure=lambda key, h, state, batch, weight: state[0] ** 2,
            score=lambda total: {"loss": total},
        )

    own, space = learner("own"), {"lr": vt.Ordinal([0.1, 0.2])}
    first = vt.tune(own, space, search=vt.Grid(), steps=4)
    sweep = vt.extend(first, steps=4)
    for member in sweep:
        lr, x = member.hparams["lr"], 1.0
        for step in range(8):
            x -= lr * (1 - step / (4 if step < 4 else 8)) * x
        assert member.variables[0] == pytest.approx(x, rel=1e-12)
    with pytest.raises(ValueError, match="total_steps"):
        sweep.rerun(0)
    assert np.isfinite(first.rerun(0).score)


def test_keys_among_the_state():
    learner = vt.Learner(
        init=lambda key, h, batch: {"key": key, "x": jnp.zeros(())},
        step=lambda key, h, s, batch: (
            {"key": jax.random.split(s["key"])[0], "x": s["x"] + jax.random.uniform(s["key"])},
            {},
        ),
        measure=lambda key, h, s, batch, weight: s["x"] * h["a"],
        score=lambda total: {"loss": total},
    )
    options = {"search": vt.Halton(3), "layout": "vmap"}
    whole = vt.tune(learner, {"a": vt.Float(1.0, 2.0)}, steps=6, rounds=6, **options)
    first = vt.tune(learner, {"a": vt.Float(1.0, 2.0)}, steps=2, rounds=2, **options)
    sweep = vt.extend(first, steps=4, rounds=4)
    np.testing.assert_array_equal(sweep.history["loss"], whole.history["loss"])


@pytest.fixture(scope="module")
def sweep():
    return vt.tune(mlp_learner(), LR, DATA, search=vt.Halton(3), epochs=1, batch_size=16)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sweep": 3}, "extend: sweep must be a vt.Sweep, got int; give what vt.tune"),
        ({"data": blobs(rows=60)}, "the data give 2 steps an epoch, the sweep had 4"),
        ({"data": {"x": 1}}, "data must be a vt.Data, got dict"),
        ({"epochs": None}, "epochs= or steps= must be given, one of them; neither is"),
        ({"steps": 3}, "epochs= or steps= must be given, one of them; both are"),
        ({"epochs": 0}, "epochs=0 must be a whole number, 1 or more"),
        ({"epochs": lambda h: 3}, "epochs=.* must be a whole number, 1 or more"),
        ({"refiner": vt.PBT}, "refiner must have a refine method"),
        ({"rounds": 9}, "rounds=9 is above the 4 steps"),
        ({"layout": "diagonal"}, "layout='diagonal'"),
    ],
    ids=lambda value: "" if isinstance(value, str) else next(iter(value)),
)
def test_bad_input(sweep, options, said, refused):
    with refused((TypeError, ValueError), said):
        vt.extend(**{"sweep": sweep, "epochs": 1, **options})


@pytest.mark.parametrize(
    "options",
    [{"epochs": 3, "patience": 1}, {"epochs": lambda h: h["epochs"]}],
    ids=["patience", "own epochs"],
)
def test_members_that_stopped_stay_so(options):
    space = {"lr": vt.Float(0.5, 1.0), "epochs": vt.Int(1, 2)}
    learner = mlp_learner(optimizer=lambda h: optax.sgd(h["lr"] + 0 * h["epochs"]))
    first = vt.tune(learner, space, DATA, search=vt.Halton(3), batch_size=16, **options)
    with pytest.raises(ValueError, match="start a new sweep from its weights"):
        vt.extend(first, epochs=1)
    assert len(vt.tune(learner, space, DATA, epochs=1, init_from=first.best)) == 64


def test_data_where_there_were_none():
    first = vt.tune(quadratic(), {"lr": vt.Float(0.1, 0.2)}, search=vt.Halton(2), steps=2)
    with pytest.raises(ValueError, match="trained without data; leave data= out"):
        vt.extend(first, steps=1, data=DATA)


def test_data_that_were_scaled_otherwise():
    scaled = vt.standardize(DATA, "x")
    first = vt.tune(mlp_learner(), LR, scaled, search=vt.Halton(2), epochs=1, batch_size=16)
    with pytest.raises(ValueError, match=r"extend: .*scaled"):
        vt.extend(first, epochs=1, data=DATA)
    assert len(vt.extend(first, epochs=1, data=vt.standardize(DATA, "x"))) == 2
