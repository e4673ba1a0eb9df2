"""Settings of estimators trained together, as one vtune sweep."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

import vtune as vt
from vtune.execute import build
from vtune.folds import unchecked
from vtune.prepare import prepare
from vtune.sklearn.spec import Setting, learner
from vtune.sweep import Sweep

Pairs = Sequence[tuple[np.ndarray, np.ndarray]]  # by fold the rows it trains on, and is judged on


def train(
    settings: Sequence[Setting],
    arrays: dict[str, np.ndarray],
    folds: Pairs,
    *,
    outputs: bool,
    start: Any = None,
    every_epoch: bool = False,
    progress: bool = False,
) -> Sweep:
    """Trains settings with the same number of epochs and the same seed, all in one program.

    Args:
      arrays: x, y and weight, [rows, ...] each.
      folds: every setting is trained on each. outputs: whether those for the rows it is judged on
        are recorded, [rounds, members, folds, 1, rows, outputs].
      start: variables to start from. every_epoch: records the training loss of each.
    """
    with precision(settings[0].spec.double):
        call = _call(settings, arrays, folds, outputs, every_epoch)
        return vt.tune(**call, init_from=start, progress=progress)


def fit(setting: Setting, arrays: dict[str, np.ndarray], start: Any, progress: bool) -> Sweep:
    """Trains one setting on all rows; the history has the training loss of each epoch."""
    folds = _all_rows(arrays)
    return train(
        [setting], arrays, folds, outputs=False, start=start, every_epoch=True, progress=progress
    )


def state_of(sweep: Sweep, member: int, fold: int) -> Any:
    """The state of one training, on the host."""
    return jax.tree.map(lambda leaf: np.asarray(leaf)[fold, 0], sweep[member].state)


def _all_rows(arrays: dict[str, np.ndarray]) -> Pairs:
    """One fold that trains on all rows. A score is not asked for; the first row makes one."""
    return [(np.arange(len(arrays["x"])), np.zeros(1, np.int64))]


def compile_ahead(setting: Setting, arrays: dict[str, np.ndarray]) -> threading.Thread:
    """Compiles what `fit(setting, arrays)` will run, beside other work.

    Returns:
      The thread, to be joined before that. Whatever goes wrong is left for `fit` to say.
    """

    def work() -> None:
        rest: dict[str, Any] = dict.fromkeys(("refiner", "steps", "eval_batch_size", "layout"))
        with contextlib.suppress(Exception), precision(setting.spec.double):
            build(prepare(**_call([setting], arrays, _all_rows(arrays), False, True), **rest).plan)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def _call(
    settings: Sequence[Setting],
    arrays: dict[str, np.ndarray],
    folds: Pairs,
    outputs: bool,
    every_epoch: bool,
) -> dict[str, Any]:
    """What `vt.tune` is called with."""
    first = settings[0]
    arrays, folds = _filled(arrays, folds) if first.spec.whole else (arrays, folds)
    held = {k: v.astype(jax.dtypes.canonicalize_dtype(v.dtype)) for k, v in arrays.items()}
    data = unchecked(held, *zip(*folds, strict=True))
    parts, given = _space(settings, data.train_rows)
    return {
        "learner": learner(outputs),
        "space": parts,
        "data": data,
        "search": vt.Given(given),
        "epochs": first.epochs,
        "rounds": first.epochs if every_epoch else 1,
        "batch_size": _batch_size,
        "metric": "loss",
        "mode": "min",
        "seed": first.seed,
    }


def precision(double: bool) -> Any:
    """float64 within, where it is asked for."""
    return jax.enable_x64(True) if double else contextlib.nullcontext()


def _batch_size(h: Any) -> int:
    return h["batch_size"]


def _space(settings: Sequence[Setting], rows: int) -> tuple[list[dict], list[dict]]:
    """A space with a part for each structure, and the settings as its members."""
    kinds: dict[Any, list[dict[str, float]]] = {}
    given = []
    for own in settings:
        size = rows if own.batch_size is None else min(own.batch_size, rows)
        kinds.setdefault((own.spec, size), []).append(own.numbers)
        given.append({"spec": own.spec, "batch_size": size, **own.numbers})
    parts = []
    for (spec, size), numbers in kinds.items():
        values = {name: [float(n[name]) for n in numbers] for name in numbers[0]}
        ranges = {
            # Wider than needed: bounds are rounded inward.
            name: vt.Float(min(v) - 1 - abs(min(v)), max(v) + 1 + abs(max(v)))
            for name, v in values.items()
        }
        parts.append({"spec": spec, "batch_size": size, **ranges})
    return parts, given


def _filled(arrays: dict[str, np.ndarray], folds: Pairs) -> tuple[dict[str, np.ndarray], Pairs]:
    """Folds that all train on as many rows: the others are of zeros and weigh nothing."""
    most, rows = max(len(train) for train, _ in folds), len(arrays["x"])
    if all(len(train) == most for train, _ in folds):
        return arrays, folds
    longer = {name: np.append(a, np.zeros_like(a[:1]), axis=0) for name, a in arrays.items()}
    fill = lambda part: np.append(part, np.full(most - len(part), rows, part.dtype))
    return longer, [(fill(np.asarray(train)), valid) for train, valid in folds]
