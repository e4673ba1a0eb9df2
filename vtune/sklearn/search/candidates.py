"""Trains the candidates of a search on every split: all that can share a program in one."""

from __future__ import annotations

import copy
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from vtune.hparams import Hparams, Static
from vtune.sklearn.estimators.base import Estimator
from vtune.sklearn.search.splits import (
    CheckedSplit,
    Dataset,
    SharedRows,
    Split,
    TransformedSplit,
    check_split,
    program_arrays,
    transform_splits,
)
from vtune.sklearn.search.trained import CandidateTable, TrainedCandidate
from vtune.sklearn.training.spec import OUTPUTS, Setting
from vtune.sklearn.training.train import (
    TrainedTogether,
    compile_ahead,
    precision,
    train,
    trains_in_turn,
)


@dataclass
class _Candidate:
    """A candidate before training.

    Attributes:
      number: its place in the search's list. base: the estimator or pipeline with its parameters.
      final: the final estimator. transformers: the steps before it, or None.
      transformer_params: the candidate's parameters of those steps.
    """

    number: int
    base: Any
    final: Estimator
    transformers: Pipeline | None
    transformer_params: Static


Group = list[tuple[_Candidate, Setting]]  # candidates that are trained in one program


def run(
    base: Any,
    candidates: Sequence[dict],
    splits: Sequence[Split],
    dataset: Dataset,
    ahead: list[threading.Thread] | None = None,
) -> CandidateTable:
    """Trains every candidate on every split.

    Args:
      base: the user's estimator. candidates: its parameters, one dict per candidate.
      ahead: takes a thread that compiles the refit's program, if that is the same for all
        candidates. None if there is no refit.
    """
    table = CandidateTable(candidates, splits)
    made = [_candidate(number, base, params) for number, params in enumerate(candidates)]
    unseeded = any(_unseeded(candidate.final) for candidate in made)
    seed = int(np.random.randint(np.iinfo(np.int32).max)) if unseeded else 0  # noqa: NPY002
    parts: dict[Any, list[_Candidate]] = {}
    for candidate in made:
        class_weight = Static(getattr(candidate.final, "class_weight", None))
        key = (candidate.transformer_params, type(candidate.final), class_weight)
        parts.setdefault(key, []).append(candidate)
    transformed: dict[Static, list[TransformedSplit]] = {}
    for (params, *_), part in parts.items():
        if params not in transformed:
            transformed[params] = transform_splits(part[0].transformers, splits, dataset)
        only = ahead if len(parts) == 1 else None
        _train_part(part, transformed[params], dataset, seed, table, only)
    return table


def final_estimator(estimator: Any) -> Any:
    """Returns a pipeline's last step; any other estimator is returned as it is."""
    return estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator


def _unseeded(final: Estimator) -> bool:
    """Whether every fit of an estimator is to draw anew; elsewhere all fits draw alike."""
    return getattr(final, "random_state", 0) is None


def _candidate(number: int, base: Any, params: dict[str, Any]) -> _Candidate:
    estimator = clone(base).set_params(**clone(params, safe=False))
    final = final_estimator(estimator)
    if not isinstance(final, Estimator):
        raise TypeError(
            f"candidate {number} must end with an estimator of vtune.sklearn, got "
            f"{type(final).__name__}; leave it out of the search"
        )
    if not isinstance(estimator, Pipeline) or len(estimator.steps) == 1:
        return _Candidate(number, estimator, final, None, Static({}))
    name = estimator.steps[-1][0]
    others = {k: v for k, v in params.items() if k != name and not k.startswith(f"{name}__")}
    return _Candidate(number, estimator, final, estimator[:-1], Static(others))


def _train_part(
    candidates: list[_Candidate],
    splits: list[TransformedSplit],
    dataset: Dataset,
    seed: int,
    table: CandidateTable,
    ahead: list[threading.Thread] | None,
) -> None:
    """Trains candidates with the same transformers, class weights and type."""
    numbers = [candidate.number for candidate in candidates]
    try:
        shared = _shared_rows(candidates[0], dataset)
    except Exception as error:
        for split in splits:
            table.fail(numbers, split.number, error)
        return
    kinds: dict[Any, list[CheckedSplit]] = {}
    for split in splits:
        try:
            checked = check_split(candidates[0].final, split, dataset, shared)
        except Exception as error:
            table.fail(numbers, split.number, error)
        else:
            kinds.setdefault(checked.kind, []).append(checked)
    refit_rows = int(np.sum(dataset.weights > 0))
    for folds in kinds.values():
        groups = _groups(candidates, folds, seed, table)
        for group in groups:
            single = len(kinds) == len(groups) == 1
            if ahead is not None and shared is not None and single and not trains_in_turn():
                ahead.extend(_compile_refit(group, folds, shared))
            for alike in _of_equal_steps(group, folds):
                try:
                    _train_group(group, alike, shared, refit_rows, table)
                except Exception as error:
                    for checked in alike:
                        table.fail([c.number for c, _ in group], checked.split.number, error)


