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
RANGE, FEW = (4.0, 40.0), (0.3, 1.0)
METRICS = {
    # name: the metric; how pycocotools evaluates, and what is read of it
    "coco": (MAP(CLASSES), {}, np.s_[:]),
    "half": (MAP(CLASSES, iou=0.5), {}, np.s_[:1]),
    "each": (MAP(CLASSES, per_class=True), {}, None),
    "few": (
        MAP(CLASSES, iou=[0.3, 1.0], max_detections=2),
        {"iou": (0.3, 1.0), "most": 2},
        np.s_[:],
    ),
    "area": (MAP(CLASSES, area=RANGE, iscrowd="crowd"), {"area": RANGE, "crowd": True}, np.s_[:]),
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
    weight = rng.random(ROWS) < 0.8 if seed % 5 else np.ones(ROWS)
    weight[0] = 1
    return outputs, batch, weight.astype(np.float32)


@jax.jit
def ours(outputs, batch, weight):
    """All metrics, over padded batches as the program measures them."""
    index = jnp.arange(2 * BATCH).reshape(2, BATCH)
    weight = jnp.append(weight, jnp.zeros(1))[index]

    def one_batch(given):
        rows, weight = given
        take = lambda a: a[jnp.minimum(rows, ROWS - 1)]
        out, truths = jax.tree.map(take, (outputs, batch))
        # What stands on padded rows must not matter, though it scores highest.
        out["boxes"] = jnp.where(weight[:, None, None] > 0, out["boxes"], jnp.nan)
        out["scores"] = jnp.where(weight[:, None] > 0, out["scores"], 2.0)
        return {name: metric.measure(out, truths, weight) for name, (metric, *_) in METRICS.items()}

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


def theirs(outputs, batch, weight, iou=None, most=100, area=(0, 1e10), crowd=False):
    """pycocotools' precision [thresholds, recalls, classes], -1 of classes without truths."""
    truths, found = [], []
    for row in range(ROWS):
        of_row = lambda given, *names, row=row: zip(*(given[k][row] for k in names), strict=True)
        truths += [
            annotation(row, label, box, iscrowd=int(crowd and is_crowd))
            for label, box, is_crowd in of_row(batch, "y", "boxes", "crowd")
            if label >= 0
        ]
        found += [
            annotation(row, label, box, score=float(score))
            for label, box, score in of_row(outputs, "labels", "boxes", "scores")
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
    return evaluation.eval["precision"][:, :, :, 0, 0]


@settings(max_examples=60)
@given(seed=st.integers(0, 1_000_000))
@example(seed=11)  # no truths
@example(seed=13)  # no detections
def test_mean_average_precision_is_that_of_pycocotools(seed):
    outputs, batch, weight = drawn(seed)
    got = jax.device_get(ours(outputs, batch, weight))
    cached = {}
    for name, (_, options, read) in METRICS.items():
        asked = str(options)
        if asked not in cached:
            cached[asked] = theirs(outputs, batch, weight, **options)
        precision = cached[asked]
        if read is None:
            there = (precision > -1).all((0, 1))
            expected = np.where(there, precision.mean((0, 1)), np.nan)
        else:
            counted = precision[read][precision[read] > -1]
            expected = counted.mean() if counted.size else np.nan
        np.testing.assert_allclose(got[name], expected, atol=1e-6, rtol=0, err_msg=name)


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: MAP(0), ValueError, "mean_average_precision: num_classes=0 must be a whole"),
        (lambda: MAP(max_detections=0), ValueError, "max_detections=0 must be a whole number"),
        (lambda: MAP(per_class="no"), TypeError, "per_class='no' must be True or False"),
        (lambda: MAP(iou="0.5"), TypeError, "iou='0.5' must be a number such as 0.5, or several"),
        (lambda: MAP(iou=[]), TypeError, r"iou=\[\] must be a number such as 0.5, or several"),
        (lambda: MAP(iou=50), ValueError, "iou=50 must be above 0 and at most 1"),
        (lambda: MAP(area="tiny"), ValueError, r"area='tiny' must be one of \['all', 'small'"),
        (lambda: MAP(area=(9, 4)), ValueError, r"area=\(9, 4\) must be one of"),
        (lambda: MAP(boxes=1), TypeError, "boxes=1 must be the name of an entry of the data"),
        (lambda: MAP(iscrowd=True), TypeError, "iscrowd=True must be the name of an entry"),
    ],
)
def test_wrong_options_are_named(make, error, says):
    with pytest.raises(error, match=says):
        make()


SHAPE = jax.ShapeDtypeStruct


def shapes(**other):
    kinds = {"boxes": SHAPE((5, 6, 4), float), "scores": SHAPE((5, 6), float)}
    kinds |= {"labels": SHAPE((5, 6), np.int32)} | other
    return {k: v for k, v in kinds.items() if v is not None}


def truths(**other):
    boxes = np.tile([0.0, 0.0, 2.0, 2.0], (5, 2, 1))
    there = {"y": np.array([[2, -1]] * 5), "boxes": boxes, "crowd": np.zeros((5, 2))}
    return {k: v for k, v in (there | other).items() if v is not None}


