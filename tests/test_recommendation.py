"""Metrics of ranked items beside scikit-learn's and a slow reference; MovieLens' files, generated
ratings, and the two-tower model of the experiment."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st

import vtune as vt

M = vt.metrics
ROWS, KEPT, ITEMS, LISTED = 10, 8, 5, 3  # the last rows are padding


def drawn(seed):
    """Scores with ties, graded relevance, ids, items to exclude and weights; some rows have no
    relevant item."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(ROWS, ITEMS))
    if seed % 2:
        scores = np.round(scores)
    if seed % 5 == 0:
        scores[1] = -np.inf  # as of items that a model masks itself
    relevance = rng.integers(0, 4, (ROWS, ITEMS)) * (rng.random((ROWS, ITEMS)) < 0.5)
    relevance[0] = 0
    ids = np.argsort(rng.random((ROWS, ITEMS)), axis=1)[:, :LISTED]
    ids = np.where(rng.random(ids.shape) < 0.4, -1, ids)
    seen = rng.random((ROWS, ITEMS)) < 0.3
    weight = rng.choice([0.0, 0.5, 2.0], ROWS)
    weight[rng.integers(KEPT)] = 1.0
    scores[KEPT:], weight[KEPT:] = np.nan, 1.0
    return {"scores": scores, "relevance": relevance, "ids": ids, "seen": seen, "w": weight}


def masks(ids):
    """[rows, items] of ids [rows, n]."""
    return (ids[:, :, None] == np.arange(ITEMS)).any(1)


def ndcg(relevance, k):
    discount = 1 / np.log2(np.arange(len(relevance)) + 2) * (np.arange(len(relevance)) < k)
    best = np.sort(relevance)[::-1] @ discount
    return relevance @ discount / best if best else np.nan


def recall(relevance, k):
    return (relevance[:k] > 0).sum() / (relevance > 0).sum() if relevance.any() else np.nan


def mrr(relevance, k):
    hits = np.flatnonzero(relevance > 0)
    return np.nan if not len(hits) else 1 / (hits[0] + 1) if hits[0] < k else 0.0


def slowly(value, k, scores, relevance, seen=None, ties="mean"):
    """A metric of one row: the mean over the orders of equal items, each written out."""
    kept = np.ones(ITEMS, bool) if seen is None else ~seen
    scores, relevance = scores[kept], relevance[kept].astype(float)
    count = len(scores)
    orders = itertools.permutations(range(count)) if ties == "mean" else [range(count)[::-1]]
    found = [
        value(relevance[sorted(order, key=lambda i: -scores[i])], k or ITEMS) for order in orders
    ]
    return np.mean(found)


def over_rows(values, weight, empty=0.0):
    values = np.where(np.isnan(values), empty, values)
    weight = np.where(np.isnan(values), 0.0, weight)
    return (values[weight > 0] @ weight[weight > 0]) / weight.sum() if weight.sum() else np.nan


def case(metric, value, k=None, relevance=lambda d: d["relevance"], seen=None, weight=None, **how):
    """A metric, and the function of the drawn arrays that is its slow reference."""
    empty, ties = how.get("empty", 0.0), how.get("ties", "mean")

    def reference(d):
        out = np.zeros((len(d["w"]), ITEMS), bool) if seen is None else seen(d)
        rows = zip(d["scores"], relevance(d), out, strict=True)
        values = np.array([slowly(value, k, *row, ties=ties) for row in rows])
        return over_rows(values, np.ones(len(values)) if weight is None else weight(d), empty)

    return metric, reference


VALUES = {"ndcg": ndcg, "recall_at_k": recall, "mrr": mrr}
SLOW = {}
for name, value in VALUES.items():
    ours = getattr(M, name)
    graded, listed = {"target": "relevance"}, {"target": "ids"}
    of_ids, first = lambda d: masks(d["ids"]), lambda d: masks(d["ids"][:, :1])
    seen, weight = lambda d: d["seen"], lambda d: d["w"]
    SLOW |= {
        f"{name} graded": case(ours(k=2, **graded), value, 2),
        f"{name} ids": case(ours(k=2, **listed), value, 2, of_ids),
        f"{name} one id": case(ours(k=3, target=lambda b: b["ids"][:, 0]), value, 3, first),
        f"{name} of more than there are": case(ours(k=9, **graded), value, 9),
        f"{name} weighted": case(ours(k=2, weight="w", **graded), value, 2, weight=weight),
        f"{name} ids weighted": case(
            ours(k=2, weight="w", **listed), value, 2, of_ids, weight=weight
        ),
        f"{name} exclude": case(ours(k=2, exclude="seen", **graded), value, 2, seen=seen),
        f"{name} ids exclude": case(ours(k=2, exclude="seen", **listed), value, 2, of_ids, seen),
        f"{name} exclude ids": case(
            ours(k=2, exclude="ids", **graded), value, 2, seen=lambda d: masks(d["ids"])
        ),
        f"{name} weight an item": case(
            ours(k=2, weight=lambda b: ~b["seen"], **graded),
            value,
            2,
            seen=seen,
            weight=lambda d: 1.0 * ~d["seen"].all(1),
        ),
        f"{name} ignore": case(
            ours(k=2, ignore=1, **graded),
            value,
            2,
            seen=lambda d: d["relevance"] == 1,
            weight=lambda d: 1.0 * ~(d["relevance"] == 1).all(1),
        ),
        f"{name} ids ignored": case(
            ours(k=2, ignore=-1, **listed),
            value,
            2,
            of_ids,
            weight=lambda d: 1.0 * (d["ids"] >= 0).any(1),
        ),
        f"{name} later first": case(ours(k=2, ignore_ties=True, **graded), value, 2, ties="later"),
        f"{name} ids later first": case(
            ours(k=2, ignore_ties=True, **listed), value, 2, of_ids, ties="later"
        ),
        f"{name} empty 1": case(ours(k=2, zero_division=1, **graded), value, 2, empty=1.0),
        f"{name} empty left out": case(
            ours(k=2, zero_division=np.nan, exclude="seen", **listed),
            value,
            2,
            of_ids,
            seen,
            empty=np.nan,
        ),
    }
