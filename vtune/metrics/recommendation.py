"""NDCG, recall and reciprocal rank: how well the scores of items put the relevant ones first.

Outputs are scores [rows, items], a row for example a user. The target is the relevance of every
item [rows, items], or the ids of the relevant items, [rows] or [rows, ids], with -1 for none. Each
is a mean over the rows; items of equal scores count as the mean over their orders.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vtune.callers import users_line
from vtune.metrics.base import (
    Metric,
    check_zero_division,
    configurable,
    documented,
    ratio,
)
from vtune.metrics.items import check_items, is_excluded, is_listed
from vtune.metrics.select import check_chosen, expand
from vtune.types import Array, Batch, Outputs, Totals, Weight, float_dtype
from vtune.validation import check_count, check_flag


class Places(NamedTuple):
    """Where relevant items stand among those of their row.

    Attributes:
      gain: [rows, n], how relevant an item is, 0 where it does not count.
      ranked: [rows, n], whether it has a place; an item whose score is NaN has none.
      above: [rows, n], how many items stand before it and all that are equal to it.
      equal: [rows, n], how many have its score, itself among them.
      items: how many there are in a row.
    """

    gain: Array
    ranked: Array
    above: Array
    equal: Array
    items: int


_HALF = 2**15  # more than half the bits of a number that is not negative
Value = Callable[[Places], tuple[Array, Array]]  # (a row's value, what it is divided by) [rows]


def _of_places(
    who: str, value: Value, k: Any, exclude: Any, ignore_ties: Any, zero_division: Any
) -> Metric:
    """Makes the metric that is the mean over the rows of a function of their places."""
    if k is not None:
        check_count(f"{who}: k", k)
    check_chosen("exclude", exclude)
    check_flag(f"{who}: ignore_ties", ignore_ties)
    check_zero_division(who, zero_division)

    def measure(outputs: Outputs, batch: Batch, weight: Weight) -> Totals:
        places, weights = _places(outputs, batch, weight, exclude, bool(ignore_ties))
        values = ratio(*value(places), zero_division)
        weights = jnp.where(jnp.isnan(values), 0.0, weights)
        return jnp.sum(jnp.where(weights > 0, values * weights, 0.0)), jnp.sum(weights)

    def check(outputs: Any, arrays: Mapping[str, np.ndarray]) -> None:
        items = check_items(who, outputs, arrays, exclude)
        if who == "recall_at_k" and k >= items:
            warnings.warn(
                f"recall_at_k(k={k}) is 1 for everybody, since there are {items} items; give a "
                "smaller k",
                stacklevel=users_line(),
            )

    return Metric(measure, lambda totals: totals[0] / totals[1], check, "max")


def _places(
    scores: Array, batch: Batch, weight: Weight, exclude: Any, ignore_ties: bool
) -> tuple[Places, Array]:
    """Returns the places of the relevant items, and how much every row counts [rows]."""
    target, (rows, items) = batch["y"], scores.shape
    counts = ~is_excluded(exclude, batch, items)
    listed = is_listed(target, items)
    weights = expand(weight, target).astype(float_dtype()).reshape(rows, -1)
    counts = counts if listed else counts & (weights > 0)
    scores = jnp.asarray(scores, float_dtype())
    lowest = float(jnp.finfo(scores.dtype).min)  # -inf are the items that do not count
    level = jnp.where(counts & ~jnp.isnan(scores), jnp.maximum(scores, lowest), -jnp.inf)
    if listed:
        ids = target.reshape(rows, -1).astype(jnp.int32)
        index = jnp.maximum(ids, 0)
        counts = jnp.broadcast_to(counts, scores.shape)
        known = (ids >= 0) & (weights > 0) & jnp.take_along_axis(counts, index, axis=1)
        gain = jnp.where(_first(ids, known), 1.0, 0.0).astype(scores.dtype)
        own, (above, equal) = _looked_up(level, index, ignore_ties)
    else:
        gain = jnp.where(counts, target.astype(scores.dtype), 0.0)
        own, (above, equal) = level, _sorted(level, ignore_ties)
    places = Places(gain, own > -jnp.inf, above, equal, items)
    return places, jnp.max(weights, axis=1)


def _first(ids: Array, known: Array) -> Array:
    """Returns which of the known ids [rows, n] are not there a second time."""
    same = (ids[:, :, None] == ids[:, None, :]) & known[:, None, :]
    earlier = jnp.tri(ids.shape[1], k=-1, dtype=bool)[None]
    return known & ~jnp.any(same & earlier, axis=-1)


def _looked_up(level: Array, index: Array, ignore_ties: bool) -> tuple[Array, tuple[Array, Array]]:
    """Returns the levels of some items [rows, n], and how many are above and equal, by comparing
    them with every item."""
    own = jnp.take_along_axis(level, index, axis=1)
    every, one = level[:, None, :], own[:, :, None]
    count = lambda counted: jnp.sum(counted, axis=-1, dtype=jnp.int32)
    if ignore_ties:
        later = jnp.arange(level.shape[1])[None, None, :] > index[:, :, None]
        above = count((every > one) | ((every == one) & later))
        return own, (above, jnp.ones_like(above))
    if level.shape[1] >= _HALF:
        return own, (count(every > one), count(every == one))
    # Two counts in one number: two sums beside each other take XLA five times as long on a CPU.
    both = count((every > one) + _HALF * (every == one))
    return own, (both % _HALF, both // _HALF)


def _sorted(level: Array, ignore_ties: bool) -> tuple[Array, Array]:
    """Returns for every item how many are above and equal, by sorting them."""
    items = level.shape[1]
    if ignore_ties:  # among equal scores the later item ranks first, as in scikit-learn
        place = items - 1 - jnp.argsort(jnp.argsort(level, axis=1), axis=1)
        return place, jnp.ones_like(place)
    find = lambda side: jax.vmap(lambda a, v: jnp.searchsorted(a, v, side=side))
    order = jnp.sort(level, axis=1)
    at_most = find("right")(order, level)
    return items - at_most, at_most - find("left")(order, level)


def _ndcg(
    k: Any = None,
    *,
    exclude: Any = None,
    ignore_ties: Any = False,
    zero_division: Any = 0.0,
) -> Metric:
    def value(at: Places) -> tuple[Array, Array]:
        discounts = 1 / np.log2(np.arange(at.items) + 2)
        discounts[at.items if k is None else k :] = 0.0
        single = jnp.asarray(discounts, at.gain.dtype)
        summed = jnp.asarray(np.concatenate([[0.0], np.cumsum(discounts)]), at.gain.dtype)
        together = (summed[at.above + at.equal] - summed[at.above]) / jnp.maximum(at.equal, 1)
        # Of one item alone the difference of sums would lose digits.
        discount = jnp.where(at.equal == 1, single[jnp.minimum(at.above, at.items - 1)], together)
        dcg = jnp.sum(jnp.where(at.ranked, at.gain * discount, 0.0), axis=1)
        most = at.gain.shape[1] if k is None else min(k, at.gain.shape[1])
        ideal, _ = jax.lax.top_k(at.gain, most)
        return dcg, jnp.sum(ideal * single[None, :most], axis=1)

    return _of_places("ndcg", value, k, exclude, ignore_ties, zero_division)


def _recall_at_k(
    k: Any = 10,
    *,
    exclude: Any = None,
    ignore_ties: Any = False,
    zero_division: Any = 0.0,
) -> Metric:
    check_count("recall_at_k: k", k)

    def value(at: Places) -> tuple[Array, Array]:
        relevant = jnp.where(at.gain > 0, 1.0, 0.0)
        share = jnp.clip((k - at.above) / jnp.maximum(at.equal, 1), 0.0, 1.0)
        hits = jnp.where(at.ranked, relevant * share, 0.0)
        return jnp.sum(hits, axis=1), jnp.sum(relevant, axis=1)

    return _of_places("recall_at_k", value, k, exclude, ignore_ties, zero_division)


def _mrr(
    k: Any = None,
    *,
    exclude: Any = None,
    ignore_ties: Any = False,
    zero_division: Any = 0.0,
) -> Metric:
    def value(at: Places) -> tuple[Array, Array]:
        relevant = at.ranked & (at.gain > 0)
        first = jnp.min(jnp.where(relevant, at.above, at.items), axis=1, keepdims=True)
        leading = relevant & (at.above == first)  # equal to the first relevant item
        dtype = at.gain.dtype
        hits = jnp.sum(leading, axis=1, keepdims=True).astype(dtype)
        equal = jnp.max(jnp.where(leading, at.equal, 0), axis=1, keepdims=True).astype(dtype)
        # The chance that the first hit is the j-th of the equal items, in an order drawn at random.
        j = jnp.arange(at.items, dtype=dtype)[None, :]
        left = jnp.maximum(equal - j, 1.0)
        missed = jnp.cumprod(jnp.clip((equal - hits - j) / left, 0.0, 1.0), axis=1)
        missed = jnp.concatenate([jnp.ones_like(hits), missed[:, :-1]], axis=1)
        place = first.astype(dtype) + j + 1
        inside = (j <= equal - hits) & (place <= (at.items if k is None else k))
        value = jnp.sum(jnp.where(inside, missed * hits / left / place, 0.0), axis=1)
        return value, jnp.any(at.gain > 0, axis=1).astype(dtype)

    return _of_places("mrr", value, k, exclude, ignore_ties, zero_division)


ndcg = documented(
    configurable(_ndcg),
    """Normalised discounted cumulative gain (Järvelin and Kekäläinen 2002), as in scikit-learn.

    The sum of relevance / log2(1 + place), divided by that of the best order; the mean over the
    rows. Outputs are scores [rows, items]. The target is the relevance of every item [rows, items],
    0 or more, or the ids of the items with relevance 1, [rows] or [rows, ids], filled up with -1.
    For gains of 2^relevance - 1 say `target=lambda batch: 2.0 ** batch["y"] - 1`.

    Args:
      k: places that count, by default all.
      exclude: items that have no place, such as those seen in training: the name of an entry, or
        (batch) -> entry, a mask [rows, items] of booleans, or ids [rows, ids], filled up with -1.
        Of a target [rows, items], so are those whose `weight=` is 0 or whose relevance is one of
        `ignore=`. A row counts as much as the item of it that counts most.
      ignore_ties: True takes the later of equal items first, which is faster. By default an item
        counts the mean over the orders of those equal to it (McSherry and Najork 2008).
      zero_division: the value of a row without a relevant item: 0, as in scikit-learn, 1, or nan,
        which leaves the row out.
    """,
)
recall_at_k = documented(
    configurable(_recall_at_k),
    """Share of a row's relevant items that are among the `k` with the highest scores.

    The mean over the rows. Outputs and target are those of `ndcg`, and so are the options; items
    with a relevance above 0 are relevant.

    Args:
      k: places that count, by default 10.
    """,
)
mrr = documented(
    configurable(_mrr),
    """Mean reciprocal rank: 1 / place of a row's first relevant item, the mean over the rows.

    Outputs and target are those of `ndcg`, and so are the options; items with a relevance above 0
    are relevant.

    Args:
      k: places that count, by default all; a row whose first relevant item comes later has 0.
    """,
)
