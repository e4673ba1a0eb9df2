"""The candidates of a search, trained on every split: a program for all that can share one."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing  # public by its use in third-party splitters

from vtune.sklearn.base import Classifier, Estimator, checked_weight
from vtune.sklearn.spec import OUTPUTS, Setting
from vtune.sklearn.training import compile_ahead, precision, state_of, train
from vtune.sweep import Sweep
from vtune.types import Hparams, Static

Split = tuple[np.ndarray, np.ndarray]


class Rows:
    """The rows of a search: X, y and the parameters of fit.

    Args:
      weights: [rows] or None. judge_train: whether outputs for the training rows are wanted, too.
    """

    def __init__(self, X: Any, y: Any, weights: Any, judge_train: bool):
        self.X = X
        self.y = y
        self.weights = checked_weight(weights, len(self))
        self.judge_train = judge_train

    def __len__(self) -> int:
        shape = getattr(self.X, "shape", None)
        return shape[0] if shape else len(self.X)

    def take(self, rows: np.ndarray) -> Any:
        """Some rows of X, of its own type."""
        return _safe_indexing(self.X, rows)


@dataclass
class Trained:
    """One candidate on one split.

    Attributes:
      tail: the estimator, not fitted but with what is known of the targets. head: the fitted steps
        before it, if any. sweep, member, fold: where its weights are.
      rows: that it was judged on. outputs: [rows, outputs]. error: why it failed, or None.
    """

    tail: Estimator | None = None
    head: Pipeline | None = None
    base: Any = None
    setting: Setting | None = None
    sweep: Sweep | None = None
    member: int = 0
    fold: int = 0
    rows: np.ndarray | None = None
    outputs: np.ndarray | None = None
    error: Exception | None = None

    def stand_in(self) -> Any:
        """A fitted estimator that answers for numbers of rows, from outputs that are there."""
        if self.error is not None:
            raise self.error
        assert self.rows is not None
        assert self.outputs is not None
        place = np.full(int(self.rows.max()) + 1, -1)
        place[self.rows] = np.arange(len(self.rows))
        outputs, stand_in = self.outputs, copy.copy(self.tail)
        stand_in._raw = lambda rows: outputs[place[np.asarray(rows).ravel()]]  # type: ignore
        return stand_in

    def estimator(self) -> Any:
        """The fitted estimator, or pipeline, as a user's own scorer takes it."""
        assert self.sweep is not None
        assert self.setting is not None
        assert self.tail is not None
        tail = copy.copy(self.tail)
        with precision(self.setting.spec.double):
            tail._take(self.setting, state_of(self.sweep, self.member, self.fold))
        if not isinstance(self.base, Pipeline):
            return tail
        steps = [] if self.head is None else list(self.head.steps)
        return Pipeline([*steps, (self.base.steps[-1][0], tail)])


@dataclass
class _Candidate:
    number: int
    base: Any
    tail: Estimator
    head: Pipeline | None
    head_key: Static


def run(
    base: Any,
    candidates: Sequence[dict],
    splits: Sequence[Split],
    rows: Rows,
    ahead: list[Any] | None = None,
) -> Any:
    """Trains every candidate on every split.

    Args:
      ahead: takes a thread that compiles the refit meanwhile, where all candidates would have the
        same; None where there is none.

    Returns:
      (by candidate and split a `Trained`, by candidate the seconds that each fit took of the
      program's).
    """
    table = [[Trained() for _ in splits] for _ in candidates]
    seconds = np.zeros(len(candidates))
    seed = int(np.random.randint(np.iinfo(np.int32).max)) if _unseeded(base) else 0  # noqa: NPY002
    parts: dict[Static, list[_Candidate]] = {}
    for number, params in enumerate(candidates):
        try:
            own = _candidate(number, base, params)
        except TypeError:
            raise  # of another library: nothing a score could stand for
        except Exception as error:
            _failed(table[number], error)
        else:
            parts.setdefault(own.head_key, []).append(own)
    for members in parts.values():
        try:
            views = _transformed(members[0].head, splits, rows)
        except Exception as error:
            for own in members:
                _failed(table[own.number], error)
            continue
        prepared = _prepared(members, views, splits, rows, seed, table)
        if ahead is not None and len(parts) == 1 and len(prepared) == 1:
            ahead.extend(_refit_ahead(next(iter(prepared.values())), rows))
        _train_part(prepared, views, splits, rows, table, seconds)
    return table, seconds