INVERTED = truths()["boxes"].copy()
INVERTED[3, 0] = [5, 5, 2, 8]


@pytest.mark.parametrize(
    ("metric", "outputs", "arrays", "error", "says"),
    [
        (MAP(3), shapes(scores=None), truths(), TypeError, r"the model returns \['boxes', 'labels"),
        (MAP(3), shapes(scores={}), truths(), TypeError, r"returns \['boxes', 'scores', 'labels"),
        (MAP(3), shapes()["boxes"], truths(), TypeError, "returns no dict; make them of what it"),
        (MAP(3), shapes(boxes=SHAPE((5, 6, 5), float)), truths(), ValueError, r"are \[6, 5\], its"),
        (
            MAP(3),
            shapes(labels=SHAPE((5, 3), int)),
            truths(),
            ValueError,
            r"its labels \[3\]; they",
        ),
        (
            MAP(3),
            shapes(labels=SHAPE((5, 6), float)),
            truths(),
            TypeError,
            "are of type float64; give",
        ),
        (MAP(3), shapes(), truths(y=None), ValueError, r"reads batch\['y'\]; the data has"),
        (MAP(3, boxes="box"), shapes(), truths(), ValueError, r"\['box'\], the .*: boxes=\"...\""),
        (
            MAP(3, iscrowd="few"),
            shapes(),
            truths(),
            ValueError,
            r"\['few'\], the .*: iscrowd=\"...\"",
        ),
        (
            MAP(3, iscrowd="crowd"),
            shapes(),
            truths(crowd=np.zeros(5)),
            ValueError,
            r"is \[\] an ima",
        ),
        (MAP(3), shapes(), truths(y=np.zeros(5, int)), ValueError, r"image's labels are \[\] and"),
        (MAP(3), shapes(), truths(y=np.zeros((5, 2))), TypeError, "labels are of type float64; co"),
        (MAP(3), shapes(), truths(y=-np.ones((5, 2), int)), ValueError, "there is nothing to find"),
        (MAP, shapes(), truths(), ValueError, r"labels run to 2; .*mean_average_precision\(3\)"),
        (
            MAP(3),
            shapes(),
            truths(boxes=INVERTED),
            ValueError,
            r"truth 0 of row 3 has the box \[5.0",
        ),
    ],
)
def test_what_does_not_suit_is_named(metric, outputs, arrays, error, says):
    with pytest.raises(error, match=says):
        metric.check(outputs, arrays)


def test_entries_of_other_names_are_read():
    metric = MAP(3, target="labels", boxes="corners", output="found")
    arrays = {"labels": truths()["y"], "corners": truths()["boxes"]}
    metric.check({"found": shapes()}, arrays)
    kept = jax.eval_shape(metric.measure, {"found": shapes()}, arrays, jnp.ones(5))
    assert kept[0].shape == (3,)
    assert kept[1].value[2].shape == (5, 6, 10)  # images, detections, thresholds
    with pytest.raises(ValueError, match=r"weights are \[batch, ...\]; give one an image"):
        jax.eval_shape(MAP(3, ignore=1).measure, shapes(), truths(), jnp.ones(5))


# The scenes -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def experiment():
    """The modules `scenes` and `detection` of the experiments."""
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(EXPERIMENTS)
        yield importlib.import_module("scenes"), importlib.import_module("detection")


def digits(count=30):
    """Blots of ink of all shapes, as images of 28 x 28 pixels, and labels."""
    rng = np.random.default_rng(0)
    images = np.zeros((count, 28, 28), np.uint8)
    for image, (height, width) in zip(images, rng.integers(3, 20, (count, 2)), strict=True):
        ink = rng.integers(0, 256, (height, width))
        ink[0, 0] = ink[-1, -1] = 255  # on all edges
        image[4 : 4 + height, 5 : 5 + width] = ink
    return images, np.arange(count) % 10


def test_boxes_are_where_the_ink_is(experiment, monkeypatch):
    scenes, _ = experiment
    monkeypatch.setattr(scenes, "_clutter", lambda *_: None)
    images, labels = digits()
    drawn = scenes.scenes(images, labels, range(20), count=40, seed=1)
    for canvas, boxes, y, digit in zip(
        *(drawn[k] for k in ("x", "boxes", "y", "digit")), strict=True
    ):
        assert 1 <= (y >= 0).sum() <= 4
        assert (y == np.where(digit < 0, -1, labels[digit])).all()
        assert ((digit < 20) & ((digit < 0) == (y < 0))).all()
        left = canvas.copy()
        for box in boxes[y >= 0]:
            assert 14 <= max(box[2:] - box[:2]) <= 40
            x1, y1, x2, y2 = box.astype(int)
            ink = canvas[y1:y2, x1:x2] > 0
            assert ink.shape == (y2 - y1, x2 - x1)
            assert ink[[0, -1]].any(1).all()  # it touches all four sides
            assert ink[:, [0, -1]].any(0).all()
            assert left[y1:y2, x1:x2].any()  # and overlaps no other
            left[y1:y2, x1:x2] = 0
        assert not left.any()
    longest = (drawn["boxes"][..., 2:] - drawn["boxes"][..., :2]).max(-1)[drawn["y"] >= 0]
    assert longest.min() == 14  # of some 100 digits
    assert longest.max() == 40


