"""Which truth each detection of ONE image finds, by COCO's rules (Lin et al. 2014)."""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax

from vtune.types import Array

HIT, MISS, NEITHER = 1, 0, -1  # right, wrong, or matched to what does not count


def areas(boxes: Array) -> Array:
    """Returns width times height of boxes [..., 4], (x1, y1, x2, y2)."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def overlaps(boxes: Array, truths: Array, crowd: Array) -> Array:
    """Returns [detections, truths]: the area of the intersection by that of the union, or by the
    detection's where the truth is a crowd.

    Args:
      boxes: [detections, 4]. truths: [truths, 4]. crowd: [truths], bool.
    """
    low = jnp.maximum(boxes[:, None, :2], truths[None, :, :2])
    high = jnp.minimum(boxes[:, None, 2:], truths[None, :, 2:])
    side = high - low
    meet = jnp.all(side > 0, axis=-1)
    common = jnp.where(meet, side[..., 0] * side[..., 1], 0.0)
    own = areas(boxes)[:, None]
    union = jnp.where(crowd[None], own, own + areas(truths)[None] - common)
    return jnp.where(meet, common / jnp.where(meet, union, 1.0), 0.0)


def outcomes(
    overlap: Array, same: Array, ignored: Array, crowd: Array, outside: Array, thresholds: Array
) -> Array:
    """Returns [detections, thresholds], int8: what becomes of every detection.

        for every detection, the highest score first:
          among the truths of its class that are not taken and overlap enough, those that count
          before those that are ignored: take the one that overlaps most, of equals the last

    Args:
      overlap: [detections, truths], the detections in falling order of their scores.
      same: [detections, truths], bool: whether they are of one class.
      ignored: [truths], bool: found or not, it does not count. crowd: [truths], bool: ignored, and
        found any number of times.
      outside: [detections], bool: does not count where nothing is found.
      thresholds: the least overlaps.
    """
    last = overlap.shape[1] - 1

    def one(taken: Array, given: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        overlap, same, outside = given
        enough = overlap[None] >= thresholds[:, None]
        open_ = same[None] & enough & (~taken | crowd[None])
        counting = open_ & ~ignored[None]
        chosen = jnp.where(jnp.any(counting, axis=1, keepdims=True), counting, open_)
        value = jnp.where(chosen, overlap[None], -1.0)
        at = last - jnp.argmax(value[:, ::-1], axis=1)
        found = jnp.any(chosen, axis=1)
        taken |= found[:, None] & (jnp.arange(last + 1)[None] == at[:, None])
        if_found = jnp.where(ignored[at], NEITHER, HIT)
        if_not = jnp.where(outside, NEITHER, MISS)
        return taken, jnp.where(found, if_found, if_not).astype(jnp.int8)

    free = jnp.zeros((thresholds.shape[0], last + 1), bool)
    return lax.scan(one, free, (overlap, same, outside))[1]


def ranks(labels: Array) -> Array:
    """Returns how many detections [detections] of the same class stand before each."""
    same = labels[:, None] == labels[None, :]
    before = jnp.tril(jnp.ones(same.shape, bool), -1)
    return jnp.sum(same & before, axis=1)


def by_score(scores: Array) -> Array:
    """Returns the order of falling scores; equal ones keep theirs."""
    return jnp.argsort(-scores, stable=True)
