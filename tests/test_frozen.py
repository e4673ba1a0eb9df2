"""Members that share frozen weights equal solo runs, and each weight is there once."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from problems import blobs
from solo import batches, largest_difference, plain_loop, xent

import vtune as vt
from vtune.engine.cohort_groups import carries_by_cohort
from vtune.engine.initialize import initial_shapes
from vtune.engine.run import run
from vtune.runtime.compile import argument_shapes
from vtune.tuning.arguments import TuneArguments
from vtune.tuning.prepare import prepare
from vtune.xla.jaxpr import subjaxprs

pytestmark = pytest.mark.slow

BATCH, STEPS = 8, 50


@functools.lru_cache
def made(dtype):
    del dtype  # blobs are made in the types of JAX's present setting
    data = blobs()
    return data, vt.kfold({k: np.asarray(v) for k, v in data.arrays.items()}, k=3)


def data():
    return made(jnp.zeros(()).dtype)[0]


def folds():
    return made(jnp.zeros(()).dtype)[1]


class Tower(nn.Module):
    """Two layers with BatchNorm, then dropout and a head.

    `still`: the first BatchNorm takes the statistics that it has.
    """

    still: bool = True
    rate: object = 0.3

    @nn.compact
    def __call__(self, x, train=False):
        dense = functools.partial(nn.Dense, dtype=x.dtype, param_dtype=x.dtype, use_bias=False)
        norm = functools.partial(nn.BatchNorm, dtype=x.dtype, param_dtype=x.dtype, momentum=0.9)
        x = dense(10, name="low")(x)
        x = nn.relu(norm(use_running_average=self.still or not train, name="norm")(x))
        x = nn.tanh(dense(12, name="middle")(x))
        x = vt.nn.Dropout(self.rate)(x, deterministic=not train)
        return nn.Dense(3, dtype=x.dtype, param_dtype=x.dtype, name="head")(x)


def tower(h):
    return Tower(rate=h["rate"])


def restless(h):
    return Tower(still=False, rate=h["rate"])


def adamw(h):
    return optax.adamw(h["lr"], weight_decay=h["decay"])


def alone(frozen):
    """The optimizer of a model that holds all its weights, some of which stay."""

    def optimizer(h):
        def labels(params):
            return {name: "still" if name in frozen else "moving" for name in params}

        return optax.multi_transform({"still": optax.set_to_zero(), "moving": adamw(h)}, labels)

    return optimizer


HEAD, UPPER = alone(("low", "norm", "middle")), alone(("low", "norm"))
SPACE = {
    "lr": vt.Float(1e-3, 1e-1, log=True),
    "decay": vt.Float(0.0, 0.1),
    "rate": vt.Float(0.0, 0.5),
}
LEARNER = vt.flax_learner(
    tower, optimizer=adamw, loss=xent, metrics={"accuracy": vt.metrics.accuracy}
)
RESTLESS = vt.flax_learner(restless, optimizer=adamw, loss=xent)


def pretrained():
    """The weights in the types of JAX's present setting."""
    return weights_of(jnp.zeros(()).dtype)


@functools.lru_cache
def weights_of(dtype):
    """Weights from elsewhere, with statistics that are not those of an untrained model."""
    del dtype
    drawn = jax.jit(Tower().init)(jax.random.key(7), data().arrays["x"])
    stats = {"mean": jnp.linspace(-1, 1, 10), "var": jnp.linspace(0.5, 2, 10)}
    return {**drawn, "batch_stats": {"norm": stats}}


def tune(learner=LEARNER, rows=None, space=SPACE, **options):
    given = {"search": vt.Halton(4), "steps": STEPS, "rounds": 2, "batch_size": BATCH}
    given |= {"init_from": pretrained(), "frozen": ("all but", ["^head"])}
    return vt.tune(learner, space, rows or data(), **{**given, **options})


def solo(member, model=tower, optimizer=HEAD, rows=None, **where):
    """(variables, metrics) of a member's setting, all weights its own."""
    start = pretrained()
    train = plain_loop(model, optimizer, "train")
    given = {"seed": 0, "id": member.index, "steps": STEPS, "batch_size": BATCH, **where}
    others = {"batch_stats": start["batch_stats"]}
    given |= {"start": start["params"], "others": others}
    variables, _, metrics = train(member.hparams, rows or data(), **given)
    return variables, metrics


