"""The candidates of a search, trained on every split: a program for all that can share one."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from vtune.hparams import Hparams, Static
from vtune.sklearn.estimators.base import Estimator
from vtune.sklearn.search.splits import Block, Rows, Split, View, arrays_of, block_of, views_of
from vtune.sklearn.training.spec import OUTPUTS, Setting
from vtune.sklearn.training.train import (
    Fitted,
    Together,
    compile_ahead,
    fit_again,
    one_by_one,
    precision,
    train,
)


@dataclass
class Trained:
    """One candidate on one split.

    Attributes:
      tail: the estimator, not fitted but with what is known of the targets. head: the fitted steps
        before it, if any. together, member, fold: where its weights are.
      rows: that it was judged on. outputs: [rows, outputs]. error: why it failed, or None;
        error_frames: where.
    """

    tail: Estimator | None = None
    head: Pipeline | None = None
    base: Any = None
    setting: Setting | None = None
    together: Together | None = None
    member: int = 0
    fold: int = 0
    rows: np.ndarray | None = None
    outputs: np.ndarray | None = None
    error: Exception | None = None
    error_frames: TracebackType | None = None

    def stand_in(self) -> Any:
        """A fitted estimator that answers for numbers of rows, from outputs that are there."""
        if self.error is not None:  # raised for many: each time with the frames it came with
            raise self.error.with_traceback(self.error_frames)
        assert self.rows is not None
        assert self.outputs is not None
        place = np.full(int(self.rows.max()) + 1, -1)
        place[self.rows] = np.arange(len(self.rows))
        outputs, stand_in = self.outputs, copy.copy(self.tail)
        stand_in._raw = lambda rows: outputs[place[np.asarray(rows).ravel()]]  # type: ignore
        return stand_in

    def estimator(self) -> Any:
        """The fitted estimator, or pipeline, as a user's own scorer takes it."""
        assert self.together is not None
        assert self.setting is not None
        assert self.tail is not None
        tail = copy.copy(self.tail)
        with precision(self.setting.spec.double):
            tail._take(self.setting, self.together.state(self.member, self.fold))
        if not isinstance(self.base, Pipeline):
            return tail
        steps = [] if self.head is None else list(self.head.steps)
        return Pipeline([*steps, (self.base.steps[-1][0], tail)])


@dataclass
class _Candidate:
    """One of them: the estimator with its parameters, and its last step."""

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
) -> Table:
    """Trains every candidate on every split.

    Args:
      ahead: takes a thread that compiles the refit meanwhile, where all candidates would have the
        same; None where there is none.

    Returns:
      What came of them.
    """
    table = Table(candidates, splits)
    seed = int(np.random.randint(np.iinfo(np.int32).max)) if _unseeded(base) else 0  # noqa: NPY002
    parts: dict[Any, list[_Candidate]] = {}
    for number, params in enumerate(candidates):
        own = _candidate(number, base, params)
        weights = Static(getattr(own.tail, "class_weight", None))
        parts.setdefault((own.head_key, type(own.tail), weights), []).append(own)
    views: dict[Static, list[View]] = {}
    for (key, *_), members in parts.items():
        if key not in views:
            views[key] = views_of(members[0].head, splits, rows)
        alone = ahead if len(parts) == 1 else None
        _train_part(members, views[key], rows, seed, table, alone)
    return table


class Table:
    """What came of every candidate on every split.

    Attributes:
      trained: by candidate and split. seconds: by candidate, what each fit took of the program's.
    """

    def __init__(self, candidates: Sequence[dict], splits: Sequence[Split]):
        self.trained = [[Trained() for _ in splits] for _ in candidates]
        self.seconds = np.zeros(len(candidates))

    def again(self, setting: Setting, arrays: dict[str, np.ndarray]) -> Fitted | None:
        """Trains a setting on all rows by the program that it was a candidate of; None where there
        is none that can."""
        if not one_by_one():
            return None
        same = lambda own: own is not None and own._replace(seed=setting.seed) == setting
        for own in (trained for row in self.trained for trained in row):
            if own.together is not None and same(own.setting):
                found = fit_again(own.together, own.member, setting, arrays)
                if found is not None:  # the same setting may stand behind other first steps
                    return found
        return None

    def failed(self, members: Sequence[_Candidate], number: int, error: Exception) -> None:
        """These candidates on this split."""
        for own in members:
            trained = self.trained[own.number][number]
            trained.error, trained.error_frames = error, error.__traceback__


