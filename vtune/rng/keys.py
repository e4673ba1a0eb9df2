"""The key rules, public so that anyone can write the plain loop that reproduces a member.

member key = fold_in(key(seed), member's id); with several folds or seeds then also folded with
             fold + 65536 * repeat
step key   = fold_in(member key, global step), counted from 0
evaluation key = member key folded with the steps that were trained, then the batch's number
row key    = key(seed) folded with a tag, the fold and the epoch
augmentation key = fold_in(step key, 0)
refine key = key(seed) folded with a tag, the coming round and the cohort's number
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from vtune.rng.threefry import IMPL, folded
from vtune.types import Key
from vtune.validation import is_whole

ROWS = 0x726F7773  # "rows": larger than the id of any member
_REPEAT = 2**16  # more than there are folds
_REFINE = 0x72666E65  # "rfne"


def member_key(seed: Any, id: Any, fold: Any = None, repeat: Any = None) -> Key:
    """Returns the key of member `id`, which also initialises its weights.

    Args:
      seed: the sweep's seed, 0 to 2**32 - 1.
      id: the member's index in the first population.
      fold, repeat: which of the member's replicates, where it has several: the fold of
        `vt.kfold`, and which of `seeds=`. Counted from 0; None where there is only one.

    Returns:
      A typed key. The member's training step number `step` (from 0) receives
      `jax.random.fold_in(member_key(seed, id), step)`.
    """
    key = _first_key("member_key", seed)
    if fold is None and repeat is None:
        return folded(key, id)
    return folded(
        key, id, (0 if fold is None else fold) + _REPEAT * (0 if repeat is None else repeat)
    )


def check_seed(who: str, seed: Any) -> None:
    """Raises ValueError where a seed is known and is none."""
    beyond = is_whole(seed) and not 0 <= seed < 2**32
    if beyond or seed is None or isinstance(seed, str | float | bool):
        raise ValueError(f"{who}: seed={seed!r} must be a whole number from 0 to 2**32 - 1")


def _first_key(who: str, seed: Any) -> Key:
    """Returns the key of a seed; inside a program the seed is an array."""
    check_seed(who, seed)
    return jax.random.key(seed, impl=IMPL)


def augment_key(step_key: Key) -> Key:
    """Returns the key that augments a training batch."""
    return folded(step_key, 0)


def is_key(leaf: Any) -> bool:
    """Whether a leaf (an array or its shape) holds typed keys."""
    return bool(jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key))


def from_words(words: np.ndarray | None, like: Any) -> Key:
    """Makes typed keys of the shape and kind of `like`.

    Args:
      words: their key data; zeros if None.

    Raises:
      TypeError: keys of an unknown kind.
    """
    for impl in (IMPL, "rbg", "unsafe_rbg"):
        key = jax.eval_shape(lambda impl=impl: jax.random.key(0, impl=impl))
        if key.dtype == like.dtype:
            size = jax.eval_shape(jax.random.key_data, key).shape
            words = np.zeros((*like.shape, *size), np.uint32) if words is None else words
            return jax.random.wrap_key_data(jax.device_put(words), impl=impl)
    raise TypeError(f"keys of type {like.dtype} are not supported; use jax.random.key(seed)")


def row_key(seed: Any, fold: Any, epoch: Any) -> Key:
    """Returns the key that shuffles the training rows of one fold in one epoch."""
    return folded(_first_key("rows", seed), ROWS, fold, epoch)


def refine_key(seed: Any, round: Any, cohort: Any) -> Key:
    """Returns the key of a refiner's decision before a round, for the cohort of this number."""
    return folded(jax.random.key(seed, impl=IMPL), _REFINE, round, cohort)