def check(member, **of):
    variables, metrics = solo(member, **of)
    assert largest_difference(variables, member.variables) < 1e-9
    assert metrics["loss"] == pytest.approx(member.score, abs=1e-9)


def naming_all(h):
    """Labels that name every weight of the model."""
    labels = {"low": "still", "norm": "still", "middle": "still", "head": "moving"}
    return optax.multi_transform({"still": optax.set_to_zero(), "moving": adamw(h)}, labels)


def shapes(tree):
    return jax.tree.map(jnp.shape, tree)


@pytest.mark.parametrize(
    "layout", [None, "vmap", 3, vt.Layout(devices=2)], ids=["auto", "vmap", "chunks", "devices"]
)
def test_a_head_alone(layout, x64, tmp_path):
    sweep = tune(layout=layout)
    for member in (sweep[0], sweep[3]):
        check(member)
    assert set(sweep[1].trained["params"]) == {"head"}
    moments = [leaf for leaf in jax.tree.leaves(sweep[1].state.opt_state) if leaf.ndim]
    assert sorted(leaf.shape for leaf in moments) == [(3,), (3,), (12, 3), (12, 3)]
    if layout is None:
        again = sweep.rerun(3)
        assert largest_difference(again.variables, sweep[3].variables) < 1e-12
        sweep.save(tmp_path / "run")
        loaded = vt.load(tmp_path / "run", LEARNER)
        assert largest_difference(loaded[2].variables, sweep[2].variables) == 0
        x = np.asarray(data().arrays["x"][:5])
        np.testing.assert_array_equal(loaded[2].predict(x), sweep[2].predict(x))
        assert loaded.rerun(3, data()).score == pytest.approx(sweep[3].score, abs=1e-12)
        with pytest.raises(
            ValueError, match="shared frozen weights, and this learner cannot; give"
        ):
            vt.load(tmp_path / "run", LEARNER._replace(freezing=None))
        sweep.save(tmp_path / "bare", frozen=False)
        with pytest.raises(ValueError, match="was saved without its frozen weights"):
            vt.load(tmp_path / "bare", LEARNER)
        others = jax.tree.map(lambda leaf: leaf + 1, pretrained())
        with pytest.raises(ValueError, match="has other values of batch_stats/norm/mean, batch_s"):
            vt.load(tmp_path / "bare", LEARNER, init_from=others)
        bare = vt.load(tmp_path / "bare", LEARNER, init_from=pretrained())
        assert largest_difference(bare[2].variables, sweep[2].variables) == 0
        assert vt.read(tmp_path / "bare").best.score == sweep.best.score
        costs = [of.pareto("params", "flops").iloc[0] for of in (sweep, loaded)]
        assert costs[0]["params"] == costs[1]["params"] == 39
        assert costs[0]["flops"] == costs[1]["flops"] > 0
        assert sweep.pareto("loss", "step_seconds")["step_seconds"].iloc[0] > 0
        longer = vt.extend(loaded, data=data(), steps=10)
        check(longer[3], steps=STEPS + 10)
        assert vt.read(tmp_path / "run").table()["loss"].tolist() == sweep.table()["loss"].tolist()
        assert sweep.evaluate({k: np.asarray(v)[:9] for k, v in data().arrays.items()}).rows == 9


def test_features_of_all_rows(x64):
    """Looked up they are what they are computed anew; data in folds have their own."""
    for rows, seeds in ((None, None), (folds(), 2)):
        options = {"rows": rows, "seeds": seeds, "search": vt.Halton(2), "layout": "map"}
        anew, cached = (tune(cache_features=c, **options) for c in (False, True))
        assert largest_difference(anew[1].variables, cached[1].variables) < 1e-12
        assert cached[1].score == pytest.approx(anew[1].score, abs=1e-12)


class Centred(nn.Module):
    """Rows that look at each other between frozen layers."""

    rate: object = 0.0

    @nn.compact
    def __call__(self, x):
        x = nn.Dense(4, name="low")(x)
        x = nn.Dense(4, name="middle")(nn.tanh(x - x.mean(0, keepdims=True)))
        return nn.Dense(3, name="head")(x) * self.rate


