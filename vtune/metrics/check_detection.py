"""Checks of what metrics of detected objects read, before anything is compiled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from vtune.metrics.base import targets

NAMES = ("boxes", "scores", "labels")


def check_detections(who: str, outputs: Any) -> None:
    """Raises TypeError or ValueError unless outputs, given as shapes, are detections.

    They are a dict of `boxes` [batch, detections, 4], `scores` and `labels` [batch, detections].
    """
    there = outputs if isinstance(outputs, Mapping) else {}
    if not all(hasattr(there.get(name), "shape") for name in NAMES):
        raise TypeError(
            f"{who} reads outputs with the names {list(NAMES)}, the model returns "
            f"{list(there) or 'no dict'}; make them of what it returns: vt.metrics.{who}("
            'output=lambda out: {"boxes": ..., "scores": ..., "labels": ...})'
        )
    shapes = {name: list(outputs[name].shape[1:]) for name in NAMES}
    scores = shapes["scores"]
    if len(scores) != 1 or shapes["labels"] != scores or shapes["boxes"] != [*scores, 4]:
        raise ValueError(
            f"{who}: an image's boxes are {shapes['boxes']}, its scores {scores} and its labels "
            f"{shapes['labels']}; they must be [detections, 4], [detections] and [detections]"
        )
    if np.dtype(outputs["labels"].dtype).kind not in "iu":
        raise TypeError(
            f"{who}: the labels of detections are of type {outputs['labels'].dtype}; give the "
            "classes as whole numbers, for example by argmax, or .astype('int32')"
        )


def check_truths(
    who: str, arrays: Mapping[str, np.ndarray], classes: int, boxes: str, iscrowd: str | None
) -> None:
    """Raises TypeError or ValueError unless the data have truths of so many classes.

    Args:
      boxes, iscrowd: names of entries.
    """
    labels = targets(who, arrays)
    for option, name in (("boxes", boxes), ("iscrowd", iscrowd)):
        if name is not None and name not in arrays:
            raise ValueError(
                f"{who} reads batch[{name!r}], the data has {sorted(arrays)}; say which entry it "
                f'is: {option}="..."'
            )
    places, corners = np.asarray(labels), np.asarray(arrays[boxes])
    if places.ndim != 2 or corners.shape != (*places.shape, 4):
        raise ValueError(
            f"{who}: an image's labels are {list(places.shape[1:])} and batch[{boxes!r}] "
            f"{list(corners.shape[1:])}; they must be [truths] and [truths, 4], padded to the same "
            "number of truths for every image, with labels of -1"
        )
    if iscrowd is not None and np.shape(arrays[iscrowd]) != places.shape:
        raise ValueError(
            f"{who}: batch[{iscrowd!r}] is {list(np.shape(arrays[iscrowd])[1:])} an image and the "
            f"labels are {list(places.shape[1:])}; give one a truth"
        )
    if places.dtype.kind not in "iu":
        raise TypeError(
            f"{who}: labels are of type {places.dtype}; convert with .astype('int32'), with -1 "
            "where there is no truth"
        )
    there = places >= 0
    if not there.any():
        raise ValueError(f"{who}: every label is below 0, so there is nothing to find")
    if places.max() >= classes:
        raise ValueError(
            f"{who}: labels run to {places.max()}; say how many classes there are: "
            f"vt.metrics.{who}({places.max() + 1})"
        )
    wrong = there & (corners[..., 2:] < corners[..., :2]).any(-1)
    if wrong.any():
        row, truth = np.argwhere(wrong)[0]
        raise ValueError(
            f"{who}: truth {truth} of row {row} has the box {corners[row, truth].tolist()}; boxes "
            "are (x1, y1, x2, y2) with x1 <= x2 and y1 <= y2. Of (x, y, width, height) write "
            "np.concatenate([b[..., :2], b[..., :2] + b[..., 2:]], -1)"
        )
