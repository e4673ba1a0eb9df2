"""Fronts and crowding, in NumPy and inside the program, against Optuna and slow versions."""

import functools

import jax
import numpy as np
import optuna
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st

from vtune.refine.domination import best_first, crowding, fronts
from vtune.results.fronts import front

optuna.logging.set_verbosity(optuna.logging.ERROR)
ROWS = 12
FEW, SEEDS = settings(max_examples=20), st.integers(0, 2**31 - 1)


@functools.lru_cache
def decided(constrained):
    """(score, violation) -> fronts, crowding, and slots from best to worst."""

    def decide(score, violation):
        given = violation if constrained else None
        found = fronts(score, given)
        return found, crowding(score, found), best_first(score, given)

    return jax.jit(decide)


def members(seed, objectives):
    """Scores of which many are equal and some are missing, and what they violate."""
    rng = np.random.default_rng(seed)
    score = rng.integers(-3, 4, (ROWS, objectives)).astype(np.float32)
    missing = rng.random(score.shape) < rng.choice([0, 0.05, 0.4])
    score[missing] = rng.choice([np.nan, -np.inf], missing.sum())
    return score, rng.choice([0, 0, 0.5, 2], ROWS).astype(np.float32)


def best_trials(worth, violation):
    """The rows of Optuna's front; it takes no NaN."""
    study = optuna.create_study(directions=["maximize"] * worth.shape[1])
    rows = np.flatnonzero(np.isfinite(worth).all(axis=1))
    study.add_trials(
        [
            optuna.trial.create_trial(
                values=worth[row].tolist(), constraints={"c": float(violation[row])}
            )
            for row in rows
        ]
    )
    return sorted(int(rows[trial.number]) for trial in study.best_trials)


@pytest.mark.parametrize("objectives", [2, 3])
@FEW
@given(seed=SEEDS)
def test_the_front_is_optunas(objectives, seed):
    score, violation = members(seed, objectives)
    score[np.isinf(score)] = np.nan
    expected = best_trials(score, violation * 0)
    rows = front(score.astype(float))
    assert sorted(rows.tolist()) == expected
    assert (np.diff(score[rows, 0]) <= 0).all()
    found, _, _ = decided(False)(score, violation)
    assert np.flatnonzero(np.asarray(found) == 0).tolist() == expected
    constrained, _, _ = decided(True)(score, violation)
    feasible = np.flatnonzero((np.asarray(constrained) == 0) & (violation == 0))
    assert feasible.tolist() == best_trials(score, violation)


@pytest.mark.parametrize("constrained", [False, True])
@FEW
@given(seed=SEEDS)
def test_ranks_and_crowding_are_those_of_the_slow_version(constrained, seed):
    score, violation = members(seed, 3)
    found, apart, order = map(np.asarray, decided(constrained)(score, violation))
    expected = reference.fronts(score, violation * constrained)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(apart, reference.crowding(score, expected), rtol=1e-6)
    assert sorted(order) == list(range(ROWS))
    assert (np.diff(found[order]) >= 0).all()
    within = np.diff(found[order]) == 0
    assert (apart[order][1:][within] <= apart[order][:-1][within]).all()
    dead = ~np.isfinite(score).all(axis=1)
    assert dead[order][ROWS - dead.sum() :].all()


def test_a_figure_by_hand():
    """Of three on a line the middle one's neighbours are the whole range apart, in both."""
    score = np.full((ROWS, 3), -np.inf, np.float32)
    score[:4] = [[0, 4, 0], [1, 2, 0], [4, 0, 0], [0, 0, 0]]
    found, apart, order = decided(False)(score, np.zeros(ROWS, np.float32))
    assert found[:5].tolist() == [0, 0, 0, 1, ROWS]
    assert apart[:4].tolist() == [np.inf, 2.0, np.inf, 0.0]
    assert order[:4].tolist() == [2, 0, 1, 3]
