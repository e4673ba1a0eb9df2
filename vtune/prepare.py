"""From a user's arguments to a plan and the program's arguments; says what cannot work."""

from __future__ import annotations

import time
import warnings
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.tree_util import keystr

from vtune.alone import starting
from vtune.budget import most_epochs, stopping_of, with_total_steps
from vtune.carry import Arguments, Path
from vtune.check import Found, check_labels, check_metrics
from vtune.contracts import check_call
from vtune.data import Data, check_finite
from vtune.distributions import Categorical
from vtune.execute import inspect, outputs
from vtune.folds import Folds
from vtune.hints import many_combinations
from vtune.layout import resolve_layout
from vtune.learner import Learner
from vtune.member import Member
from vtune.plan import CohortPlan, Plan, as_arrays, data_rows, describe, jax_config
from vtune.refine.base import Refiner, Rung
from vtune.refine.keep import Keep
from vtune.room import Room
from vtune.search import Cohort, Halton, sized
from vtune.space import Space, parse
from vtune.traced import program_space
from vtune.trainings import Trainings
from vtune.types import Hparams, Static, UnknownHyperparameterError, is_whole
from vtune.weights import plain

EVAL_ROWS = 1024  # scored at once, unless eval_batch_size= says otherwise
_LEARNERS = {  # what the functions of a learner are given
    "init": "key, h, batch",
    "step": "key, h, state, batch",
    "measure": "key, h, state, batch, weight",
    "score": "totals",
}
MANY_COHORTS = 16  # with more, the time to compile is predicted
# Compiling took 12 times as long as checking, for 18 cohorts of an MLP on 2 CPU cores.
COMPILE_PER_CHECK = 12


class Prepared(NamedTuple):
    """What a sweep needs to run: nothing is compiled yet."""

    plan: Plan
    space: Space
    cohorts: tuple[Cohort, ...]
    arguments: Arguments


