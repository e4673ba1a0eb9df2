"""Collects and checks the arguments of `vt.tune`; `duration.py` checks how long members train."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.tree_util import keystr

from vtune.callers import users_line
from vtune.data.dataset import Data
from vtune.data.folds import Folds
from vtune.data.validate import check_finite, check_split
from vtune.engine.carry import Trajectory
from vtune.engine.objectives import refiner_objectives
from vtune.engine.plan import as_arrays
from vtune.engine.replicates import Replicates
from vtune.learner.captured import captured_tracers
from vtune.learner.pretrained import plain
from vtune.learner.protocol import SIGNATURES, Learner
from vtune.metrics.base import Metric
from vtune.metrics.modes import check_mode, nearest, usual_mode
from vtune.refine.base import Refiner, check_is_refiner
from vtune.refine.keep import Keep
from vtune.results.member import Member
from vtune.search.base import Search, sized
from vtune.search.generations import Generations
from vtune.search.given import Given, is_frame
from vtune.search.halton import Halton
from vtune.space.space import Space, parse
from vtune.types import PyTree
from vtune.validation import check_call, check_count, check_flag, check_untraced, is_whole

_REQUIRED = ("init", "step", "measure", "score")  # of a learner's functions
_REFINING = {  # the arguments of a refiner's
    "rungs": "size, rounds",
    "init": "space, size",
    "refine": "key, round, space, hparams, score, memory",
}


@dataclass(frozen=True, kw_only=True)
class TuneArguments:
    """What `vt.tune` was called with, unchecked; `vt.replay` and the scikit-learn searches make one
    as well. `vt.tune` says what each argument means.

    Attributes:
      trajectory: the hyperparameters of a population of one, round by round; for `vt.replay`.
      known_schedule: whether the hyperparameters come from a sweep, so that nobody is warned of
        those that are never read.
    """

    learner: Any
    space: Any
    data: Any = None
    search: Any = None
    refiner: Any = None
    epochs: Any = None
    steps: Any = None
    rounds: Any = None
    batch_size: Any = None
    eval_batch_size: Any = None
    metric: Any = "loss"
    mode: Any = None
    seed: Any = 0
    patience: Any = None
    keep: Any = None
    init_from: Any = None
    frozen: Any = None
    cache_features: Any = False
    seeds: Any = None
    layout: Any = None
    trajectory: Trajectory | None = None
    known_schedule: bool = False


class CheckedArguments(NamedTuple):
    """Arguments of `vt.tune` after their checks, with what was left out filled in.

    Attributes:
      weights: what all members start from, as arrays; None where weights are drawn.
      replicates: the folds and seeds of a member; None where a member is one training.
    """

    space: Space
    mode: str
    seed: int
    search: Search
    refiner: Refiner
    weights: PyTree
    replicates: Replicates | None


def check_arguments(given: TuneArguments) -> CheckedArguments:
    """Checks every argument but those of durations, which need the members drawn.

    Raises:
      TypeError, ValueError: an argument cannot work.
    """
    check_learner(given.learner)
    read = captured_tracers(given.learner, given.metric)
    check_untraced(
        "vtune", data=given.data, init_from=given.init_from, refiner=given.refiner, learner=read
    )
    if given.data is not None and not isinstance(given.data, Data):
        raise TypeError(
            f"data must be a vt.Data, got {type(given.data).__name__}; make one with "
            "vt.holdout({'x': X, 'y': y}), vt.from_splits(train, valid) or "
            "vt.kfold({'x': X, 'y': y}, k=5)"
        )
    if given.data is not None and not given.data.folded:  # of folds, kfold has checked the rows
        check_split(given.data)
    check_flag("cache_features", given.cache_features)
    space = parse(given.space)
    mode = mode_of(given.learner, given.metric, given.mode)
    seed = given.seed
    if not is_whole(seed) or not 0 <= seed < 2**32:
        raise ValueError(f"seed={seed!r} must be a whole number from 0 to 2**32 - 1")
    search = _as_search(given.search)
    refiner = given.refiner if given.refiner is not None else Keep()
    check_refiner(refiner)
    _warn_of_opposite_objectives(given.learner, refiner)
    per_combination = getattr(refiner, "size", None)  # Hyperband says how many members it needs
    members = None if per_combination is None else per_combination * len(space.combinations)
    return CheckedArguments(
        space=space,
        mode=mode,
        seed=int(seed),
        search=search.of(members) if isinstance(search, Generations) else sized(search, members),
        refiner=refiner,
        weights=_initial_weights(given.learner, given.init_from),
        replicates=_replicates(given.data, given.seeds),
    )


def _as_search(search: Any) -> Search:
    """Returns the search that is meant: settings may stand for themselves."""
    if search is None:
        return Halton()
    if isinstance(search, list | tuple) or is_frame(search):
        return Given(search)
    if isinstance(search, type) or not callable(getattr(search, "draw", None)):
        instead = "vt.Halton(64) or vt.Grid({...})"
        if isinstance(search, Mapping):
            instead = "[{...}, {...}] for settings of your own, or vt.Grid({...})"
        if hasattr(search, "sample_relative"):
            instead = "vt.Generations(sampler, size=64, generations=5)"
        if hasattr(search, "get_trials"):
            instead = "vt.Given.from_optuna(study) for its best settings"
        raise TypeError(f"search must have a draw method, got {search!r}; write {instead}")
    check_call("search: draw", search.draw, "space, seed")
    return search


def check_refiner(refiner: Any) -> None:
    """Raises TypeError where this is no refiner, or its methods take other arguments."""
    check_is_refiner(refiner)
    for name, takes in _REFINING.items():
        check_call(f"refiner: {name}", getattr(refiner, name), takes)
    objectives = getattr(refiner, "objectives", ())
    if not isinstance(objectives, tuple) or not all(map(_is_objective, objectives)):
        raise TypeError(
            f"refiner: objectives={objectives!r} must be pairs of a metric's name, or a function "
            'of the metrics, and "max" or "min", such as (("accuracy", "max"), ("loss", "min"))'
        )


def _is_objective(pair: Any) -> bool:
    if not isinstance(pair, tuple) or len(pair) != 2:
        return False
    metric, mode = pair
    return (isinstance(metric, str) or callable(metric)) and mode in ("max", "min")


def check_learner(learner: Any) -> None:
    """Raises TypeError where this is no learner, or its functions take other arguments."""
    if not isinstance(learner, Learner):
        raise TypeError(
            f"learner must be a vt.Learner, got {type(learner).__name__}; make one with "
            "vt.flax_learner(...), vt.nnx_learner(...) or vt.Learner(init, step, measure, score)"
        )
    for name, takes in SIGNATURES.items():
        function = getattr(learner, name)
        if name in _REQUIRED or function is not None:
            check_call(f"the learner's {name}", function, takes)
    check_flag("Learner: whole_batches", learner.whole_batches)
    if not isinstance(learner.modes, tuple) or not all(map(_is_mode, learner.modes)):
        raise TypeError(
            f'the learner\'s modes must be pairs of a metric\'s name and "max" or "min", got '
            f'{learner.modes!r}; write modes=(("accuracy", "max"),)'
        )


def _is_mode(pair: Any) -> bool:
    return isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str)


def mode_of(learner: Learner, metric: Any, mode: Any) -> str:
    """Returns "max" or "min", as given or as the metric itself says."""
    if isinstance(metric, Metric):
        raise TypeError(
            "metric= is the name of one of the learner's metrics, got a Metric itself; write "
            'metrics={"accuracy": vt.metrics.accuracy} in the learner and metric="accuracy"'
        )
    if not isinstance(metric, str) and not callable(metric):
        raise TypeError(
            f"metric must be the name of a metric or a function of the metrics, got {metric!r}"
        )
    if callable(metric):
        check_call("metric", metric, "metrics")
    if mode is None:
        usual = usual_mode(metric) if isinstance(metric, str) and not learner.modes else None
        mode = {"loss": "min", **dict(learner.modes)}.get(metric, usual)
        if mode is None:
            raise ValueError(_unknown_mode(learner, metric))
    check_mode(mode)
    own = _own_mode(learner, metric)
    if own is not None and own != mode:
        warnings.warn(
            f"mode={mode!r}: the metric {metric!r} says itself that mode={own!r} is better, so the "
            "best member is the worst; leave mode= out unless this is meant",
            stacklevel=users_line(),
        )
    return mode


def _own_mode(learner: Learner, metric: Any) -> str | None:
    """Returns what a metric says itself of whether higher is better; None where it does not."""
    return {"loss": "min", **dict(learner.modes)}.get(metric)


def _warn_of_opposite_objectives(learner: Learner, refiner: Any) -> None:
    for metric, mode in refiner_objectives(refiner):
        own = _own_mode(learner, metric)
        if own not in (None, mode):
            warnings.warn(
                f"{type(refiner).__name__}: {metric!r} has the mode {mode!r}, but the metric says "
                f"itself that {own!r} is better; write {own!r} unless this is meant",
                stacklevel=users_line(),
            )


def _unknown_mode(learner: Learner, metric: Any) -> str:
    """What is said of a metric that does not say whether higher is better."""
    said = f"metric={metric!r} does not say whether higher is better"
    if callable(metric) or not learner.modes:
        return f'{said}; give mode="max" or mode="min"'
    names = list(dict(learner.modes))
    if metric in names:
        return (
            f'{said}; write vt.metrics.mean(..., mode="min") where it is made, or '
            f'vt.tune(..., metric={metric!r}, mode="min"); mode="max" if higher is better'
        )
    near = nearest(metric, names)
    meant = f"did you mean {near!r}? " if near else ""
    return (
        f"metric={metric!r} is not one of the learner's metrics, {names}; {meant}Metrics are added "
        f"by name: metrics={{{metric!r}: ...}}; one that a learner of your own does not declare "
        'needs mode="max" or mode="min"'
    )


def _replicates(data: Data | None, seeds: Any) -> Replicates | None:
    """Returns the folds and seeds of a member; None where a member is one training."""
    if seeds is not None:
        check_count("seeds", seeds)
    if isinstance(data, Folds):
        return Replicates(data.folds, int(seeds or 1), True, data.common)
    return None if seeds in (None, 1) else Replicates(1, int(seeds), False)


def _initial_weights(learner: Learner, init_from: Any) -> PyTree:
    """Returns the weights given as init_from=, as arrays of the program's types."""
    if init_from is None:
        return None
    if learner.load is None:
        raise ValueError("init_from: this learner has no load function; give Learner(load=...)")
    replicates = init_from.trainings if isinstance(init_from, Member) else None
    if replicates is not None:
        raise ValueError(
            f"init_from must hold the weights of one training, got a member of {replicates.folds} "
            f"folds and {replicates.seeds} seeds; give jax.tree.map(lambda a: a[fold, seed], "
            "member.variables)"
        )
    tree = plain(init_from.variables if isinstance(init_from, Member) else init_from)
    if not isinstance(tree, dict) or not jax.tree.leaves(tree):
        raise TypeError(
            f"init_from must be a tree of weights, got {type(init_from).__name__}; give "
            'sweep.best, or variables such as {"params": {...}}, whole or part'
        )
    leaves = {keystr(k): np.asarray(v) for k, v in jax.tree.leaves_with_path(tree)}
    check_finite("init_from", leaves, "give weights of a member that did not diverge")
    # Through the host: arrays of one set of devices cannot enter a program of another.
    return as_arrays(jax.tree.map(np.asarray, tree))
