"""The command line: which command was meant, its exit code, and errors as one line."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from vtune.command import check, compare, export, ls, report, table
from vtune.command.output import DAMAGED, FINE, UNUSABLE, DamagedSweepError, one_line, said_of

COMMANDS = (ls, table, report, compare, export, check)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code.

    0: fine. 1: a sweep is damaged, or sweeps cannot be compared. 2: the command could not do what
    it was asked to, such as with a folder that is not there.

    Args:
      argv: the arguments after the program's name; those of the process when left out.
    """
    try:
        arguments = _parser().parse_args(argv)
    except SystemExit as asked:  # --help, or wrong usage, which argparse has said
        return int(asked.code or 0)
    try:
        with _warnings_as_lines():
            code = int(arguments.run(arguments))
            sys.stdout.flush()
            return code
    except DamagedSweepError as error:
        return _failed(error, DAMAGED)
    except BrokenPipeError:  # `... | head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FINE
    except KeyboardInterrupt:
        return _failed("interrupted", 130)
    except (OSError, ValueError, TypeError, ImportError, MemoryError) as error:
        return _failed(error, UNUSABLE)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(UNUSABLE, f"vtune: {one_line(message)}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m vtune",
        description="Looks at saved, running and interrupted sweeps.",
        epilog="Exit codes: 0 fine, 1 damaged or not comparable, 2 could not be done.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    return parser


def _failed(error: Any, code: int) -> int:
    print(f"vtune: {one_line(said_of(error))}", file=sys.stderr)
    return code


@contextlib.contextmanager
def _warnings_as_lines() -> Iterator[None]:
    """Shows a warning as one line, without the line of code that gave it."""

    def show(message: Any, *rest: Any) -> None:
        print(f"vtune: {one_line(str(message))}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = show  # type: ignore[assignment]
        yield