def prepare(
    learner: Any,
    space: Any,
    data: Any,
    *,
    search: Any,
    refiner: Any,
    epochs: Any,
    steps: Any,
    rounds: Any,
    batch_size: Any,
    eval_batch_size: Any,
    metric: Any,
    mode: Any,
    seed: Any,
    layout: Any,
    patience: Any = None,
    keep: Any = None,
    init_from: Any = None,
    seeds: Any = None,
    path: Path | None = None,
    known_schedule: bool = False,
) -> Prepared:
    """The arguments are those of `vt.tune`.

    Args:
      path: for a population of one: its hyperparameters round by round.
      known_schedule: they were read in a sweep, so nobody is told that one is not.

    Raises:
      TypeError, ValueError: on whatever cannot work.
    """
    if not isinstance(learner, Learner):
        raise TypeError(
            f"learner={type(learner).__name__} is no Learner; make one with vt.flax_learner(...), "
            "vt.nnx_learner(...) or vt.Learner(init, step, measure, score)"
        )
    if data is not None and not isinstance(data, Data):
        raise TypeError(
            f"data={type(data).__name__} is no Data; write vt.holdout({{'x': X, 'y': y}}) or "
            "vt.split(train, valid), or vt.kfold({'x': X, 'y': y}, k=5)"
        )
    for name, takes in _LEARNERS.items():
        check_call(f"the learner's {name}", getattr(learner, name), takes)
    checked = parse(space)
    mode = _mode(learner, metric, mode)
    if not is_whole(seed) or not 0 <= seed < 2**32:
        raise ValueError(f"seed={seed!r} must be a whole number from 0 to 2**32 - 1")
    search = search if search is not None else Halton()
    if isinstance(search, type) or not hasattr(search, "draw"):
        raise TypeError(f"search={search!r} is no search; write vt.Halton(64) or vt.Grid({{...}})")
    refiner = refiner if refiner is not None else Keep()
    check_is_refiner(refiner)
    own = getattr(refiner, "size", None)  # Hyperband sets the number of settings
    search = sized(search, None if own is None else own * len(checked.combinations))
    cohorts = search.draw(checked, int(seed))
    if path is not None:
        cohorts = (starting(cohorts[0], path),)
    own_epochs, epochs = (
        (epochs, most_epochs(cohorts, epochs)) if callable(epochs) else (None, epochs)
    )
    lengths = [
        length_of(cohort, data, epochs, steps, batch_size) for cohort in cohorts
    ]  # (batch size, steps, steps per epoch)
    totals: list[int | None] = [steps for _, steps, _ in lengths]
    if own_epochs is not None:
        pairs = [
            with_total_steps(cohort, own_epochs, length[2] or 1)
            for cohort, length in zip(cohorts, lengths, strict=True)
        ]
        cohorts, totals = tuple(own for own, _ in pairs), [total for _, total in pairs]
    if isinstance(data, Room):
        cohorts = tuple(
            data.paced(cohort, size or 1, steps // (a_epoch or 1))
            for cohort, (size, steps, a_epoch) in zip(cohorts, lengths, strict=True)
        )
    rounds = rounds_of(rounds, epochs, lengths, refiner)
    stopping = stopping_of(patience, keep, own_epochs, rounds, epochs, refiner)
    arguments = Arguments(
        np.uint32(seed),
        tuple(program_space(cohort.combination.traced) for cohort in cohorts),
        as_arrays(refiner),
        data,
        path,
        _weights(learner, init_from),
    )
    plan = Plan(
        learner=learner,
        cohorts=tuple(
            _cohort_plan(cohort, length, total, rounds, refiner)
            for cohort, length, total in zip(cohorts, lengths, totals, strict=True)
        ),
        rounds=rounds,
        metric=metric,
        mode=mode,
        eval_batch_size=eval_batch_size_of(eval_batch_size, data),
        layout=resolve_layout(layout, max(len(cohort.id) for cohort in cohorts)),
        arguments=describe(arguments),
        config=jax_config(),
        stopping=stopping,
        trainings=_trainings(data, seeds),
    )
    found = inspected(plan, data)
    check_metrics(found)
    if not known_schedule:
        _warn_unread(checked, cohorts, found, (batch_size, own_epochs))
    warn_idle(refiner, rounds)
    return Prepared(plan, checked, cohorts, arguments)


def check_is_refiner(refiner: Any) -> None:
    """Raises where it is none."""
    if isinstance(refiner, type) or not hasattr(refiner, "refine"):
        raise TypeError(f"refiner={refiner!r} is no refiner; write vt.PBT() or vt.Halving()")
    if any(leaf is refiner for leaf in jax.tree.leaves(refiner)):
        raise TypeError(
            f"refiner={refiner!r} is not registered with JAX; write @jax.tree_util."
            "register_dataclass and @dataclass(frozen=True) above its class"
        )


def inspected(plan: Plan, data: Data | None) -> tuple[Found, ...]:
    """What tracing shows. Many cohorts take long to compile, which is said before."""
    began, missed = time.perf_counter(), inspect.cache_info().misses
    for shapes in outputs(plan):
        check_labels(plan.learner, shapes, data)
    found = inspect(plan)
    if len(plan.cohorts) > MANY_COHORTS and inspect.cache_info().misses > missed:
        seconds = time.perf_counter() - began
        many_combinations(len(plan.cohorts), COMPILE_PER_CHECK * seconds)
    return found


def _mode(learner: Learner, metric: Any, mode: Any) -> str:
    if not isinstance(metric, str) and not callable(metric):
        raise TypeError(f"metric={metric!r} is neither a name nor a function of the metrics")
    if mode is None:
        own = dict(learner.modes)
        known = {"loss": "min", **own}
        if metric not in known:
            others = f"choose one of those that do, {sorted(own)}, or " if own else ""
            raise ValueError(
                f"metric={metric!r} does not say whether higher is better; {others}"
                'say mode="max" or mode="min"'
            )
        return known[metric]
    if mode not in ("max", "min"):
        raise ValueError(f'mode={mode!r} must be "max" (higher is better) or "min"')
    return mode


def length_of(
    cohort: Cohort, data: Data | None, epochs: Any, steps: Any, batch_size: Any
) -> tuple[int | None, int, int | None]:
    """(batch size, steps, steps per epoch) of a cohort."""
    if (epochs is None) == (steps is None):
        both = "neither is" if epochs is None else "both are"
        raise ValueError(f"epochs= or steps= must be given, one of them; {both}")
    for name, value in (("epochs", epochs), ("steps", steps)):
        _check_no_range(name, value)
        if value is not None and (not is_whole(value) or value < 1):
            raise ValueError(f"{name}={value!r} must be a whole number, 1 or more")
    if data is None:
        if steps is None:
            raise ValueError("epochs= needs data; without, give steps=")
        return None, int(steps), None
    size = batch_size_of(cohort, batch_size)
    pair = data_rows(data)
    assert pair is not None
    if size > pair[0]:
        of = " of the smallest fold" if isinstance(data, Folds) else ""
        raise ValueError(
            f"batch_size={size} is above the {pair[0]} training rows{of}; at most {pair[0]}"
        )
    a_epoch = pair[0] // size
    return size, int(steps) if steps is not None else a_epoch * int(epochs or 0), a_epoch


def batch_size_of(cohort: Cohort, batch_size: Any) -> int:
    size = batch_size
    if callable(batch_size):
        try:
            size = batch_size(Hparams({}, cohort.combination.static))
        except UnknownHyperparameterError as error:
            raise ValueError(
                f"batch_size reads {error.name!r}, which is not structural; write "
                "vt.Categorical([...]) or a fixed value for it in the space"
            ) from None
    _check_no_range("batch_size", size)
    if not is_whole(size):
        raise TypeError(f"batch_size={size!r} is not a whole number")
    if size < 1:
        raise ValueError(f"batch_size={size} must be 1 or more")
    return int(size)


def _check_no_range(name: str, value: Any) -> None:
    """A range belongs into the space."""
    if not isinstance(value, Categorical) and not hasattr(value, "from_unit"):
        return
    instead = (
        f'write "{name}": {value!r} into the space, and {name}=lambda h: h["{name}"] beside it'
    )
    if name == "steps":
        instead = "give one number for all members"
    raise TypeError(f"{name}={value!r} is not a whole number; {instead}")


def _trainings(data: Data | None, seeds: Any) -> Trainings | None:
    """The folds and seeds of a member; None where it is a single training."""
    if seeds is not None and (not is_whole(seeds) or seeds < 1):
        raise ValueError(f"seeds={seeds!r} must be a whole number, 1 or more")
    folds = data.folds if isinstance(data, Folds) else None
    if folds is None and seeds in (None, 1):
        return None
    return Trainings(folds or 1, int(seeds or 1), folds is not None)


def rounds_of(rounds: Any, epochs: Any, lengths: list[Any], refiner: Refiner) -> int:
    shortest = min(steps for _, steps, _ in lengths)
    if rounds is None:
        rounds = getattr(refiner, "max_rounds", None)
    if rounds is None:
        if epochs is not None:
            return int(epochs)
        each = [max(1, steps // a_epoch) for _, steps, a_epoch in lengths if a_epoch]
        return min(each, default=1)
    if not is_whole(rounds) or rounds < 1:
        raise ValueError(f"rounds={rounds!r} must be a whole number, 1 or more")
    if rounds > shortest:
        raise ValueError(f"rounds={rounds} is more than the {shortest} steps there are")
    return int(rounds)


def eval_batch_size_of(size: Any, data: Data | None) -> int | None:
    if size is not None and (not is_whole(size) or size < 1):
        raise ValueError(f"eval_batch_size={size!r} must be a whole number, 1 or more")
    pair = data_rows(data)
    return None if pair is None else min(int(size or EVAL_ROWS), pair[1])


def _weights(learner: Learner, init_from: Any) -> Any:
    """Weights from elsewhere, as arrays."""
    if init_from is None:
        return None
    if learner.load is None:
        raise ValueError("init_from: this learner has no load function; give Learner(load=...)")
    several = init_from.trainings if isinstance(init_from, Member) else None
    if several is not None:
        raise ValueError(
            f"init_from: a member of {several.folds} folds and {several.seeds} seeds has as many "
            "weights; give those of one: jax.tree.map(lambda a: a[fold, seed], member.variables)"
        )
    tree = plain(init_from.variables if isinstance(init_from, Member) else init_from)
    if not isinstance(tree, dict) or not jax.tree.leaves(tree):
        raise TypeError(
            f"init_from={type(init_from).__name__} is no tree of weights; give sweep.best, or "
            'variables such as {"params": {...}}, whole or part'
        )
    check_finite(
        "init_from", {keystr(k): np.asarray(v) for k, v in jax.tree.leaves_with_path(tree)}
    )
    return as_arrays(jax.tree.map(np.asarray, tree))  # a program of other devices takes them, too


def _cohort_plan(
    cohort: Cohort, length: Any, total: int | None, rounds: int, refiner: Refiner
) -> CohortPlan:
    batch_size, steps, a_epoch = length
    static = {**cohort.combination.static}
    for name, number in (("total_steps", total), ("steps_per_epoch", a_epoch)):
        if number is not None and name not in cohort.hparams:
            static[name] = number
    size = len(cohort.id)
    rungs = rungs_of(cohort, rounds, refiner)
    traced = tuple((name, str(values.dtype)) for name, values in cohort.hparams.items())
    return CohortPlan(Static(static), traced, size, batch_size, steps, a_epoch, rungs)


def rungs_of(cohort: Cohort, rounds: int, refiner: Refiner) -> tuple[Rung, ...]:
    """The sizes of a cohort over the rounds, as its refiner wants them."""
    size = len(cohort.id)
    try:
        rungs = tuple(refiner.rungs(size, rounds))
    except ValueError as error:
        if not cohort.combination.choices:
            raise
        raise ValueError(f"cohort {cohort.combination.choices}: {error}") from None
    sizes = [rung.size for rung in rungs]
    if (
        sum(rung.rounds for rung in rungs) != rounds
        or min((rung.rounds for rung in rungs), default=0) < 1
        or sizes != sorted(sizes, reverse=True)
        or sizes[0] != size
        or sizes[-1] < 1
    ):
        raise ValueError(
            f"{type(refiner).__name__}.rungs({size}, {rounds}) gave {rungs}; they must cover "
            f"{rounds} rounds, begin with {size} members and never grow"
        )
    return rungs


def warn_idle(refiner: Refiner, rounds: int) -> None:
    first = getattr(refiner, "first_round", None)
    if first is not None and rounds <= first:
        warnings.warn(
            f"{type(refiner).__name__} never acts: it would first do so before round {first}, and "
            f"rounds are counted from 0 to {rounds - 1}; give more epochs= or rounds=",
            stacklevel=4,
        )


def _warn_unread(
    space: Space,
    cohorts: tuple[Cohort, ...],
    found: tuple[Found, ...],
    others: tuple[Any, ...],
) -> None:
    """Of hyperparameters that neither the learner reads nor any of the `others`, functions of h."""
    read = set().union(*(cohort.reads for cohort in found))
    for function in filter(callable, others):
        for cohort in cohorts:
            first = {name: values[0] for name, values in cohort.hparams.items()}
            function(Hparams(first, cohort.combination.static, read))
    unread = [name for name in space.names if name not in read]
    if unread:
        warnings.warn(
            f"{', '.join(map(repr, unread))} in the space: never read by the model, optimizer or "
            "loss, so it changes nothing; read it as h[name] or leave it out",
            stacklevel=4,
        )
