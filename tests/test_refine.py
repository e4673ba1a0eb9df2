"""Refiners and how their decisions move a population."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import Own, quadratic

import vtune as vt
from vtune.engine.exchange import take_parents
from vtune.engine.layout import Layout
from vtune.engine.population import Population, gather
from vtune.refine import rank
from vtune.rng.keys import is_key


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class CopyBest(Own):
    """The worst slot continues the best, at a learning rate scaled by `factor`."""

    factor: Any = 1.0

    def refine(self, key, round, space, hparams, score, memory):
        order = rank(score)
        slots = jnp.arange(score.shape[0], dtype=jnp.int32)
        parents = jnp.where(slots == order[-1], order[0], slots).astype(jnp.int32)
        lr = hparams["lr"][parents]
        lr = jnp.where(parents != slots, lr * self.factor, lr)
        lr = jnp.clip(lr, space["lr"].low, space["lr"].high)
        return vt.Refinement(parents, {"lr": lr}), memory + 1


def test_rank_is_stable_and_puts_nonfinite_last():
    score = jnp.array([1.0, jnp.nan, 3.0, jnp.inf, 3.0, -jnp.inf, 2.0])
    assert list(rank(score)) == [2, 4, 6, 0, 1, 3, 5]


def population(died=(-1, -1, 5)):
    return Population(
        id=jnp.arange(3, dtype=jnp.int32),
        hparams={"lr": jnp.zeros(3)},
        state={"w": jnp.arange(6.0).reshape(3, 2)},
        score=jnp.array([1.0, 2.0, -jnp.inf]),
        died=jnp.array(died, jnp.int32),
    )


def test_gather_moves_everything_but_the_ids():
    refinement = vt.Refinement(jnp.array([0, 1, 1], jnp.int32), {"lr": jnp.array([1.0, 2.0, 3.0])})
    moved = gather(population(), refinement)
    assert list(moved.id) == [0, 1, 2]
    np.testing.assert_array_equal(moved.state["w"], [[0, 1], [2, 3], [2, 3]])
    assert list(moved.died) == [-1, -1, -1]  # a copy of a live parent is alive again
    assert list(moved.hparams["lr"]) == [1, 2, 3]


def test_members_between_devices_are_the_same_bits_and_only_those_that_move(compilations):
    """Of 40 members on two devices, two a device and exchange; 9 are whole on both."""
    rng, layout = np.random.default_rng(0), Layout(devices=2)
    for size in (40, 9):
        weights = jnp.asarray(rng.normal(size=(size, 3)), jnp.float32)
        members = {
            "weights": weights.at[0].set(jnp.nan).at[1].set(-0.0),
            "half": jnp.arange(size).astype(jnp.bfloat16),
            "odd": jnp.arange(size) % 2 == 1,
            "key": jax.random.split(jax.random.key(0), size),
            "nothing": jnp.zeros((size, 0)),
        }
        slots = np.arange(size)
        moves = [slots, slots[::-1], rng.integers(0, size, size), np.full(size, size - 1)]
        with compilations() as seen:
            taken = jax.jit(lambda m, p: take_parents(m, p, layout)).lower(members, slots).compile()
        assert seen.count == 1
        for parents in moves:
            bits = lambda leaf: np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf)
            for name, moved in taken(members, parents).items():
                before, after = bits(members[name]), bits(moved)
                assert after.dtype == before.dtype
                assert after.tobytes() == before[parents].tobytes(), name
        exchanged = [
            line
            for line in taken.as_text().splitlines()
            if "all-to-all(" in line or "all-g" in line
        ]
        assert bool(exchanged) == (size == 40)
        assert not any("[40" in line or "[20" in line for line in exchanged)  # never a whole device


def test_a_users_refiner_moves_members_inside_the_program(compilations):
    """x = (1 - lr)^t: the slow slot takes the fast one's x at the start of each round."""
    space = {"lr": vt.Float(0.0, 0.5)}
    given = vt.Given([{"lr": 0.5}, {"lr": 0.01}])
    learner = quadratic()
    options = {"search": given, "steps": 3, "rounds": 3}
    with compilations() as first:
        sweep = vt.tune(learner, space, refiner=CopyBest(1.0), **options)
    assert first.count == 1
    assert list(sweep.history["loss"][:, 0]) == [0.5 * 0.25**t for t in (1, 2, 3)]
    # round 0 alone; then it goes on from the parent's x with the parent's lr
    expected = [0.5 * 0.99**2, 0.5 * 0.25**2, 0.5 * 0.25**3]
    np.testing.assert_allclose(sweep.history["loss"][:, 1], expected, rtol=1e-5)
    assert float(sweep.rerun(0).variables) == float(sweep[0].variables)
    assert float(sweep.rerun(1).variables) == pytest.approx(float(sweep[1].variables))
    with compilations() as second:
        slower = vt.tune(learner, space, refiner=CopyBest(0.5), **options)
        vt.tune(learner, {"lr": vt.Float(0.0, 0.6)}, refiner=CopyBest(0.9), **options)
    assert second.count == 0
    # the copy's rate is halved, once: it is no longer the worst after... it is, every round
    assert slower.history["loss"][1, 1] == pytest.approx(0.5 * (0.5 * 0.75) ** 2)


def test_bounds_reach_the_refiner_rounded_inward():
    space = {"lr": vt.Float(0.1, 0.3)}
    sweep = vt.tune(
        quadratic(),
        space,
        search=vt.Given([{"lr": 0.2}, {"lr": 0.15}]),
        refiner=CopyBest(100.0),
        steps=2,
        rounds=2,
    )
    last = np.float64(np.asarray(sweep.trained.populations[0].hparams["lr"]))
    assert last.max() <= 0.3
    assert last.max() == pytest.approx(0.3)


def test_what_a_refiner_returns_is_brought_into_the_space():
    @jax.tree_util.register_dataclass
    @dataclass(frozen=True)
    class Wild(CopyBest):
        def refine(self, key, round, space, hparams, score, memory):
            slots = jnp.arange(score.shape[0], dtype=jnp.int32)
            return vt.Refinement(slots, {k: v * 7 for k, v in hparams.items()}), memory

    learner = quadratic()._replace(
        step=lambda key, h, x, batch: (x - 0.1 * h["lr"] * x * (h["k"] + h["c"]), {})
    )
    space = {"lr": vt.Float(0.1, 0.3), "k": vt.Int(1, 6, step=2), "c": vt.Ordinal([0.5, 2.0])}
    sweep = vt.tune(learner, space, search=vt.Random(4), refiner=Wild(), steps=3, rounds=3)
    for member in sweep:
        assert member.hparams == {"lr": pytest.approx(0.3), "k": 5, "c": 2.0}
    held = sweep.trained.populations[0].hparams
    assert np.float64(held["lr"]).max() <= 0.3
    assert set(np.asarray(held["c"]).tolist()) == {2.0}


def test_a_diverged_slot_revives_as_a_copy():
    sweep = vt.tune(
        quadratic(),
        {"lr": vt.Float(0.0, 1e30)},
        search=vt.Given([{"lr": 0.5}, {"lr": 1e30}]),
        refiner=CopyBest(1.0),
        steps=8,
        rounds=2,
    )
    history = sweep.history["loss"][:, 1]
    assert np.isnan(history[0])
    assert history[1] == pytest.approx(0.5 * 0.25**8)
    assert sweep[1].status == "completed"