SKLEARN = {
    "ndcg": (M.ndcg(target="relevance"), lambda r, s, w: sk.ndcg_score(r, s)),
    "ndcg@3": (M.ndcg(3, target="relevance"), lambda r, s, w: sk.ndcg_score(r, s, k=3)),
    "ndcg@9": (M.ndcg(9, target="relevance"), lambda r, s, w: sk.ndcg_score(r, s, k=9)),
    "weighted": (
        M.ndcg(target="relevance", weight="w"),
        lambda r, s, w: sk.ndcg_score(r, s, sample_weight=w),
    ),
}


def values(table):
    """The values of a table of metrics for drawn arrays, in one program; padding is broken."""

    @jax.jit
    def run(drawn):
        batch = {k: v for k, v in drawn.items() if k != "scores"}
        weight = jnp.arange(ROWS) < KEPT
        score = lambda m: m.score(m.measure(drawn["scores"], batch, weight * 1.0))
        return {name: score(metric) for name, (metric, _) in table.items()}

    return run


@pytest.fixture(scope="module")
def double():
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


@pytest.fixture(scope="module")
def run(double):
    return values(SLOW | SKLEARN)


@pytest.mark.slow
@settings(max_examples=20)
@given(seed=st.integers(0, 100_000))
def test_ranked_items_equal_the_slow_reference_and_sklearn(run, seed):
    d = drawn(seed)
    got, kept = run(d), {name: array[:KEPT] for name, array in d.items()}
    for name, (_, reference) in SLOW.items():
        np.testing.assert_allclose(got[name], reference(kept), atol=1e-9, err_msg=name)
    if np.isfinite(kept["scores"]).all():  # which it wants
        for name, (_, theirs) in SKLEARN.items():
            expected = theirs(kept["relevance"], kept["scores"], kept["w"])
            np.testing.assert_allclose(got[name], expected, atol=1e-9, err_msg=name)


def of_batch(metric, scores, y):
    """The value of a metric of one batch, all of whose rows count."""
    return metric.score(
        metric.measure(jnp.asarray(scores), {"y": jnp.asarray(y)}, jnp.ones(len(y)))
    )


def test_many_items_in_single_precision():
    rng = np.random.default_rng(0)
    scores = np.round(rng.normal(size=(20, 2000)), 2).astype(np.float32)  # many are equal
    relevance = rng.poisson(0.2, scores.shape)
    one = np.eye(2000, dtype=int)[rng.integers(0, 2000, 20)]
    for k in (None, 10):
        expected = sk.ndcg_score(relevance, scores, k=k)
        assert of_batch(M.ndcg(k), scores, relevance) == pytest.approx(expected, abs=1e-5)
    distinct = np.argsort(np.argsort(scores, axis=1), axis=1).astype(np.float32)
    expected = sk.label_ranking_average_precision_score(one, distinct)
    assert of_batch(M.mrr, distinct, one.argmax(1)) == pytest.approx(expected, rel=1e-5)


def test_a_broken_score_is_never_right():
    scores = np.array([[np.nan, 1.0, 0.0], [np.nan] * 3], np.float32)
    for metric in (M.ndcg, M.recall_at_k(k=1), M.mrr, M.ndcg(ignore_ties=True)):
        for y in (np.array([0, 0]), np.eye(3)[[0, 0]]):
            assert of_batch(metric, scores, y) == 0
    for y in (np.array([1, 1]), np.eye(3)[[1, 1]]):  # the first of its row, and one that is broken
        assert of_batch(M.mrr, scores, y) == 0.5


