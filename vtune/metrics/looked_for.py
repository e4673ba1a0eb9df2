"""Names that people look for in `vt.metrics` because other libraries have them."""

from __future__ import annotations

from collections.abc import Iterable

from vtune.metrics.modes import nearest

_WRITE = {
    "mse": ("mean_squared_error", "MeanSquaredError"),
    "rmse": ("root_mean_squared_error", "RootMeanSquaredError"),
    "mae": ("mean_absolute_error", "MeanAbsoluteError"),
    "roc_auc": ("auc", "AUC", "auroc"),
    "mean_average_precision": ("map", "mAP", "mean_ap", "MeanAveragePrecision", "COCOeval"),
    "ndcg": ("normalized_discounted_cumulative_gain", "RetrievalNormalizedDCG", "NDCGMetric"),
    "recall_at_k": ("RetrievalRecall", "RecallMetric", "recall_at", "hit_rate", "HitRate"),
    "mrr": ("mean_reciprocal_rank", "reciprocal_rank", "RetrievalMRR", "MRRMetric"),
    "log_loss": ("cross_entropy", "crossentropy", "nll", "BinaryCrossentropy"),
    "perplexity": ("ppl",),
    "bits_per_character": ("bpc", "bits_per_char", "bits_per_byte"),
    "pinball_loss": ("mean_pinball_loss", "quantile_loss", "pinball"),
}
_MEANT = {name: write for write, names in _WRITE.items() for name in names}


def no_such_metric(name: str, there: Iterable[str]) -> str:
    """Returns what is said of a name that `vt.metrics` has not."""
    said = f"module 'vtune.metrics' has no attribute {name!r}"
    there = list(there)
    plain = name.removesuffix("_score").lower()
    meant = _MEANT.get(name) or (plain if plain in there else nearest(plain, there))
    return f"{said}; did you mean {meant!r}?" if meant else said
