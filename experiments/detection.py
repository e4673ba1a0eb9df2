"""Object detection: 16 settings of an anchor-free detector, halved while they train.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import scenes
from mnist import arguments, read_folder

import vtune as vt

CLASSES = 10
STRIDE = 4  # pixels of a cell of the heat map
FOUND = 16  # detections of a scene
MAP50 = vt.metrics.mean_average_precision(CLASSES, iou=0.5, output=lambda out: decoded(out))


class Block(nn.Module):
    """A convolution, normalised."""

    width: int
    stride: int = 1

    @nn.compact
    def __call__(self, x, train: bool):
        x = nn.Conv(self.width, (3, 3), strides=self.stride, use_bias=False, dtype=x.dtype, param_dtype=x.dtype)(x)
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9, dtype=x.dtype, param_dtype=x.dtype)(x)
        return nn.relu(x)


class Detector(nn.Module):
    """Maps of a quarter of the image's side: a logit of every class, log sizes and offsets."""

    width: int
    size: int = 2

    @nn.compact
    def __call__(self, x, train: bool):
        w = self.width
        x = x[..., None].astype(jnp.float32) / 255
        x = nn.Conv(w, (4, 4), strides=4, padding="VALID", use_bias=False)(x)
        x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(x))
        fine = Block(w)(x, train)
        x = Block(2 * w, stride=2)(fine, train)
        for _ in range(self.size):
            x = x + Block(2 * w)(x, train)
        up = nn.Conv(4 * w, (1, 1))(x)
        b, r, c, _ = up.shape
        up = up.reshape(b, r, c, 2, 2, w).transpose(0, 1, 3, 2, 4, 5).reshape(b, 2 * r, 2 * c, w)
        x = Block(w)(fine + up, train)
        out = nn.Conv(CLASSES + 4, (1, 1))(x)
        return {"heat": out[..., :CLASSES] - 4.0, "size": out[..., CLASSES:-2], "offset": out[..., -2:]}


def loss(out, batch, h):
    """Focal loss of the heat map, L1 of sizes and offsets at the centres (Zhou et al. 2019)."""
    heat = out["heat"]
    side = heat.shape[1]
    there = batch["y"] >= 0
    boxes = batch["boxes"] / STRIDE
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2
    extent = boxes[..., 2:] - boxes[..., :2]
    cell = jnp.clip(jnp.floor(centre), 0, side - 1)
    place = jnp.arange(side, dtype=heat.dtype)
    # a Gaussian around the centre's cell, whose width goes with the box's
    sigma = jnp.maximum(extent / 6, 0.35)
    fall = jnp.exp(-jnp.square((place - cell[..., None]) / sigma[..., None]) / 2)  # [b, t, 2, side]
    bump = fall[:, :, 1, :, None] * fall[:, :, 0, None, :]
    bump = jnp.where(there[..., None, None], bump, 0)
    klass = jax.nn.one_hot(batch["y"], CLASSES, dtype=heat.dtype)
    target = jnp.max(bump[..., None] * klass[:, :, None, None, :], axis=1)
    on, off = jax.nn.log_sigmoid(heat), jax.nn.log_sigmoid(-heat)
    alpha = h["focal"]
    hit = target > 0.999
    focal = -jnp.where(hit, jnp.exp(alpha * off) * on, jnp.exp(alpha * on) * (1 - target) ** 4 * off)
    count = jnp.maximum(jnp.sum(there, axis=1), 1)
    heat_loss = jnp.sum(focal, axis=(1, 2, 3)) / count
    # at the centres
    index = (cell[..., 1] * side + cell[..., 0]).astype(jnp.int32)
    pick = lambda m: jnp.take_along_axis(m.reshape(m.shape[0], -1, 2), index[..., None], axis=1)
    size_error = jnp.abs(pick(out["size"]) - jnp.log(jnp.maximum(extent, 0.1)))
    offset_error = jnp.abs(pick(out["offset"]) - (centre - cell))
    of = lambda e: jnp.sum(jnp.where(there[..., None], e, 0), axis=(1, 2)) / count
    return heat_loss + h["size_weight"] * of(size_error) + h["offset_weight"] * of(offset_error)


def decoded(out):
    """Peaks of the heat map as boxes (x1, y1, x2, y2) in pixels, scores and labels."""
    heat = jax.nn.sigmoid(out["heat"])
    peak = nn.max_pool(heat, (3, 3), strides=(1, 1), padding="SAME")
    flat = jnp.where(heat == peak, heat, 0).reshape(heat.shape[0], -1)
    scores, at = jax.lax.top_k(flat, FOUND)
    cell, labels = at // CLASSES, at % CLASSES
    side = heat.shape[1]
    pick = lambda m: jnp.take_along_axis(m.reshape(m.shape[0], -1, 2), cell[..., None], axis=1)
    centre = jnp.stack([cell % side, cell // side], -1) + pick(out["offset"])
    half = jnp.exp(pick(out["size"])) / 2
    boxes = STRIDE * jnp.concatenate([centre - half, centre + half], -1)
    return {"boxes": boxes, "scores": scores, "labels": labels.astype(jnp.int32)}


SPACE = {
    "lr": vt.Float(1e-3, 3e-2, log=True),
    "size_weight": vt.Float(0.1, 3.0, log=True),
    "offset_weight": vt.Float(0.1, 3.0, log=True),
    "focal": vt.Float(1.0, 4.0),
    "shift": vt.Float(0.0, 8.0),
    "width": vt.Categorical([16, 24]),
}
