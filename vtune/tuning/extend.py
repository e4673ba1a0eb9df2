"""extend: more rounds for a sweep, from its members as they stand."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from vtune.data.dataset import Data
from vtune.engine.carry import Arguments, EarlierRun
from vtune.engine.layout import Layout, resolve_layout
from vtune.engine.objectives import Objectives, compared, refiner_objectives
from vtune.engine.plan import as_arrays, describe, jax_config
from vtune.engine.population import Population
from vtune.keywords import answering
from vtune.refine.base import Refiner
from vtune.refine.keep import Keep
from vtune.results.described import Described
from vtune.results.given_data import check_repeats, usable_data
from vtune.results.no_score import no_finite_score
from vtune.results.sweep import Sweep
from vtune.results.trained import Trained
from vtune.runtime import processes
from vtune.runtime.check_learner import check_metrics
from vtune.runtime.surroundings import check_surroundings
from vtune.runtime.time_limit import TimeLimit
from vtune.space.traced import program_space
from vtune.tuning.arguments import check_refiner
from vtune.tuning.callbacks import checked_callbacks
from vtune.tuning.changes import check_changes
from vtune.tuning.checkpoints.settings import Checkpoint, as_checkpoint
from vtune.tuning.duration import (
    eval_batch_size_of,
    length_of,
    rounds_of,
)
from vtune.tuning.hints import warn_idle, warn_no_score
from vtune.tuning.launch import Watching, run_prepared
from vtune.tuning.longer import longer_cohort
from vtune.tuning.prepare import Prepared, inspected


@answering
def extend(
    sweep: Sweep,
    *,
    epochs: int | None = None,
    steps: int | None = None,
    rounds: int | None = None,
    refiner: Refiner | None = None,
    eval_batch_size: int | None = None,
    layout: str | int | Layout | None = None,
    data: Data | None = None,
    timeout: float | None = None,
    checkpoint: str | os.PathLike | Checkpoint | None = None,
    progress: bool | None = None,
    callbacks: Sequence[Any] | None = None,
) -> Sweep:
    """Trains the members of a sweep further, as if the sweep had been longer from the start.

    Everything else stays as it was when the sweep began: learner, space, batch size, metric, seed.
    Where members were dropped, the others train on. `h["total_steps"]` is that of the whole sweep
    from then on. A sweep that was interrupted or loaded can be extended, too.

    The number of rounds is part of the program, so an extension of another length than the last
    one is compiled anew, which takes some 5 s for a small model: extend rarely, and by much.

    Args:
      sweep: what `vt.tune`, `vt.extend` or `vt.load` returned; it is not changed.
      epochs, steps: how much longer every member trains; one of the two.
      rounds: how often members are scored in these epochs or steps; one an epoch when left out.
      refiner: decides between the new rounds, as in a sweep that begins with them. When left out,
        the refiner of the sweep goes on, with what it remembers; an interrupted sweep then ends as
        it would have. So it does where the same is given again and it remembers something
        (`vt.PB2`); with other settings it remembers nothing.
      eval_batch_size, layout: as for `vt.tune`; as before when left out. A loaded sweep is laid
        out as `vt.tune` would without `layout=`.
      data: the data that the sweep was trained on; only a loaded sweep needs them.
      timeout, checkpoint, progress, callbacks: as for `vt.tune`; callbacks are told of the new
        rounds.

    Returns:
      A new `Sweep`; its history holds all rounds, the earlier ones and the new ones.

    Raises:
      TypeError, ValueError: on whatever cannot work, before anything is compiled: a sweep with
        `patience=`, `keep=` or `epochs=` as a function, whose members stopped where they stopped;
        a loaded sweep whose file does not hold its refiner; a refiner where members were dropped.

    Warns:
      UserWarning: the refiner would first act after the last round, or `timeout` ended it.

    Examples:
      >>> import jax.numpy as jnp, vtune as vt
      >>> quadratic = vt.Learner(
      ...     init=lambda key, h, batch: jnp.ones(()),
      ...     step=lambda key, h, x, batch: (x - h["lr"] * x, {}),
      ...     measure=lambda key, h, x, batch, weight: x**2 / 2,
      ...     score=lambda total: {"loss": total},
      ... )
      >>> space = {"lr": vt.Ordinal([0.1, 0.5])}
      >>> sweep = vt.tune(quadratic, space, search=vt.Grid(), steps=10, rounds=2)
      >>> vt.extend(sweep, steps=5).history["loss"].shape
      (3, 2)
    """
    with processes.together("vt.extend"), processes.warning_once():
        limit = None if timeout is None else TimeLimit(timeout, "extend")
        kept = as_checkpoint("extend", checkpoint)
        _check_sweep(sweep)
        told = checked_callbacks(callbacks)
    trained = sweep.trained.with_states_here("extend")
    with processes.together("vt.extend"), processes.warning_once():
        prepared, past = _prepare(
            trained, data, epochs, steps, rounds, refiner, eval_batch_size, layout
        )
        watching = Watching(progress=progress, limit=limit, callbacks=told, checkpoint=kept)
    longer = run_prepared(prepared, watching, past=past)
    with processes.warning_once():
        warn_no_score(no_finite_score(longer.trained))
    return longer


def _check_sweep(sweep: Any) -> None:
    """Raises TypeError where this is no sweep."""
    if not isinstance(sweep, Sweep):
        raise TypeError(
            f"extend: sweep must be a vt.Sweep, got {type(sweep).__name__}; give what vt.tune or "
            "vt.load returned (weights to start a new sweep from: vt.tune(..., init_from=...))"
        )


def _prepare(
    trained: Trained,
    data: Any,
    epochs: Any,
    steps: Any,
    rounds: Any,
    refiner: Any,
    eval_batch_size: Any,
    layout: Any,
) -> tuple[Prepared, EarlierRun]:
    """The plan of all rounds, earlier and new ones, and what the sweep was before the new ones."""
    check_surroundings("extend")
    _check_precision(trained)
    _check_extendable(trained)
    data = usable_data("extend", trained, data)
    check_repeats("extend", data)
    next_refiner, remembers = _next_refiner(trained, refiner)
    # The sweep's own refiner goes on as planned; in a shrunk population no other one decides.
    deciding = None if remembers or _is_shrunk(trained) else next_refiner
    lengths = [
        length_of(cohort, data, epochs, steps, plan.batch_size)
        for cohort, plan in zip(trained.cohorts, trained.plan.cohorts, strict=True)
    ]
    more = rounds_of(rounds, epochs, lengths, deciding or Keep())
    arguments = Arguments(
        np.uint32(trained.seed),
        tuple(program_space(cohort.combination.traced) for cohort in trained.cohorts),
        as_arrays(next_refiner),
        data,
        weights=trained.weights,
    )
    before = trained.plan
    size = eval_batch_size if eval_batch_size is not None else before.eval_batch_size
    largest = max(cohort.size for cohort in before.cohorts)
    plan = dataclasses.replace(
        before,
        cohorts=tuple(
            longer_cohort(trained, number, added, more, deciding, remembers)
            for number, added in enumerate(lengths)
        ),
        rounds=trained.rounds + more,
        eval_batch_size=eval_batch_size_of(size, data, before.learner, lengths),
        layout=before.layout if layout is None else resolve_layout(layout, largest),
        arguments=describe(arguments),
        config=jax_config(),
        past=trained.rounds,
        anew=not remembers,
    )
    inspections = inspected(plan, data)
    check_metrics(inspections)
    if refiner is not None:
        check_changes(inspections, trained.cohorts, refiner, None)
        warn_idle(refiner, plan.rounds, trained.cohorts)
    populations = _compared_by(trained, refiner_objectives(next_refiner))
    past = EarlierRun(trained.records, populations, trained.memories if remembers else None)
    return Prepared(plan, trained.space, trained.cohorts, arguments, trained.drawn), past


def _compared_by(trained: Trained, objectives: Objectives) -> tuple[Population, ...]:
    """The populations with the scores that the refiner compares them by, as last recorded."""
    if not objectives:
        return trained.populations
    ids = [np.asarray(population.id) for population in trained.populations]
    columns = [np.searchsorted(np.sort(np.concatenate(ids)), own) for own in ids]

    def scored(population: Population, columns: np.ndarray) -> Population:
        last = {name: values[-1, columns] for name, values in trained.records.history.items()}
        healthy = np.asarray(population.died) < 0
        return population._replace(objectives=compared(objectives, last, healthy, np))

    return tuple(map(scored, trained.populations, columns))


def _check_precision(trained: Trained) -> None:
    """Raises ValueError where the sweep was trained with another `jax_enable_x64`."""
    before, now = trained.plan.config[0], jax_config()[0]
    if before != now:
        raise ValueError(
            f"extend: the sweep was trained with jax_enable_x64={before}, and now it is {now}; "
            f'write jax.config.update("jax_enable_x64", {before}) before'
        )


def _check_extendable(trained: Trained) -> None:
    """Raises ValueError where members stopped early or hold other weights than their last."""
    trained.check_whole()
    records = trained.records
    if (
        trained.plan.stopping
        or any(cohort.own_epochs for cohort in trained.plan.cohorts)
        or (records.stopped >= 0).any()
        or (records.ends != records.lived).any()
    ):
        raise ValueError(
            "extend: the sweep had patience=, keep= or epochs= as a function, so its members are "
            "finished; start a new sweep from its weights: vt.tune(..., init_from=sweep.best)"
        )


def _is_shrunk(trained: Trained) -> bool:
    """Whether members were dropped; the others then train on, and no refiner decides any more."""
    return bool((trained.records.parents[-1] < 0).any())


def _next_refiner(trained: Trained, given: Any) -> tuple[Refiner, bool]:
    """The refiner of the new rounds, and whether it remembers the earlier ones."""
    shrunk = _is_shrunk(trained)
    if given is not None:
        check_refiner(given)
        if jax.tree.leaves(trained.memories) and _is_own(trained.refiner, given):
            return trained.refiner, True
        if shrunk and not getattr(given, "idle", False):
            raise ValueError(
                f"extend: members of the sweep were dropped, and the others train on; leave "
                f"refiner={type(given).__name__}(...) out"
            )
        return given, False
    if isinstance(trained.refiner, Described):
        raise ValueError(
            f"extend: the file holds no more of the sweep's refiner than {trained.refiner}; "
            f"{trained.refiner.reason} (or here refiner=vt.refine.Keep(), to train on without one)"
        )
    if trained.refiner is not None:
        return trained.refiner, True
    parents = trained.records.parents
    if not shrunk and (parents != np.arange(parents.shape[1])).any():
        raise ValueError(
            "extend: the file of this sweep, of an older version, does not hold its refiner; give "
            "refiner= again, or refiner=vt.refine.Keep() to train on without one"
        )
    return Keep(), False


def _is_own(refiner: Any, given: Any) -> bool:
    """Whether a refiner has the settings of the sweep's own."""
    own: Any = jax.tree.structure(refiner)
    new = as_arrays(given)
    alike = map(np.array_equal, jax.tree.leaves(refiner), jax.tree.leaves(new))
    return own == jax.tree.structure(new) and all(alike)
