"""The page of a sweep: its parts in reading order."""

from __future__ import annotations

import base64
import hashlib

from vtune.plots.canvas import counted
from vtune.report.advice import advice
from vtune.report.best import best
from vtune.report.facts import facts, space
from vtune.report.html import Markup, element, joined
from vtune.report.looks import SORTING, STYLE
from vtune.report.members import history, members
from vtune.report.pictures import pictures
from vtune.report.words import shown
from vtune.results.no_score import no_finite_score
from vtune.results.sweep import Sweep

LARGEST = 900_000  # characters, as far as the history can be cut for it
LEAST = 100_000  # that the history has in any case


def page(sweep: Sweep) -> str:
    """Returns the whole page as HTML, the same text for the same sweep.

    Raises:
      ImportError: matplotlib is not installed (the extra `plot`).
    """
    said = advice(sweep)
    parts = [
        element("h1", _title(sweep)),
        element("p", _lead(sweep), class_="lead"),
        _section("Advice", _advice(said)),
        _section("The best settings", best(sweep)),
        _section("What was run", facts(sweep)),
        _section("What was searched", space(sweep)),
        _section("Pictures", pictures(sweep)),
        _section("All members", members(sweep)),
    ]
    parts.append(_section("History", history(sweep, max(LARGEST - sum(map(len, parts)), LEAST))))
    parts.append(element("script", Markup(SORTING)))
    head = joined(
        [
            Markup('<meta charset="utf-8">'),
            Markup('<meta name="viewport" content="width=device-width">'),
            Markup(f'<meta http-equiv="Content-Security-Policy" content="{_policy()}">'),
            element("title", _title(sweep)),
            element("style", Markup(STYLE)),
        ]
    )
    body = element("body", Markup("\n".join(parts)))
    return f"<!DOCTYPE html>\n{element('html', element('head', head), body, lang='en')}\n"


def _policy() -> str:
    """Nothing is fetched, and no script runs but the page's own."""
    script = base64.b64encode(hashlib.sha256(SORTING.encode()).digest()).decode()
    return (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{script}'"
    )


def _title(sweep: Sweep) -> str:
    said = f"{counted(len(sweep), 'member')}, {counted(sweep.trained.rounds, 'round')}"
    if no_finite_score(sweep.trained) is not None:
        return f"{said}: none has a score"
    return f"{said}: best {shown(sweep.metric_name)} {sweep.best.score:.4g}"


def _lead(sweep: Sweep) -> str:
    if no_finite_score(sweep.trained) is not None:
        return ""
    settings = (f"{shown(name)} = {shown(value)}" for name, value in sweep.best.hparams.items())
    return f"Member {sweep.best.index}: {', '.join(settings)}"


def _section(title: str, inside: Markup) -> Markup:
    return element("section", element("h2", title), inside)


def _advice(said: list[str]) -> Markup:
    if not said:
        return element("p", "Nothing stands out in the numbers.")
    return element("ul", *(element("li", one) for one in said), class_="advice")
