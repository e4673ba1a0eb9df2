"""Scenes to detect things in: digits of several sizes among clutter, with their boxes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

SIDE = 96  # pixels of a canvas
SIZES = (14, 40)  # pixels of a digit's longer side, the least and the most
MOST = 4  # digits of a scene
CLUTTER = 6  # fragments of digits
FRAGMENT = 7  # pixels of a fragment's side
INK = 32  # the least value of a pixel of a digit as it is stored


def split(count: int, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns which digits are for training scenes, and which for validation scenes."""
    order = np.random.default_rng(seed).permutation(count)
    held = round(count * fraction)
    return np.sort(order[held:]), np.sort(order[:held])


def scenes(
    images: np.ndarray, labels: np.ndarray, pool: Sequence[int], count: int, seed: int
) -> dict[str, np.ndarray]:
    """Draws scenes of 1 to 4 digits that do not overlap.

    Args:
      images: uint8 [digits, height, width]. labels: [digits].
      pool: which digits may be taken, for clutter too.
      count: how many scenes.

    Returns:
      By name: `x` uint8 [count, 96, 96]; `boxes` float32 [count, 4, 4], the pixels (x1, y1, x2, y2)
      between which a digit's ink is, so that it is x2 - x1 wide; `y` int32 [count, 4], the digits,
      and -1 where there are fewer; `digit` int32 [count, 4], which of the images each is, or -1.
    """
    rng, pool = np.random.default_rng(seed), np.asarray(pool)
    x = np.zeros((count, SIDE, SIDE), np.uint8)
    boxes = np.zeros((count, MOST, 4), np.float32)
    y, digit = np.full((2, count, MOST), -1, np.int32)
    for canvas, of_scene, classes, taken in zip(x, boxes, y, digit, strict=True):
        _clutter(rng, canvas, images, pool)
        placed = 0
        for _ in range(rng.integers(1, MOST + 1)):
            index = int(rng.choice(pool))
            ink = resized(_cropped(images[index]), int(rng.integers(SIZES[0], SIZES[1] + 1)))
            box = _free_place(rng, ink.shape, of_scene[:placed])
            if box is None:
                continue
            _paste(canvas, ink * rng.uniform(0.6, 1.0), box[0], box[1])
            of_scene[placed], classes[placed], taken[placed] = box, labels[index], index
            placed += 1
    return {"x": x, "boxes": boxes, "y": y, "digit": digit}


def resized(image: np.ndarray, longer: int) -> np.ndarray:
    """Returns an image whose longer side has so many pixels, the shorter in proportion. A pixel is
    the mean over the part of the image that it covers, so that ink at an edge stays at the edge."""
    height, width = image.shape
    scale = longer / max(height, width)
    rows, columns = (_covered(n, max(1, round(n * scale))) for n in (height, width))
    return rows @ image.astype(np.float64) @ columns.T


def _covered(old: int, new: int) -> np.ndarray:
    """Returns [new, old]: the share of each old pixel in each new one."""
    edges = np.arange(new + 1) * old / new
    cells = np.arange(old)
    low = np.maximum(edges[:-1, None], cells)
    high = np.minimum(edges[1:, None], cells + 1)
    return np.maximum(high - low, 0) * new / old


def _cropped(image: np.ndarray) -> np.ndarray:
    """Returns the part of an image that has ink, all of which touches the edges."""
    ink = np.where(image >= INK, image, 0)
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _free_place(
    rng: np.random.Generator, shape: tuple[int, ...], others: np.ndarray
) -> np.ndarray | None:
    """Returns a box of this height and width that touches no other; None if 20 tries find none."""
    height, width = shape
    for _ in range(20):
        x1, y1 = rng.integers(0, SIDE - width + 1), rng.integers(0, SIDE - height + 1)
        box = np.array([x1, y1, x1 + width, y1 + height], np.float32)
        apart = (box[:2] >= others[:, 2:]) | (box[2:] <= others[:, :2])
        if apart.any(1).all():
            return box
    return None


def _clutter(
    rng: np.random.Generator, canvas: np.ndarray, images: np.ndarray, pool: np.ndarray
) -> None:
    """Covers a canvas with faint noise and fragments of digits."""
    canvas[:] = rng.integers(0, INK, canvas.shape)
    middle = images.shape[1] // 2
    for index in rng.choice(pool, CLUTTER):
        row, column = rng.integers(middle - FRAGMENT, middle, 2)
        fragment = images[index, row : row + FRAGMENT, column : column + FRAGMENT]
        _paste(canvas, fragment * rng.uniform(0.6, 1.0), *rng.integers(0, SIDE - FRAGMENT + 1, 2))


def _paste(canvas: np.ndarray, ink: np.ndarray, left: float, top: float) -> None:
    """Puts ink on a canvas where it is brighter."""
    (height, width), left, top = ink.shape, int(left), int(top)
    place = canvas[top : top + height, left : left + width]
    np.maximum(place, np.round(ink).astype(np.uint8), out=place)
