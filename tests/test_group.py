"""Cohorts that run the same program are compiled once, trained together and refined apart."""

import re

import jax
import numpy as np
import optax
import pytest
from problems import MLP, blobs, mlp_learner
from solo import xent

import vtune as vt
from vtune.engine.cohort_groups import groups
from vtune.runtime.compile import build

pytestmark = pytest.mark.slow

LOW, HIGH = vt.Float(0.01, 0.1, log=True), vt.Float(0.2, 1.0)


def tune(space, n=7, learner=None, **options):
    options = {"refiner": vt.PBT(), "rounds": 4, **options}
    return vt.tune(
        learner or mlp_learner(),
        space,
        blobs(),
        search=vt.Halton(n),
        epochs=4,
        batch_size=16,
        **options,
    )


def products(sweep):
    return len(re.findall(r" dot\(", build(sweep.trained.plan).call.as_text()))


LEARNER = mlp_learner()
UNION = [{"lr": LOW}, {"lr": HIGH}, {"lr": LOW}]


@pytest.fixture(scope="module")
def union():
    return tune(UNION, learner=LEARNER)


@pytest.mark.parametrize("layout", [None, "vmap", 3], ids=str)
def test_parts_of_a_union_are_one_program_and_keep_to_themselves(union, layout):
    one = tune({"lr": LOW}, layout=layout, learner=LEARNER)
    three = union if layout is None else tune(UNION, layout=layout, learner=LEARNER)
    assert [group.indices for group in groups(three.trained.plan)] == [(0, 1, 2)]
    assert products(three) == products(one)
    other = np.arange(7) % 3 == 1
    lr = three.settings["lr"]
    assert (lr[:, other] >= 0.2).all()
    assert (lr[:, ~other] <= 0.1).all()
    parents = three.parents
    assert (parents % 3 == np.arange(7) % 3).all()
    assert (parents != np.arange(7)).any()
    np.testing.assert_array_equal(parents, union.parents)
    np.testing.assert_allclose(three.scores, union.scores, rtol=1e-4)


def test_members_of_a_union_are_what_they_are_alone_along_their_lineage(union):
    for member in (1, 5, 6):
        alone = union.rerun(member)
        np.testing.assert_allclose(alone.score, union.members[member].score, rtol=1e-4)


def test_unlike_structure_and_shrinking_cohorts_stay_apart():
    widths = {"lr": LOW, "width": vt.Categorical([4, 8])}
    learner = vt.flax_learner(
        lambda h: MLP(width=h["width"]), optimizer=lambda h: optax.sgd(h["lr"]), loss=xent
    )
    unlike = tune([widths, {**widths, "lr": HIGH}], n=8, learner=learner)
    assert [group.indices for group in groups(unlike.trained.plan)] == [(0, 2), (1, 3)]
    shrinking = tune([{"lr": LOW}, {"lr": HIGH}], n=8, refiner=vt.Halving(2))
    assert [group.indices for group in groups(shrinking.trained.plan)] == [(0,), (1,)]


def test_a_union_is_refined_as_its_parts_are():
    """The refiner sees each part's own members, scores and draws, so the first cohort of a union
    decides what it decides beside another of unlike structure."""
    learner = mlp_learner(penalty=lambda params, h: 0.0 * len(h["note"]))
    parts = lambda one, other: [{"lr": LOW, "note": one}, {"lr": HIGH, "note": other}]
    together = tune(parts("a", "a"), n=6, learner=learner)
    apart = tune(parts("a", "b"), n=6, learner=learner)
    assert len(groups(together.trained.plan)) == 1
    assert len(groups(apart.trained.plan)) == 2
    np.testing.assert_array_equal(together.parents, apart.parents)
    np.testing.assert_array_equal(together.settings["lr"], apart.settings["lr"])
    np.testing.assert_allclose(together.history["loss"], apart.history["loss"], rtol=1e-5)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    jax.tree.map(close, together.best.variables, apart.best.variables)
