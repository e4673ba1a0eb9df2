"""Mean average precision equals pycocotools'; scenes are what they say; a detector's member is its
solo run."""

import contextlib
import importlib
import io
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from solo import batches, exactly, floats, largest_difference

import vtune as vt
from vtune.metrics.totals import join_rows, split_rows

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
MAP = vt.metrics.mean_average_precision

# The metric -------------------------------------------------------------------------------------

ROWS, BATCH, FOUND, TRUTHS, CLASSES = 7, 4, 12, 4, 3
RANGE = (4.0, 40.0)
METRICS = {
    # name: the metric, and how pycocotools computes it
    "coco": (MAP(CLASSES), {}),
    "each": (MAP(CLASSES, per_class=True), {"per_class": True}),
    "half": (MAP(CLASSES, iou=0.5), {"iou": [0.5]}),
    "few": (MAP(CLASSES, iou=[0.3, 0.75], max_detections=2), {"iou": [0.3, 0.75], "most": 2}),
    "one": (MAP(CLASSES, iou=1.0), {"iou": [1.0]}),
    "area": (MAP(CLASSES, area=RANGE, iscrowd="crowd"), {"area": RANGE, "crowd": True}),
    "crowd": (MAP(CLASSES, iscrowd="crowd", max_detections=3), {"crowd": True, "most": 3}),
}


def drawn(seed):
    """Detections and truths with ties, absent classes, images without either, broken boxes."""
    rng = np.random.default_rng(seed)
    whole = seed % 3  # on whole pixels, IoUs are often equal, and equal to a threshold

    def boxes(count):
        low = rng.uniform(0, 8, (ROWS, count, 2))
        drawn = np.concatenate([low, low + rng.uniform(0, 8, low.shape)], -1)
        return (np.round(drawn) if whole else drawn).astype(np.float32)

    there = rng.integers(0, TRUTHS + 1, ROWS)[:, None] > np.arange(TRUTHS)
    kinds = rng.integers(1, CLASSES + 1)
    y = np.where(there & (seed % 11 > 0), rng.integers(0, kinds, there.shape), -1)
    truths = boxes(TRUTHS)
    found = boxes(FOUND)
    # Half of them near a truth, of its class.
    near = rng.integers(0, TRUTHS, (ROWS, FOUND // 2))
    moved = rng.integers(-1, 2, (*near.shape, 4)) * rng.integers(0, 2, (*near.shape, 1))
    found[:, : FOUND // 2] = np.take_along_axis(truths, near[..., None], 1) + moved
    labels = rng.integers(0, CLASSES + 2, (ROWS, FOUND)) - 1  # none, or a class that there is not
    labels[:, : FOUND // 2] = np.take_along_axis(y, near, 1)
    shown = rng.integers(0, FOUND + 1, ROWS)[:, None] > rng.permuted(
        np.tile(np.arange(FOUND), (ROWS, 1)), axis=1
    )
    scores = rng.uniform(size=(ROWS, FOUND))
    scores = np.round(scores, 1) if seed % 2 else scores
    outputs = {
        "boxes": found,
        "scores": scores.astype(np.float32),
        "labels": np.where(shown & (seed % 13 > 0), labels, -1).astype(np.int32),
    }
    batch = {"y": y.astype(np.int32), "boxes": truths, "crowd": rng.random(y.shape) < 0.2}
    weight = (rng.random(ROWS) < 0.8) if seed % 5 else np.ones(ROWS)
    return outputs, batch, weight.astype(np.float32)


@jax.jit
def ours(outputs, batch, weight):
    """All metrics, over padded batches as the program measures them."""
    # What stands on padded rows must not matter.
    index = jnp.arange(2 * BATCH).reshape(2, BATCH)
    weight = jnp.append(weight, jnp.zeros(1))[index]

    def one_batch(given):
        rows, weight = given
        take = lambda a: a[jnp.minimum(rows, ROWS - 1)]
        out, truths = jax.tree.map(take, (outputs, batch))
        broken = jnp.where(weight > 0, 1.0, jnp.nan)
        out["boxes"] = out["boxes"] * broken[:, None, None]
        out["scores"] = out["scores"] * broken[:, None]
        return {name: metric.measure(out, truths, weight) for name, (metric, _) in METRICS.items()}

    totals, rows = split_rows(jax.lax.map(one_batch, (index, weight)))
    totals = jax.tree.map(lambda leaf: leaf.sum(0)[None], totals)
    joined = join_rows(totals, jax.tree.map(lambda leaf: leaf[:, None], rows))
    return {name: jax.vmap(METRICS[name][0].score)(joined[name])[0] for name in METRICS}


def dataset(annotations):
    found = COCO()
    found.dataset = {
        "images": [{"id": row} for row in range(ROWS)],
        "categories": [{"id": label} for label in range(CLASSES)],
        "annotations": [{"id": 1 + number, **a} for number, a in enumerate(annotations)],
    }
    found.createIndex()
    return found


def annotation(row, label, box, **more):
    x1, y1, x2, y2 = map(float, box)
    shape = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1)}
    return {"image_id": row, "category_id": int(label), "iscrowd": 0, **shape, **more}


def theirs(outputs, batch, weight, iou=None, most=100, area=(0, 1e10), crowd=False, per_class=False):
    """pycocotools' value."""
    truths, found = [], []
    for row in range(ROWS):
        truths += [
            annotation(row, label, box, iscrowd=int(crowd and c))
            for label, box, c in zip(*(batch[k][row] for k in ("y", "boxes", "crowd")), strict=True)
            if label >= 0
        ]
        found += [
            annotation(row, label, box, score=float(score))
            for label, box, score in zip(
                *(outputs[k][row] for k in ("labels", "boxes", "scores")), strict=True
            )
            if label >= 0
        ]
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(dataset(truths), dataset(found), "bbox")
        options = evaluation.params
        options.imgIds = [row for row in range(ROWS) if weight[row] > 0]
        options.catIds = list(range(CLASSES))
        options.maxDets = [most]
        options.areaRng, options.areaRngLbl = [list(area)], ["range"]
        options.iouThrs = options.iouThrs if iou is None else np.array(iou)
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, :, 0, 0]  # thresholds, recalls, classes
    if per_class:
        return np.where((precision > -1).all((0, 1)), precision.mean((0, 1)), np.nan)
    counted = precision[precision > -1]
    return counted.mean() if counted.size else np.nan


@settings(max_examples=120)
@given(seed=st.integers(0, 1_000_000))
@example(seed=11)  # no truths
@example(seed=13)  # no detections
def test_mean_average_precision_is_that_of_pycocotools(seed):
    outputs, batch, weight = drawn(seed)
    if not weight.any():
        weight[0] = 1
    got = jax.device_get(ours(outputs, batch, weight))
    for name, (_, options) in METRICS.items():
        expected = theirs(outputs, batch, weight, **options)
        np.testing.assert_allclose(got[name], expected, atol=1e-6, rtol=0, err_msg=name)
