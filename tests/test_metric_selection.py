"""Metrics of one output among several, of other labels, with masks, weights and labels to ignore;
and of rows with several yes-or-no answers. Beside scikit-learn's."""

import jax
import numpy as np
import pytest
import sklearn.metrics as sk
from problems import mlp_learner

import vtune as vt

M = vt.metrics
ROWS, KEPT = 24, 20  # the last rows are padding
RNG = np.random.default_rng(3)
Z = RNG.normal(size=(ROWS, 5, 3)).astype(np.float32)
AGES = RNG.normal(size=(ROWS, 2)).astype(np.float32)
OUTPUTS = {"tags": Z, "kind": Z[:, 0], "age": AGES, "yes": Z[:, 1:4, 0]}
BATCH = {
    "tags": RNG.integers(0, 3, (ROWS, 5)),
    "kind": RNG.integers(0, 3, ROWS),
    "age": AGES + RNG.normal(size=(ROWS, 2)).astype(np.float32),
    "mask": RNG.uniform(size=(ROWS, 5)) < 0.6,
    "cost": RNG.uniform(0.1, 2, ROWS).astype(np.float32),
    "noisy": RNG.choice([0, 1, 2, 255], (ROWS, 5)).astype(np.uint8),
    "unknown": RNG.choice([0, 1, 2, -1], ROWS),
    "yes": (RNG.uniform(size=(ROWS, 3)) < [0.2, 0.5, 0.8]).astype(np.int32),
    "rare": (RNG.uniform(size=(ROWS, 3)) < [0.0, 0.1, 0.8]).astype(np.int32),
    "partly": RNG.choice([0, 1, -1], (ROWS, 3)),
}
T = {name: values[:KEPT] for name, values in BATCH.items()}
P = {name: values[:KEPT] for name, values in OUTPUTS.items()}
TAGS, KIND = P["tags"].argmax(-1), P["kind"].argmax(-1)
REAL, LABELLED, KNOWN = T["mask"], T["noisy"] != 255, T["unknown"] >= 0
tags = {"output": "tags", "target": "tags"}
yes = {"output": "yes", "target": "yes"}


def softmax(z):
    return np.exp(z) / np.exp(z).sum(-1, keepdims=True)


def rmse_of_places():
    w = REAL[:, :2]
    return np.mean([sk.root_mean_squared_error(T["age"][w[:, j], j], P["age"][w[:, j], j])
                    for j in range(2)])  # fmt: skip