def last_step(estimator: Any) -> Any:
    """The estimator itself, or a pipeline's last step."""
    return estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator


def _unseeded(base: Any) -> bool:
    return getattr(last_step(base), "random_state", 0) is None


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


def _train_part(
    members: list[_Candidate],
    views: list[View],
    rows: Rows,
    seed: int,
    table: Table,
    ahead: list[Any] | None,
) -> None:
    """Trains candidates with the same first steps, class weights and type."""
    shared = None
    if members[0].head is None:
        scratch = copy.copy(members[0].tail)
        try:
            shared = (scratch, *scratch._checked(rows.X, rows.y, rows.weights))
        except Exception as error:
            for view in views:
                table.failed(members, view.number, error)
            return
    kinds: dict[Any, list[Block]] = {}
    for view in views:
        try:
            block = block_of(members[0].tail, view, rows, shared)
        except Exception as error:
            table.failed(members, view.number, error)
        else:
            kinds.setdefault(block.kind, []).append(block)
    for blocks in kinds.values():
        groups: dict[Any, list[tuple[_Candidate, Setting]]] = {}
        for own in members:
            try:
                setting = own.tail._setting(blocks[0].outputs)
            except Exception as error:
                for block in blocks:
                    table.failed([own], block.view.number, error)
                continue
            spec = setting.spec
            if getattr(own.tail, "random_state", 0) is None and not spec.whole:
                setting = setting._replace(seed=seed)
            key = (spec.whole, spec.double, setting.epochs, setting.seed)
            groups.setdefault(key, []).append((own, setting))
        for group in groups.values():
            one_group = len(kinds) == len(groups) == 1
            if ahead is not None and shared is not None and one_group and not one_by_one():
                ahead.extend(_refit_ahead(group, blocks, shared))
            try:
                counted = int(np.sum(rows.weights > 0))
                _train_group(group, blocks, shared, counted, table)
            except Exception as error:
                for block in blocks:
                    table.failed([own for own, _ in group], block.view.number, error)


def _refit_ahead(group: list[tuple[_Candidate, Setting]], blocks: list[Block], shared: Any) -> Any:
    """A thread that compiles the refit, if it is known what that will be."""
    (_, setting), *others = group
    same = all((s.spec, s.batch_size) == (setting.spec, setting.batch_size) for _, s in others)
    scratch, x, y, weight = shared
    if not same or not weight.all() or scratch._outputs != blocks[0].outputs:
        return []
    return [compile_ahead(setting, {"x": x, "y": y, "weight": weight})]


def _train_group(
    group: list[tuple[_Candidate, Setting]],
    blocks: list[Block],
    shared: Any,
    rows: int,
    table: Table,
) -> None:
    """Trains candidates that can be one program, on splits that can be folds of it."""
    arrays, folds = arrays_of(blocks, shared, None if shared is None else shared[3])
    began = time.perf_counter()
    settings = [setting for _, setting in group]
    together = train(settings, arrays, folds, rows)
    share = (time.perf_counter() - began) / (len(group) * len(table.trained[0]))
    sweep = together.sweep
    made = sweep.history[f"{OUTPUTS}/splits"][-1]  # [members, folds, 1, rows, outputs]
    for member, (own, setting) in enumerate(group):
        table.seconds[own.number] += share
        for fold, block in enumerate(blocks):
            outputs = made[member, fold, 0, : len(block.view.judged)]
            if not np.isfinite(outputs).all():  # its own fault, or another split's
                outputs = _outputs(together, member, fold, setting, arrays["x"][folds[fold][1]])
            tail = copy.copy(own.tail)
            for name, value in block.learned.items():
                setattr(tail, name, value)
            trained = Trained(
                tail,
                block.view.head,
                own.base,
                setting,
                together,
                member,
                fold,
                block.view.judged,
                outputs,
            )
            if not np.isfinite(outputs).all():
                trained.error = ValueError(
                    f"the training {together.failure(member, fold)}; try a smaller learning rate, "
                    "or scale the features"
                )
            table.trained[own.number][block.view.number] = trained


def _outputs(
    together: Together, member: int, fold: int, setting: Setting, x: np.ndarray
) -> np.ndarray:
    """The outputs of one training, outside the program."""
    with precision(setting.spec.double):
        state = together.state(member, fold)
        made = setting.spec.learner.predict(Hparams(setting.numbers, {}), state, {"x": x})
        return np.asarray(made)
