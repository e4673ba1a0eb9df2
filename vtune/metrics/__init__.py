"""Metrics computed inside the program, equal to scikit-learn's.

Classification (logits against whole-number labels `y`): `accuracy`, `balanced_accuracy`,
`top_k_accuracy`, `precision`, `recall`, `f1`, `log_loss`, `roc_auc`, `confusion_matrix`.
Ranked items (scores [rows, items] against relevance or ids): `ndcg`, `recall_at_k`, `mrr`.
Regression (outputs against targets `y`): `mse`, `rmse`, `mae`, `r2`, `pinball_loss`. Language
(logits of the next symbol): `perplexity`, `bits_per_character`. Detection (boxes, scores and labels
against the data's): `mean_average_precision`, equal to pycocotools'. Those with options are called
with them: `vt.metrics.f1(average="macro")`. All take `output=`, `target=`, `weight=` and `ignore=`,
for models with several outputs, masks and labels that do not count:

    vt.metrics.accuracy(output="tags", target="tags", weight="mask")

Your own metric, if it is a mean over the rows, is one line:

    cosine = vt.metrics.mean(lambda out, batch: similarity(out, batch["target"]), mode="max")

A metric is a pair of functions: `measure(outputs, batch, weight)` returns totals of one evaluation
batch, which are summed over the batches; `score(totals)` computes the value from them, once.
`weight` [batch] is 0 on padding; with `weight=` or `ignore=` it may be [batch, ...]. May import:
`types`, `validation`. Knows nothing of learners or populations.
"""

from vtune.metrics.totals import PerRow
from vtune.metrics.select import expand
from vtune.metrics.base import Metric, mean
from vtune.metrics.classification import accuracy, log_loss, top_k_accuracy
from vtune.metrics.confusion import balanced_accuracy, confusion_matrix
from vtune.metrics.averages import f1, precision, recall
from vtune.metrics.ranking import roc_auc
from vtune.metrics.detection import mean_average_precision
from vtune.metrics.recommendation import mrr, ndcg, recall_at_k
from vtune.metrics.regression import mae, mse, r2, rmse
from vtune.metrics.quantile import pinball_loss
from vtune.metrics.language import bits_per_character, perplexity

__all__ = [
    "Metric",
    "PerRow",
    "accuracy",
    "balanced_accuracy",
    "bits_per_character",
    "confusion_matrix",
    "expand",
    "f1",
    "log_loss",
    "mae",
    "mean",
    "mean_average_precision",
    "mrr",
    "mse",
    "ndcg",
    "perplexity",
    "pinball_loss",
    "precision",
    "r2",
    "recall",
    "recall_at_k",
    "rmse",
    "roc_auc",
    "top_k_accuracy",
]


def __getattr__(name: str) -> object:
    """Answers names that other libraries have."""
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from vtune.metrics.looked_for import no_such_metric

    raise AttributeError(no_such_metric(name, __all__))
