"""Writes a study of Optuna's, with Optuna, into a storage of its own or among other studies."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from typing import Any

from vtune.results.paths import make_folder, remove_empty
from vtune.results.sweep import Sweep
from vtune.runtime.notices import say
from vtune.studies.library import optuna_distribution, optuna_module
from vtune.studies.storage import JOURNAL, Target, close, opened, quiet, target_of
from vtune.studies.trials import Study, Trial, exported
from vtune.validation import check_flag

FIRST, PATIENCE = 8, 10.0  # trials whose time is taken, and seconds that need no word


def to_optuna(sweep: Sweep, storage: Any, name: Any, overwrite: Any) -> Any:
    """Writes a sweep as a study and returns it; see `Sweep.to_optuna`."""
    optuna = optuna_module("to_optuna")
    if not isinstance(name, str) or not name:
        raise TypeError(f'to_optuna: name={name!r} must be the study\'s name, such as "first"')
    check_flag("to_optuna: overwrite", overwrite)
    target = target_of(optuna, "to_optuna", storage)
    study = exported(sweep)
    new = [] if target.file is None else make_folder("to_optuna", target.file.absolute().parent)
    instead = "give overwrite=True or another name="
    try:
        return write(optuna, study, target, name, bool(overwrite), instead)[0]
    except BaseException:
        remove_empty(new)
        raise


def write(
    optuna: Any,
    study: Study,
    target: Target,
    name: str,
    overwrite: bool,
    instead: str,
    tell: Callable[[str], None] = say,
) -> tuple[Any, Any]:
    """Writes a study among the others of a storage; of what fails nothing stays.

    Args:
      optuna: the module.
      instead: what to do where the storage holds a study of this name.
      tell: is told where it will take long.

    Returns:
      Optuna's study, and the storage.

    Raises:
      OSError: it cannot be written.
      FileExistsError: the storage holds a study of this name, which is not to be replaced.
    """
    distributions = {n: optuna_distribution(optuna, d) for n, d in study.distributions.items()}
    trials = [_trial(optuna, trial, study, distributions) for trial in study.trials]
    new = target.file is not None and not target.file.exists()
    storage: Any = None
    try:
        with quiet(optuna, target.shown):
            storage = opened(optuna, target)
            if name in {known.study_name for known in storage.get_all_studies()}:
                if not overwrite:
                    raise FileExistsError(f"{target.shown} has a study {name!r} already; {instead}")
                optuna.delete_study(study_name=name, storage=storage)
            names, directions = zip(*study.objectives, strict=True)
            made = optuna.create_study(study_name=name, storage=storage, directions=directions)
            try:
                made.set_metric_names(list(names))
                for key, value in study.attributes.items():
                    made.set_user_attr(key, value)
                _add(made, trials, tell if _is_slow(storage) else None)
            except BaseException:
                optuna.delete_study(study_name=name, storage=storage)
                raise
            return made, storage
    except BaseException:
        if target.storage is None and storage is not None:
            close(storage)
        if new and target.file is not None:
            target.file.unlink(missing_ok=True)
        raise


def _is_slow(storage: Any) -> bool:
    return hasattr(storage, "engine") and storage.engine.dialect.name == "sqlite"


def _add(made: Any, trials: list[Any], tell: Callable[[str], None] | None) -> None:
    """Adds trials to a study; the first ones say how long it takes."""
    began = time.perf_counter()
    made.add_trials(trials[:FIRST])
    left = (time.perf_counter() - began) / FIRST * (len(trials) - FIRST)
    if tell is not None and left > PATIENCE:
        tell(
            f"vtune: Optuna will write for some {left:.0f} s into SQLite; into a journal, a name "
            f"that ends in {JOURNAL[0]}, it writes twenty times as fast"
        )
    made.add_trials(trials[FIRST:])


def _trial(optuna: Any, trial: Trial, study: Study, distributions: dict[str, Any]) -> Any:
    made = optuna.trial.create_trial(
        state=optuna.trial.TrialState[trial.state],
        values=trial.values,
        params=trial.params,
        distributions={name: distributions[name] for name in trial.params},
        user_attrs=trial.attributes,
        intermediate_values=trial.intermediate,
    )
    took: datetime.timedelta = (study.ended - study.began) * trial.share
    made.datetime_start, made.datetime_complete = study.began, study.began + took
    return made
