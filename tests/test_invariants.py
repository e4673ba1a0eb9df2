"""What must always hold (design, section 6); point 1 is in test_solo.py."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import LR, MLP, blobs, mlp_learner, quadratic
from solo import largest_difference, xent

import vtune as vt
from vtune.engine.carry import Arguments
from vtune.space.traced import program_space

WIDTHS = {**LR, "width": vt.Categorical([4, 8])}


def wide_learner():
    return vt.flax_learner(
        lambda h: MLP(width=h["width"]),
        optimizer=lambda h: optax.adam(h["lr"]),
        loss=xent,
        metrics={"accuracy": vt.metrics.accuracy},
    )


def tune(learner, space, data, n=6, **options):
    options = {"epochs": 4, "batch_size": 16, "metric": "accuracy", "mode": "max", **options}
    return vt.tune(learner, space, data, search=vt.Halton(n), **options)


def same(a, b):
    """Whether two sweeps agree to the bit."""
    weights = [[m.variables for m in sweep.members] for sweep in (a, b)]
    pairs = zip(*map(jax.tree.leaves, weights), strict=True)
    return all(np.array_equal(x, y, equal_nan=True) for x, y in pairs) and all(
        np.array_equal(a.history[k], b.history[k], equal_nan=True) for k in a.history
    )


# 2. One program ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wide(compilations):
    """A learner, its first sweep, and how many programs that took."""
    learner = wide_learner()
    with compilations() as first:
        sweep = tune(learner, WIDTHS, blobs())
    return learner, sweep, first.count


def test_a_sweep_is_one_compilation_and_a_second_none(wide, compilations):
    (learner, _, count), data, other = wide, blobs(), blobs(seed=5)
    assert count == 1
    narrow = {**WIDTHS, "lr": vt.Float(1e-2, 2e-2, log=True)}
    given = [{"lr": 0.01 * (i + 1), "width": [4, 8][i % 2]} for i in range(6)]
    with compilations() as later:
        tune(learner, WIDTHS, data, seed=9)
        tune(learner, narrow, data)
        tune(learner, WIDTHS, other)
        vt.tune(
            learner,
            WIDTHS,
            data,
            search=vt.Given(given),
            epochs=4,
            batch_size=16,
            metric="accuracy",
            mode="max",
        )
    assert later.count == 0


def test_many_segments_are_one_compilation_and_the_same_bits(compilations, monkeypatch):
    from vtune.runtime import execute, segments

    learner, data = mlp_learner(), blobs()
    monkeypatch.setattr(segments, "SEGMENT_SECONDS", 1e9)  # one round, then all the others
    few = tune(learner, LR, data, epochs=7)
    monkeypatch.setattr(segments, "SEGMENT_SECONDS", 0.0)  # one round each
    with compilations() as again:
        many = tune(learner, LR, data, epochs=7, progress=False)
    assert again.count == 0
    assert same(few, many)

    plan = few.trained.plan
    built = execute.build(plan)
    cohorts = few.trained.cohorts
    arguments = Arguments(
        np.uint32(0),
        tuple(program_space(c.combination.traced) for c in cohorts),
        vt.refine.Keep(),
        data,
    )
    carry = execute.first_carry(built, cohorts)
    carry = built.call(carry, np.int32(0), np.int32(7), arguments)  # one segment
    whole = np.asarray(carry[0].record.metrics["loss"])
    np.testing.assert_array_equal(whole, few.history["loss"])


def test_the_same_call_gives_the_same_bits(wide):
    (learner, sweep, _), data = wide, blobs()
    assert same(sweep, tune(learner, WIDTHS, data))
    assert not same(sweep, tune(learner, WIDTHS, data, seed=1))


# 3. Every setting exactly once ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "layout"),
    [(1, None), (1, 2), *((5, own) for own in (None, "vmap", 2, vt.Layout(3, 2)))],
    ids=str,
)
def test_every_setting_exactly_once(n, layout):
    rates = [0.05 * (i + 1) for i in range(n)]
    sweep = vt.tune(
        quadratic(),
        {"lr": vt.Float(0.0, 1.0)},
        search=vt.Given([{"lr": lr} for lr in rates]),
        steps=6,
        rounds=2,
        layout=layout,
    )
    assert len(sweep) == n
    assert sweep.history["loss"].shape == (2, n)
    assert [m.hparams["lr"] for m in sweep.members] == pytest.approx(rates)
    expected = [0.5 * (1 - lr) ** 12 for lr in rates]
    np.testing.assert_allclose(sweep.history["loss"][-1], expected, rtol=1e-5)


# 4. Divergence stays at home ------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["max", "min"])
def test_divergence_stays_at_home(mode):
    """lr = 1e30 overflows at once; its neighbours must not notice."""
    data = blobs()
    learner = mlp_learner()
    rates = [1e-2, 1e30, 3e-2]
    space = {"lr": vt.Float(1e-3, 1e30, log=True)}
    options = {"epochs": 3, "batch_size": 16, "mode": mode}
    metric = "accuracy" if mode == "max" else "loss"
    sweep = vt.tune(
        learner,
        space,
        data,
        search=vt.Given([{"lr": r} for r in rates]),
        metric=metric,
        **options,
    )
    healthy = vt.tune(
        learner,
        space,
        data,
        search=vt.Given([{"lr": r} for r in (1e-2, 1e-2, 3e-2)]),
        metric=metric,
        **options,
    )
    for i in (0, 2):
        assert largest_difference(sweep[i].variables, healthy[i].variables) == 0
        assert sweep[i].status == "completed"
    assert sweep[1].status.startswith("diverged at step ")
    assert all(np.isnan(values[:, 1]).all() for values in sweep.history.values())
    assert sweep.best.index != 1
    assert sweep.ranking[-1] == 1
    assert sweep.scores[1] == -np.inf


def test_the_step_of_divergence_is_noted():
    """(1 - lr)^t with lr = 1e10 from x = 1: x^2 overflows float32 in the loss of step 2."""
    sweep = vt.tune(
        quadratic(),
        {"lr": vt.Ordinal([0.5, 1e10])},
        search=vt.Grid(),
        steps=12,
        rounds=4,
    )
    assert [m.status for m in sweep.members] == ["completed", "diverged at step 2"]
    history = sweep.history["loss"]
    assert np.isfinite(history[:, 0]).all()
    assert np.isnan(history[:, 1]).all()


def test_weights_that_break_in_the_last_step_of_a_round_are_seen():
    """No metric turns non-finite, the weights do: out at the end of the round."""
    learner = vt.Learner(
        init=lambda key, h, batch: {"x": jnp.ones(()), "t": jnp.zeros(())},
        step=lambda key, h, s, batch: (
            {"x": jnp.where(s["t"] == h["bad"], jnp.nan, s["x"]), "t": s["t"] + 1},
            {},
        ),
        measure=lambda key, h, s, batch, weight: jnp.ones(()),
        score=lambda total: {"value": total},
    )
    sweep = vt.tune(
        learner,
        {"bad": vt.Ordinal([3, 99])},
        search=vt.Grid(),
        steps=8,
        rounds=4,
        metric="value",
        mode="max",
    )
    assert sweep[0].status == "diverged at step 3"
    assert list(np.isnan(sweep.history["value"][:, 0])) == [False, True, True, True]
    assert sweep.best.index == 1


def test_a_state_at_infinity_is_out_without_variables():
    """x doubles its exponent: infinite in the second round, with no step metric to say so."""
    learner = vt.Learner(
        init=lambda key, h, batch: jnp.ones(()),
        step=lambda key, h, x, batch: (x * h["g"], {}),
        measure=lambda key, h, x, batch, weight: x,
        score=lambda total: {"x": total},
    )
    space = {"g": vt.Ordinal([1.0, 1e10])}
    sweep = vt.tune(learner, space, search=vt.Grid(), steps=8, rounds=4, metric="x", mode="max")
    assert [m.status for m in sweep] == ["completed", "diverged at step 3"]
    assert list(np.isnan(sweep.history["x"][:, 1])) == [False, True, True, True]


def test_an_infinity_in_the_optimizer_state_is_no_divergence():
    """lbfgs starts with one."""
    learner = mlp_learner(optimizer=lambda h: optax.lbfgs(h["lr"], memory_size=2, linesearch=None))
    sweep = tune(learner, LR, blobs(), n=2, epochs=1)
    assert all(m.status == "completed" for m in sweep.members)


def test_all_diverged_has_no_best():
    says = r"no member has a finite loss .*diverged at step.*try smaller learning rates"
    with pytest.warns(UserWarning, match=says):
        sweep = vt.tune(quadratic(), {"lr": vt.Ordinal([1e20, 1e25])}, search=vt.Grid(), steps=9)
    with pytest.raises(ValueError, match=says):
        _ = sweep.best
    with pytest.raises(ValueError, match=f"retrain: {says}"):
        sweep.retrain()


# 5. No leak ----------------------------------------------------------------------------------


def test_validation_rows_never_reach_training():
    """Other validation rows: other scores, the same weights and BatchNorm statistics."""
    import flax.linen as nn

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            return nn.Dense(3)(nn.BatchNorm(use_running_average=not train)(nn.Dense(5)(x)))

    learner = vt.flax_learner(Net(), optimizer=lambda h: optax.sgd(h["lr"]), loss=xent)
    data = blobs()
    x = np.array(data.arrays["x"])
    x[np.asarray(data.valid)] += 100.0
    changed = vt.Data({**data.arrays, "x": jax.device_put(x)}, data.train, data.valid)
    options = {"epochs": 3, "batch_size": 16, "search": vt.Random(3)}
    a, b = (vt.tune(learner, LR, d, **options) for d in (data, changed))
    for i in range(3):
        assert largest_difference(a[i].variables, b[i].variables) == 0
    assert np.all(a.history["loss"] != b.history["loss"])
    np.testing.assert_array_equal(a.history["train/loss"], b.history["train/loss"])


# 6.8 Rows are gathered once, data are arguments ------------------------------------------------


def equations(jaxpr, inside=()):
    """(equation, lengths of the enclosing scans) of a jaxpr, all the way down."""
    for equation in jaxpr.eqns:
        yield equation, inside
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else (value,):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from equations(inner, (*inside, equation.params.get("length")))


@pytest.mark.parametrize("layout", ["map", "vmap"])
def test_rows_are_gathered_once_and_data_are_arguments(layout):
    from functools import partial

    from vtune.runtime import compile, execute

    members, features = 5, 37  # 37 marks whatever comes from the data
    data = blobs(rows=80, features=features)
    sweep = tune(mlp_learner(), LR, data, n=members, layout=layout)
    plan = sweep.trained.plan
    arguments = compile.argument_shapes(plan)
    carry = execute.build(plan).carry
    number = jax.ShapeDtypeStruct((), np.int32)
    closed = jax.make_jaxpr(partial(compile.program.run, plan))(carry, number, number, arguments)
    # Data enter as arguments: no constant is as large as a column of them.
    assert max((np.size(c) for c in closed.consts), default=0) < 80
    gathers = [
        (equation.outvars[0].aval.shape, inside)
        for equation, inside in equations(closed.jaxpr)
        if equation.primitive.name == "gather" and equation.invars[0].aval.shape == (80, features)
    ]
    assert gathers  # training and validation rows, and the batch that init sees
    for shape, inside in gathers:
        assert members not in shape  # no copy a member
        assert members not in inside  # inside no loop over members
    train = [shape for shape, _ in gathers if shape == (3, 16, features)]
    assert len(train) == 1  # 60 training rows: three steps of 16, in one gather


def test_the_program_holds_no_constant_of_the_data():
    from vtune.runtime import execute

    data = blobs(rows=4000, features=50)
    sweep = tune(mlp_learner(), LR, data, n=2, epochs=1)
    call = execute.build(sweep.trained.plan).call
    assert not [
        line for line in call.as_text().splitlines() if "[4000,50]" in line and "constant(" in line
    ]
    assert call.memory_analysis().argument_size_in_bytes > 4000 * 50 * 4


# Closed form ---------------------------------------------------------------------------------


def test_quadratics_follow_their_closed_form():
    """SGD on a x^2 / 2: x_t = (1 - lr a)^t x_0, for a whole sweep; the best lr is 1 / a."""
    a, x0, steps = 4.0, 3.0, 10
    space = {"lr": vt.Float(0.01, 0.49)}
    sweep = vt.tune(quadratic(a, x0), space, search=vt.Grid({"lr": 49}), steps=steps, rounds=5)
    for member in sweep.members:
        exact = (1 - member.hparams["lr"] * a) ** steps * x0
        assert float(member.variables) == pytest.approx(exact, rel=1e-4, abs=1e-9)
    assert sweep.best.hparams["lr"] == pytest.approx(1 / a, abs=0.005)


@pytest.mark.filterwarnings("ignore:mode=")
@pytest.mark.parametrize("mode", ["max", "min"])
def test_a_member_whose_score_alone_is_not_finite_is_never_best(mode):
    scores = jnp.array([0.0, np.inf, -np.inf, np.nan])
    learner = quadratic()._replace(
        measure=lambda key, h, x, batch, weight: x + scores[h["which"]],
    )
    settings = [(0.5, 1), (0.5, 2), (0.5, 3), (0.1, 0), (0.2, 0)]
    sweep = vt.tune(
        learner,
        {"lr": vt.Float(0.0, 0.5), "which": vt.Ordinal([0, 1, 2, 3])},
        search=vt.Given([{"lr": lr, "which": which} for lr, which in settings]),
        steps=2,
        rounds=2,
        mode=mode,
    )
    assert (sweep.scores[:3] == -np.inf).all()
    assert sweep.best.index == (3 if mode == "max" else 4)
