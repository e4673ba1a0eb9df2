"""Settings of estimators trained together, as one vtune sweep."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

import vtune as vt
from vtune.data.folds import unchecked
from vtune.engine.layout import resolve_layout
from vtune.results.sweep import Sweep
from vtune.runtime.compile import build
from vtune.runtime.execute import execute
from vtune.sklearn.training.padded_folds import PaddedFolds, padded_folds
from vtune.sklearn.training.spec import Setting, learner, own_state
from vtune.tuning.arguments import TuneArguments
from vtune.tuning.duration import with_traced_lengths
from vtune.tuning.launch import run_prepared
from vtune.tuning.prepare import Prepared, prepare

Pairs = Sequence[tuple[np.ndarray, np.ndarray]]  # by fold the rows it trains on, and is judged on
# Room is made for as many times the rows that folds train on; more is not worth compiling once.
ROOM = {False: 1.5, True: 1.35}  # by spec.whole, where every step takes what fills up, too


class Together(NamedTuple):
    """Settings that were trained together on folds, and what their program was."""

    sweep: Sweep
    prepared: Prepared

    def state(self, member: int, fold: int) -> Any:
        """The state of one training, on the host."""
        return own_state(self._state(member, fold))

    def failure(self, member: int, fold: int) -> str:
        """How one that failed did."""
        return _failure(self._state(member, fold))

    def _state(self, member: int, fold: int) -> Any:
        return jax.tree.map(lambda leaf: np.asarray(leaf)[fold, 0], self.sweep[member].state)


class Fitted(NamedTuple):
    """One setting trained on all rows.

    Attributes:
      state: on the host. losses: [epochs] the mean training loss of each; None where there is no
        such thing. failed: what happened to it, or None.
    """

    state: Any
    losses: np.ndarray | None
    failed: str | None


def train(
    settings: Sequence[Setting], arrays: dict[str, np.ndarray], folds: Pairs, rows: int
) -> Together:
    """Trains settings with the same number of epochs and the same seed, each on every fold.

    The outputs for the rows that a fold is judged on are in the history, [rounds, members, folds,
    1, rows, outputs].

    Args:
      arrays: x, y and weight, [rows, ...] each. rows: that the best is to be trained on after it;
        there will be room for them, unless they are many more.
    """
    largest = max(len(training) for training, _ in folds)
    limit = ROOM[settings[0].spec.whole] * largest
    roomy = one_by_one() and largest <= rows <= limit
    with precision(settings[0].spec.double):
        prepared = _prepared(settings, arrays, folds, together=True, most=rows if roomy else None)
        return Together(run_prepared(prepared, False), prepared)


def fit(setting: Setting, arrays: dict[str, np.ndarray], start: Any, progress: bool) -> Fitted:
    """Trains one setting on all rows.

    Args:
      start: variables to start from, or None.
    """
    with precision(setting.spec.double):
        sweep = run_prepared(_prepared([setting], arrays, _all_rows(arrays), start), progress)
        state = jax.tree.map(lambda leaf: np.asarray(leaf)[0, 0], sweep[0].state)
    losses = sweep.history.get("train/loss")
    failed = None if np.isfinite(sweep[0].score) else sweep[0].status
    return Fitted(state, None if losses is None else losses[:, 0], failed)


def fit_again(
    together: Together, member: int, setting: Setting, arrays: dict[str, np.ndarray]
) -> Fitted | None:
    """Trains a setting on all rows by the program that trained it as one of many, which is not
    compiled again: in its place it is alone, in the first fold.

    Returns:
      What `fit` returns, from the same first weights and batches; None where that program cannot.
    """
    plan, _, cohorts, arguments = together.prepared
    (number,) = (i for i, own in enumerate(cohorts) if member in own.id)
    own, slot = plan.cohorts[number], list(cohorts[number].id).index(member)
    assert own.batch_size is not None
    folds = _all_rows(arrays)
    if not isinstance(arguments.data, PaddedFolds) or len(arrays["x"]) > arguments.data.train_rows:
        return None
    with precision(setting.spec.double):
        if setting.spec.whole:
            arrays, folds = _filled(arrays, folds, own.batch_size)
        data = arguments.data.refilled(_held(arrays), *zip(*folds, strict=True))
        if data is None or _rows_a_step(setting, len(folds[0][0])) != own.batch_size:
            return None
        alone = tuple(
            with_traced_lengths(
                cohort._replace(id=np.where(cohort.id == member, 0, -1).astype(np.int32)),
                data.traced_lengths(a_plan.batch_size or 1, setting.epochs),
            )
            for cohort, a_plan in zip(cohorts, plan.cohorts, strict=True)
        )
        arguments = arguments._replace(seed=np.uint32(setting.seed), data=data)
        population = execute(plan, alone, arguments).carry[number].population
        # Copies: a view would keep all members' weights.
        state = jax.tree.map(lambda leaf: np.array(np.asarray(leaf)[slot, 0]), population.state)
    losses = getattr(state, "losses", None)
    # The empty places of its slot are nobody's, so what the program says of the member is not read.
    assert plan.learner.variables is not None
    seen = [*jax.tree.leaves(plan.learner.variables(state)), *([] if losses is None else [losses])]
    healthy = all(np.isfinite(np.asarray(leaf, np.float64)).all() for leaf in seen)
    return Fitted(own_state(state), losses, None if healthy else _failure(state))


def _failure(state: Any) -> str:
    finite = np.isfinite(getattr(state, "losses", 0.0))
    return "diverged" + ("" if finite.all() else f" in epoch {int(finite.argmin())}")


def one_by_one() -> bool:
    """Whether members are trained one after the other, so that an empty place costs nothing."""
    return resolve_layout(None, 1).width == 1


def _all_rows(arrays: dict[str, np.ndarray]) -> Pairs:
    """One fold that trains on all rows. A score is not asked for; the first row makes one."""
    return [(np.arange(len(arrays["x"])), np.zeros(1, np.int64))]


def compile_ahead(setting: Setting, arrays: dict[str, np.ndarray]) -> threading.Thread:
    """Compiles what `fit(setting, arrays)` will run, beside other work.

    Returns:
      The thread, to be joined before that. Whatever goes wrong is left for `fit` to say.
    """

    def work() -> None:
        with contextlib.suppress(Exception), precision(setting.spec.double):
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
    together: bool = False,
    most: int | None = None,
) -> Prepared:
    """The sweep, ready to run.

    Args:
      together: for a search; else the training loss of each epoch is recorded. most: the rows that
        there is to be room for.
    """
    first = settings[0]
    if first.spec.whole:
        arrays, folds = _filled(arrays, folds, most or max(len(own) for own, _ in folds))
    training, judged = zip(*folds, strict=True)
    data: Any = (
        padded_folds(_held(arrays), training, judged, most)
        if most is not None
        else unchecked(_held(arrays), training, judged)
    )
    parts, given = _space(settings, min(map(len, training)), together)
    return prepare(
        TuneArguments(
            learner=learner(together),
            space=parts,
            data=data,
            search=vt.Given(given),
            epochs=first.epochs,
            rounds=1 if together else first.epochs,
            batch_size=_batch_size,
            mode="min",
            seed=first.seed,
            init_from=start,
        )
    )


def precision(double: bool) -> Any:
    """float64 within, where it is asked for."""
    return jax.enable_x64(True) if double else contextlib.nullcontext()


def _held(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """In the types that the program takes."""
    kinds = {name: jax.dtypes.canonicalize_dtype(a.dtype) for name, a in arrays.items()}
    return {name: a.astype(kinds[name]) for name, a in arrays.items()}


def _batch_size(h: Any) -> int:
    return h["batch_size"]


def _rows_a_step(setting: Setting, rows: int) -> int:
    return rows if setting.batch_size is None else min(setting.batch_size, rows)


def _space(settings: Sequence[Setting], rows: int, together: bool) -> tuple[list[dict], list[dict]]:
    """A space with a part for each structure, and the settings as its members."""
    kinds: dict[Any, list[dict[str, float]]] = {}
    given = []
    for own in settings:
        structure = {"spec": own.spec, "batch_size": _rows_a_step(own, rows)}
        if together and not own.spec.whole:
            structure["epochs"] = own.epochs
        kinds.setdefault(tuple(structure.items()), []).append(own.numbers)
        given.append({**structure, **own.numbers})
    parts = []
    for structure, numbers in kinds.items():
        values = {name: [float(n[name]) for n in numbers] for name in numbers[0]}
        ranges = {
            # Wider than needed: bounds are rounded inward.
            name: vt.Float(min(v) - 1 - abs(min(v)), max(v) + 1 + abs(max(v)))
            for name, v in values.items()
        }
        parts.append({**dict(structure), **ranges})
    return parts, given


def _filled(
    arrays: dict[str, np.ndarray], folds: Pairs, most: int
) -> tuple[dict[str, np.ndarray], Pairs]:
    """Folds that all train on `most` rows: those they lack are of zeros and weigh nothing."""
    rows = len(arrays["x"])
    if all(len(training) == most for training, _ in folds):
        return arrays, folds
    longer = {name: np.append(a, np.zeros_like(a[:1]), axis=0) for name, a in arrays.items()}
    fill = lambda part: np.append(part, np.full(most - len(part), rows, part.dtype))
    return longer, [(fill(np.asarray(training)), judged) for training, judged in folds]