SCORES = jax.ShapeDtypeStruct((4, 3), np.float32)
IDS = np.array([[0, 2], [1, -1], [-1, -1], [2, 0]])
ARRAYS = {"y": IDS, "graded": np.eye(4, 3), "seen": np.eye(4, 3) > 0, "n": np.arange(4.0)}
MESSAGES = [
    (M.ndcg, SCORES, {"x": IDS}, r"ndcg reads batch\['y'\]; the data has \['x'\]"),
    (M.ndcg, {"a": SCORES, "b": SCORES}, ARRAYS, r"one array of scores, the model returns 2"),
    (M.mrr, jax.ShapeDtypeStruct((4,), np.float32), ARRAYS, r"outputs are \[\] a row; return a"),
    (M.mrr, jax.ShapeDtypeStruct((4, 1), np.float32), ARRAYS, r"outputs are \[1\] a row; return"),
    (M.ndcg, SCORES, {"y": IDS[..., None]}, r"is \[2, 1\] a row; give the relevance of every it"),
    (M.ndcg(target="n"), SCORES, ARRAYS, r"is float64\[\] a row for 3 items, and would list ids"),
    (M.ndcg, SCORES, {"y": IDS + 1}, r"batch\['y'\] has the id 3 in row 0; there are 3 items, 0 "),
    (M.mrr, SCORES, {"y": IDS - 1}, r"has the id -2 in row 1; .*0 to 2, and -1 for none"),
    (M.ndcg, SCORES, {"y": 0 * IDS - 1}, r"no row of batch\['y'\] has a relevant item"),
    (M.ndcg, SCORES, {"y": -np.eye(4, 3)}, r"relevance of 3 items, and its least is -1.0; .*"
                                           r"ndcg\(ignore=-1.0\)"),
    (M.ndcg(exclude="sen"), SCORES, ARRAYS, r"exclude='sen' is not an entry of the data"),
    (M.ndcg(exclude="n"), SCORES, ARRAYS, r"exclude= is float64\[4\]; give a mask of booleans "
                                          r"\[4, 3\], or whole numbers \[4, ids\]"),
    (M.ndcg(exclude=lambda b: b["seen"][:2]), SCORES, ARRAYS, r"exclude= is bool\[2, 3\]"),
    (M.ndcg(exclude=lambda b: b["seen"] + 0), SCORES, ARRAYS, r"exclude= is int\d+\[4, 3\]"),
    (M.ndcg(exclude=lambda b: b["y"] + 2), SCORES, ARRAYS, r"exclude= has the id 4 in row 0"),
    (M.recall_at_k(k=2, exclude="y"), SCORES, ARRAYS, r"exclude= takes every relevant item out"),
]  # fmt: skip


@pytest.mark.parametrize(("metric", "outputs", "arrays", "says"), MESSAGES)
def test_what_does_not_suit_ranked_items_is_named(metric, outputs, arrays, says):
    with pytest.raises((ValueError, TypeError), match=says):
        metric.check(outputs, arrays)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: M.ndcg(k=0), r"ndcg: k=0 must be a whole number, 1 or more"),
        (lambda: M.recall_at_k(k=None), r"recall_at_k: k=None must be a whole number"),
        (lambda: M.mrr(ignore_ties="no"), r"mrr: ignore_ties='no' must be True or False"),
        (lambda: M.mrr(zero_division=2), r"mrr: zero_division=2 must be 0, 1 or nan"),
        (lambda: M.mrr(exclude=IDS), r"exclude=ndarray must be the name of an entry of the data"),
        (lambda: M.mrr(exclude=lambda: IDS), r"exclude must be a function of one argument"),
    ],
)
def test_wrong_options_of_ranked_items_are_named(make, says):
    with pytest.raises((ValueError, TypeError), match=says):
        make()


def test_recall_of_all_items_is_said_to_be_1():
    with pytest.warns(UserWarning, match=r"recall_at_k\(k=3\) is 1 for everybody"):
        M.recall_at_k(k=3).check(SCORES, ARRAYS)
    M.recall_at_k(k=2, exclude="seen").check(SCORES, ARRAYS)


@pytest.mark.parametrize(
    ("name", "meant"),
    [("NDCG", "ndcg"), ("normalized_discounted_cumulative_gain", "ndcg"),
     ("RetrievalNormalizedDCG", "ndcg"), ("RetrievalRecall", "recall_at_k"),
     ("hit_rate", "recall_at_k"), ("mean_reciprocal_rank", "mrr"), ("RetrievalMRR", "mrr")],
)  # fmt: skip
def test_names_of_other_libraries_lead_here(name, meant):
    with pytest.raises(AttributeError, match=f"did you mean '{meant}'"):
        getattr(M, name)


def test_a_name_with_a_number_of_places_says_the_mode():
    from vtune.metrics.modes import usual_mode

    for name, mode in {
        "ndcg@10": "max",
        "val_mrr": "max",
        "recall@5": "max",
        "loss@2": "min",
    }.items():
        assert usual_mode(name) == mode
    assert usual_mode("cost@10") is None
