"""Sweeps and spaces as Optuna's studies and distributions, and back."""

import json

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

import vtune as vt
from vtune.space.space import parse
from vtune.studies.asked import (
    PLACES,
    asked_distributions,
    chosen_params,
    params_of,
    places_asked,
    values_of,
)

optuna = pytest.importorskip("optuna")
optuna.logging.set_verbosity(optuna.logging.WARNING)


def some_function(x):
    return x


number = st.floats(-1e4, 1e4, allow_subnormal=False)


@st.composite
def floats(draw):
    log = draw(st.booleans())
    low = draw(st.floats(1e-6, 1e3) if log else number)
    if not log and draw(st.booleans()):
        step = draw(st.sampled_from([0.1, 0.25, 1e-3, 3.0]))
        low = round(low, 3)
        high = low + step * draw(st.floats(1, 50))
        return vt.Float(low, high, step=step)
    high = low + draw(st.floats(0, 1e3))
    assume(np.float32(low) < np.float32(high))
    return vt.Float(low, high, log=log)


@st.composite
def whole(draw):
    log = draw(st.booleans())
    low = draw(st.integers(1 if log else -1000, 1000))
    width = draw(st.integers(1, 1000))
    step = 1 if log else draw(st.integers(1, width))
    return vt.Int(low, low + width, log=log, step=step)


ordinals = st.lists(
    st.one_of(st.integers(-1000, 1000), st.floats(-1e3, 1e3, width=32)),
    min_size=1,
    max_size=5,
    unique_by=np.float32,
).map(vt.Ordinal)
choice = st.sampled_from([1, True, 1.5, "a", "1", None, (1, 2), some_function, np.tanh])
categorical = st.lists(choice, min_size=1, max_size=4, unique_by=repr).map(vt.Categorical)
entry = st.one_of(floats(), whole(), ordinals, categorical, st.just(3))
part = st.dictionaries(st.sampled_from(["a", "b", "\x1b"]), entry, min_size=1)
spaces = st.lists(part, min_size=1, max_size=3).map(parse)


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@given(spaces, st.integers(0, 2**31))
@example(parse({"a": vt.Float(0.1, 0.75, step=0.1)}), 0)  # 0.1 + 6 * 0.1 > 0.7
def test_what_is_asked_lies_in_the_space(space, seed):
    """One study takes the trials of all combinations; values come back as they were asked."""
    study = optuna.create_study()
    study.set_user_attr(PLACES, json.loads(json.dumps(places_asked(space))))
    sampler = optuna.samplers.RandomSampler(seed)
    for combination in space.combinations[:8]:
        distributions = asked_distributions(space, combination)
        study.sampler = optuna.samplers.PartialFixedSampler(
            chosen_params(space, combination), sampler
        )
        trial = study.ask(fixed_distributions=distributions)
        values = values_of(space, combination, trial.params)
        assert set(values) == {*combination.traced, *combination.choices}
        for name, distribution in combination.traced.items():
            assert distribution.contains(values[name])
            assert distribution.contains(distribution.report(distribution.cast([values[name]])[0]))
        for name, value in combination.choices.items():
            assert values[name] is value
        assert values_of(space, combination, params_of(space, combination, values)) == values
        for unit in (0.0, 0.5, 1 - 1e-12):
            drawn = {name: d.from_unit([unit])[0] for name, d in combination.traced.items()}
            params = params_of(space, combination, drawn)
            for param, distribution in distributions.items():
                assert distribution._contains(distribution.to_internal_repr(params[param]))