def last_step(estimator: Any) -> Any:
    """The estimator itself, or a pipeline's last step."""
    return estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator


def _unseeded(base: Any) -> bool:
    return getattr(last_step(base), "random_state", 0) is None


def _failed(splits: list[Trained], error: Exception) -> None:
    for own in splits:
        own.error = error


def _candidate(number: int, base: Any, params: dict[str, Any]) -> _Candidate:
    estimator = clone(base).set_params(**clone(params, safe=False))
    tail = last_step(estimator)
    if not isinstance(tail, Estimator):
        raise TypeError(
            f"candidate {number} has {type(tail).__name__}, which is not one of vtune.sklearn's"
        )
    if not isinstance(estimator, Pipeline) or len(estimator.steps) == 1:
        return _Candidate(number, estimator, tail, None, Static({}))
    name = estimator.steps[-1][0]
    own = {k: v for k, v in params.items() if k != name and not k.startswith(f"{name}__")}
    return _Candidate(number, estimator, tail, estimator[:-1], Static(own))


@dataclass
class _View:
    """X as one split's steps before the last make it, all rows of it."""

    X: Any
    head: Pipeline | None


def _transformed(head: Pipeline | None, splits: Sequence[Split], rows: Rows) -> list[_View]:
    """By split the features; one view for all where there are no steps before the last."""
    if head is None:
        return [_View(rows.X, None)]
    views = []
    for training, _ in splits:
        fitted = clone(head).fit(rows.take(training), np.asarray(rows.y)[training])
        made = fitted.transform(rows.X)
        if sparse.issparse(made):
            raise TypeError(
                "the steps before the last give sparse rows; set sparse_output=False, or add a "
                "step that makes them dense"
            )
        views.append(_View(made, fitted))
    return views


Group = list[tuple[_Candidate, Setting, Any]]


def _prepared(
    members: list[_Candidate],
    views: list[_View],
    splits: Sequence[Split],
    rows: Rows,
    seed: int,
    table: list[list[Trained]],
) -> dict[Any, Group]:
    """Candidates whose features are the same, by what must be so in one program."""
    groups: dict[Any, Group] = {}
    fewest = min(len(training) for training, _ in splits)
    for own in members:
        try:
            shown = own.tail._checked(views[0].X, rows.y)
            setting = own.tail._setting(own.tail._outputs, fewest)
        except Exception as error:
            _failed(table[own.number], error)
            continue
        if getattr(own.tail, "random_state", 0) is None and not setting.spec.whole:
            setting = setting._replace(seed=seed)
        weights = Static(getattr(own.tail, "class_weight", None))
        spec = setting.spec
        key = (type(own.tail), weights, spec.whole, spec.double, setting.epochs, setting.seed)
        groups.setdefault(key, []).append((own, setting, shown))
    return groups


def _refit_ahead(group: Group, rows: Rows) -> list[Any]:
    """A thread that compiles the refit, if it is known what that will be."""
    (own, setting, (x, y, _)), *others = group
    same = all((s.spec, s.batch_size) == (setting.spec, setting.batch_size) for _, s, _ in others)
    if not same or own.head is not None or not rows.weights.all():
        return []
    return [compile_ahead(setting, {"x": x, "y": y, "weight": rows.weights})]