@pytest.mark.filterwarnings("ignore:frozen. the model changes")
def test_features_that_look_at_other_rows(compilations):
    with pytest.raises(ValueError, match="begin with the 8 rows of a batch, so it is not of singl"):
        tune(RESTLESS, frozen=("all but", "^head"), cache_features=True)
    centred = vt.flax_learner(lambda h: Centred(h["rate"]), optimizer=adamw, loss=xent)
    start = jax.jit(Centred().init)(jax.random.key(0), data().arrays["x"])
    with pytest.raises(ValueError, match=r"depends on the other rows of its batch \(by 0"):
        tune(centred, init_from=start, cache_features=True)
    noisy = lambda key, batch, h: {**batch, "x": batch["x"] + jax.random.normal(key, ())}
    learner = vt.flax_learner(tower, optimizer=adamw, loss=xent, augment=noisy)
    pretrained()
    with compilations() as seen:
        with pytest.raises(ValueError, match="in training no product depends on the rows and on"):
            tune(learner, cache_features=True)
        with pytest.raises(ValueError, match="cache_features: nothing is frozen"):
            tune(cache_features=True, frozen=None)
    assert seen.count == 0


def test_some_layers_and_statistics_that_move(x64):
    """BatchNorm below the cut: its statistics move, so they are each member's own."""
    frozen = lambda path: path[0] in ("low", "norm")
    with pytest.warns(UserWarning, match="the model changes norm/mean, norm/var in training"):
        sweep = tune(RESTLESS, frozen=frozen)
    for member in sweep:
        check(member, model=restless, optimizer=UPPER)
    assert shapes(sweep[0].trained) == {
        "params": {"middle": {"kernel": (10, 12)}, "head": {"bias": (3,), "kernel": (12, 3)}},
        "batch_stats": {"norm": {"mean": (10,), "var": (10,)}},
    }


@pytest.mark.filterwarnings("ignore:the model's batch statistics")
def test_statistics_that_move_in_some_cohorts():
    """They stay each member's own in all: those of a cohort that does not change them stay."""
    mixed = vt.flax_learner(
        lambda h: Tower(still=h["still"], rate=h["rate"]), optimizer=adamw, loss=xent
    )
    of = {"space": {**SPACE, "still": vt.Categorical([True, False])}, "search": vt.Halton(2)}
    with pytest.warns(UserWarning, match="the model changes norm/mean, norm/var in training"):
        sweep = tune(mixed, **of)
    start = pretrained()["batch_stats"]
    for member in sweep:
        assert set(member.trained["batch_stats"]["norm"]) == {"mean", "var"}
        still = largest_difference(member.variables["batch_stats"], start) == 0
        assert still == member.hparams["still"]


class Layer(nn.Module):
    @nn.compact
    def __call__(self, x, _):
        return nn.tanh(nn.remat(nn.Dense)(6)(x)), None


class Layers(nn.Module):
    """Layers in a loop, which are given keys that they do not draw from, and a head."""

    @nn.compact
    def __call__(self, x):
        split = {"params": True, "dropout": True}
        layers = nn.scan(Layer, variable_axes={"params": 0}, split_rngs=split, length=3)
        return nn.Dense(3, name="head")(layers(name="low")(x, None)[0])


def test_features_of_layers_in_a_loop():
    """Keys that no layer draws from do not keep it from being done once for all members."""
    learner = vt.flax_learner(Layers(), optimizer=lambda h: optax.sgd(h["lr"]), loss=xent)
    space = {"lr": SPACE["lr"]}
    start = jax.jit(Layers().init)(jax.random.key(3), data().arrays["x"])
    options = {"init_from": start, "search": vt.Halton(2), "rounds": 1, "space": space}
    anew, cached = (tune(learner, cache_features=cached, **options) for cached in (False, True))
    assert cached[1].score == pytest.approx(anew[1].score, abs=1e-5)


def test_folds_and_seeds(x64):
    sweep = tune(rows=folds(), seeds=2, search=vt.Halton(2))
    member = sweep[1]
    whole = member.variables
    for fold, seed in ((0, 1), (2, 0)):
        variables, _ = solo(member, rows=folds(), fold=fold, repeat=seed)
        own = jax.tree.map(lambda leaf, at=(fold, seed): leaf[at], whole)
        assert largest_difference(variables, own) < 1e-9
    assert member.predict(np.asarray(data().arrays["x"][:4])).shape == (3, 2, 4, 3)


