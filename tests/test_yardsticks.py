"""Problems with known answers, 20 seeds each; the papers' figures and the design's."""

import numpy as np
import pytest
from problems import greedy, two_heads

import vtune as vt

SEEDS = range(20)
GREEDY = {"resample_probability": 0.0, "perturbation_factors": (2.0, 0.5)}

pytestmark = pytest.mark.slow


def best(learner, refiner, seed, search, space, steps, rounds):
    sweep = vt.tune(
        learner,
        space,
        search=search,
        refiner=refiner,
        steps=steps,
        rounds=rounds,
        metric="score",
        mode="max",
        seed=seed,
        layout="vmap",
    )
    return sweep.best.score


def mean_greedy(learner, refiner):
    def one(seed):
        first = np.random.default_rng(seed).uniform(0.9, 1.1, 32)
        search = vt.Given([{"h": float(h)} for h in first])
        return best(learner, refiner, seed, search, {"h": vt.Float(1e-4, 1.1)}, 1000, 50)

    return np.mean([one(seed) for seed in SEEDS])


def test_plain():
    """A small h is best throughout: 1.1997 is possible."""
    learner = greedy(0.0)
    assert 1.18 < mean_greedy(learner, vt.refine.Keep()) <= 1.192
    assert 1.199 <= mean_greedy(learner, vt.PBT(**GREEDY)) < 1.1998
    assert 1.199 <= mean_greedy(learner, vt.MFPBT(**GREEDY)) < 1.1998


def test_deceptive():
    """A small h pays at once and costs later: PBT falls for it, MF-PBT does not (1.198 is best)."""
    learner = greedy(0.2)
    assert 1.03 <= mean_greedy(learner, vt.refine.Keep()) <= 1.06
    assert mean_greedy(learner, vt.PBT(**GREEDY)) <= 0.98
    assert 1.15 <= mean_greedy(learner, vt.MFPBT(**GREEDY)) < 1.198


def test_jaderbergs_two_heads():
    """Neither setting can solve it alone (0.39); together they reach 1.2."""
    search = vt.Given([{"h0": 1.0, "h1": 0.0}, {"h0": 0.0, "h1": 1.0}])
    space = {"h0": vt.Float(0.0, 1.0), "h1": vt.Float(0.0, 1.0)}
    learner = two_heads()

    def mean(refiner):
        return np.mean([best(learner, refiner, s, search, space, 400, 40) for s in SEEDS])

    assert mean(vt.refine.Keep()) == pytest.approx(0.39, abs=1e-3)
    assert mean(vt.PBT(resample_probability=0.25)) >= 1.19