def _train_part(
    groups: dict[Any, Group],
    views: list[_View],
    splits: Sequence[Split],
    rows: Rows,
    table: list[list[Trained]],
    seconds: np.ndarray,
) -> None:
    for group in groups.values():
        for numbers in _alike(views, splits):
            own_views = views if len(views) == 1 else [views[i] for i in numbers]
            try:
                _train_group(group, own_views, numbers, splits, rows, table, seconds)
            except Exception as error:
                for own, _, _ in group:
                    _failed([table[own.number][i] for i in numbers], error)


def _alike(views: list[_View], splits: Sequence[Split]) -> list[list[int]]:
    """The numbers of splits whose features have one shape."""
    if len(views) == 1:
        return [list(range(len(splits)))]
    found: dict[Any, list[int]] = {}
    for number, view in enumerate(views):
        found.setdefault(np.shape(view.X), []).append(number)
    return list(found.values())


def _train_group(
    group: Group,
    views: list[_View],
    numbers: list[int],
    splits: Sequence[Split],
    rows: Rows,
    table: list[list[Trained]],
    seconds: np.ndarray,
) -> None:
    """Trains candidates that can be one program, on some of the splits."""
    tail, (x, y, _) = group[0][0].tail, group[0][2]
    count = len(x)
    features = [x] if len(views) == 1 else [tail._checked(v.X, rows.y)[0] for v in views]
    weights, pairs = [], []
    for i, number in enumerate(numbers):
        training, test = (np.asarray(part) for part in splits[number])
        weight = rows.weights.copy()
        training = training[weight[training] > 0]
        if isinstance(tail, Classifier):
            balanced = tail._balanced(y[training], weight[training])
            if balanced is not None:
                weight[training] *= balanced
        tail._check_targets(y[training])
        weights.append(weight)
        judged = np.append(test, splits[number][0]) if rows.judge_train else test
        pairs.append((training, judged, i))
    # Where splits have features or weights of their own, each has a copy of the rows.
    tiled = len(features) > 1 or any(not np.array_equal(w, weights[0]) for w in weights)
    copies = len(numbers) if tiled else 1
    arrays = {
        "x": np.concatenate([features[i % len(features)] for i in range(copies)]),
        "y": np.concatenate([y] * copies),
        "weight": np.concatenate(weights[:copies]),
    }
    shift = lambda part, i: part + i * count if tiled else part
    folds = [(shift(training, i), shift(judged, i)) for training, judged, i in pairs]
    began = time.perf_counter()
    sweep = train([setting for _, setting, _ in group], arrays, folds, outputs=True)
    share = (time.perf_counter() - began) / (len(group) * len(numbers))
    made = sweep.history[f"{OUTPUTS}/splits"][-1]  # [members, folds, 1, rows, outputs]
    for member, (own, setting, _) in enumerate(group):
        seconds[own.number] += share / (len(splits) / len(numbers))
        for i, number in enumerate(numbers):
            judged = pairs[i][1]
            outputs = made[member, i, 0, : len(judged)]
            if not np.isfinite(outputs).all():  # its own fault, or another split's
                outputs = _outputs(sweep, member, i, setting, arrays["x"][folds[i][1]])
            trained = table[own.number][number]
            trained.tail, trained.head, trained.base = (
                own.tail,
                views[i % len(views)].head,
                own.base,
            )
            trained.setting, trained.sweep, trained.member, trained.fold = setting, sweep, member, i
            trained.rows, trained.outputs = judged, outputs
            if not np.isfinite(outputs).all():
                trained.error = ValueError(
                    f"the training diverged ({sweep[member].status}); try a smaller learning rate, "
                    "or scale the features"
                )


def _outputs(sweep: Sweep, member: int, fold: int, setting: Setting, x: np.ndarray) -> np.ndarray:
    """The outputs of one training, outside the program."""
    with precision(setting.spec.double):
        state = state_of(sweep, member, fold)
        made = setting.spec.learner.predict(Hparams(setting.numbers, {}), state, {"x": x})
        return np.asarray(made)