def test_populations_that_are_refined(x64):
    """PBT moves what is trained alone; halving drops it. Both along their lineage."""
    for refiner in (vt.PBT(), vt.Halving(reduction_factor=2)):
        sweep = tune(refiner=refiner, rounds=5)
        member, lineage = sweep.best, sweep.lineage(sweep.best.index)
        settings = sweep.schedule(member.index)

        def path(number, lineage=lineage, settings=settings):
            round = number * 5 // STEPS
            return lineage[round], {name: values[round] for name, values in settings.items()}

        variables, _ = solo(member, path=path)
        assert largest_difference(variables, member.variables) < 1e-9
        again = sweep.rerun(member.index)
        assert largest_difference(again.variables, member.variables) < 1e-12


class Small(nnx.Module):
    def __init__(self, rngs):
        self.low = nnx.Linear(6, 5, rngs=rngs, param_dtype=jnp.zeros(()).dtype)
        self.adapter = nnx.LoRA(
            5, 2, 5, base_module=nnx.Linear(5, 5, rngs=rngs), rngs=rngs, dtype=None
        )
        self.head = nnx.Linear(5, 3, rngs=rngs)

    def __call__(self, x):
        return self.head(nnx.relu(self.adapter(nnx.tanh(self.low(x)))))


NNX = vt.nnx_learner(
    lambda h, rngs: Small(rngs), optimizer=lambda h: optax.adam(h["lr"]), loss=xent
)


def test_a_filter_of_nnx():
    """Only the low-rank adapters are trained, as in a loop of nnx's own optimizer."""
    start = nnx.state(Small(nnx.Rngs(5)))
    space = {"lr": vt.Ordinal([0.01, 0.1])}
    sweep = vt.tune(
        NNX,
        space,
        data(),
        search=vt.Grid(),
        steps=20,
        batch_size=BATCH,
        init_from=start,
        frozen=nnx.Not(nnx.LoRAParam),
    )
    member = sweep[1]
    assert shapes(member.trained) == {"adapter": {"lora_a": (5, 2), "lora_b": (2, 5)}}
    module = Small(nnx.Rngs(0))
    nnx.update(module, start)
    chosen = nnx.All(nnx.Param, nnx.LoRAParam)
    optimizer = nnx.Optimizer(module, optax.adam(0.1), wrt=chosen)

    @nnx.jit
    def step(module, optimizer, batch):
        loss = lambda module: xent(module(batch["x"]), batch, None).mean()
        gradients = nnx.grad(loss, argnums=nnx.DiffState(0, chosen))(module)
        optimizer.update(module, gradients)

    for batch in batches(data(), 0, 20, BATCH):
        step(module, optimizer, batch)
    own = nnx.to_pure_dict(nnx.state(module, nnx.LoRAParam))
    assert largest_difference(own, member.trained) < 1e-5
    assert largest_difference(nnx.to_pure_dict(nnx.state(module)), member.variables) < 1e-5


def test_one_program_whatever_says_what_is_frozen(compilations):
    """The same paths are the same program; other weights are its arguments."""
    still = {"low": True, "norm": {"scale": True, "bias": True, "mean": True, "var": True}}
    first = tune(rounds=1, frozen=("all but", "^head"))
    others = jax.tree.map(lambda leaf: 0.9 * leaf, pretrained())
    with compilations() as seen:
        same = tune(rounds=1, frozen=lambda path: path[0] != "head")
        trees = tune(rounds=1, frozen={**still, "middle": True})
        other = tune(rounds=1, frozen=["low", "norm", "middle"], init_from=others)
    assert seen.count == 0
    assert same[0].score == trees[0].score == first[0].score != other[0].score


def test_penalties_and_what_is_frozen():
    """A penalty sees what is trained, and with `frozen` the rest, too."""
    seen = []

    def penalty(params, h, frozen=None):
        seen.append((set(params), set(frozen)))
        return 0.0 * jnp.sum(params["head"]["bias"])

    learner = vt.flax_learner(tower, optimizer=adamw, loss=xent, penalty=penalty)
    tune(learner, steps=1, rounds=1)
    assert seen[-1] == ({"head"}, {"low", "norm", "middle"})


def products(closed, wanted):
    """How many products of a traced function have an input of this shape."""
    jaxpr = getattr(closed, "jaxpr", closed)
    found = sum(
        equation.primitive.name == "dot_general"
        and any(atom.aval.shape == wanted for atom in equation.invars)
        for equation in jaxpr.eqns
    )
    return found + sum(products(body, wanted) for e in jaxpr.eqns for body in subjaxprs(e.params))


