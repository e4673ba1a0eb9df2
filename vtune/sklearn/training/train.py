"""Trains settings of estimators together, as one vtune sweep."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

import vtune as vt
from vtune.data.fold_rows import folds_from_rows
from vtune.engine.layout import resolve_layout
from vtune.learner.protocol import Learner
from vtune.results.sweep import Sweep
from vtune.runtime.compile import build
from vtune.runtime.execute import execute
from vtune.runtime.surroundings import check_one_process
from vtune.sklearn.training.padded_folds import PaddedFolds, padded_folds
from vtune.sklearn.training.spec import Setting, learner, untracked
from vtune.tuning.arguments import TuneArguments
from vtune.tuning.launch import Watching, run_prepared
from vtune.tuning.prepare import Prepared, prepare

Pairs = Sequence[tuple[np.ndarray, np.ndarray]]  # per fold (training rows, rows to predict)
# Folds are padded up to this multiple of their training rows, by spec.full_batch (whose steps take
# the padding, too). More padding costs more than compiling another program for the refit.
PADDING = {False: 1.5, True: 1.35}


class TrainedTogether(NamedTuple):
    """The sweep of settings that were trained together on folds, and its program."""

    sweep: Sweep
    prepared: Prepared

    def state(self, member: int, fold: int) -> Any:
        """Returns the state of one training, on the host."""
        return untracked(self._state(member, fold))

    def iterations(self) -> np.ndarray | None:
        """Returns the iterations of linear models' solver, [members, folds]; None of networks."""
        populations = self.sweep.trained.populations
        if not isinstance(populations[0].state, dict):
            return None
        counts: dict[int, np.ndarray] = {}
        for population in populations:
            own = np.asarray(population.state["n_iter"])
            counts |= dict(zip(np.asarray(population.id).tolist(), own, strict=True))
        return np.stack([counts[member] for member in range(len(counts))])

    def failure(self, member: int, fold: int) -> str:
        """Returns how a training that failed did so, such as "diverged in epoch 3"."""
        return _failure(self._state(member, fold))

    def _state(self, member: int, fold: int) -> Any:
        return jax.tree.map(lambda leaf: np.asarray(leaf)[fold, 0], self.sweep[member].state)


class Fitted(NamedTuple):
    """One setting trained on all rows.

    Attributes:
      state: on the host. losses: [epochs] the mean training losses; None for a full-batch spec.
      failed: how the training failed, or None.
    """

    state: Any
    losses: np.ndarray | None
    failed: str | None


def train(
    settings: Sequence[Setting],
    arrays: dict[str, np.ndarray],
    folds: Pairs,
    refit_rows: int,
    common: bool,
) -> TrainedTogether:
    """Trains settings with the same number of epochs and the same seed, each on every fold.

    The outputs for the rows that a fold predicts are in the history, [rounds, members, folds, 1,
    rows, outputs].

    Args:
      arrays: x, y and weight, all [rows, ...]. refit_rows: how many rows the best setting will be
        trained on afterwards. Folds are padded to as many, unless that takes too much padding.
      common: whether each is trained with the random numbers that `fit` gives it, the same for all.
    """
    full_batch, float64 = settings[0].spec.full_batch, settings[0].spec.float64
    largest = max(len(training) for training, _ in folds)
    pads = trains_in_turn() and largest <= refit_rows <= PADDING[full_batch] * largest
    with precision(float64):
        capacity = refit_rows if pads else None
        options: Any = {"search": True, "capacity": capacity, "common": common}
        prepared = _prepared(settings, arrays, folds, **options)
        return TrainedTogether(run_prepared(prepared, Watching(progress=False)), prepared)


def fit(setting: Setting, arrays: dict[str, np.ndarray], start: Any, progress: bool) -> Fitted:
    """Trains one setting on all rows.

    Args:
      start: variables to start from, or None.
    """
    with precision(setting.spec.float64):
        prepared = _prepared([setting], arrays, _all_rows(arrays), start)
        sweep = run_prepared(prepared, Watching(progress=progress))
        state = jax.tree.map(lambda leaf: np.asarray(leaf)[0, 0], sweep[0].state)
    losses = sweep.history.get("train/loss")
    failed = None if np.isfinite(sweep[0].score) else sweep[0].status
    return Fitted(state, None if losses is None else losses[:, 0], failed)


def refit(
    together: TrainedTogether, member: int, setting: Setting, arrays: dict[str, np.ndarray]
) -> Fitted | None:
    """Trains a setting on all rows by the program that trained it as a candidate.

    Nothing is compiled: the member keeps its slot, alone, in the first fold.

    Returns:
      What `fit` returns, from the same first weights and batches; None if that program cannot.
    """
    plan, _, cohorts, arguments, _ = together.prepared
    (number,) = (i for i, cohort in enumerate(cohorts) if member in cohort.id)
    slot = list(cohorts[number].id).index(member)
    with precision(setting.spec.float64):
        data = _refit_data(arguments.data, setting, arrays, plan.cohorts[number].batch_size)
        if data is None:
            return None
        alone = tuple(
            cohort._replace(id=np.where(cohort.id == member, 0, -1).astype(np.int32))
            for cohort in cohorts
        )
        arguments = arguments._replace(seed=np.uint32(setting.seed), data=data)
        population = execute(plan, alone, arguments).carry[number].population
        # Copies: a view would keep all members' weights.
        state = jax.tree.map(lambda leaf: np.array(np.asarray(leaf)[slot, 0]), population.state)
    return _refitted(plan.learner, state)