SELECTED = {
    "an output and its labels": (
        M.accuracy(output="kind", target="kind"),
        sk.accuracy_score(T["kind"], KIND),
    ),
    "functions": (
        M.accuracy(output=lambda o: o["tags"][:, 0], target=lambda b: b["tags"].at[:, 0].get()),
        sk.accuracy_score(T["tags"][:, 0], TAGS[:, 0]),
    ),
    "a mask": (M.accuracy(weight="mask", **tags), sk.accuracy_score(T["tags"][REAL], TAGS[REAL])),
    "a mask made of the batch": (
        M.f1("macro", weight=lambda b: b["mask"], **tags),
        sk.f1_score(T["tags"][REAL], TAGS[REAL], average="macro"),
    ),
    "a weight a row": (
        M.log_loss(output="kind", target="kind", weight="cost"),
        sk.log_loss(T["kind"], softmax(P["kind"]), sample_weight=T["cost"]),
    ),
    "a weight a row, of places": (
        M.accuracy(weight="cost", **tags),
        sk.accuracy_score(T["tags"].ravel(), TAGS.ravel(), sample_weight=np.repeat(T["cost"], 5)),
    ),
    "labels to ignore": (
        M.accuracy(output="tags", target="noisy", ignore=255),
        sk.accuracy_score(T["noisy"][LABELLED], TAGS[LABELLED]),
    ),
    "several to ignore": (
        M.confusion_matrix(output="tags", target="noisy", ignore=(-1, 255)),
        sk.confusion_matrix(T["noisy"][LABELLED], TAGS[LABELLED]),
    ),
    "ranked": (
        M.roc_auc("ovr", output="kind", target="unknown", ignore=-1),
        sk.roc_auc_score(T["unknown"][KNOWN], softmax(P["kind"])[KNOWN], multi_class="ovr"),
    ),
    "ignored and weighted": (
        M.balanced_accuracy(output="kind", target="unknown", ignore=-1, weight="cost"),
        sk.balanced_accuracy_score(
            T["unknown"][KNOWN], KIND[KNOWN], sample_weight=T["cost"][KNOWN]
        ),
    ),
    "top k": (
        M.top_k_accuracy(2, output="kind", target="unknown", ignore=-1),
        sk.top_k_accuracy_score(T["unknown"][KNOWN], P["kind"][KNOWN], k=2, labels=range(3)),
    ),
    "perplexity of what is no padding": (
        M.perplexity(weight="mask", **tags),
        np.exp(sk.log_loss(T["tags"][REAL], softmax(P["tags"])[REAL])),
    ),
    "bits without labels to ignore, by weight": (
        M.bits_per_character(output="tags", target="noisy", ignore=255, weight="cost"),
        sk.log_loss(
            T["noisy"][LABELLED],
            softmax(P["tags"])[LABELLED],
            sample_weight=np.repeat(T["cost"], 5).reshape(-1, 5)[LABELLED],
        )
        / np.log(2),
    ),
    "quantiles of places": (
        M.pinball_loss([0.1, 0.5, 0.9], weight="mask", **tags),
        np.mean(
            [
                sk.mean_pinball_loss(T["tags"][REAL], P["tags"][REAL][:, number], alpha=alpha)
                for number, alpha in enumerate((0.1, 0.5, 0.9))
            ]
        ),
    ),
    "one of several quantiles": (
        M.pinball_loss(0.9, output=lambda o: o["tags"][..., 2], target="tags"),
        sk.mean_pinball_loss(T["tags"].ravel(), P["tags"][..., 2].ravel(), alpha=0.9),
    ),
    "regression": (
        M.r2(output="age", target="age", weight="cost"),
        sk.r2_score(T["age"], P["age"], sample_weight=T["cost"]),
    ),
    "regression of places": (
        M.rmse(output="age", target="age", weight=lambda b: b["mask"][:, :2]),
        rmse_of_places(),
    ),
    "a mean": (
        M.mean(lambda o, b: abs(o["age"] - b["age"]), weight=lambda b: b["mask"][:, :2]),
        np.abs(P["age"] - T["age"])[REAL[:, :2]].mean(),
    ),
    "a mean whose labels are ignored": (
        M.mean(lambda o, b: o["kind"].argmax(-1) == b["y"] + 0.0)(target="unknown", ignore=-1),
        (T["unknown"] == KIND)[KNOWN].mean(),
    ),
    "a mean of bools by weight": (
        M.mean(lambda o, b: o["kind"].argmax(-1) == b["kind"], weight="cost"),
        sk.accuracy_score(T["kind"], KIND, sample_weight=T["cost"]),
    ),
    "a mean of whole numbers by weight": (
        M.mean(lambda o, b: b["kind"] - o["kind"].argmax(-1), weight="cost"),
        np.average(T["kind"] - KIND, weights=T["cost"]),
    ),
    "options after a selection": (
        M.f1(weight=lambda b: (0 * b["cost"] + 1).at[3].set(0.0), **tags)("macro"),
        sk.f1_score(
            np.delete(T["tags"], 3, 0).ravel(), np.delete(TAGS, 3, 0).ravel(), average="macro"
        ),
    ),
    "a metric of one's own": (
        M.Metric(lambda o, b, w: (o[..., 0].sum(where=w > 0), w.sum()), lambda t: t[0] / t[1])(
            output="tags", weight="mask"
        ),
        P["tags"][..., 0][REAL].mean(),
    ),
}


