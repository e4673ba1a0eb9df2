"""The splits of a search as an estimator sees them: through the steps before it, checked, and as
the folds of a program."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from vtune.sklearn.estimators.base import Estimator, checked_weight

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
        """Some rows of X: a frame, an array or a list, as X is."""
        if hasattr(self.X, "iloc"):
            return self.X.iloc[rows]
        return self.X[rows] if hasattr(self.X, "shape") else [self.X[i] for i in rows]


@dataclass
class View:
    """A split, seen through the steps before the last.

    Attributes:
      number: of the split. training, judged: its rows. head: fitted to the training rows, or None.
      train_x, judged_x: what it makes of them; None where there is no head. error: why it could
        not be fitted, or None.
    """

    number: int
    training: np.ndarray
    judged: np.ndarray
    head: Pipeline | None = None
    train_x: Any = None
    judged_x: Any = None
    error: Exception | None = None


@dataclass
class Block:
    """A view's rows as the program takes them.

    Attributes:
      learned: what the last step knows of its training rows, such as its classes.
      train, judged: (x, targets, weights) of the rows; of `judged` None where all rows are shared.
      kind: what must be the same for views to be folds of one sweep.
    """

    view: View
    learned: dict[str, Any]
    outputs: int
    train: Any
    judged: Any
    kind: Any


def views_of(head: Pipeline | None, splits: Sequence[Split], rows: Rows) -> list[View]:
    """The splits, the steps before the last fitted to each."""
    views = []
    for number, (training, test) in enumerate(splits):
        judged = np.append(test, training) if rows.judge_train else test
        view = View(number, training, judged)
        try:
            if head is not None:
                view.head = clone(head)
                labels = None if rows.y is None else np.asarray(rows.y)[training]
                # As a pipeline does it: some steps make other rows when they are fitted.
                view.train_x = _dense(view.head.fit_transform(rows.take(training), labels))
                view.judged_x = _dense(_through(view.head, rows.take(judged)))
        except Exception as error:
            view.error = error
        views.append(view)
    return views


def _through(head: Pipeline, X: Any) -> Any:
    """Rows transformed step by step: a pipeline asks its last step whether it is fitted, and some
    steps have nothing to show for it."""
    for _, step in head.steps:
        X = X if step is None or step == "passthrough" else step.transform(X)
    return X


def _dense(made: Any) -> Any:
    if sparse.issparse(made):
        raise TypeError(
            "the steps before the last give sparse rows; set sparse_output=False, or add a step "
            "that makes them dense"
        )
    return made


def block_of(tail: Estimator, view: View, rows: Rows, shared: Any) -> Block:
    """A view's rows, checked; what the last step learns of them before it is trained."""
    if view.error is not None:
        raise view.error
    before, labels = set(vars(tail)), np.asarray(rows.y)
    x: Any = None
    counted = view.training[rows.weights[view.training] > 0]
    if shared is None:
        own = copy.copy(tail)
        place = rows.weights[view.training] > 0
        x, y, weight = own._checked(
            view.train_x, labels[view.training], rows.weights[view.training]
        )
        x, y, weight = x[place], y[place], weight[place]
        judged_x = own._rows(view.judged_x)
    else:
        own = copy.copy(shared[0])
        y, weight = own._encoded(labels[counted]), rows.weights[counted]
    own._check_targets(y)
    balanced = own._balanced(y, weight)
    learned = {k: v for k, v in vars(own).items() if k not in before}
    classes = tuple(getattr(own, "classes_", ()))
    kind = (own._outputs, classes, None if x is None else x.shape[1:])
    if shared is not None and balanced is None:
        return Block(view, learned, own._outputs, (None, y, weight), None, kind)
    if shared is not None:  # weights of its own: a copy of the rows
        x, judged_x = shared[1][counted], shared[1][view.judged]
    weight = weight if balanced is None else weight * balanced
    none = len(judged_x)  # judged rows have no targets, and weigh nothing
    empty = (judged_x, np.zeros((none, *y.shape[1:]), y.dtype), np.zeros(none))
    return Block(view, learned, own._outputs, (x, y, weight), empty, (*kind, x.shape[1:]))


def arrays_of(blocks: list[Block], shared: Any, rows_weights: Any) -> Any:
    """(arrays for the program, folds as (training, judged) indices)."""
    if blocks[0].judged is None:
        x, like, folds = shared[1], blocks[0].train[1], []
        y = np.zeros((len(x), *like.shape[1:]), like.dtype)
        for block in blocks:
            training = block.view.training[rows_weights[block.view.training] > 0]
            y[training] = block.train[1]  # the same in every fold: their classes are
            folds.append((training, block.view.judged))
        return {"x": x, "y": y, "weight": rows_weights}, folds
    parts: list[Any] = []
    folds, start = [], 0
    for block in blocks:
        n, m = len(block.train[0]), len(block.judged[0])
        folds.append((start + np.arange(n), start + n + np.arange(m)))
        parts += [block.train, block.judged]
        start += n + m
    names = ("x", "y", "weight")
    return {name: np.concatenate([p[i] for p in parts]) for i, name in enumerate(names)}, folds
