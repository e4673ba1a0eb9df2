"""One contract suite: every refiner is a row and declares what holds for it."""

from dataclasses import dataclass
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from decisions import SPACE, hparams_of, scores
from hypothesis import given
from hypothesis import strategies as st
from problems import quadratic

import vtune as vt
from vtune.engine.plan import as_arrays
from vtune.space.traced import program_space

RANKS = "ranks only"
EQUIVARIANT = "equivariant"
INDEPENDENT = "perturbed independently"
TRACED = "other numbers compile nothing"
SHRINKS = "shrinks"


def lift(key, hparams):
    """A user's own exploration."""
    return {**hparams, "lr": hparams["lr"] * 100 * jax.random.uniform(key)}


@dataclass(frozen=True)
class Row:
    refiner: object
    size: int
    holds: frozenset
    others: tuple = ()  # the same with other numbers
    rounds: int = 12

    def given(self, score):
        """The scores as the refiner gets them: of several objectives, here two that are at odds."""
        if not getattr(self.refiner, "objectives", ()):
            return score
        return jnp.stack([score, jnp.abs(score - 1)], axis=-1)


BOTH = {"loss": "min", "train/loss": "min"}
ROWS = {
    "keep": Row(vt.refine.Keep(), 6, frozenset({RANKS, EQUIVARIANT})),
    "pbt": Row(
        vt.PBT(),
        9,
        frozenset({RANKS, EQUIVARIANT, INDEPENDENT, TRACED}),
        (
            vt.PBT(2, 1, 0.5, 0.1, (2.0, 0.3)),
            vt.PBT(resample_probability=0, perturbation_factors=(2, np.float64(0.5))),
        ),
    ),
    "tournament": Row(
        vt.PBT(exploit="binary_tournament"),
        7,
        frozenset({RANKS, EQUIVARIANT, INDEPENDENT, TRACED}),
        (vt.PBT(3, 0, 0.1, 0.9, (1.5, 0.5), exploit="binary_tournament"),),
    ),
    "custom": Row(vt.PBT(custom_explore=lift), 8, frozenset({RANKS, EQUIVARIANT})),
    "mfpbt": Row(
        vt.MFPBT((1, 3)),
        16,
        frozenset({RANKS, INDEPENDENT, TRACED}),
        (
            vt.MFPBT((2, 5), 0.5, (3.0, 0.2)),
            vt.MFPBT((1, 2), resample_probability=1, perturbation_factors=[3, 1]),
        ),
    ),
    "pb2": Row(
        vt.PB2(observations=12, candidates=16),
        8,
        frozenset({EQUIVARIANT, TRACED}),
        (vt.PB2(2, 2, 0.5, observations=12, candidates=16),),
    ),
    "nsga2": Row(
        vt.NSGA2(BOTH, mutation_prob=1),
        8,
        frozenset({EQUIVARIANT, INDEPENDENT, TRACED}),
        (
            vt.NSGA2(BOTH, 2, 1, 0.5, 0.3, 0.2, 5),
            vt.NSGA2(tuple(BOTH.items()), crossover_prob=0, mutation_prob=np.float64(0.5), eta=2),
        ),
    ),
    "halving": Row(vt.Halving(), 20, frozenset({RANKS, EQUIVARIANT, SHRINKS})),
    "hyperband": Row(vt.Hyperband(max_rounds=9), 17, frozenset({RANKS, SHRINKS}), rounds=9),
}


def having(*wanted, without=()):
    return [name for name, row in ROWS.items() if row.holds >= {*wanted} - {*without}]


def lacking(unwanted):
    return [name for name, row in ROWS.items() if unwanted not in row.holds]


@lru_cache
def decider(name):
    """refine of a row, jitted: (seed, round, score, hparams, memory) -> (decision, memory)."""
    row = ROWS[name]
    space = program_space(SPACE)
    refiner = as_arrays(row.refiner)

    @jax.jit
    def decide(seed, round, score, hparams, memory):
        key, score = jax.random.key(seed), row.given(score)
        return refiner.refine(key, round, space, hparams, score, memory)

    start = jax.tree.map(jnp.asarray, refiner.init(space, row.size))
    return decide, start


def experienced(name, memory, hparams, seed=0):
    """A memory after some rounds."""
    decide, _ = decider(name)
    rng = np.random.default_rng(seed)
    if name == "pb2":
        for round in range(1, 4):
            score = jnp.asarray(rng.normal(size=ROWS[name].size), jnp.float32)
            (_, hparams), memory = decide(seed, round, score, hparams, memory)
    return memory


