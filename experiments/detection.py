"""Object detection: 16 settings of an anchor-free detector, most of them dropped on the way.

Command:   python experiments/detection.py --data ../shared/data/mnist10k
Data:      scenes of 96 x 96 pixels with 1 to 4 MNIST digits, 14 to 40 pixels long, among fragments
           of digits (scenes.py): 4,000 to train on, 500 to validate, of other digits.
Searched:  learning rate, weights of the losses of sizes and offsets, exponent of the focal loss,
           shifts of the scenes (traced), width (structural).
Time:      170 s on 2 CPU cores, with 30,000 training steps of 8 scenes
Result:    best mAP at an IoU of 0.5 0.9434 (member 7: lr 0.022, focal exponent 2.3, width 16), at
           COCO's 0.5 to 0.95 0.666. After one epoch 12 of the 16 are dropped, 6 of each width.
           A step takes 3.4 ms with scoring; one setting after the other 5.2 ms (width 8) and 7.1.
Output:    runs/detection: the sweep, table.csv and figure.png
Picture:   Left, the mAP of 16 members over 12 epochs: 12 end after the first, the best two rise to
           0.94 and 0.92. Right, six scenes of white digits and fragments on black: orange boxes
           with a digit and its score lie nearly on the dotted true boxes; one digit is missed.
"""

from __future__ import annotations

import time
from typing import Any

import beside
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import scenes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from mnist import arguments, read_folder
from report import write

import vtune as vt

CLASSES = 10
STRIDE = 4  # pixels of a cell of the maps
FOUND = 16  # detections of a scene
BATCH = 8
SHOWN = 0.4  # the least score of a box that is drawn


class Conv(nn.Module):
    """A convolution, batch normalisation and ReLU."""

    width: int
    side: int = 3
    stride: int = 1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x, train: bool):
        kind = {"dtype": self.dtype, "param_dtype": self.dtype}
        window = (self.side, self.side)
        x = nn.Conv(self.width, window, strides=self.stride, use_bias=False, **kind)(x)
        return nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9, **kind)(x))


class Detector(nn.Module):
    """Maps of a quarter of the scene's side: `heat`, a logit of each class having its centre in a
    cell, `size`, the logarithm of width and height in cells, and `offset`, of the centre in its
    cell."""

    width: int
    blocks: int = 2
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x, train: bool):
        width, kind = self.width, {"dtype": self.dtype, "param_dtype": self.dtype}
        x = x[..., None].astype(self.dtype) / 255  # uint8 on the device
        x = Conv(width, STRIDE, STRIDE, self.dtype)(x, train)
        fine = Conv(width, dtype=self.dtype)(x, train)
        x = Conv(2 * width, stride=2, dtype=self.dtype)(fine, train)
        for _ in range(self.blocks):
            x = x + Conv(2 * width, dtype=self.dtype)(x, train)
        x = twice_as_large(nn.Dense(4 * width, **kind)(x))
        x = Conv(width, dtype=self.dtype)(fine + x, train)
        x = nn.Dense(CLASSES + 4, **kind)(x)
        heat, size, offset = jnp.split(x, (CLASSES, CLASSES + 2), axis=-1)
        return {"heat": heat - 4, "size": size, "offset": offset}  # at first there is nothing