def _shared_rows(candidate: _Candidate, dataset: Dataset) -> SharedRows | None:
    if candidate.transformers is not None:
        return None
    estimator = copy.copy(candidate.final)
    rows = estimator._check_training_rows(dataset.X, dataset.y, dataset.weights)
    return SharedRows(estimator, *rows)


def _groups(
    candidates: list[_Candidate], folds: list[CheckedSplit], seed: int, table: CandidateTable
) -> list[Group]:
    """Returns the candidates by what a program has once: precision, epochs, seed."""
    groups: dict[Any, Group] = {}
    for candidate in candidates:
        try:
            setting = candidate.final._setting(folds[0].outputs)
        except Exception as error:
            for checked in folds:
                table.fail([candidate.number], checked.split.number, error)
            continue
        spec = setting.spec
        unseeded = _unseeded(candidate.final) and not spec.full_batch
        if unseeded:
            setting = setting._replace(seed=seed)
        key = (spec.full_batch, spec.float64, setting.epochs, setting.seed, unseeded)
        groups.setdefault(key, []).append((candidate, setting))
    return list(groups.values())


def _of_equal_steps(group: Group, folds: list[CheckedSplit]) -> list[list[CheckedSplit]]:
    """Returns the splits whose steps take equally many rows: a split with fewer rows than a batch
    is for itself, since its batches are smaller, as they are when the estimator is fitted alone."""
    largest = max(setting.batch_size or 1 for _, setting in group)
    parts: dict[int, list[CheckedSplit]] = {}
    for checked in folds:
        parts.setdefault(min(len(checked.training[1]), largest), []).append(checked)
    return list(parts.values())


def _compile_refit(
    group: Group, folds: list[CheckedSplit], shared: SharedRows
) -> list[threading.Thread]:
    """Returns a thread that compiles the refit, if its program does not depend on who is best."""
    (_, setting), *others = group
    same = all((s.spec, s.batch_size) == (setting.spec, setting.batch_size) for _, s in others)
    all_classes = shared.estimator._n_outputs == folds[0].outputs
    if not same or not shared.weight.all() or not all_classes:
        return []
    arrays = {"x": shared.x, "y": shared.y, "weight": shared.weight}
    return [compile_ahead(setting, arrays)]


def _train_group(
    group: Group,
    splits: list[CheckedSplit],
    shared: SharedRows | None,
    refit_rows: int,
    table: CandidateTable,
) -> None:
    """Trains candidates that can be one program, on splits that can be its folds."""
    arrays, folds = program_arrays(splits, shared)
    settings, common = [s for _, s in group], not _unseeded(group[0][0].final)
    together = train(settings, arrays, folds, refit_rows, common)
    seconds = together.sweep.timing.run / (len(group) * len(table.trained[0]))
    iterations = together.iterations()
    history = together.sweep.history[f"{OUTPUTS}/splits"][-1]  # [members, folds, 1, rows, outputs]
    for member, (candidate, setting) in enumerate(group):
        table.seconds[candidate.number] += seconds
        for fold, checked in enumerate(splits):
            outputs = history[member, fold, 0, : len(checked.split.scored)]
            if not np.isfinite(outputs).all():  # the member's fault, or that of another fold
                x = arrays["x"][folds[fold][1]]
                outputs = _predict(together, member, fold, setting, x)
            trained = TrainedCandidate(
                final=_with_attributes(candidate.final, checked.learned),
                transformers=checked.split.transformers,
                base=candidate.base,
                setting=setting,
                together=together,
                member=member,
                fold=fold,
                rows=checked.split.scored,
                outputs=outputs,
                iterations=None if iterations is None else int(iterations[member, fold]),
            )
            if not np.isfinite(outputs).all():
                trained.error = ValueError(
                    f"the training {together.failure(member, fold)}; try a smaller learning rate, "
                    "or scale the features"
                )
            table.trained[candidate.number][checked.split.number] = trained


def _with_attributes(estimator: Estimator, attributes: dict[str, Any]) -> Estimator:
    estimator = copy.copy(estimator)
    for name, value in attributes.items():
        setattr(estimator, name, value)
    return estimator


def _predict(
    together: TrainedTogether, member: int, fold: int, setting: Setting, x: np.ndarray
) -> np.ndarray:
    """Returns the outputs of one training, computed outside the sweep's program."""
    predict = setting.spec.learner.predict
    assert predict is not None
    with precision(setting.spec.float64):
        state = together.state(member, fold)
        return np.asarray(predict(Hparams(setting.numbers, {}), state, {"x": x}))
