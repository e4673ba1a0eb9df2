"""Where a study is written: a journal, a database, a storage of Optuna's, or memory."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from vtune.results.paths import folder_of
from vtune.studies.library import hushed

SQLITE, JOURNAL = (".db", ".sqlite", ".sqlite3"), (".log",)  # endings of a storage's name
EXAMPLE = "runs/first.log"


class Target(NamedTuple):
    """What a user's `storage=` means.

    Attributes:
      shown: its name in messages.
      file: the file that it is, or None.
      address: of a database, or None.
      storage: Optuna's own, or None.
    """

    shown: str
    file: Path | None = None
    address: str | None = None
    storage: Any = None


def target_of(optuna: Any, caller: str, given: Any) -> Target:
    """Returns where a study is to be written. Changes nothing.

    Args:
      given: None for memory, a storage of Optuna's, an address such as "sqlite:///a.db", or a path.

    Raises:
      TypeError, ValueError: it is none of these, or a file that holds something else.
    """
    if given is None:
        return Target("memory", storage=optuna.storages.InMemoryStorage())
    if isinstance(given, optuna.storages.BaseStorage):
        return Target(type(given).__name__, storage=given)
    if not isinstance(given, str | os.PathLike):
        raise TypeError(
            f"{caller}: storage must be the name of a file, an address, a storage of Optuna's or "
            f'None for memory, got {given!r}; write "{EXAMPLE}"'
        )
    if isinstance(given, str) and "://" in given and not given.startswith("file:"):
        target = Target(given, _file_of(given), given)
    else:
        file = folder_of(caller, given, "file", EXAMPLE)
        target = Target(str(file), file)
    if target.file is not None:
        _check_file(target.file, target.address is not None or is_database(target.file))
    return target


def _file_of(address: str) -> Path | None:
    """The file that the address of an SQLite database means."""
    from sqlalchemy.engine import make_url

    with contextlib.suppress(Exception):
        url = make_url(address)
        if url.get_backend_name() == "sqlite" and url.database not in (None, "", ":memory:"):
            return Path(url.database)
    return None


def _check_file(path: Path, database: bool) -> None:
    """Raises ValueError where a file holds something else than studies. Changes nothing."""
    if path.is_dir():
        raise ValueError(f"{path} is a folder; give the name of a file, such as {path / 'a.log'}")
    if path.exists() and path.stat().st_size:
        check = _check_sqlite if database else _check_journal
        check(path)


def is_database(path: Path) -> bool:
    """Whether a path means an SQLite database; everything else is a journal."""
    return path.suffix.lower() in SQLITE


def opened(optuna: Any, target: Target) -> Any:
    """Returns the storage, which is made where there is none."""
    if target.storage is not None:
        return target.storage
    if target.address is not None:
        return optuna.storages.RDBStorage(target.address)
    assert target.file is not None
    path = target.file
    if not is_database(path):
        journal = optuna.storages.journal
        return optuna.storages.JournalStorage(journal.JournalFileBackend(str(path)))
    # A path may hold what means something in an address.
    connect = lambda: sqlite3.connect(path, check_same_thread=False)
    return optuna.storages.RDBStorage("sqlite:///study.db", engine_kwargs={"creator": connect})


def close(storage: Any) -> None:
    """Closes the connections of a database."""
    if hasattr(storage, "engine"):
        storage.remove_session()
        storage.engine.dispose()


@contextlib.contextmanager
def quiet(optuna: Any, shown: str) -> Iterator[None]:
    """Nothing that Optuna says is shown, and what fails in it is an OSError of one line."""
    try:
        with hushed(optuna, optuna.logging.ERROR):
            yield
    except (OSError, ImportError):
        raise
    except Exception as error:  # of Optuna, SQLAlchemy or SQLite
        first = str(error.__cause__ or error).partition("\n")[0] or type(error).__name__
        raise OSError(f"{shown}: Optuna cannot write there ({first})") from None


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
