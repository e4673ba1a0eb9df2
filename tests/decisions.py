"""What refiners decide about: a space with every kind of hyperparameter, settings and scores."""

import numpy as np
from hypothesis import strategies as st

import vtune as vt

SPACE = {
    "lr": vt.Float(1e-4, 0.3, log=True),
    "decay": vt.Float(-0.5, 0.7),
    "rate": vt.Float(0.1, 0.75, step=0.2),
    "k": vt.Int(1, 9, step=2),
    "wide": vt.Int(1, 10**6, log=True),
    "c": vt.Ordinal([0.001, 0.1, 10.0, 7.0]),
}


def hparams_of(size, seed=0):
    rng = np.random.default_rng(seed)
    return {name: d.from_unit(rng.random(size)) for name, d in SPACE.items()}


def scores(size):
    """Scores of `size` slots, ties, infinities and NaN among them."""
    element = st.one_of(st.integers(-5, 5).map(float), st.sampled_from([np.nan, -np.inf, np.inf]))
    return st.lists(element, min_size=size, max_size=size).map(
        lambda values: np.array(values, np.float32)
    )
