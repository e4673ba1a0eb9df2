"""Reads what the experiments say of themselves: the fields of their docstrings.

An experiment is a file of experiments/ that can be run. Its docstring has the form

    Title: what is done, in a sentence.

    Command:   python experiments/NAME.py --data ../shared/data/FOLDER
    Time:      45 s on 2 CPU cores, and what one wants to know besides
    Result:    what was found; the part before the first semicolon or full stop stands alone
    Output:    runs/NAME: what is written
    Picture:   what runs/NAME/figure.png shows, for those who cannot see it

and other fields between them (Data, Searched). A first sentence without a colon is the title.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import NamedTuple

EXPERIMENTS = Path(__file__).resolve().parent.parent / "experiments"
NEEDED = ("Command", "Time", "Result", "Output", "Picture")
UNITS = {"s": 1, "min": 60}


class Experiment(NamedTuple):
    """What an experiment says of itself.

    Attributes:
      name: of its file. title: without a full stop. lead: the sentence behind it, may be empty.
      command: as it is typed in the repository. seconds: that it takes, on two CPU cores.
      result: sentences. picture: what its figure shows.
    """

    name: str
    title: str
    lead: str
    command: str
    seconds: int
    result: str
    picture: str

    @property
    def time(self) -> str:
        minutes = self.seconds / 60
        return f"{self.seconds} s" if self.seconds < 120 else f"{minutes:.2g} min"

    @property
    def finding(self) -> str:
        """The first part of the result, which stands alone; signs in brackets do not end it."""
        return re.split(r"[;.](?=\s|$)(?![^()]*\))", self.result)[0]


def every(folder: Path = EXPERIMENTS) -> dict[str, Experiment]:
    """Returns the experiments of a folder by their names; files that only help are left out.

    Raises:
      ValueError: a docstring is not of the form above.
    """
    files = [file for file in sorted(folder.glob("*.py")) if _runs(file)]
    return {file.stem: read(file) for file in files}


def read(file: Path) -> Experiment:
    """Returns what an experiment says of itself.

    Raises:
      ValueError: its docstring is not of the form above.
    """

    def wrong(what: str) -> ValueError:
        return ValueError(f"the docstring of experiments/{file.name} {what}")

    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    if not text:
        raise wrong("is missing; scripts/docstrings.py has its form")
    first, _, rest = text.partition("\n\n")
    fields = _fields(rest)
    for name in NEEDED:
        if not fields.get(name):
            raise wrong(f"has no field `{name}:`; scripts/docstrings.py has its form")
    command = fields["Command"].partition("  ")[0]
    if not command.startswith(f"python experiments/{file.name}"):
        raise wrong(f"has the command {command!r}; write `python experiments/{file.name} ...`")
    time = re.match(r"(?:about )?(\d+) (s|min)\b", fields["Time"])
    if time is None:
        raise wrong(f"says of its time {fields['Time']!r}; begin with `45 s` or `3 min`")
    for name, forbidden in (("Picture", "[]|"), ("Result", "|")):
        for sign in set(forbidden) & set(fields[name]):
            raise wrong(f"has a {sign} in its field `{name}:`, which pages cannot show")
    title, _, lead = " ".join(first.split()).rstrip(".").partition(": ")
    return Experiment(
        name=file.stem,
        title=title,
        lead=lead,
        command=command,
        seconds=int(time[1]) * UNITS[time[2]],
        result=" ".join(fields["Result"].split()).rstrip("."),
        picture=" ".join(fields["Picture"].split()).rstrip("."),
    )


def _fields(text: str) -> dict[str, str]:
    """Fields by name: a word and a colon at the beginning of a line, further lines indented."""
    found: dict[str, str] = {}
    name = None
    for line in text.splitlines():
        start = re.match(r"([A-Z][a-z]+):\s*(.*)", line)
        if start:
            name, found[start[1]] = start[1], start[2]
        elif name and line.startswith(" "):
            found[name] += " " + line.strip()
        else:
            name = None  # a paragraph
    return found


def _runs(file: Path) -> bool:
    return 'if __name__ == "__main__":' in file.read_text(encoding="utf-8")
