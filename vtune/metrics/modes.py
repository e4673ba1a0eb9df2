"""Names of metrics: whether higher is better where they do not say so, and which was meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

_MIN = (
    *("loss", "error", "mse", "rmse", "mae", "pinball"),
    *("nll", "perplexity", "ppl", "bpc", "bits_per_character", "bits_per_char", "bits_per_byte"),
)
_MAX = ("accuracy", "acc", "auc", "f1", "precision", "recall", "r2", "score", "reward", "return")
_RANKED = ("ndcg", "mrr")  # higher is better, too
_PLACES = re.compile(r"@\d+$")  # as in "ndcg@10"


def usual_mode(name: str) -> str | None:
    """Returns "min" or "max" where a metric's name ends with the name of a well-known one, such as
    "loss", "top5_accuracy" or "recall@10"; else None."""
    lower = _PLACES.sub("", name.lower())
    for mode, endings in (("min", _MIN), ("max", (*_MAX, *_RANKED))):
        for ending in endings:
            if lower == ending or lower.endswith((f"_{ending}", f"/{ending}", f"-{ending}")):
                return mode
    return "min" if lower.endswith(("loss", "error")) else None


def check_mode(mode: object) -> None:
    """Raises ValueError unless `mode` is "max" or "min"."""
    if mode not in ("max", "min"):
        raise ValueError(f'mode={mode!r} must be "max" (higher is better) or "min"')


def nearest(name: str, names: Iterable[str]) -> str | None:
    """Returns the name that was most likely meant by a wrong one; None where none is near."""
    names = list(names)
    begin = [known for known in names if name and known.startswith(name)]
    return next(iter(begin or difflib.get_close_matches(name, names, 1)), None)
