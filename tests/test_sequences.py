"""Messages and windows of the experiments on sequences: nothing that is judged was trained on."""

import importlib
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from solo import largest_difference, plain_loop

import vtune as vt

TEXTS = ["Ab ba", "ab, BA!", "call 000 now", "Call 000 now, or later", "a", "b" * 30, "a~b", ""]


def experiment(name):
    """An experiment's module, or one beside them."""
    folder = str(Path(__file__).parents[1] / "experiments")
    if folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module(name)


characters = experiment("characters")


def test_messages_become_symbols_and_texts_again():
    alphabet = characters.alphabet(TEXTS, least=2)
    assert alphabet[0] == "b"  # of 30 and a few, the most frequent
    assert "~" not in alphabet
    given = characters.encode(TEXTS, alphabet, 12)
    x, y, mask = (given[name] for name in ("x", "y", "mask"))
    assert x.dtype == y.dtype == np.uint8
    assert mask.sum(axis=1).tolist() == [min(len(text) + 1, 12) for text in TEXTS]
    assert (x[:, 0] == characters.PAD).all()
    np.testing.assert_array_equal(x[:, 1:], y[:, :-1])  # what came before
    for text, row in zip(TEXTS, y, strict=True):
        known = "".join(c if c in alphabet else "□" for c in text)
        assert characters.decode(row, alphabet) == known[:12]
        assert (characters.END in row) == (len(text) < 12)
        assert not row[len(text) + 1 :].any()


def test_no_message_is_on_both_sides(tmp_path):
    """Every message three times, with other marks, capitals and ends."""
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("abcdefgh "), 120)) for _ in range(40)]
    again = [text.title().replace(" ", ", ") for text in texts]
    lines = [f"ham\t{text}" for text in texts + again + [text + " 8" for text in texts]]
    (tmp_path / "SMSSpamCollection").write_text("\n".join(lines), encoding="utf-8")
    data, alphabet = experiment("char_lm").messages(tmp_path)
    rows = [set(np.asarray(part).tolist()) for part in (data.train, data.valid, data.test)]
    assert sum(map(len, rows)) == len(set().union(*rows)) == 40
    own = [
        {"".join(filter(str.isalpha, characters.decode(y, alphabet).lower()))[:48] for y in part}
        for part in (np.asarray(data.arrays["y"])[sorted(part)] for part in rows)
    ]
    assert len(set().union(*own)) == sum(map(len, own)) == 40
    assert "8" not in alphabet


def test_an_ngram_is_a_distribution_and_counts():
    known = np.array([[3, 4, 3, 4, 1, 0], [3, 3, 4, 1, 0, 0]], np.uint8)
    for order in (1, 2, 3):
        bits = [characters.ngram_bits(known, np.array([[c]]), order, 5) for c in range(1, 6)]
        assert np.sum(2.0 ** -np.array(bits)) == pytest.approx(1)
    # 9 symbols of 3 kinds, 4 of them the 3; that every message begins with, twice of one kind
    unigram = (4 + 3 / 5) / (9 + 3)
    bigram = (2 + unigram) / (2 + 1)
    new = np.array([[3, 0]])
    assert characters.ngram_bits(known, new, 1, 5) == pytest.approx(-np.log2(unigram))
    assert characters.ngram_bits(known, new, 2, 5) == pytest.approx(-np.log2(bigram))


def test_what_is_known_compresses_well():
    rng = np.random.default_rng(0)
    known, other = rng.integers(1, 17, (2, 40, 50))
    for bits in characters.compressed_bits(known, other).values():
        assert bits == pytest.approx(4, rel=0.15)  # of 16 symbols, equally likely
    assert characters.compressed_bits(known, known)["lzma"] < 0.5


def writer(h, symbols=7):
    return experiment("char_lm").Writer(symbols, 8, 1, h["dropout"], jnp.zeros(()).dtype)


def test_no_place_sees_what_comes_after_it():
    x = np.random.default_rng(0).integers(1, 7, (2, 10)).astype(np.uint8)
    model = writer({"dropout": 0.0})
    variables = model.init(jax.random.key(0), x, train=False)
    logits = jax.jit(lambda x: model.apply(variables, x, train=False))
    before, other = logits(x), x.copy()
    other[:, 6:] = 0
    np.testing.assert_allclose(before[:, :6], logits(other)[:, :6], atol=1e-6)
    assert np.abs(before[:, 6:] - logits(other)[:, 6:]).max() > 1e-3
    other = x.copy()
    other[:, 0] = x[:, 0] % 6 + 1
    assert (np.abs(before - logits(other)).max(axis=(0, 2)) > 1e-6).all()  # all see the first
    assert sum(leaf.shape == (7, 8) for leaf in jax.tree.leaves(variables)) == 1  # tied