def answers(name, function):
    """A metric's averages over several answers a row."""
    ours, guess = getattr(M, name), P["yes"] > 0
    cases = {}
    for target in ("yes", "rare"):
        for average in ("macro", "micro", "weighted", "samples", None):
            for zero in (0, 1):
                cases[f"{name} {target} {average} {zero}"] = (
                    ours(average=average, zero_division=zero, output="yes", target=target),
                    function(T[target], guess, average=average, zero_division=zero),
                )
    weighted = {"zero_division": 0, "sample_weight": T["cost"]}
    for average in ("macro", "samples"):
        cases[f"{name} {average} by weight"] = (
            ours(average, weight="cost", **yes),
            function(T["yes"], guess, average=average, **weighted),
        )
    cases[f"{name} of some"] = (
        ours("macro", labels=[0, 2], **yes),
        function(T["yes"], guess, average="macro", labels=[0, 2], zero_division=0),
    )
    cases[f"{name} of all"] = (
        ours(**yes),
        function(T["yes"], guess, average="micro", zero_division=0),
    )
    known = T["partly"] >= 0
    cases[f"{name} where known"] = (
        ours("macro", output="yes", target="partly", ignore=-1),
        np.mean(
            [
                function(T["partly"][known[:, j], j], guess[known[:, j], j], zero_division=0)
                for j in range(3)
            ]
        ),
    )
    return cases


MULTILABEL = {
    **answers("f1", sk.f1_score),
    **answers("precision", sk.precision_score),
    **answers("recall", sk.recall_score),
}
for average in ("macro", "weighted", "micro"):
    MULTILABEL[f"roc_auc {average}"] = (
        M.roc_auc(average=average, weight="cost", **yes),
        sk.roc_auc_score(T["yes"], P["yes"], average=average, sample_weight=T["cost"]),
    )


def test_selected_and_multilabel_metrics_equal_sklearns(x64):
    """All in one program; what stands on padding does not matter."""
    table = SELECTED | MULTILABEL
    weight = np.where(np.arange(ROWS) < KEPT, 1.0, 0.0)
    broken = {k: np.where(np.arange(ROWS).reshape(-1, *[1] * (v.ndim - 1)) < KEPT, v, np.nan)
              for k, v in OUTPUTS.items()}  # fmt: skip

    @jax.jit
    def values(outputs, batch, weight):
        score = lambda metric: metric.score(metric.measure(outputs, batch, weight))
        return {name: score(metric) for name, (metric, _) in table.items()}

    got = values(broken, {k: np.asarray(v) for k, v in BATCH.items()}, weight)
    for name, (_, expected) in table.items():
        np.testing.assert_allclose(got[name], expected, atol=1e-6, err_msg=name)


def test_what_is_selected_is_checked_before_anything_is_compiled(compilations):
    """But functions of the batch, which get JAX's arrays."""
    shapes = {k: jax.ShapeDtypeStruct(v.shape, v.dtype) for k, v in OUTPUTS.items()}
    for name, (metric, _) in (SELECTED | MULTILABEL).items():
        functions = (getattr(metric.selected, part, None) for part in ("weight", "target"))
        with compilations() as seen:
            metric.check(shapes, BATCH)
        assert seen.count == 0 or any(map(callable, functions)), name


