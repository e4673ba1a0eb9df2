"""Augmentation inside the step, with traced strengths."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import LR, MLP, blobs
from solo import largest_difference, plain_loop, xent

import vtune as vt
from vtune.runtime.compile import build

pytestmark = pytest.mark.slow

A = vt.augment
random_crop, cutout, noise, mixup = map(jax.jit, (A.random_crop, A.cutout, A.noise, A.mixup))
random_flip = jax.jit(A.random_flip, static_argnames="axis")
KEY = jax.random.key(3)
IMAGES = jnp.arange(1.0, 1 + 8 * 5 * 6 * 2).reshape(8, 5, 6, 2)


def test_random_crop_shifts_images_and_fills_with_zeros():
    out = np.asarray(random_crop(KEY, IMAGES, 2))
    seen = set()
    for before, after in zip(np.asarray(IMAGES), out, strict=True):
        padded = np.pad(before, ((2, 2), (2, 2), (0, 0)))
        places = [
            (i, j)
            for i in range(5)
            for j in range(5)
            if np.array_equal(padded[i : i + 5, j : j + 6], after)
        ]
        assert len(places) == 1
        seen |= set(places)
    assert len(seen) > 3  # every image is shifted on its own
    np.testing.assert_array_equal(random_crop(KEY, IMAGES, 0.9), IMAGES)
    grey = IMAGES[..., 0].astype(jnp.uint8)
    assert random_crop(KEY, grey, 1).dtype == jnp.uint8
    many = jnp.broadcast_to(IMAGES[:1], (3000, 5, 6, 2))
    shifted = np.asarray(random_crop(KEY, many, 1))
    kinds, counts = np.unique(shifted.reshape(3000, -1), axis=0, return_counts=True)
    assert len(kinds) == 9
    assert counts.min() > 270  # 333 each, by equal chance


def test_random_flip_mirrors_with_its_probability():
    many = jnp.broadcast_to(IMAGES[:1], (2000, 5, 6, 2))
    flipped = np.asarray(random_flip(KEY, many, 0.3))
    mirrored = np.all(flipped == np.asarray(many)[:, :, ::-1], axis=(1, 2, 3))
    same = np.all(flipped == np.asarray(many), axis=(1, 2, 3))
    assert np.all(mirrored ^ same)
    assert 0.25 < mirrored.mean() < 0.35
    np.testing.assert_array_equal(random_flip(KEY, IMAGES, 0.0), IMAGES)
    np.testing.assert_array_equal(random_flip(KEY, IMAGES, 1.0, axis=1), IMAGES[:, ::-1])


def test_cutout_removes_a_square():
    ones = jnp.ones((400, 9, 9))
    holes = np.asarray(cutout(KEY, ones, 3)) == 0
    sizes = holes.sum(axis=(1, 2))
    assert sizes.max() == 9
    assert sizes.min() == 4  # in a corner
    rows, columns = holes.any(axis=2).sum(axis=1), holes.any(axis=1).sum(axis=1)
    np.testing.assert_array_equal(rows * columns, sizes)  # a rectangle
    assert holes[:, 0, 0].any()
    assert holes[:, 8, 8].any()
    np.testing.assert_array_equal(cutout(KEY, IMAGES, 0), IMAGES)


def test_noise_has_its_deviation():
    out = noise(KEY, jnp.zeros((2000, 3), jnp.uint8), 0.5)
    assert out.dtype == jnp.float32
    assert 0.48 < float(jnp.std(out)) < 0.52


def test_mixup_mixes_rows_and_labels_alike():
    x, y = np.eye(64, dtype=np.float32) * 3, np.arange(64)
    batch = jax.device_get(mixup(KEY, {"x": x, "y": y}, 0.4))
    share, other = batch["mix"], batch["mix/y"]
    expected = share[:, None] * x + (1 - share[:, None]) * x[other]
    np.testing.assert_allclose(batch["x"], expected, rtol=1e-6)
    assert sorted(other.tolist()) == list(range(64))
    unmixed = mixup(KEY, {"x": x, "y": y}, 0.0)
    np.testing.assert_array_equal(unmixed["x"], x)
    with pytest.raises(TypeError, match=r"the loss returns \(values, weights\); multiply"):
        A.mixed(lambda o, b, h: (o, o))(x, batch, None)
    logits = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    loss = jax.jit(A.mixed(lambda o, b, h: xent(o, b, h)))
    own = jax.jit(optax.softmax_cross_entropy_with_integer_labels)
    expected = share * own(logits, y) + (1 - share) * own(logits, other)
    np.testing.assert_allclose(loss(logits, batch, None), expected, rtol=1e-5)
    np.testing.assert_array_equal(loss(logits, {"y": y}, None), own(logits, y))


class Images(nn.Module):
    @nn.compact
    def __call__(self, x):
        return MLP()(x.reshape(len(x), -1))


def augment(key, batch, h):
    k_crop, k_mix = jax.random.split(key)
    x = A.random_crop(k_crop, batch["x"], h["shift"])
    x = A.noise(k_mix, A.cutout(k_crop, A.random_flip(k_mix, x, h["flip"]), 1), h["noise"])
    return A.mixup(k_mix, {**batch, "x": x}, h["alpha"])


SPACE = {
    **LR,
    "shift": vt.Float(0, 2),
    "flip": vt.Float(0, 0.5),
    "noise": vt.Float(0, 0.3),
    "alpha": vt.Float(0.1, 1.0),
}


def test_an_augmented_member_equals_a_plain_loop(x64):
    """Several members at once on a core."""
    loss = A.mixed(lambda o, b, h: xent(o, b, h))
    optimizer = lambda h: optax.sgd(h["lr"])
    data = blobs(shape=(2, 3))
    learner = vt.flax_learner(Images(), optimizer=optimizer, loss=loss, augment=augment)
    train = plain_loop(lambda h: Images(), optimizer, None, loss, None, augment)
    sweep = vt.tune(learner, SPACE, data, search=vt.Halton(8), epochs=2, batch_size=16)
    assert build(sweep.trained.plan).fused > 1
    h = sweep[1].hparams
    variables, _, metrics = train(h, data, seed=0, id=1, steps=8, batch_size=16)
    assert largest_difference(variables, sweep[1].variables) < 1e-9
    assert metrics["loss"] == pytest.approx(sweep[1].score, abs=1e-9)  # unchanged rows


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (
            lambda: tune(lambda key, batch, h: batch["x"]),
            TypeError,
            r"augment returned float\d+\[.*\]; return the whole batch, a dict with \['x', 'y'\]",
        ),
        (
            lambda: tune(lambda key, batch, h: {"x": batch["x"]}),
            TypeError,
            r"augment returned a dict with 'x'; return the whole batch",
        ),
        (
            lambda: tune(lambda batch, h: batch),
            TypeError,
            r"augment must take the arguments \(key, batch, h\)",
        ),
        (
            lambda: tune(lambda key, batch, h: {**batch, "x": A.cutout(key, batch["x"], 1)}),
            ValueError,
            r"augment.cutout: x has shape \[16, 6\]; images are \[batch, height, width\]",
        ),
    ],
)
def test_wrong_augmentation_is_named(make, error, says, refused):
    with refused(error, says):
        make()


def tune(augment):
    learner = vt.flax_learner(
        MLP(), optimizer=lambda h: optax.sgd(h["lr"]), loss=xent, augment=augment
    )
    return vt.tune(learner, LR, DATA, search=vt.Halton(2), epochs=1, batch_size=16)


DATA = blobs()
