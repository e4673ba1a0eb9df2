"""What members cost: against figures by hand, by cohort, measured once."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import LR, blobs, quadratic
from solo import xent

import vtune as vt
from vtune.results.costs import cost_mode, cost_names, costs_by_cohort, costs_of
from vtune.results.trained import rows_of
from vtune.runtime import step_costs
from vtune.tuning.arguments import TuneArguments
from vtune.tuning.prepare import prepare


class Deep(nn.Module):
    """Two layers with statistics between them, which are no parameters."""

    width: int

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.BatchNorm(use_running_average=not train)(nn.Dense(self.width)(x))
        return nn.Dense(3)(x)


@pytest.fixture(scope="module")
def deep():
    """A sweep of two cohorts as prepared, and its data; nothing is compiled."""
    learner = vt.flax_learner(
        lambda h: Deep(h["width"]), optimizer=lambda h: optax.adam(h["lr"]), loss=xent
    )
    space = {**LR, "width": vt.Categorical([4, 64])}
    data = blobs(features=5)
    given = {"learner": learner, "space": space, "data": data, "epochs": 1, "batch_size": 8}
    return prepare(TuneArguments(search=vt.Halton(4), **given)), data


def costs(deep, name):
    prepared, _ = deep
    return costs_by_cohort(prepared.plan, prepared.cohorts, name)


def test_parameters_are_those_that_are_trained(deep):
    """Those of two dense layers and of the scale and the shift between them."""
    np.testing.assert_array_equal(costs(deep, "params"), [(5 + 1 + 2 + 3) * w + 3 for w in (4, 64)])


def test_operations_are_those_of_a_step(deep):
    """Forward two products, backward three, and what is done element by element besides."""
    small, large = costs(deep, "flops")
    products = [2 * 8 * (2 * 5 * w + 3 * 3 * w) for w in (4, 64)]
    assert products[0] < small < 20 * products[0]
    assert products[1] < large < 3 * products[1]
    assert 10 < large / small < 16


@pytest.mark.parametrize("unroll", [1, 3, 20])
def test_operations_of_loops_count_as_often_as_they_are_done(unroll):
    matrix = jnp.ones((30, 30))
    times = lambda x, _: (matrix @ x, None)

    def step(x):
        five = lambda x, _: (jax.lax.scan(times, x, None, 5)[0], None)
        return jax.lax.scan(five, x, None, length=7, unroll=unroll)[0]

    counted = step_costs.counted_operations(jax.make_jaxpr(step)(jnp.ones(30)))
    assert counted == pytest.approx(35 * 2 * 30**2, rel=0.01)


def test_seconds_are_measured_once(compilations, monkeypatch, tmp_path):
    monkeypatch.setattr(step_costs, "LEAST_SECONDS", 1e-3)
    sweep = vt.tune(quadratic()._replace(variables=None), LR, search=vt.Halton(3), steps=2)
    with compilations() as first:
        seconds = costs_of(sweep.trained, "step_seconds")
    assert first.count > 0
    with compilations() as again:
        np.testing.assert_array_equal(costs_of(sweep.trained, "step_seconds"), seconds)
    assert again.count == 0
    assert seconds.shape == (3,)
    assert (seconds == seconds[0]).all()
    assert 1e-10 < seconds[0] < 1e-2
    with pytest.raises(ValueError, match=r'"params": the learner does not say what its weights'):
        costs_of(sweep.trained, "params")
    sweep.save(tmp_path / "sweep")
    with pytest.raises(ValueError, match=r"vt.read reads the results of a sweep alone"):
        costs_of(vt.read(tmp_path / "sweep").trained, "flops")


def test_costs_of_a_loaded_sweep_are_the_same(deep):
    """Its plan has no shapes of the data; the file has those of a row."""
    prepared, data = deep
    plan = dataclasses.replace(prepared.plan, arguments=None)
    for name in ("params", "flops"):
        loaded = costs_by_cohort(plan, prepared.cohorts, name, rows_of(data))
        np.testing.assert_array_equal(loaded, costs(deep, name))


def test_names():
    assert cost_names() == ("params", "flops", "step_seconds")
    assert {cost_mode(name) for name in cost_names()} == {"min"}
    assert cost_mode("loss") is None