@pytest.mark.parametrize("name", ROWS)
@given(data=st.data(), seed=st.integers(0, 2**31 - 1), round=st.integers(1, 30))
def test_parents_are_slots_and_whoever_stays_keeps_its_setting(name, data, seed, round):
    row = ROWS[name]
    score = data.draw(scores(row.size))
    decide, memory = decider(name)
    hparams = hparams_of(row.size, seed)
    decision, after = decide(seed, round, score, hparams, memory)
    parents = np.asarray(decision.parents)
    assert parents.dtype == np.int32
    assert parents.min() >= 0
    assert parents.max() < row.size
    assert jax.tree.structure(after) == jax.tree.structure(memory)
    if SHRINKS in row.holds:
        assert sorted(set(parents.tolist())) == parents.tolist()
        for key, values in hparams.items():
            np.testing.assert_array_equal(decision.hparams[key], values[parents])
        return
    stays = parents == np.arange(row.size)
    for key, values in hparams.items():
        np.testing.assert_array_equal(np.asarray(decision.hparams[key])[stays], values[stays])
    if np.isfinite(score).any():
        value = np.where(np.isfinite(score), score, -np.inf)
        best = np.flatnonzero(value == value.max())
        equal = best if name == "nsga2" else best[:1]  # of equals, there the least crowded
        assert stays[equal].any()


@pytest.mark.parametrize("name", ROWS)
@given(data=st.data(), seed=st.integers(0, 2**31 - 1), round=st.integers(1, 30))
def test_whatever_is_not_finite_is_never_copied(name, data, seed, round):
    row = ROWS[name]
    score = data.draw(scores(row.size))
    decide, memory = decider(name)
    parents = np.asarray(decide(seed, round, score, hparams_of(row.size), memory)[0].parents)
    if SHRINKS not in row.holds:
        taken = parents[parents != np.arange(row.size)]
        assert np.isfinite(score[taken]).all()
        return
    groups = [(0, row.size, len(parents))]
    if name == "hyperband":
        groups = list(bracket_bounds(row.refiner))
    for first, size, count in groups:
        own = parents[(parents >= first) & (parents < first + size)]
        finite = np.isfinite(score[first : first + size]).sum()
        assert len(own) == count
        assert np.isfinite(score[own]).sum() == min(finite, count)


def bracket_bounds(refiner):
    """(first slot, slots, slots kept) of every bracket in the first decision."""
    first = 0
    for number, sizes in enumerate(refiner.brackets):
        yield first, sizes[0], sizes[1] if number == 0 else sizes[0]
        first += sizes[0]


@pytest.mark.parametrize("name", having(RANKS))
@given(data=st.data(), seed=st.integers(0, 2**31 - 1), round=st.integers(1, 30))
def test_only_ranks_matter(name, data, seed, round):
    row = ROWS[name]
    score = data.draw(scores(row.size))
    decide, memory = decider(name)
    hparams = hparams_of(row.size, seed)
    first, _ = decide(seed, round, score, hparams, memory)
    for change in (lambda s: s**3 * 8 + 2, lambda s: s / 64 - 9):
        mapped = np.where(np.isfinite(score), change(score), -np.inf).astype(np.float32)
        second, _ = decide(seed, round, mapped, hparams, memory)
        jax.tree.map(np.testing.assert_array_equal, first, second)


@pytest.mark.parametrize("name", having(EQUIVARIANT))
@given(
    order=st.data(),
    seed=st.integers(0, 2**31 - 1),
    round=st.integers(1, 30),
    dead=st.booleans(),
)
def test_slots_are_interchangeable(name, order, seed, round, dead):
    """A permuted population decides the same with the same key, permuted."""
    row = ROWS[name]
    moved = np.array(order.draw(st.permutations(range(row.size))))
    back = np.argsort(moved)
    rng = np.random.default_rng(seed)
    score = rng.permutation(row.size).astype(np.float32)
    if dead:
        score[rng.integers(row.size)] = -np.inf
    decide, memory = decider(name)
    hparams = hparams_of(row.size, seed)
    memory = experienced(name, memory, hparams, seed % 5)
    permuted = memory._replace(start=memory.start[moved]) if name == "pb2" else memory
    first, after = decide(seed, round, score, hparams, memory)
    second, later = decide(
        seed, round, score[moved], {k: v[moved] for k, v in hparams.items()}, permuted
    )
    if SHRINKS in row.holds:
        assert set(moved[np.asarray(second.parents)]) == set(np.asarray(first.parents).tolist())
        return
    np.testing.assert_array_equal(second.parents, back[np.asarray(first.parents)][moved])
    for key in SPACE:
        np.testing.assert_array_equal(second.hparams[key], np.asarray(first.hparams[key])[moved])
    if name == "pb2":
        np.testing.assert_array_equal(later.y, after.y)
        np.testing.assert_array_equal(later.x, after.x)


@pytest.mark.parametrize("name", having(INDEPENDENT))
def test_hyperparameters_are_perturbed_independently(name):
    """Of two hyperparameters of one slot, and of one in two slots, all four pairs of moves are
    seen about equally often."""
    row = ROWS[name]
    decide, memory = decider(name)
    start = {n: np.repeat(d.cast([v]), row.size) for n, d, v in middles()}
    score = np.arange(row.size, dtype=np.float32)
    moves = {"lr": [], "decay": [], "k": [], "next": []}
    for seed in range(500):
        (parents, new), _ = decide(seed, 6, score, start, memory)
        changed = [s for s in range(row.size) if parents[s] != s and new["lr"][s] != start["lr"][s]]
        if len(changed) < 2:
            continue
        slot, other = changed[:2]
        for key in ("lr", "decay", "k"):
            moves[key].append(bool(new[key][slot] > start[key][slot]))
        moves["next"].append(bool(new["lr"][other] > start["lr"][other]))
    assert len(moves["lr"]) > 400
    for a, b in (("lr", "decay"), ("lr", "k"), ("decay", "k"), ("lr", "next")):
        pairs = np.array([moves[a], moves[b]], float)
        assert abs(np.corrcoef(pairs)[0, 1]) < 0.2, (a, b)
        assert ((pairs.mean(axis=1) > 0.2) & (pairs.mean(axis=1) < 0.8)).all()


