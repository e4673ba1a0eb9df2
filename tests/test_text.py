"""Texts as ids: bytes, words, hashed words."""

import zlib

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from solo import largest_difference, plain_loop, xent

import vtune as vt

pytestmark = pytest.mark.slow

T = vt.text
TEXTS = ["Win a prize! Win now", "don't be late", "", "Ünï win"]


def test_bytes_are_the_texts_own():
    ids = T.byte_ids(TEXTS, 12)
    assert ids.dtype == np.int32
    assert ids.shape == (4, 12)
    assert ids[0].tolist() == [b + 1 for b in b"Win a prize!"]
    text = lambda row: bytes((row[row > 0] - 1).tolist())
    assert text(ids[1]) == b"don't be lat"
    assert not ids[2].any()
    assert text(ids[3]).decode() == "Ünï win"


def test_words_by_frequency():
    words = T.vocabulary(TEXTS, 5)
    assert words == {"win": 2, "!": 3, "a": 4}  # ties by alphabet
    ids = T.word_ids(["a WIN, tomorrow!"], 6, words)
    assert ids.tolist() == [[4, 2, 1, 1, 3, 0]]
    assert T.words_of("don't (be) 2late") == ["don't", "(", "be", ")", "2late"]


def test_hashes_are_stable_and_of_runs():
    ids = T.hash_ids(["be late now"], 8, 1000, ngrams=2)[0]
    runs = ["be", "late", "now", "be late", "late now"]
    assert ids.tolist() == [zlib.crc32(r.encode()) % 1000 + 1 for r in runs] + [0, 0, 0]
    assert T.hash_ids(TEXTS, 9, 7).max() <= 7
    assert T.mask(ids).tolist() == [True] * 5 + [False] * 3


class Bag(nn.Module):
    """The mean of the words' vectors, padding left out."""

    @nn.compact
    def __call__(self, x):
        seen = T.mask(x)[..., None].astype(float)
        vectors = nn.Embed(12, 4, param_dtype=float)(x) * seen
        pooled = vectors.sum(axis=1) / jnp.maximum(seen.sum(axis=1), 1)
        return nn.Dense(2, param_dtype=float)(pooled)


def test_a_text_classifier_equals_a_plain_loop(x64):
    """Class weights go into the loss; padding does not matter."""
    rng = np.random.default_rng(0)
    y = (rng.random(90) < 0.3).astype(int)
    texts = [" ".join(rng.choice(["win", "prize"] if own else ["late", "now"], 3)) for own in y]
    words = T.vocabulary(texts, 12)
    data = vt.holdout({"x": T.word_ids(texts, 6, words), "y": y}, seed=0, stratify="y")
    weights = vt.class_weights(data)

    def loss(out, batch, h):
        return xent(out, batch, h), jnp.asarray(weights)[batch["y"]]

    optimizer = lambda h: optax.adam(h["lr"])
    learner = vt.flax_learner(Bag(), optimizer=optimizer, loss=loss, metrics={"f1": vt.metrics.f1})
    space = {"lr": vt.Float(1e-2, 1e-1, log=True)}
    sweep = vt.tune(
        learner, space, data, search=vt.Halton(3), epochs=20, batch_size=24, metric="f1"
    )
    assert sweep.best.score == 1.0
    train = plain_loop(lambda h: Bag(), optimizer, None, loss)
    steps = 20 * (len(data.train) // 24)
    variables, _, metrics = train(sweep[1].hparams, data, seed=0, id=1, steps=steps, batch_size=24)
    assert largest_difference(variables, sweep[1].variables) < 1e-9
    assert metrics["loss"] == pytest.approx(float(sweep[1].history["loss"][-1]), abs=1e-9)
    longer = T.word_ids(texts[:5], 11, words)
    np.testing.assert_allclose(
        Bag().apply(variables, longer), sweep.predict(T.word_ids(texts[:5], 6, words), 1), atol=1e-9
    )


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: T.byte_ids("one text", 4), TypeError, r"byte_ids: str is not a list of strings"),
        (lambda: T.word_ids(["a", 3], 4, {}), TypeError, r"text 1 is 3, not a string"),
        (
            lambda: T.hash_ids(["a"], 0, 4),
            ValueError,
            r"hash_ids: length=0 must be a whole number",
        ),
        (lambda: T.hash_ids(["a"], 4, 0), ValueError, r"buckets=0 must be"),
        (lambda: T.vocabulary(["a"], 2), ValueError, r"vocabulary: size=2 must be .* 3 or more"),
        (lambda: T.byte_ids({"a", "b"}, 4), TypeError, r"byte_ids: set is not a list of strings"),
        (lambda: T.byte_ids({"a": 1}, 4), TypeError, r"byte_ids: dict is not a list of strings"),
        (lambda: T.byte_ids(["a\ud800"], 4), ValueError, r"is no valid text \(surrogates"),
        (lambda: T.word_ids(["a"], 4, ["a"]), TypeError, r"words= must be a vocabulary, \{word:"),
        (lambda: T.word_ids(["a"], 4, {"a": -1}), TypeError, r"words= must be a vocabulary"),
        (lambda: T.word_ids(["a"], 4, {"a": 2.5}), TypeError, r"words= must be a vocabulary"),
        (lambda: T.hash_ids(["a"], 4, 2**40), ValueError, r"buckets=1099511627776 must be at most"),
        (lambda: T.mask("a text"), TypeError, r"mask: give ids, such as vt.text.word_ids"),
    ],
)
def test_wrong_texts_are_named(make, error, says):
    with pytest.raises(error, match=says):
        make()