def test_scenes_are_drawn_by_their_seed_of_digits_of_their_own(experiment):
    scenes, _ = experiment
    train, valid = scenes.split(30, fraction=0.2, seed=0)
    assert sorted([*train, *valid]) == list(range(30))
    assert len(valid) == 6
    images, labels = digits()
    drawn = [scenes.scenes(images, labels, train, 30, seed) for seed in (0, 0, 1)]
    for name, values in drawn[0].items():
        assert (values == drawn[1][name]).all()
        assert (values != drawn[2][name]).any()
    assert set(drawn[0]["digit"].ravel()) <= {*train, -1}
    assert (drawn[0]["x"] > 0).mean() > 0.9  # noise
    # Clutter is made of the digits of the pool, too: all others may be anything.
    others = images.copy()
    others[valid] = 255
    assert (scenes.scenes(others, labels, train, 30, 0)["x"] == drawn[0]["x"]).all()


def test_shifted_scenes_have_shifted_boxes(experiment, monkeypatch):
    scenes, detection = experiment
    monkeypatch.setattr(scenes, "_clutter", lambda *_: None)
    images, labels = digits()
    batch = scenes.scenes(images, labels, range(30), count=40, seed=2)
    del batch["digit"]
    shift = jax.jit(lambda key, batch, by: detection.shifted(key, batch, {"shift": by}))
    key = jax.random.key(0)
    for name, same in shift(key, batch, 0.0).items():
        np.testing.assert_array_equal(same, batch[name], err_msg=name)
    after = {name: np.array(moved) for name, moved in shift(key, batch, 9.0).items()}
    moved = after["boxes"][:, 0] - batch["boxes"][:, 0]
    assert np.abs(moved).max() == 9
    assert len(np.unique(moved, axis=0)) > 20
    gone = (after["y"] < 0) & (batch["y"] >= 0)
    assert 0 < gone.sum() < 10
    for canvas, boxes, y in zip(after["x"], after["boxes"].astype(int), batch["y"], strict=True):
        for x1, y1, x2, y2 in boxes[y >= 0]:
            ink = canvas[y1:y2, x1:x2]
            assert ink.any()
            ink[:] = 0
        assert not canvas.any()


# The detector -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_detector_is_its_solo_run(experiment, x64, exact):
    """Maps, augmentation, BatchNorm and Adam as the experiment has them, at a tiny size."""
    scenes, detection = experiment
    images, labels = digits()
    drawn = [scenes.scenes(images, labels, pool, 40, 0) for pool in (range(20), range(20, 30))]
    for one in drawn:
        del one["digit"]
    data = vt.from_splits(*drawn)
    model = detection.Detector(3, blocks=1, dtype=float)
    metric = MAP(10, iou=[0.1, 0.5], output=detection.decoded)
    learner = vt.flax_learner(
        model,
        optimizer=detection.optimizer,
        loss=detection.loss,
        augment=detection.shifted,
        metrics={"map": metric},
    )
    space = {k: v for k, v in detection.SPACE.items() if k != "width"}
    options = {"steps": 20, "rounds": 1, "batch_size": 8, "metric": "map"}
    sweep = vt.tune(learner, space, data, search=vt.Halton(3), eval_batch_size=16, **options)

    @exactly
    def step(variables, state, batch, key, h):
        batch = detection.shifted(jax.random.fold_in(key, 0), batch, h)
        statistics = variables["batch_stats"]

        def value(params):
            variables = {"params": params, "batch_stats": statistics}
            out, new = model.apply(variables, batch["x"], train=True, mutable=["batch_stats"])
            return detection.loss(out, batch, h).mean(), new

        grads, new = jax.grad(value, has_aux=True)(variables["params"])
        optimizer = detection.optimizer({**h, "total_steps": 20})
        updates, state = optimizer.update(grads, state, variables["params"])
        return {"params": optax.apply_updates(variables["params"], updates), **new}, state

    @exactly
    def begin(key, x, h):
        variables = model.init(key, x, train=False)
        optimizer = detection.optimizer({**h, "total_steps": 20})
        return variables, optimizer.init(variables["params"])

    @exactly
    def judge(variables, batch):
        out = model.apply(variables, batch["x"], train=False)
        return metric.score(metric.measure(out, batch, jnp.ones(40)))

    valid = {name: np.asarray(values)[data.valid] for name, values in data.arrays.items()}
    for member in sweep:
        h, key = floats(member.hparams), vt.member_key(0, member.index)
        variables, state = begin(key, valid["x"][:8], h)
        for number, batch in enumerate(batches(data, 0, 20, 8)):
            variables, state = step(variables, state, batch, jax.random.fold_in(key, number), h)
        assert largest_difference(member.variables, variables) < 1e-9
        assert member.score == pytest.approx(float(judge(variables, valid)), abs=1e-9)
