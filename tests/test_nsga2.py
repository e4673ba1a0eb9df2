"""`vt.NSGA2` in whole sweeps: what it is given, what it finds, what it refuses."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import Own

import vtune as vt

DIMS = 6
SPACE = {f"x{i}": vt.Float(0.0, 1.0) for i in range(DIMS)}
ZDT1 = {"f1": "min", "f2": "min"}
WORST = (1.1, 8.0)  # from where the hypervolume is measured; the best possible is 8.467


def objectives(h):
    """ZDT1 (Zitzler, Deb and Thiele 2000)."""
    f1 = h["x0"]
    g = 1 + 9 * sum(h[f"x{i}"] for i in range(1, DIMS)) / (DIMS - 1)
    return {"f1": f1, "f2": g * (1 - jnp.sqrt(f1 / g))}


def step(key, h, age, batch):
    """Who has a large x1 ages; who has an x5 at the end diverges."""
    return age + jnp.where(h["x5"] > 0.99, jnp.nan, h["x1"] > 0.5), {}


# Without data and weights.
LEARNER = vt.Learner(
    init=lambda key, h, batch: jnp.zeros(()),
    step=step,
    measure=lambda key, h, state, batch, weight: (objectives(h), state, jax.random.uniform(key)),
    score=lambda totals: {**totals[0], "age": totals[1], "noise": totals[2]},
    variables=lambda state: state,
)


def tune(refiner=None, n=32, rounds=24, **options):
    options = {"search": vt.Random(n), "seed": 1, "metric": "f2", "mode": "min", **options}
    return vt.tune(LEARNER, SPACE, refiner=refiner, steps=rounds, rounds=rounds, **options)


def last(sweep):
    return np.stack([sweep.history[name][-1] for name in ZDT1], axis=1)


def hypervolume(values):
    """The area between a front of two values to be small and `WORST`."""
    area, top = 0.0, WORST[1]
    for first, second in values[np.argsort(values[:, 0])]:
        if first < WORST[0] and second < top:
            area, top = area + (WORST[0] - first) * (top - second), second
    return area


@pytest.fixture(scope="module")
def sweep():
    return tune(vt.NSGA2(ZDT1, quantile_fraction=0.5, eta=5))


def test_its_front_is_ahead_of_a_random_ones(sweep):
    """Of as many settings, 32 and 16 in each of 23 rounds."""
    random = tune(n=400, rounds=1)
    assert hypervolume(last(random)) < 7.0
    assert hypervolume(last(sweep)) > 8.2
    front = sweep.pareto()
    assert list(front)[:2] == ["f1", "f2"]
    assert len(front) > 10
    assert hypervolume(front[["f1", "f2"]].to_numpy()) == hypervolume(last(sweep))


def test_of_one_front_the_least_crowded_go_on(sweep):
    """The members at the ends are kept from round to round."""
    f1, f2 = (sweep.history[name] for name in ZDT1)
    for values in (f1, f2):
        assert (np.diff(np.nanmin(values, axis=1)) <= 0).all()
    for number in range(1, 24):
        copied = sweep.parents[number] != np.arange(32)
        assert copied.sum() == 16
        assert len(set(sweep.parents[number][copied])) > 4


def test_who_diverged_is_never_a_parent(sweep):
    died = np.isnan(sweep.history["f1"])
    assert died.any()
    for number in range(1, 24):
        assert not died[number - 1, sweep.parents[number]].any()


def test_it_is_trained_again_along_its_lineage_and_goes_on(sweep, compilations):
    best = int(sweep.pareto().index[3])
    again = sweep.rerun(best)
    lineage = sweep.lineage(best)
    for name in ("f1", "age"):
        expected = sweep.history[name][np.arange(24), lineage]
        np.testing.assert_allclose(again.history[name], expected, rtol=1e-6)
    assert again.hparams == sweep[best].hparams
    with compilations() as seen:
        other = tune(vt.NSGA2(tuple(ZDT1.items()), 3, 2, 0.1, 0.5, None, 20.0))
    assert seen.count == 0
    moved = (other.parents != np.arange(32)).any(axis=1)
    assert np.flatnonzero(moved).tolist() == [3, 6, 9, 12, 15, 18, 21]


def young(metrics):
    """Both f1 and f2 may be at most so large."""
    return [metrics["f1"] - 0.5, (metrics["f2"] - 3) * 2]


def test_members_within_the_constraints_come_first():
    sweep = tune(vt.NSGA2(ZDT1, quantile_fraction=0.5, eta=5, constraints=young), rounds=12)
    f1, f2 = last(sweep).T
    allowed = (f1 <= 0.5) & (f2 <= 3)
    assert allowed.sum() > 20
    kept = sweep.parents[-1] == np.arange(32)
    before = np.stack([sweep.history[name][-2] for name in ZDT1], axis=1)
    violated = np.maximum(before - [0.5, 3], 0) @ [1, 2]
    violated[np.isnan(violated)] = np.inf
    assert violated[kept].max() <= violated[~kept].min()


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Noting(Own):
    """A refiner of the user's own that remembers the scores it was given last."""

    objectives = (("f1", "min"), (lambda metrics: metrics["age"] - metrics["noise"], "max"))

    def init(self, space, size):
        return jnp.zeros((size, 2))

    def refine(self, key, round, space, hparams, score, memory):
        return vt.Refinement(jnp.arange(score.shape[0], dtype=jnp.int32), hparams), score


def test_a_refiner_of_ones_own_is_given_scores_of_several_metrics(tmp_path):
    """With seeds, members that diverge, and, as the history says, after an extension; the last
    scores of those that stopped."""
    settings = [dict.fromkeys(SPACE, 0.6) | {"x0": i / 5, "x5": 1 - i / 5} for i in range(5)]
    settings += [{**h, "x1": 0.1} for h in settings[1:3]]
    options = {"search": vt.Given(settings), "metric": "age", "mode": "max"}
    sweep = tune(Noting(), rounds=3, seeds=2, **options)
    longer = vt.extend(sweep, steps=1, rounds=1)
    sweep.save(tmp_path / "sweep")
    loaded = vt.load(tmp_path / "sweep", LEARNER, refiner=Noting())
    again = vt.extend(loaded, steps=1, rounds=1)
    patient = tune(Noting(), rounds=5, patience=2, **options)
    stopped = patient.trained.records.stopped
    assert stopped.tolist() == [2, 4, 4, 4, 4, 2, 2]
    for found, number in ((sweep, 1), (longer, 2), (again, 2), (patient, np.minimum(stopped, 3))):
        history = {name: values[number, range(7)] for name, values in found.history.items()}
        expected = np.stack([-history["f1"], history["age"] - history["noise"]], axis=1)
        expected[0] = -np.inf  # it diverged
        (given,) = found.trained.memories
        np.testing.assert_allclose(given, expected, rtol=1e-6)
