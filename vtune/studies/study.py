"""Writes a study of Optuna's, with Optuna, into a storage of its own or among other studies."""

from __future__ import annotations

import contextlib
import datetime
import json
import sqlite3
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from vtune.studies.library import optuna_distribution
from vtune.studies.trials import Study, Trial

SQLITE, JOURNAL = (".db", ".sqlite", ".sqlite3"), (".log",)  # endings of a storage's name
FIRST, PATIENCE = 8, 10.0  # trials whose time is taken, and seconds that need no word


def check_storage(path: Path) -> None:
    """Refuses a file that no study can be written to. Changes nothing.

    Raises:
      ValueError: it holds something else.
    """
    if path.exists() and path.stat().st_size:
        check = _check_journal if _is_journal(path) else _check_sqlite
        check(path)


def write(
    optuna: Any,
    study: Study,
    path: Path,
    name: str,
    overwrite: bool,
    instead: str,
    tell: Callable[[str], None],
) -> None:
    """Writes a study among the others of a storage; of what fails nothing stays.

    Args:
      optuna: the module.
      instead: what to do where the storage holds a study of this name.
      tell: is told where it will take long.

    Raises:
      ValueError: see `check_storage`. OSError: it cannot be written.
      FileExistsError: the storage holds a study of this name, which is not to be replaced.
    """
    check_storage(path)
    distributions = {n: optuna_distribution(optuna, d) for n, d in study.distributions.items()}
    trials = [_trial(optuna, trial, study, distributions) for trial in study.trials]
    new = not path.exists()
    try:
        with opened_storage(optuna, path) as storage:
            if name in {known.study_name for known in storage.get_all_studies()}:
                if not overwrite:
                    raise FileExistsError(f"{path} has a study {name!r} already; {instead}")
                optuna.delete_study(study_name=name, storage=storage)
            made = optuna.create_study(study_name=name, storage=storage, direction=study.direction)
            try:
                made.set_metric_names([study.metric])
                for key, value in study.attributes.items():
                    made.set_user_attr(key, value)
                _add(made, trials, tell if path.suffix.lower() in SQLITE else None)
            except BaseException:
                optuna.delete_study(study_name=name, storage=storage)
                raise
    except BaseException:
        if new:
            path.unlink(missing_ok=True)
        raise


def _add(made: Any, trials: list[Any], tell: Callable[[str], None] | None) -> None:
    """Adds trials to a study; the first ones say how long it takes."""
    began = time.perf_counter()
    made.add_trials(trials[:FIRST])
    left = (time.perf_counter() - began) / FIRST * (len(trials) - FIRST)
    if tell is not None and left > PATIENCE:
        tell(
            f"Optuna will write for some {left:.0f} s into SQLite; into a journal, a name that "
            f"ends in {JOURNAL[0]}, it writes twenty times as fast"
        )
    made.add_trials(trials[FIRST:])


def _trial(optuna: Any, trial: Trial, study: Study, distributions: dict[str, Any]) -> Any:
    made = optuna.trial.create_trial(
        state=optuna.trial.TrialState[trial.state],
        value=trial.value,
        params=trial.params,
        distributions={name: distributions[name] for name in trial.params},
        user_attrs=trial.attributes,
        intermediate_values=trial.intermediate,
    )
    if study.began is not None and study.ended is not None:  # else it says now
        took: datetime.timedelta = (study.ended - study.began) * trial.share
        made.datetime_start, made.datetime_complete = study.began, study.began + took
    return made


@contextlib.contextmanager
def opened_storage(optuna: Any, path: Path) -> Iterator[Any]:
    """Opens a storage, which is made where there is none; nothing that Optuna says is shown."""
    said = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what it calls experimental
            if _is_journal(path):
                journal = optuna.storages.journal
                yield optuna.storages.JournalStorage(journal.JournalFileBackend(str(path)))
                return
            # A path may hold what means something in an address.
            connect = lambda: sqlite3.connect(path, check_same_thread=False)
            storage = optuna.storages.RDBStorage(
                "sqlite:///study.db", engine_kwargs={"creator": connect}
            )
            try:
                yield storage
            finally:
                storage.remove_session()
                storage.engine.dispose()
    except OSError:
        raise
    except Exception as error:  # of Optuna, SQLAlchemy or SQLite
        first = str(error.__cause__ or error).partition("\n")[0] or type(error).__name__
        raise OSError(f"{path}: Optuna cannot write there ({first})") from None
    finally:
        optuna.logging.set_verbosity(said)


def _is_journal(path: Path) -> bool:
    return path.suffix.lower() in JOURNAL


def _check_journal(path: Path) -> None:
    """Raises ValueError where a file is no journal of Optuna's, which would write on at its end."""
    with path.open("rb") as file:
        line = file.readline(1_000_000)
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        entry = None
    if not isinstance(entry, dict) or "op_code" not in entry:
        raise ValueError(f"{path} is no journal of Optuna's; give another file")


def _check_sqlite(path: Path) -> None:
    """Raises ValueError where a file is no database of Optuna's, which would add its tables."""
    try:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            tables = {name for (name,) in found}
    except sqlite3.DatabaseError:
        tables = set()
    if not {"studies", "trials", "version_info"} <= tables:
        raise ValueError(f"{path} is no database of Optuna's; give another file")