@pytest.mark.parametrize("layout", ["map", "vmap"])
def test_what_depends_on_the_batch_alone_is_done_once(layout):
    """In the whole program there is one product with each frozen weight in training and one in
    scoring, of one batch and not of the members'; and no gradient or moment of its shape."""
    given = TuneArguments(
        learner=LEARNER,
        space=SPACE,
        data=data(),
        search=vt.Halton(4),
        steps=STEPS,
        rounds=2,
        batch_size=BATCH,
        init_from=pretrained(),
        frozen=("all but", ["^head"]),
        layout=vt.Layout(chunk={"map": 1, "vmap": None}[layout], devices=1),
    )
    plan = prepare(given).plan
    arguments = argument_shapes(plan)
    by_cohort = functools.partial(carries_by_cohort, plan)
    carry = jax.eval_shape(by_cohort, initial_shapes(plan, arguments))
    number = jax.ShapeDtypeStruct((), np.int32)
    traced = jax.make_jaxpr(functools.partial(run, plan))(carry, number, number, arguments)
    assert products(traced, (6, 10)) == products(traced, (10, 12)) == 2
    if layout == "map":  # and not in the loops over members
        loops = [body for body in loops_of(traced) if products(body, (12, 3))]
        assert loops
        assert not products(loops[-1], (10, 12))
    state = jax.tree.leaves(carry[0].population.state)
    assert not any(leaf.shape[-2:] in ((6, 10), (10, 12)) for leaf in state)


def loops_of(closed):
    """The bodies of all loops, outer ones first."""
    jaxpr = getattr(closed, "jaxpr", closed)
    for equation in jaxpr.eqns:
        for body in subjaxprs(equation.params):
            if equation.primitive.name in ("while", "scan"):
                yield body
            yield from loops_of(body)


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        (
            {"frozen": "encoder"},
            ValueError,
            r"'encoder' matches nothing; there are head/bias, head/kernel, low/kernel, middle",
        ),
        ({"frozen": ""}, ValueError, "frozen matches all weights .*nothing would be trained"),
        ({"frozen": lambda path: True}, ValueError, "frozen matches all weights"),
        ({"frozen": lambda path: False}, ValueError, "frozen matches none of the weights; there"),
        ({"frozen": ("all but", ["^heads"])}, ValueError, "'.heads' matches nothing; there are"),
        ({"frozen": ("all but", ["head", 3])}, TypeError, "frozen=.* is not known; write a reg"),
        ({"frozen": lambda path: path[0]}, TypeError, "returned 'head' for the path .*True"),
        ({"frozen": "(low"}, ValueError, r"'\(low' is no regular expression \(.*head/bias"),
        ({"frozen": {"lower": True}}, ValueError, "the model has no 'lower'; there are head/bias"),
        ({"frozen": {"low": 1}}, TypeError, "low is 1; write True or False"),
        ({"frozen": 7}, TypeError, "frozen=7 is not known; write a regular expression such as"),
        ({"frozen": nnx.Not(nnx.Param)}, TypeError, "is a filter of nnx, and the model is none"),
        (
            {"init_from": None},
            ValueError,
            r"must be given: init_from=weights \(of a learner with adapters, those of the model",
        ),
        (
            {"init_from": {"params": {"low": {"kernel": np.ones((6, 10))}}}},
            ValueError,
            "middle/kernel, norm/bias, norm/mean, norm/scale, norm/var are not in init_from=",
        ),
        (
            {"init_from": {"params": {"low": {"kernel": np.zeros((6, 9))}}}, "frozen": "low"},
            ValueError,
            r"low/kernel has shape \[6, 9\], but \[6, 10\] in the model",
        ),
        (
            {"learner": vt.flax_learner(tower, optimizer=naming_all, loss=xent)},
            ValueError,
            "mask or labels name frozen weights, which it does not see; it is given head/bias",
        ),
        (
            {"learner": vt.Learner(*[lambda *given: 0] * 4, load=lambda h, s, w: s)},
            ValueError,
            "does not say what its weights are called; use vt.flax_learner or vt.nnx_learner",
        ),
    ],
)
def test_bad_ways_to_freeze(options, error, says, compilations):
    pretrained()  # whose making compiles
    with compilations() as seen, pytest.raises(error, match=says):
        tune(**options)
    assert seen.count == 0