def _refit_data(
    folds: Any, setting: Setting, arrays: dict[str, np.ndarray], batch_size: int | None
) -> PaddedFolds | None:
    """Returns all rows as the one fold of a search's padded folds; None if they do not fit."""
    assert batch_size is not None
    if not isinstance(folds, PaddedFolds) or len(arrays["x"]) > folds.train_rows:
        return None
    pairs = _all_rows(arrays)
    if setting.spec.full_batch:
        arrays, pairs = _zero_padded(arrays, pairs, batch_size)
    if _step_rows(setting, len(pairs[0][0])) != batch_size:
        return None
    return folds.refilled(_canonical(arrays), *zip(*pairs, strict=True))


def _refitted(learner: Learner, state: Any) -> Fitted:
    """Returns a refit, judged by its last state.

    The program's own record of divergence is not used: the empty folds make it meaningless.
    """
    assert learner.variables is not None
    losses = getattr(state, "losses", None)
    seen = [*jax.tree.leaves(learner.variables(state)), *([] if losses is None else [losses])]
    healthy = all(np.isfinite(np.asarray(leaf, np.float64)).all() for leaf in seen)
    return Fitted(untracked(state), losses, None if healthy else _failure(state))


def _failure(state: Any) -> str:
    finite = np.isfinite(getattr(state, "losses", 0.0))
    return "diverged" + ("" if finite.all() else f" in epoch {int(finite.argmin())}")


def trains_in_turn() -> bool:
    """Whether members are trained one after the other, so that empty slots cost nothing."""
    return resolve_layout(None, 1).width == 1


def _all_rows(arrays: dict[str, np.ndarray]) -> Pairs:
    """Returns one fold that trains on all rows, and scores the first, since it must score some."""
    return [(np.arange(len(arrays["x"])), np.zeros(1, np.int64))]


def compile_ahead(setting: Setting, arrays: dict[str, np.ndarray]) -> threading.Thread:
    """Compiles the program of `fit(setting, arrays)` in a thread.

    Returns:
      The thread, to be joined before `fit`. Errors are ignored: `fit` raises them again.
    """

    def work() -> None:
        with contextlib.suppress(Exception), precision(setting.spec.float64):
            build(_prepared([setting], arrays, _all_rows(arrays)).plan)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def _prepared(
    settings: Sequence[Setting],
    arrays: dict[str, np.ndarray],
    folds: Pairs,
    start: Any = None,
    *,
    search: bool = False,
    capacity: int | None = None,
    common: bool = False,
) -> Prepared:
    """Returns the sweep of settings on folds, ready to run.

    Args:
      search: whether outputs are recorded, as for a search; else the training loss of each epoch.
      capacity: training rows that the folds are padded to, or None. common: see `Folds`.
    """
    check_one_process("an estimator of vtune.sklearn")
    first = settings[0]
    if first.spec.full_batch:
        rows = capacity or max(len(training) for training, _ in folds)
        arrays, folds = _zero_padded(arrays, folds, rows)
    training, predicted = zip(*folds, strict=True)
    data: Any = (
        padded_folds(_canonical(arrays), training, predicted, capacity, common)
        if capacity is not None
        else folds_from_rows(_canonical(arrays), training, predicted, common)
    )
    parts, given = _space(settings, min(map(len, training)), search)
    return prepare(
        TuneArguments(
            learner=learner(search),
            space=parts,
            data=data,
            search=vt.Given(given),
            epochs=first.epochs,
            rounds=1 if search else first.epochs,
            batch_size=_batch_size,
            mode="min",
            seed=first.seed,
            init_from=start,
        )
    )


def precision(float64: bool) -> Any:
    """Returns a context in which JAX computes in float64, if asked for."""
    return jax.enable_x64(True) if float64 else contextlib.nullcontext()


def _canonical(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns arrays in the types that JAX gives them."""
    dtypes = {name: jax.dtypes.canonicalize_dtype(a.dtype) for name, a in arrays.items()}
    return {name: a.astype(dtypes[name]) for name, a in arrays.items()}


def _batch_size(h: Any) -> int:
    return h["batch_size"]


def _step_rows(setting: Setting, rows: int) -> int:
    """Returns how many of a fold's training rows one step takes."""
    return rows if setting.batch_size is None else min(setting.batch_size, rows)


def _space(settings: Sequence[Setting], rows: int, search: bool) -> tuple[list[dict], list[dict]]:
    """Returns a space with one part per structure, and the settings as members of it."""
    numbers_of: dict[Any, list[dict[str, float]]] = {}
    given = []
    for setting in settings:
        structure = {"spec": setting.spec, "batch_size": _step_rows(setting, rows)}
        if search and not setting.spec.full_batch:
            structure["epochs"] = setting.epochs
        numbers_of.setdefault(tuple(structure.items()), []).append(setting.numbers)
        given.append({**structure, **setting.numbers})
    parts = []
    for structure, numbers in numbers_of.items():
        values = {name: [float(n[name]) for n in numbers] for name in numbers[0]}
        ranges = {
            # Wider than needed: bounds are rounded inward.
            name: vt.Float(min(v) - 1 - abs(min(v)), max(v) + 1 + abs(max(v)))
            for name, v in values.items()
        }
        parts.append({**dict(structure), **ranges})
    return parts, given


def _zero_padded(
    arrays: dict[str, np.ndarray], folds: Pairs, train_rows: int
) -> tuple[dict[str, np.ndarray], Pairs]:
    """Returns arrays and folds that all train on `train_rows` rows, padded by a row of weight 0."""
    zero_row = len(arrays["x"])
    if all(len(training) == train_rows for training, _ in folds):
        return arrays, folds
    longer = {name: np.append(a, np.zeros_like(a[:1]), axis=0) for name, a in arrays.items()}

    def fill(rows: np.ndarray) -> np.ndarray:
        return np.append(rows, np.full(train_rows - len(rows), zero_row, rows.dtype))

    return longer, [(fill(np.asarray(training)), predicted) for training, predicted in folds]
