"""What refiners refuse: when they are built, or before anything is compiled."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import Own, quadratic

import vtune as vt
from vtune.runtime import segments
from vtune.tuning.arguments import TuneArguments
from vtune.tuning.prepare import prepare

SPACE = {"lr": vt.Float(0.0, 0.5)}
LEARNER = quadratic()  # one for all, so that equal plans are one program


def tune(refiner, n=8, space=SPACE, **options):
    options = {"steps": 12, "rounds": 12, **options}
    return vt.tune(LEARNER, space, search=vt.Halton(n), refiner=refiner, **options)


BOTH = {"loss": "min", "train/loss": "min"}

BUILT = {
    "interval": (lambda: vt.PBT(0), ValueError, r"PBT: perturbation_interval=0 must be 1 or more"),
    "interval_type": (
        lambda: vt.PB2(1.5),
        TypeError,
        r"PB2: perturbation_interval=1.5 must be a whole number, 1 or more",
    ),
    "interval_none": (
        lambda: vt.PBT(None),
        TypeError,
        r"perturbation_interval=None must be a whole number",
    ),
    "interval_large": (
        lambda: vt.PBT(2**31),
        ValueError,
        r"PBT: perturbation_interval=2147483648 must be at most 2147483647",
    ),
    "frequency_large": (
        lambda: vt.MFPBT((1, 2**70)),
        ValueError,
        r"MFPBT: a frequency=1180591620717411303424 must be at most 2147483647",
    ),
    "burn_in": (
        lambda: vt.PBT(burn_in_period=-1),
        ValueError,
        r"PBT: burn_in_period=-1 must be 0 or more",
    ),
    "quantile": (
        lambda: vt.PBT(quantile_fraction=0.6),
        ValueError,
        r"PBT: quantile_fraction=0.6 must be above 0 and at most 0.5",
    ),
    "quantile_zero": (
        lambda: vt.PB2(quantile_fraction=0),
        ValueError,
        r"PB2: quantile_fraction=0 must be above 0 and at most 0.5",
    ),
    "probability": (
        lambda: vt.PBT(resample_probability=float("nan")),
        ValueError,
        r"PBT: resample_probability=nan must be from 0 to 1",
    ),
    "probability_type": (
        lambda: vt.MFPBT(resample_probability="often"),
        TypeError,
        r"MFPBT: resample_probability='often' must be a number from 0 to 1",
    ),
    "factors": (
        lambda: vt.PBT(perturbation_factors=1.2),
        TypeError,
        r"PBT: perturbation_factors=1.2 must be a sequence such as \(1.2, 0.8\)",
    ),
    "factors_empty": (
        lambda: vt.PBT(perturbation_factors=()),
        ValueError,
        r"PBT: perturbation_factors is empty",
    ),
    "factors_negative": (
        lambda: vt.MFPBT(perturbation_factors=(1.2, -0.8)),
        ValueError,
        r"MFPBT: perturbation_factors must hold finite numbers above 0, got -0.8",
    ),
    "factors_type": (
        lambda: vt.PBT(perturbation_factors=(1.2, True)),
        TypeError,
        r"perturbation_factors must hold numbers, got True",
    ),
    "exploit": (
        lambda: vt.PBT(exploit="best"),
        ValueError,
        r"PBT: exploit='best' must be one of \['truncation', 'binary_tournament'\]",
    ),
    "exploit_type": (lambda: vt.PB2(exploit=3), ValueError, r"PB2: exploit=3 must be one of"),
    "custom": (
        lambda: vt.PBT(custom_explore=3),
        TypeError,
        r"PBT: custom_explore=3 is not a function of \(key, hparams\)",
    ),
    "frequencies": (
        lambda: vt.MFPBT(5),
        ValueError,
        r"MFPBT: frequencies=5 must be two or more whole numbers.*write vt.PBT\(\)",
    ),
    "frequency": (lambda: vt.MFPBT((1, 0)), ValueError, r"MFPBT: a frequency=0 must be 1 or more"),
    "observations_many": (
        lambda: vt.PB2(observations=10**9),
        ValueError,
        r"PB2: observations=1000000000 must be at most 46340",
    ),
    "candidates_many": (lambda: vt.PB2(candidates=50_000), ValueError, r"must be at most 46340"),
    "observations": (lambda: vt.PB2(observations=0), ValueError, r"observations=0 must be 1"),
    "factor": (lambda: vt.Halving(1), ValueError, r"Halving: reduction_factor=1 must be 2 or more"),
    "factor_type": (lambda: vt.Halving(2.5), TypeError, r"reduction_factor=2.5 must be a whole"),
    "min_rounds": (lambda: vt.Halving(min_rounds=0), ValueError, r"min_rounds=0 must be 1 or more"),
    "objectives_none": (
        lambda: vt.NSGA2({}),
        TypeError,
        r"NSGA2: metrics=\(\) must name two or more metrics, each with its mode, such as \{'accur",
    ),
    "objectives_names": (
        lambda: vt.NSGA2(("accuracy", "val_loss")),
        TypeError,
        r"must name two or more .* such as \{'accuracy': 'max', 'val_loss': 'min'\}",
    ),
    "objectives_one": (
        lambda: vt.NSGA2({"loss": "min"}),
        ValueError,
        r"NSGA2: 'loss' alone is one metric; name two or more, or write vt.PBT\(\) and vt.tune\(",
    ),
    "objectives_mode": (
        lambda: vt.NSGA2({"loss": "lower", "accuracy": "max"}),
        ValueError,
        r"NSGA2: 'loss' has the mode 'lower'; write \"max\" \(higher is better\) or \"min\"",
    ),
    "objectives_twice": (
        lambda: vt.NSGA2((("loss", "min"), ("loss", "max"))),
        ValueError,
        r"names a metric twice",
    ),
    "objectives_function": (
        lambda: vt.NSGA2({len: "min", "loss": "min"}),
        TypeError,
        r"NSGA2: <built-in function len> is not the name of a metric",
    ),
    "crossover": (
        lambda: vt.NSGA2(BOTH, crossover_prob=2),
        ValueError,
        r"NSGA2: crossover_prob=2 must be from 0 to 1",
    ),
    "mutation": (
        lambda: vt.NSGA2(BOTH, mutation_prob="some"),
        TypeError,
        r"NSGA2: mutation_prob='some' must be a number from 0 to 1",
    ),
    "constraints": (
        lambda: vt.NSGA2(BOTH, constraints=0.5),
        TypeError,
        r"NSGA2: constraints must be a function of \(metrics\), got 0.5",
    ),
    "max_rounds": (
        lambda: vt.Hyperband(max_rounds=2),
        ValueError,
        r"max_rounds=2 is below the reduction_factor 3, so nothing would ever be dropped",
    ),
    "max_rounds_type": (lambda: vt.Hyperband(max_rounds="9"), TypeError, r"max_rounds='9'"),
}

PAIR = {**SPACE, "c": vt.Categorical([1, 2])}

TUNED = {
    "pbt_alone": (lambda: tune(vt.PBT(), 1), ValueError, r"PBT needs at least 2 members a cohort"),
    "pbt_cohort": (
        lambda: tune(vt.PBT(), 3, PAIR),
        ValueError,
        r"cohort \{'c': 2\}: PBT needs at least 2 members a cohort.*; this one has 1",
    ),
    "mfpbt_size": (
        lambda: tune(vt.MFPBT(), 18),
        ValueError,
        r"MFPBT with 4 frequencies needs cohorts of 16 or a larger multiple of 4.*this one has 18",
    ),
    "nsga2_unknown": (
        lambda: tune(vt.NSGA2({"loss": "min", "los": "min"})),
        ValueError,
        r"NSGA2: the metric 'los' is not recorded; choose of \['loss', 'train/loss'\] \(did",
    ),
    "nsga2_large": (
        lambda: tune(vt.NSGA2(BOTH), 20_000),
        ValueError,
        r"NSGA2 takes at most 16384 members a cohort; this one has 20000",
    ),
    "nsga2_constraint": (
        lambda: tune(vt.NSGA2(BOTH, constraints=lambda metrics: metrics["accuracy"] - 1)),
        KeyError,
        r"NSGA2: a function of the metrics found no 'accuracy'; .*loss",
    ),
    "nsga2_returns": (
        lambda: tune(vt.NSGA2(BOTH, constraints=lambda metrics: "high")),
        TypeError,
        r"the constraints of NSGA2 returned the text 'high'; return one real number or several",
    ),
    "pb2_large": (
        lambda: tune(vt.PB2(), 50_000),
        ValueError,
        r"PB2 takes at most 46340 members a cohort; this one has 50000",
    ),
    "pb2_nothing": (
        lambda: tune(vt.PB2(), 4, {"lr": 0.1}),
        ValueError,
        r"PB2: no traced hyperparameters to choose",
    ),
    "halving_size": (
        lambda: tune(vt.Halving(), 2),
        ValueError,
        r"Halving needs at least 3 members a cohort, its reduction_factor being 3; this one has 2",
    ),
    "halving_rounds": (
        lambda: tune(vt.Halving(min_rounds=5), 9),
        ValueError,
        r"Halving: 12 rounds end before a second rung, which needs 5 \* 3; give more epochs= or",
    ),
    "hyperband_size": (
        lambda: tune(vt.Hyperband(max_rounds=12), 8),
        ValueError,
        r"Hyperband\(max_rounds=12\) trains 17 settings a cohort, this one has 8; write "
        r"search=vt.Halton\(\)",
    ),
    "hyperband_rounds": (
        lambda: tune(vt.Hyperband(max_rounds=9), None),
        ValueError,
        r"Hyperband\(max_rounds=9\) in a sweep of 12 rounds; give rounds=9 or "
        r"Hyperband\(max_rounds=12\)",
    ),
    "custom_returns": (
        lambda: tune(vt.PBT(custom_explore=lambda key, h: {"lr": h["lr"], "x": h["lr"]})),
        ValueError,
        r"PBT: custom_explore returned .*'x'.*of one slot return a dict with \['lr'\]",
    ),
}


@pytest.mark.parametrize("case", {**BUILT, **TUNED})
def test_bad_refiners_are_named_before_anything_is_compiled(case, refused):
    call, error, says = {**BUILT, **TUNED}[case]
    with refused(error, says):
        call()


def fewer(self, key, round, space, hparams, score, memory):
    parents = jnp.arange(2, dtype=jnp.int32)
    return vt.Refinement(parents, {k: v[:2] for k, v in hparams.items()}), memory


def broken(**parts):
    return jax.tree_util.register_dataclass(
        dataclass(frozen=True)(type("Broken", (Own,), {"__annotations__": {}, **parts}))
    )()


def deciding(parents, hparams=None):
    return lambda self, key, round, space, h, score, memory: (
        vt.Refinement(parents, h if hparams is None else hparams),
        memory,
    )


SLOTS = np.arange(8, dtype=np.int32)

OWN = {
    "no_rungs": (
        lambda: broken(rungs=None),
        TypeError,
        r"refiner must have a rungs method, got Broken\(\); write vt.PBT\(\) or vt.Halving\(\)",
    ),
    "no_init": (lambda: broken(init=None), TypeError, r"refiner must have a init method"),
    "rungs_arguments": (
        lambda: broken(rungs=lambda self, size: ()),
        TypeError,
        r"refiner: rungs must take the arguments \(size, rounds\)",
    ),
    "refine_arguments": (
        lambda: broken(refine=lambda self, key, h: ()),
        TypeError,
        r"refine must take the arguments \(key, round, space, hparams, score, memory\)",
    ),
    "rungs_none": (
        lambda: broken(rungs=lambda self, size, rounds: None),
        TypeError,
        r"Broken.rungs\(8, 12\) returned None; return a tuple of vt.Rung\(size, rounds\)",
    ),
    "rungs_pairs": (
        lambda: broken(rungs=lambda self, size, rounds: ((size, rounds),)),
        TypeError,
        r"returned \(\(8, 12\),\); return a tuple of vt.Rung",
    ),
    "init_text": (
        lambda: broken(init=lambda self, space, size: "none"),
        TypeError,
        r"Broken.init returned a str; return arrays only",
    ),
    "parents_list": (
        lambda: broken(refine=deciding([0, 1, 2, 3, 4, 5, 6, 7])),
        TypeError,
        r"Broken.refine gave parents of the type list; return an array int32\[8\]",
    ),
    "hparams_list": (
        lambda: broken(refine=deciding(SLOTS, [0.1])),
        ValueError,
        r"Broken.refine gave hyperparameters \[\(\)\]; return every one of \['lr'\]",
    ),
    "hparams_text": (
        lambda: broken(refine=deciding(SLOTS, {"lr": "a"})),
        TypeError,
        r"Broken.refine returned a str; return arrays only",
    ),
    "unregistered": (
        lambda: dataclass(frozen=True)(type("Loose", (Own,), {}))(),
        TypeError,
        r"is not registered with JAX; write @jax.tree_util.register_dataclass",
    ),
    "rungs_short": (
        lambda: broken(rungs=lambda self, size, rounds: (vt.Rung(size, 3),)),
        ValueError,
        r"Broken.rungs\(8, 12\) gave .*; they must cover 12 rounds, begin with 8 members and never",
    ),
    "objectives": (
        lambda: broken(objectives=("loss",)),
        TypeError,
        r"refiner: objectives=\('loss',\) must be pairs of a metric's name, or a function of the",
    ),
    "objectives_array": (
        lambda: broken(objectives=((lambda metrics: None, "max"),)),
        TypeError,
        r"Broken returned None as an objective; return one real number",
    ),
    "rungs_grow": (
        lambda: broken(rungs=lambda self, size, rounds: (vt.Rung(8, 6), vt.Rung(9, 6))),
        ValueError,
        r"begin with 8 members and never grow",
    ),
    "parents_fewer": (
        lambda: broken(refine=fewer),
        ValueError,
        r"Broken.refine gave parents int32\[2\] for 8 members; the next rung has 8: return int32",
    ),
    "parents_type": (
        lambda: broken(
            refine=lambda self, key, round, space, h, score, m: (
                vt.Refinement(jnp.zeros(8), h),
                m,
            )
        ),
        ValueError,
        r"gave parents float32\[8\]",
    ),
    "hparams": (
        lambda: broken(
            refine=lambda self, key, round, space, h, score, m: (
                vt.Refinement(jnp.arange(8, dtype=jnp.int32), {}),
                m,
            )
        ),
        ValueError,
        r"Broken.refine gave hyperparameters \{\}; return every one of \['lr'\], each \[8\]",
    ),
    "no_memory": (
        lambda: broken(
            refine=lambda self, key, round, space, h, score, m: vt.Refinement(
                jnp.arange(8, dtype=jnp.int32), h
            )
        ),
        TypeError,
        r"Broken.refine must return \(vt.Refinement\(parents, hparams\), memory\)",
    ),
    "chance": (
        lambda: broken(
            refine=lambda self, key, round, space, h, score, m: (
                vt.Refinement(jnp.asarray(np.random.permutation(8), jnp.int32), h),  # noqa: NPY002
                m,
            )
        ),
        ValueError,
        r"Broken.refine gives something else each time it is called: .* reads np.random; .*the key",
    ),
    "memory": (
        lambda: broken(
            refine=lambda self, key, round, space, h, score, m: (
                vt.Refinement(jnp.arange(8, dtype=jnp.int32), h),
                m * 1.5,
            )
        ),
        TypeError,
        r"Broken.refine changed its memory from .*int32.* to .*float32",
    ),
}


@pytest.mark.parametrize("case", OWN)
def test_a_users_refiner_is_checked_before_anything_is_compiled(case, refused):
    build, error, says = OWN[case]
    tune(Own())
    with refused(error, says):
        tune(build())


@pytest.mark.parametrize(
    ("parents", "says"),
    [
        ([0, 1, 2, 9], r"gave parents \[0, 1, 2, 9\] before round 3; there were slots 0 to 7"),
        ([0, 1, 1, 2], r"gave parents \[0, 1, 1, 2\] before round 3; .*no slot may be taken twice"),
    ],
)
def test_wrong_parents_are_named_as_soon_as_they_are_there(parents, says, monkeypatch):
    """Their values are known only when the program has run."""
    monkeypatch.setattr(segments, "SEGMENT_SECONDS", 0.0)
    told = []

    def refine(self, key, round, space, hparams, score, memory):
        chosen = jnp.array(parents, jnp.int32)
        return vt.Refinement(chosen, {k: v[:4] for k, v in hparams.items()}), memory

    rungs = lambda self, size, rounds: (vt.Rung(8, 3), vt.Rung(4, 9))
    with pytest.raises(ValueError, match=says):
        tune(
            broken(refine=refine, rungs=rungs), callbacks=[lambda report: told.append(report.stop)]
        )
    assert told == [1, 2, 3]


@pytest.mark.parametrize(
    ("refiner", "rounds", "says"),
    [
        (vt.PBT(), 1, "PBT never acts: it would first do so before round 1, .* from 0 to 0"),
        (vt.PBT(2, burn_in_period=4), 4, "PBT never acts: .* before round 4, .* from 0 to 3"),
        (vt.PB2(3), 3, "PB2 never acts"),
        (vt.MFPBT((5, 2)), 2, "MFPBT never acts: .* before round 2"),
    ],
)
def test_a_refiner_that_never_acts_is_warned_of(refiner, rounds, says):
    with pytest.warns(UserWarning, match=says):
        sweep = tune(refiner, rounds=rounds)
    assert (sweep.parents == np.arange(8)).all()
    assert (tune(refiner, rounds=rounds + 1).parents[-1] != np.arange(8)).any()


def test_what_is_no_number_never_enters_the_population():
    """Whichever of the three a user's function draws."""
    lost = lambda key: jax.random.choice(key, jnp.array([jnp.nan, jnp.inf, -jnp.inf]))
    refiner = vt.PBT(custom_explore=lambda key, h: {"lr": h["lr"] * 0 + lost(key)})
    sweep = tune(refiner, 16)
    assert (sweep.parents != np.arange(16)).sum() > 20
    assert ((sweep.settings["lr"] >= 0) & (sweep.settings["lr"] <= 0.5)).all()


def test_a_mode_against_the_metrics_own_is_warned_of():
    given = {"learner": LEARNER, "space": SPACE, "search": vt.Halton(4), "steps": 4, "rounds": 4}
    refiner = vt.NSGA2({"loss": "max", "train/loss": "min"})
    with pytest.warns(UserWarning, match=r"NSGA2: 'loss' has the mode 'max', .* 'min' is better"):
        prepare(TuneArguments(refiner=refiner, **given))