@pytest.mark.parametrize(
    ("metric", "says"),
    [
        (M.accuracy(output="ages"), r"output='ages' is not among the model's outputs, \['age', "),
        (M.accuracy(output="kind", target="knd"), r"target='knd' is not an entry of the data"),
        (M.accuracy(weight="mas", **tags), r"weight='mas' is not an entry of the data"),
        (M.accuracy(output="kind", target="kind", weight="mask"), r"weight= is \[5\] a row and"),
        (M.accuracy(weight=lambda b: -b["cost"], **tags), r"weight= must not be negative"),
        (M.accuracy(weight=lambda b: 0 * b["cost"], **tags), r"weight= is 0 everywhere"),
        (M.accuracy(weight=lambda b: 2.0, **tags), r"weight= has shape \[\] for"),
        (M.accuracy(weight=lambda b: b["cost"][:3], **tags), r"weight= has shape \[3\] for"),
        (M.accuracy(weight=lambda b: b["unknown"] < 0, ignore=-1, output="kind", target="unknown"),
         r"weight= is 0 wherever the label is none of ignore=\[-1\]"),
        (M.accuracy(ignore=(0, 1, 2), **tags), r"every label is one of ignore=\[0, 1, 2\]"),
        (M.accuracy(output="tags", target="noisy"), r"labels 0 to 2. If 255 marks places .*"
                                                    r"accuracy\(ignore=255\)"),
        (M.accuracy(output="kind", target="unknown"), r"accuracy\(ignore=-1\)"),
        (M.accuracy(ignore=1, output="kind"), r"ignore= is of the labels batch\['y'\]"),
        (M.accuracy(output="kind"), r"say which entry holds the labels.*target=\.\.\."),
        (M.accuracy(target="kind"), r"the model returns 4; say which.*output=\.\.\."),
        (M.mse(target="age"), r"the model returns 4; say which"),
        (M.pinball_loss([0.5], target="age"), r"the model returns 4; say which"),
        (M.perplexity(target="tags"), r"the model returns 4; say which"),
        (M.f1("samples", **tags), r"average=\"samples\" is of rows with several yes-or-no"),
        (M.f1("macro", labels=[3], **yes), r"labels=\[3\], the model has answers 0 to 2"),
        (M.roc_auc("ovr", average="micro", **tags), r"average=\"micro\" is of yes-or-no"),
    ],
)  # fmt: skip
def test_selections_that_do_not_suit_are_named(metric, says):
    shapes = {k: jax.ShapeDtypeStruct(v.shape, v.dtype) for k, v in sorted(OUTPUTS.items())}
    with pytest.raises((ValueError, TypeError), match=says):
        metric.check(shapes, BATCH)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: M.accuracy(weight=np.ones(3)), r"weight=ndarray must be the name of an entry"),
        (lambda: M.accuracy(weight=lambda out, batch: 1), r"weight must be a function of one"),
        (lambda: M.accuracy(output=2.5), r"output=2.5 must be a name or a position"),
        (lambda: M.accuracy(ignore="none"), r"ignore='none' must be a label or several"),
        (lambda: M.accuracy(ignore=1)(weight="w"), r"weight= and ignore= in one call"),
        (lambda: M.accuracy(mask="m"), r"no options; .* or with those of every metric: output="),
        (lambda: M.f1(mask="m"), r"options are average, .*, output, target, weight, ignore"),
    ],
)
def test_selections_of_another_kind_are_refused(make, says):
    with pytest.raises(TypeError, match=says):
        make()


def test_where_a_metric_does_not_say_which_way_its_name_does():
    cost = M.mean(lambda outputs, batch: batch["cost"])
    metrics = {"mse": cost, "val_accuracy": cost, "cost": cost, "error": M.accuracy, "f1": M.f1}
    metrics |= {"valid_ppl": cost, "bpc": cost, "pinball": cost, "bits": M.bits_per_character}
    learner = mlp_learner(metrics=metrics, train_metrics={"train_loss": cost(weight="mask")})
    assert dict(learner.modes) == {
        "loss": "min",
        "mse": "min",
        "val_accuracy": "max",
        "cost": None,
        "error": "max",  # as it says itself
        "f1": "max",
        "valid_ppl": "min",
        "bpc": "min",
        "pinball": "min",
        "bits": "min",
        "train_loss": "min",
    }
