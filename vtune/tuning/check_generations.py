"""Checks of a search by generations that need the other arguments."""

from __future__ import annotations

import warnings

from vtune.callers import users_line
from vtune.search.generations import Generations
from vtune.studies.asked import RUN
from vtune.studies.library import direction, optuna_module
from vtune.tuning.arguments import CheckedArguments

SLOW = {"GPSampler": 16}  # by sampler, the generation beyond which asking takes a minute and more


def check_generations(checked: CheckedArguments, objectives: tuple[tuple[str, str], ...]) -> None:
    """Checks that a search by generations can work. Nothing is asked yet.

    Raises:
      ImportError: Optuna is not installed. ValueError: arguments that do not go together.
    """
    search, refiner, space = checked.search, checked.refiner, checked.space
    assert isinstance(search, Generations)
    optuna = optuna_module("vt.Generations")
    if search.constraints is not None and not hasattr(optuna.trial.Trial, "set_constraint"):
        raise ValueError(
            f"Generations: constraints= needs Optuna 5, and {optuna.__version__} is installed; "
            "give the sampler a constraints_func, which reads the metrics in trial.user_attrs"
        )
    if not getattr(refiner, "idle", False) and not getattr(refiner, "keeps_hparams", False):
        raise ValueError(
            f"{type(refiner).__name__} changes hyperparameters while members train, so a sampler "
            "would be told of settings that were not trained to the end; leave refiner= out, take "
            "vt.Halving() or vt.Hyperband(), or search=vt.Halton(...)"
        )
    if not any(combination.traced for combination in space.combinations):
        raise ValueError(
            "Generations: the space has no traced hyperparameter to ask a sampler for, only "
            "structural choices; search=vt.Grid() tries each of them"
        )
    many = len(space.combinations)
    if search.size is not None and search.size < many:
        raise ValueError(
            f"Generations: size={search.size} is below the {many} structural combinations of the "
            f"space, each of which has members in every generation; give size={many} or more"
        )
    if search.warm_start and many > 1:
        raise ValueError(
            f"Generations: warm_start=True and {many} structural combinations: the weights of one "
            "need not fit another; leave warm_start= out, or give structural choices one value"
        )
    if search.warm_start and checked.replicates is not None:
        raise ValueError(
            "Generations: warm_start=True and folds or seeds=: members begin with the weights of "
            "one training; leave one of them out"
        )
    _check_directions(search, checked.mode, objectives)
    warn_slow(search)


def warn_slow(search: Generations) -> None:
    """Warns of a sampler that takes minutes to ask for a generation."""
    most = SLOW.get(type(search.sampler).__name__)
    if most is not None and search.size is not None and search.size > most:
        warnings.warn(
            f"Generations: asking {type(search.sampler).__name__} for {search.size} settings takes "
            f"minutes a generation; size={most} takes about half a minute",
            stacklevel=users_line(),
        )


def _check_directions(
    search: Generations, mode: str, objectives: tuple[tuple[str, str], ...]
) -> None:
    """Raises ValueError where a study that is continued has other directions."""
    if search.study is None:
        return
    modes = [mode for _, mode in objectives] or [mode]
    asked = [direction(mode) for mode in modes]
    theirs = [direction.name.lower() for direction in search.study.directions]
    if theirs != asked:
        instead = f"direction={asked[0]!r}" if len(asked) == 1 else f"directions={asked}"
        raise ValueError(
            f"Generations: the study is to {', '.join(theirs)}, and mode= says {', '.join(asked)}; "
            f"write optuna.create_study({instead})"
        )
    trials = search.study.get_trials(deepcopy=False)
    waiting = [t for t in trials if t.state.name == "WAITING" and RUN not in t.user_attrs]
    if waiting:
        raise ValueError(
            f"Generations: {len(waiting)} trials of the study are enqueued, which a generation "
            "cannot train beside its own; run them with vt.Given([...]) first, or take a study "
            "without them"
        )