def twice_as_large(x):
    """Turns 4 numbers of a cell into 2 x 2 cells."""
    rows, height, width, channels = x.shape
    x = x.reshape(rows, height, width, 2, 2, channels // 4).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(rows, 2 * height, 2 * width, -1)


def loss(out, batch, h):
    """Focal loss of the heat map, L1 of sizes and offsets at the centres (Zhou, Wang and Krähenbühl
    2019, "Objects as Points"), each by the number of digits."""
    heat, there = out["heat"], batch["y"] >= 0
    side = heat.shape[1]
    boxes = batch["boxes"].astype(heat.dtype) / STRIDE  # [rows, digits, 4], in cells
    extent = boxes[..., 2:] - boxes[..., :2]
    centre = (boxes[..., 2:] + boxes[..., :2]) / 2
    cell = jnp.clip(jnp.floor(centre), 0, side - 1)

    # The target falls off around a centre's cell, the wider the larger the digit.
    place = jnp.arange(side, dtype=heat.dtype)[None, None, None]
    away = place - cell[..., None]
    fall = jnp.exp(-jnp.square(away / jnp.maximum(extent / 6, 0.35)[..., None]) / 2)
    near = fall[:, :, 1, :, None] * fall[:, :, 0, None, :]  # [rows, digits, side, side]
    of_class = jax.nn.one_hot(batch["y"], CLASSES, dtype=heat.dtype)  # 0 everywhere for -1
    target = jnp.max(near[..., None] * of_class[:, :, None, None, :], axis=1)
    yes, no = jax.nn.log_sigmoid(heat), jax.nn.log_sigmoid(-heat)
    at_centre = -jnp.exp(h["focal"] * no) * yes
    elsewhere = -jnp.exp(h["focal"] * yes) * (1 - target) ** 4 * no
    focal = jnp.sum(jnp.where(target == 1, at_centre, elsewhere), axis=(1, 2, 3))

    index = (cell[..., 1] * side + cell[..., 0]).astype(jnp.int32)
    log_extent = jnp.log(jnp.maximum(extent, 1 / STRIDE))
    errors = [
        jnp.abs(at(out["size"], index) - log_extent),
        jnp.abs(at(out["offset"], index) - (centre - cell)),
    ]
    size, offset = (jnp.sum(jnp.where(there[..., None], e, 0), axis=(1, 2)) for e in errors)
    digits = jnp.maximum(jnp.sum(there, axis=1), 1).astype(heat.dtype)
    return (focal + h["size_weight"] * size + h["offset_weight"] * offset) / digits


def at(values, index):
    """Returns the two numbers [rows, places, 2] of cells [rows, places] of a map."""
    flat = values.reshape(len(values), -1, 2)
    return jnp.take_along_axis(flat, index[..., None], axis=1)


def decoded(out):
    """Returns the peaks of the heat map as boxes in pixels, scores and labels."""
    heat = jax.nn.sigmoid(out["heat"])
    highest = nn.max_pool(heat, (3, 3), strides=(1, 1), padding="SAME")
    peaks = jnp.where(heat == highest, heat, 0).reshape(len(heat), -1)
    scores, index = jax.lax.top_k(peaks, FOUND)
    cell, labels = index // CLASSES, index % CLASSES
    side = heat.shape[1]
    centre = jnp.stack([cell % side, cell // side], axis=-1) + at(out["offset"], cell)
    half = jnp.exp(at(out["size"], cell)) / 2
    boxes = STRIDE * jnp.concatenate([centre - half, centre + half], axis=-1)
    return {"boxes": boxes, "scores": scores, "labels": labels}


def shifted(key, batch, h):
    """Shifts every scene by up to h["shift"] pixels each way. A digit is cut off at the edge; one
    whose centre is no longer in the scene is none."""
    x, (rows, side) = batch["x"], batch["x"].shape[:2]
    by = jax.random.uniform(key, (rows, 2), minval=-1, maxval=1) * h["shift"]
    by = jnp.round(by).astype(jnp.int32)  # to the right, and down
    wide = jnp.pad(x, ((0, 0), (side, side), (side, side)))
    cut = lambda scene, by: jax.lax.dynamic_slice(scene, side - by[::-1], (side, side))
    x = jax.vmap(cut)(wide, by)
    boxes = batch["boxes"] + jnp.tile(by, 2)[:, None].astype(batch["boxes"].dtype)
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2
    within = jnp.all((centre > 0) & (centre < side), axis=-1)
    y = jnp.where(within, batch["y"], -1)
    return {**batch, "x": x, "boxes": jnp.clip(boxes, 0, side), "y": y}


SPACE = {
    "lr": vt.Float(1e-3, 3e-2, log=True),
    "size_weight": vt.Float(0.1, 3.0, log=True),
    "offset_weight": vt.Float(0.1, 3.0, log=True),
    "focal": vt.Float(1.0, 4.0),
    "shift": vt.Float(0.0, 8.0),
    "width": vt.Categorical([8, 16]),
}


def optimizer(h):
    return optax.adam(vt.schedules.cosine(h["lr"], h["total_steps"], warmup=0.05))


METRICS = {
    "map50": vt.metrics.mean_average_precision(CLASSES, iou=0.5, output=decoded),
    "map": vt.metrics.mean_average_precision(CLASSES, output=decoded),
}


def learner(blocks: int, *metrics: str) -> vt.Learner:
    return vt.flax_learner(
        lambda h: Detector(h["width"], blocks),
        optimizer=optimizer,
        loss=loss,
        augment=shifted,
        metrics={name: METRICS[name] for name in metrics},
    )


def drawn_scenes(digits: dict, train: int, valid: int) -> vt.Data:
    """Returns scenes to train on and to validate, no digit in both."""
    pools = scenes.split(len(digits["x"]), fraction=0.2, seed=0)
    sets = [
        scenes.scenes(digits["x"], digits["y"], pool, count, seed)
        for seed, (pool, count) in enumerate(zip(pools, (train, valid), strict=True))
    ]
    for one in sets:
        del one["digit"]
    return vt.from_splits(*sets)


def one_by_one(data: vt.Data, model: Detector, steps: int) -> float:
    """Returns the seconds of a step of one setting in plain Flax and Optax: a Python loop over a
    jitted step, since XLA's convolutions are slow inside a scan on a CPU."""
    h = {"lr": 5e-3, "size_weight": 1.0, "offset_weight": 1.0, "focal": 2.0, "shift": 4.0}
    adam = optimizer({**h, "total_steps": steps})

    @jax.jit
    def step(params, statistics, state, batch, key):
        batch = shifted(key, batch, h)

        def value(params):
            variables = {"params": params, "batch_stats": statistics}
            out, new = model.apply(variables, batch["x"], train=True, mutable=["batch_stats"])
            return loss(out, batch, h).mean(), new["batch_stats"]

        grads, statistics = jax.grad(value, has_aux=True)(params)
        updates, state = adam.update(grads, state, params)
        return optax.apply_updates(params, updates), statistics, state

    rows = np.asarray(data.train)[: BATCH * steps].reshape(steps, BATCH)
    x = np.asarray(data.arrays["x"])[rows[0]]
    variables = jax.jit(lambda key: model.init(key, x, train=False))(jax.random.key(0))
    params, statistics = variables["params"], variables["batch_stats"]
    state, arrays = jax.jit(adam.init)(params), jax.device_get(data.arrays)
    keys = jax.device_get(jax.random.split(jax.random.key(1), steps))
    began = 0.0
    for number in range(steps):
        batch = {name: values[rows[number]] for name, values in arrays.items()}
        params, statistics, state = step(params, statistics, state, batch, keys[number])
        if number == 1:  # the first ones compile
            jax.block_until_ready(params)
            began = time.perf_counter()
    jax.block_until_ready(params)
    return (time.perf_counter() - began) / (steps - 2)


def figure(sweep: vt.Sweep, data: vt.Data) -> Figure:
    """Learning curves, and what the best member finds in the first validation scenes."""
    drawing = Figure(figsize=(11, 4.6), layout="constrained")
    curves, boxes = drawing.subfigures(1, 2, width_ratios=(1, 1.5))
    axes = curves.subplots()
    vt.plots.curves(sweep, top=3, ax=axes)
    axes.spines[["top", "right"]].set_visible(False)
    rows = np.asarray(data.valid)[:6]
    scene = {name: np.asarray(values)[rows] for name, values in data.arrays.items()}
    found = jax.device_get(jax.jit(decoded)(sweep.predict(scene["x"])))
    for number, axes in enumerate(boxes.subplots(2, 3).flat):
        axes.imshow(scene["x"][number], cmap="gray", vmin=0, vmax=255)
        axes.set_axis_off()
        for box, label in zip(scene["boxes"][number], scene["y"][number], strict=True):
            if label >= 0:
                rectangle(axes, box, color="white", linestyle=":")
        for box, label, score in zip(
            *(found[name][number] for name in ("boxes", "labels", "scores")), strict=True
        ):
            if score >= SHOWN:
                rectangle(axes, box, color="#e69f00")
                said = f"{label}: {score:.2f}"
                axes.text(box[0], box[1] - 1.5, said, color="#e69f00", fontsize=7, va="bottom")
    boxes.suptitle(f"Found by member {sweep.best.index} (orange); dotted: true boxes", fontsize=9)
    return drawing


def rectangle(axes: Any, box: np.ndarray, **style: Any) -> None:
    width, height = box[2:] - box[:2]
    axes.add_patch(Rectangle(box[:2] - 0.5, width, height, fill=False, linewidth=1.3, **style))


def main(argv: list[str] | None = None) -> None:
    parser = arguments(__doc__.splitlines()[0], "detection")
    parser.add_argument("--members", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--scenes", type=int, default=4000, help="to train on; an eighth validate")
    parser.add_argument("--quick", action="store_true", help="tiny: for tests")
    options = parser.parse_args(argv)
    space, blocks, refiner, steps = SPACE, 2, vt.Halving(reduction_factor=4), 30
    metrics = ("map50", "map")
    if options.quick:
        options.members, options.epochs, options.scenes, steps = 2, 2, 160, 3
        space, blocks, refiner = SPACE | {"width": 4}, 0, vt.refine.Keep()
        metrics = ("map50",)

    data = drawn_scenes(read_folder(options.data), options.scenes, options.scenes // 8)
    watch = beside.Rounds()
    sweep = vt.tune(
        learner(blocks, *metrics),
        space,
        data,
        search=vt.Halton(options.members),
        refiner=refiner,
        epochs=options.epochs,
        batch_size=BATCH,
        eval_batch_size=100,
        metric="map50",
        callbacks=[watch],
        progress=True,
    )
    write(sweep, options.out, figure(sweep, data))
    trained = (sweep.parents >= 0).sum(1)  # members, round by round
    print(f"mAP at an IoU of 0.5: {sweep.best.score:.4f}, of member {sweep.best.index}")
    print(f"members: {trained.tolist()}")
    if options.quick:
        assert sweep.history["train/loss"][-1, 0] < sweep.history["train/loss"][0, 0]

    per_epoch = options.scenes // BATCH
    ours = sum(watch.seconds) / per_epoch / trained.sum()
    print(f"ms of a member's step, scoring included: {1e3 * ours:.2f}")
    for width in sorted({member.hparams["width"] for member in sweep}):
        alone = 1e3 * one_by_one(data, Detector(width, blocks), steps)
        print(f"one setting after the other, width {width}: {alone:.2f}")


if __name__ == "__main__":
    vt.use_all_cores()
    main()
