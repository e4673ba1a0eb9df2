"""Writes the experiments into docs/gallery.md and README.md, from their own docstrings.

    python scripts/gallery.py            writes both pages between their markers
    python scripts/gallery.py --names    prints the names of the experiments, in the pages' order

A new experiment needs its docstring (scripts/docstrings.py has its form), its picture
(scripts/pictures.py draws it from its run) and its place in GROUPS.
"""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Mapping
from pathlib import Path

from docstrings import Experiment, every

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "pictures"

# What people look for, and where they find it, in the order of the page.
GROUPS = {
    "Images": (
        "digits",
        "keras_mlp",
        "mnist_mlp",
        "mnist_cnn",
        "detection",
        "adversarial",
        "ensembles",
    ),
    "Text": ("sms_spam", "char_lm"),
    "Tables and ratings": ("recommend", "tabular", "iris_logistic"),
    "Series": ("forecast",),
    "Control": ("pbt_control",),
    "Fine-tuning": ("finetune", "linear_probe", "lora_text"),
    "Refiners": ("pbt_mnist", "pb2_mnist", "halving_mnist"),
}
# README.md shows the first six that are there.
FIRST = ("keras_mlp", "detection", "sms_spam", "recommend", "char_lm", "pbt_control")


def grouped(found: Mapping[str, Experiment]) -> dict[str, list[Experiment]]:
    """Returns experiments by group, in the order of GROUPS.

    Raises:
      ValueError: an experiment is in none of the groups, or a group has one that is not there.
    """
    named = [name for names in GROUPS.values() for name in names]
    for name in found:
        if name not in named:
            raise ValueError(f"experiments/{name}.py is in none of GROUPS of scripts/gallery.py")
    for name in named:
        if name not in found:
            raise ValueError(f"GROUPS of scripts/gallery.py has {name!r}; no experiments/{name}.py")
    return {group: [found[name] for name in names] for group, names in GROUPS.items()}


def gallery(found: Mapping[str, Experiment]) -> str:
    """The experiments as docs/gallery.md shows them: a heading a group, an entry each."""
    groups = grouped(found)
    links = [f"[{group}](#{group.lower().replace(' ', '-')})" for group in groups]
    parts = [wrapped(", ".join(links) + ".")]
    for group, members in groups.items():
        parts += [f"## {group}", *map(entry, members)]
    return "\n\n".join(parts)


def entry(experiment: Experiment) -> str:
    """Title, what is done, what was found, picture, command, time, and a link to the file."""
    command = re.sub(r"--data \S+", "--data DIR", experiment.command)
    said = " ".join(f"{capital(part)}." for part in (experiment.lead, experiment.result) if part)
    return "\n\n".join(
        [
            f"### {experiment.title}",
            wrapped(said),
            f"![{capital(experiment.picture)}]({picture(experiment).relative_to(PICTURES.parent)})",
            f"`{command}`, {experiment.time}; [the file](../experiments/{experiment.name}.py)",
        ]
    )


def six(found: Mapping[str, Experiment]) -> str:
    """Six experiments as README.md shows them: a table of two columns."""
    rows = ["| | |", "|---|---|"]
    for left, right in zip(FIRST[::2], FIRST[1::2], strict=True):
        rows.append(f"| {cell(found[left])} | {cell(found[right])} |")
    return "\n".join(rows)


def cell(experiment: Experiment) -> str:
    file = f"experiments/{experiment.name}.py"
    shown = picture(experiment).relative_to(ROOT)
    return (
        f"![{capital(experiment.picture)}]({shown}) **{experiment.title}**: {experiment.finding}; "
        f"{experiment.time} ([`{file}`]({file}))"
    )


def picture(experiment: Experiment) -> Path:
    """The file of its picture.

    Raises:
      ValueError: it is not there.
    """
    file = PICTURES / f"{experiment.name}.png"
    if not file.is_file():
        raise ValueError(
            f"no docs/pictures/{file.name}; run `{experiment.command}`, then "
            "`python scripts/pictures.py experiments`"
        )
    return file


def capital(text: str) -> str:
    return text[0].upper() + text[1:]


def wrapped(text: str) -> str:
    """Text in lines of at most 110 columns, as the pages have them."""
    return textwrap.fill(text, 110, break_long_words=False, break_on_hyphens=False)


def filled(page: str, name: str, text: str) -> str:
    """Returns a page with other text between its markers.

    Raises:
      ValueError: it does not have the markers.
    """
    begin, end = f"<!-- {name}: written by scripts/gallery.py -->", f"<!-- end of {name} -->"
    before, found, rest = page.partition(begin)
    _, ended, after = rest.partition(end)
    if not (found and ended):
        raise ValueError(f"the page lacks the lines `{begin}` and `{end}`")
    return f"{before}{begin}\n\n{text}\n\n{end}{after}"


def pages(found: Mapping[str, Experiment]) -> dict[Path, str]:
    """Both pages as they should be, by their files."""
    return {
        ROOT / file: filled((ROOT / file).read_text(encoding="utf-8"), name, make(found))
        for file, (name, make) in PAGES.items()
    }


PAGES = {"docs/gallery.md": ("experiments", gallery), "README.md": ("six experiments", six)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--names", action="store_true", help="prints names and writes nothing")
    options = parser.parse_args()
    found = every()
    if options.names:
        print(*(e.name for members in grouped(found).values() for e in members), sep="\n")
        return
    for file, text in pages(found).items():
        file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
