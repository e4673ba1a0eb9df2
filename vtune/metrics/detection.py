"""Mean average precision of detected objects, equal to COCO's (Lin et al. 2014)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vtune.metrics.base import Metric, configurable, documented
from vtune.metrics.check_detection import check_detections, check_truths
from vtune.metrics.matching import HIT, MISS, areas, by_score, outcomes, overlaps, ranks
from vtune.metrics.totals import PerRow
from vtune.types import Array, Batch, Outputs, Totals, Weight, float_dtype
from vtune.validation import check_count, check_flag, is_number

WHO = "mean_average_precision"
COCO = tuple(np.linspace(0.5, 0.95, 10).tolist())
AREAS = {
    "all": (0.0, 1e10),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e10),
}
POINTS = 101
# Recalls k / 100 that COCO's points, the numbers of np.linspace, lie a rounding above: a recall
# that is exactly such a k / 100 does not reach its point.
_ABOVE = np.arange(POINTS) / 100 < np.linspace(0, 1, POINTS)


def _mean_average_precision(
    num_classes: Any = 1,
    *,
    iou: Any = None,
    max_detections: Any = 100,
    area: Any = "all",
    per_class: Any = False,
    boxes: Any = "boxes",
    iscrowd: Any = None,
) -> Metric:
    check_count(f"{WHO}: num_classes", num_classes)
    check_count(f"{WHO}: max_detections", max_detections)
    check_flag(f"{WHO}: per_class", per_class)
    limits, low_high = _thresholds(iou), _area_range(area)
    for name, given in (("boxes", boxes), ("iscrowd", "" if iscrowd is None else iscrowd)):
        if not isinstance(given, str):
            raise TypeError(f"{WHO}: {name}={given!r} must be the name of an entry of the data")
    classes, most = int(num_classes), int(max_detections)

    def measure(outputs: Outputs, batch: Batch, weight: Weight) -> Totals:
        if weight.ndim > 1:
            raise ValueError(
                f"{WHO}: weights are [batch, ...]; give one an image, [batch]. A place without a "
                "truth has a label below 0, and what need not be found is named by iscrowd="
            )
        real = float_dtype()
        thresholds = jnp.asarray(limits, real)
        labels = batch["y"]
        truths = jnp.asarray(batch[boxes], real)
        crowd = jnp.zeros(labels.shape, bool) if iscrowd is None else batch[iscrowd] > 0

        def one(
            found: Mapping[str, Array], labels: Array, truths: Array, crowd: Array, counts: Array
        ) -> tuple[Array, ...]:
            order = by_score(found["scores"])
            scores, places = found["scores"][order], jnp.asarray(found["boxes"], real)[order]
            classes_found = jnp.where(counts, found["labels"][order], -1)
            there = counts & (labels >= 0)
            if len(order) > most:
                too_many = ranks(classes_found) >= most
                classes_found = jnp.where(too_many, -1, classes_found)
            ignored = crowd | _outside(truths, low_high)
            same = there[None] & (classes_found[:, None] == labels[None])
            became = outcomes(
                overlaps(places, truths, crowd),
                same,
                ignored,
                crowd,
                _outside(places, low_high),
                thresholds,
            )
            each = jax.nn.one_hot(labels, classes, dtype=jnp.int32)
            wanted = jnp.sum(jnp.where((there & ~ignored)[:, None], each, 0), axis=0)
            return wanted, scores.astype(real), classes_found, became

        detections = {name: outputs[name] for name in ("boxes", "scores", "labels")}
        wanted, *kept = jax.vmap(one)(detections, labels, truths, crowd, weight > 0)
        return jnp.sum(wanted, axis=0), PerRow(tuple(kept))

    def score(totals: Totals) -> Array:
        wanted, rows = totals
        by_class = average_precision(wanted, *rows.value)
        if per_class:
            return by_class
        there = wanted > 0
        count = jnp.sum(there)
        total = jnp.sum(jnp.where(there, by_class, 0.0))
        return jnp.where(count > 0, total / jnp.maximum(count, 1), jnp.nan)

    def check(outputs: Any, arrays: Mapping[str, np.ndarray]) -> None:
        check_detections(WHO, outputs)
        check_truths(WHO, arrays, classes, boxes, iscrowd)

    return Metric(measure, score, check, "max")


def average_precision(wanted: Array, scores: Array, labels: Array, became: Array) -> Array:
    """Returns [classes]: the mean over recalls and thresholds of the best precision at that recall
    or a higher one; NaN of classes without truths.

    Args:
      wanted: [classes], int: how many truths count.
      scores: [rows, detections]. labels: [rows, detections]; those that are no class are left out.
      became: [rows, detections, thresholds], as `outcomes` returns it.
    """
    classes, limits = wanted.shape[0], became.shape[-1]
    labels = labels.reshape(-1)
    labels = jnp.where((labels >= 0) & (labels < classes), labels, classes).astype(jnp.int32)
    order = jnp.lexsort((-scores.reshape(-1), labels))  # class by class, falling scores
    labels, became = labels[order], became.reshape(-1, limits)[order]
    hits, misses = (_within_class(became == kind, labels, classes) for kind in (HIT, MISS))
    precision = hits / jnp.maximum(hits + misses, 1).astype(scores.dtype)
    # The last of the 101 points that each recall reaches, in whole numbers, so that float32 finds
    # the same as float64.
    of_class = jnp.append(wanted, 0)[labels][:, None]
    point = 100 * hits // jnp.maximum(of_class, 1)
    short = (100 * hits == point * of_class) & jnp.asarray(_ABOVE)[point]
    point -= short.astype(point.dtype)
    best = jnp.zeros((classes + 1, POINTS, limits), precision.dtype)
    best = best.at[labels[:, None], point, jnp.arange(limits)[None]].max(precision)
    best = jax.lax.cummax(best[:classes], axis=1, reverse=True)
    # Coarse parts add up exactly; a plain sum of a thousand float32 is off in the sixth digit.
    coarse = jnp.round(best * 4096) / 4096
    total = jnp.sum(coarse, axis=(1, 2)) + jnp.sum(best - coarse, axis=(1, 2))
    return jnp.where(wanted > 0, total / (POINTS * limits), jnp.nan)


def _within_class(chosen: Array, labels: Array, classes: int) -> Array:
    """Returns how many are chosen [detections, thresholds] up to each one, of its class alone."""
    count = chosen.astype(jnp.int32)
    total = jnp.zeros((classes + 1, count.shape[1]), jnp.int32).at[labels].add(count)
    before = jnp.cumsum(total, axis=0) - total
    return jnp.cumsum(count, axis=0) - before[labels]


def _outside(boxes: Array, low_high: tuple[float, float]) -> Array:
    area = areas(boxes)
    return (area < low_high[0]) | (area > low_high[1])


def _thresholds(iou: Any) -> list[float]:
    """Returns the least overlaps as a list; raises TypeError or ValueError for other values."""
    if iou is None:
        return list(COCO)
    given = list(iou) if isinstance(iou, Sequence | np.ndarray) else [iou]
    if isinstance(iou, str) or not given or not all(map(is_number, given)):
        raise TypeError(f"{WHO}: iou={iou!r} must be a number such as 0.5, or several")
    if not all(0 < value <= 1 for value in given):
        raise ValueError(f"{WHO}: iou={iou!r} must be above 0 and at most 1")
    return [float(value) for value in given]


def _area_range(area: Any) -> tuple[float, float]:
    """Returns the least and the largest area; raises ValueError for other values."""
    if isinstance(area, str) and area in AREAS:
        return AREAS[area]
    pair = isinstance(area, tuple | list) and len(area) == 2 and all(map(is_number, area))
    if not pair or not 0 <= area[0] < area[1]:
        raise ValueError(
            f"{WHO}: area={area!r} must be one of {list(AREAS)}, or the least and the largest "
            "area in square pixels, such as (0, 1024)"
        )
    return float(area[0]), float(area[1])


mean_average_precision = documented(
    configurable(_mean_average_precision),
    """COCO's mean average precision (mAP) of detected objects, as pycocotools computes it (Lin et
    al. 2014): the mean over classes, IoU thresholds and 101 recalls of the best precision.

    Reads boxes (x1, y1, x2, y2) in pixels, padded to a fixed number an image:

    - of the outputs `boxes` [batch, detections, 4], `scores` [batch, detections] and `labels`
      [batch, detections], whole numbers; a label below 0 is no detection;
    - of the data `y` [batch, truths], the classes, -1 where there is no truth (another entry:
      target="labels"), and `boxes` [batch, truths, 4].

    In every image and class detections are matched by falling score, each to the truth that it
    overlaps most, if enough and not yet taken. Classes without truths are left out of the mean,
    which is NaN where no class has any. An image counts or does not, by whether its weight is
    above 0. Detections of negative width or height count as in pycocotools: as none where just one
    is negative.

        vt.metrics.mean_average_precision(
            10,
            iou=0.5,
            output=lambda out: {"boxes": ..., "scores": ..., "labels": ...},
        )

    Args:
      num_classes: labels run from 0 to num_classes - 1.
      iou: the least overlap, intersection over union, or several, over which the mean is taken; by
        default COCO's 0.50, 0.55, ... 0.95.
      max_detections: of one image and class, those of highest score.
      area: what counts: "all", "small" (at most 32 x 32 pixels), "medium", "large" (at least 96 x
        96), or the least and largest area in square pixels. Truths outside, and what finds them,
        are left out. A truth's area is that of its box; COCO's own files have its outline's.
      per_class: returns [num_classes], NaN of classes without truths, instead of the mean.
      boxes: the entry of the data with the truths' boxes.
      iscrowd: the entry [batch, truths] that is 1 for crowds, which may be found any number of
        times and do not count.
    """,
)