def middles():
    values = {"lr": 3e-3, "decay": 0.3, "rate": 0.3, "k": 5, "wide": 900, "c": 10.0}
    return [(name, d, values[name]) for name, d in SPACE.items()]


@pytest.mark.slow
@pytest.mark.parametrize("name", lacking(SHRINKS))
def test_nothing_leaves_its_range_in_10000_refinements(name):
    row = ROWS[name]
    refiner, space = as_arrays(row.refiner), program_space(SPACE)

    @jax.jit
    def many(memory, hparams):
        def one(carry, round):
            memory, hparams = carry
            k_score, k_refine = jax.random.split(jax.random.key(round))
            score = jax.random.normal(k_score, (row.size,))
            score = row.given(score.at[round % row.size].set(-jnp.inf))
            decision, memory = refiner.refine(k_refine, round, space, hparams, score, memory)
            return (memory, decision.hparams), decision.hparams

        return jax.lax.scan(one, (memory, hparams), jnp.arange(1, 10_001))[1]

    memory = jax.tree.map(jnp.asarray, refiner.init(space, row.size))
    seen = many(memory, hparams_of(row.size))
    for key, distribution in SPACE.items():
        values = np.unique(np.asarray(seen[key]))
        if name == "custom" and key == "lr":
            continue  # a user's function may leave the space; the program brings it back
        if isinstance(distribution, vt.Ordinal):
            assert set(values.tolist()) <= set(np.float32(distribution.values).tolist())
            continue
        exact = values.astype(np.float64)
        assert exact.min() >= distribution.low
        assert exact.max() <= distribution.high
        if distribution.step is not None:
            places = (exact - distribution.low) / distribution.step
            assert np.abs(places - np.round(places)).max() < 1e-5
        if name != "keep":
            assert len(values) > (3 if distribution.step is not None else 40)


@pytest.mark.parametrize("name", ROWS)
def test_every_refiner_runs_in_one_program(name, compilations, monkeypatch):
    """In one segment or many, on one device or two, the same sweep; with other numbers the same
    program."""
    from vtune.runtime import segments

    row = ROWS[name]
    learner = quadratic()
    space = {"lr": vt.Float(1e-3, 1.5, log=True)}
    options = {
        "search": vt.Halton(row.size),
        "steps": 2 * row.rounds,
        "rounds": row.rounds,
        "refiner": row.refiner if name != "custom" else vt.PBT(custom_explore=lift),
    }
    with compilations() as first:
        few = vt.tune(learner, space, **options)
    assert first.count == 1
    monkeypatch.setattr(segments, "SEGMENT_SECONDS", 0.0)
    with compilations() as again:
        many = vt.tune(learner, space, **options)
        others = [vt.tune(learner, space, **{**options, "refiner": own}) for own in row.others]
    assert again.count == 0
    assert (TRACED in row.holds) == bool(others)
    for other in others:
        assert not np.array_equal(few.settings["lr"], other.settings["lr"])
    np.testing.assert_array_equal(few.history["loss"], many.history["loss"])
    np.testing.assert_array_equal(few.parents, many.parents)
    np.testing.assert_array_equal(few.settings["lr"], many.settings["lr"])
    if name in ("pbt", "nsga2", "halving", "hyperband"):  # copies between devices, slots that go
        one = vt.tune(learner, space, layout=vt.Layout(2, 1), **options)
        np.testing.assert_array_equal(few.parents, one.parents)
        np.testing.assert_allclose(few.history["loss"], one.history["loss"], rtol=1e-5, atol=1e-9)


def test_every_refiner_decides_in_float64(x64):
    """All of them in one program."""
    space = program_space(SPACE)
    hparams = {name: hparams_of(row.size) for name, row in ROWS.items()}
    memory = {name: row.refiner.init(space, row.size) for name, row in ROWS.items()}

    @jax.jit
    def decide(refiners, hparams, memory):
        return {
            name: refiner.refine(
                jax.random.key(0),
                6,
                space,
                hparams[name],
                ROWS[name].given(jnp.arange(ROWS[name].size, dtype=float)),
                memory[name],
            )
            for name, refiner in refiners.items()
        }

    refiners = {name: as_arrays(row.refiner) for name, row in ROWS.items()}
    for name, (decision, after) in decide(refiners, hparams, memory).items():
        assert decision.parents.dtype == jnp.int32
        for key, values in hparams[name].items():
            assert decision.hparams[key].dtype == values.dtype, (name, key)
        same_type = lambda a, b: np.testing.assert_equal(a.dtype, jnp.asarray(b).dtype)
        jax.tree.map(same_type, after, memory[name])