@pytest.mark.slow
def test_members_of_the_character_model_equal_solo_runs(x64, exact):
    """With padding, smoothing, warm-up, dropout and weight decay, in float64."""
    lm = experiment("char_lm")
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("abcd"), rng.integers(1, 14))) for _ in range(60)]
    data = vt.holdout(characters.encode(texts, "abcd", 10), fraction=0.2, seed=0)
    learner = vt.flax_learner(
        writer,
        optimizer=lm.optimizer,
        loss=lm.loss,
        metrics={
            "perplexity": vt.metrics.perplexity(weight="mask"),
            "bits": vt.metrics.bits_per_character(ignore=characters.PAD),
        },
    )
    search = vt.Halton(2)
    sweep = vt.tune(
        learner, lm.SPACE, data, search=search, steps=20, batch_size=8, metric="perplexity", seed=3
    )
    train = plain_loop(writer, lm.optimizer, "train", lm.loss)
    valid = {name: np.asarray(values)[data.valid] for name, values in data.arrays.items()}
    for member in sweep:
        h = {**member.hparams, "total_steps": 20}
        variables, losses, metrics = train(h, data, seed=3, id=member.index, steps=20, batch_size=8)
        assert largest_difference(member.variables["params"], variables["params"]) < 1e-9
        assert abs(member.history["loss"][-1] - metrics["loss"]) < 1e-9
        logits = writer(h).apply(variables, valid["x"], train=False)
        unsmoothed = optax.softmax_cross_entropy_with_integer_labels(logits, valid["y"])
        entropy = float(np.mean(np.asarray(unsmoothed)[valid["mask"]]))
        assert abs(member.history["perplexity"][-1] - np.exp(entropy)) < 1e-9
        assert abs(member.history["bits"][-1] - entropy / np.log(2)) < 1e-9
        assert losses[-1] < losses[0] - 0.05  # it learns


def test_no_fold_of_time_sees_what_it_is_judged_by():
    pytest.importorskip("statsmodels")
    forecast = experiment("forecast")
    series = np.arange(732.0)  # a month's value is its number
    every = forecast.windows(series)
    folds, last = forecast.split(series, 4)
    np.testing.assert_array_equal(every["y"][:, 0], every["x"][:, -1, 0] + 1)
    assert folds.folds == 4
    for number in range(4):
        train, valid = folds.fold(number)
        targets, judged = every["y"][train], every["y"][valid]
        assert every["x"][train].max() < targets.max() < judged.min()
        assert len(valid) == forecast.HELD
        assert judged.max() < 732 - forecast.LAST == every["y"][last].min()
        for name in ("x", "y"):  # scaling is that of training rows
            shift, factor = (part[number] for part in folds.scaling[name])
            np.testing.assert_allclose(shift, every[name][train].mean(axis=0), rtol=1e-5)
            np.testing.assert_allclose(factor, every[name][train].std(axis=0), rtol=1e-4)
    assert every["y"][last].max() == 731
    assert folds.fold(0)[1].max() < folds.fold(1)[1].min()


def test_forecasts_without_a_network_know_training_rows_only():
    pytest.importorskip("statsmodels")
    forecast = experiment("forecast")
    rng = np.random.default_rng(0)
    season = np.tile(np.arange(12.0), 20)
    series = season + rng.normal(size=240)
    x, y = forecast.windows(series).values()
    train, later = np.arange(60), np.arange(120, 200)
    found = forecast.naive(x, y, train)
    changed = np.array(y)
    changed[60:] += 100
    for name, out in forecast.naive(x, changed, train).items():
        np.testing.assert_array_equal(out, found[name])
        below = np.mean(changed[train][..., None] <= out[train], axis=(0, 1))
        np.testing.assert_allclose(below[[0, 2]], [0.1, 0.9], atol=0.03)
    np.testing.assert_array_equal(found["naive"][5, :, 1], np.full(12, x[5, -1, 0]))
    np.testing.assert_array_equal(found["seasonal naive"][20, :, 1], y[20 - 12])
    score = {name: forecast.scores(out[later], y[later])[0] for name, out in found.items()}
    assert score["mean of the month"] < score["seasonal naive"] < score["naive"]
    assert score["mean of the month"] == pytest.approx(np.sqrt(2 / np.pi), rel=0.2)


def test_a_forecast_names_the_extra_that_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, "statsmodels.datasets", None)
    with pytest.raises(SystemExit, match=r'pip install "vtune\[experiments\]"'):
        experiment("forecast").read()
