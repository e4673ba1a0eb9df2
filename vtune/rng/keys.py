"""The key rules, public so that anyone can write the solo loop a member must equal.

member key = key(seed) folded with the member's id; of a training among folds or seeds folded with
             the fold + 65536 * the repeat as well
step key   = member key folded with the global step, counted from 0
row key    = key(seed) folded with a tag, the fold and the epoch
augmentation key = step key folded with 0
refine key = key(seed) folded with a tag, the coming round and the cohort's number
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from vtune.rng.threefry import IMPL, folded
from vtune.types import Key

_ROWS = 0x726F7773  # "rows": no population is so large that a member's id meets it
_REPEAT = 2**16  # more than there are folds
_REFINE = 0x72666E65  # "rfne"


def member_key(seed: Any, id: Any, fold: Any = None, repeat: Any = None) -> Key:
    """The key of member `id`; its weights are initialised with it.

    Args:
      seed: the sweep's seed, 0 to 2**32 - 1.
      id: the member's index in the first population.
      fold, repeat: which of its trainings, where it has several: data in folds (`vt.kfold`) or
        `seeds=`; each counted from 0, both None elsewhere.

    Returns:
      A typed key. `jax.random.fold_in(member_key(seed, id), step)` is what the member's
      training step number `step` (from 0) receives.
    """
    key = jax.random.key(seed, impl=IMPL)
    if fold is None and repeat is None:
        return folded(key, id)
    return folded(
        key, id, (0 if fold is None else fold) + _REPEAT * (0 if repeat is None else repeat)
    )


def augment_key(step_key: Key) -> Key:
    """The key that a training batch is augmented with."""
    return folded(step_key, 0)


def is_key(leaf: Any) -> bool:
    """Whether a leaf (an array or its shape) holds typed keys."""
    return bool(jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key))


def from_words(words: np.ndarray | None, like: Any) -> Key:
    """Typed keys of the shape and kind of `like`, from their words; zeros where there are none."""
    for impl in (IMPL, "rbg", "unsafe_rbg"):
        one = jax.eval_shape(lambda impl=impl: jax.random.key(0, impl=impl))
        if one.dtype == like.dtype:
            size = jax.eval_shape(jax.random.key_data, one).shape
            blank = np.zeros((*like.shape, *size), np.uint32) if words is None else words
            return jax.random.wrap_key_data(jax.device_put(blank), impl=impl)
    raise TypeError(f"keys of type {like.dtype} are not known; use jax.random.key(seed)")


def row_key(seed: Any, fold: Any, epoch: Any) -> Key:
    """The key that shuffles the training rows of one fold in one epoch."""
    return folded(jax.random.key(seed, impl=IMPL), _ROWS, fold, epoch)


def refine_key(seed: Any, round: Any, cohort: Any) -> Key:
    """The key of a refiner's decision before a round, for the cohort of this number."""
    return folded(jax.random.key(seed, impl=IMPL), _REFINE, round, cohort)
