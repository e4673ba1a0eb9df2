"""The pictures that make sense for a sweep, each with the question that it answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from vtune import plots
from vtune.plots.hyperparameters import varying
from vtune.report.html import Markup, element, joined
from vtune.report.moves import changed, copied
from vtune.report.svg import drawing, svg_of
from vtune.results.no_score import no_finite_score
from vtune.results.sweep import Sweep
from vtune.results.trainings import trainings_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Picture(NamedTuple):
    """One plot: the question that it answers, and how it is read."""

    draw: Callable[[Sweep], Figure]
    question: str
    caption: str


CURVES = Picture(
    plots.curves,
    "Does training still improve?",
    "Every member's validation score over the rounds, the five best in colour, with their last "
    "value and its standard deviation over the last quarter of the rounds. A dot is where a member "
    "was dropped, a × where it diverged.",
)
AXIS = Picture(
    plots.axis,
    "Are the ranges right?",
    "Every member's best score against each hyperparameter. Dotted lines are the ends of the "
    "range: where the good members crowd at one, it should be moved. A × diverged, a triangle is "
    "worse than shown, the star is the best member.",
)
ISOLATION = Picture(
    plots.isolation,
    "What does a hyperparameter do when the others are tuned?",
    "The best members of equal parts of each range are joined. A flat line is of a hyperparameter "
    "that does not matter, given the others.",
)
PARALLEL = Picture(
    plots.parallel,
    "Which values go together in the good members?",
    "Every member is a line through its hyperparameters to its score; the better the brighter.",
)
BEST_OF_K = Picture(
    plots.best_of_k,
    "Were there enough settings?",
    "The best score that so many of these settings are expected to have, and the band that holds "
    "nine of ten such searches. A curve that still climbs says that more would help.",
)
RUNGS = Picture(
    plots.rungs,
    "What did ending trainings early save?",
    "The members that were trained in each round.",
)
LINEAGE = Picture(
    plots.lineage,
    "Whose weights won?",
    "A line wherever weights were copied to another member; the thick path is the best member's.",
)
SCHEDULE = Picture(
    plots.schedule,
    "Which hyperparameters did the winner live through?",
    "The thick line is what the best member's weights were trained with, a dot where they moved "
    "to another member; the others are pale.",
)
FOLDS = Picture(
    plots.folds,
    "Is the first really better, or is it chance?",
    "The score of every fold and seed of the best members. Lines that run side by side say that "
    "a fold is hard, and not the setting.",
)
TIME = Picture(
    plots.time,
    "Was it worth waiting?",
    "The best score so far of all members against the seconds that the sweep took.",
)


def pictures(sweep: Sweep) -> Markup:
    """Returns the figures of a sweep.

    Raises:
      ImportError: matplotlib is not installed (the extra `plot`).
    """
    drawn = []
    for picture in chosen(sweep):
        name = picture.draw.__name__
        with drawing(name):
            svg = svg_of(picture.draw(sweep), name, picture.question)
        caption = element("figcaption", picture.caption)
        drawn.append(element("figure", element("h3", picture.question), svg, caption, id=name))
    return joined(drawn)


def chosen(sweep: Sweep) -> Iterator[Picture]:
    """Yields the pictures that have something to show."""
    trained = sweep.trained
    scored, several = no_finite_score(trained) is None, trained.rounds > 1
    names = varying(sweep.space)
    if several and scored:
        yield CURVES
    if names:
        yield AXIS
    if names and scored and len(sweep) >= 8:
        yield PARALLEL if len(names) > 2 else ISOLATION
    if scored and trainings_text(trained) != "1 training":
        yield FOLDS
    if scored and len(sweep) >= 4 and not copied(sweep):
        yield BEST_OF_K
    if copied(sweep):
        yield LINEAGE
    if changed(sweep):
        yield SCHEDULE
    if len(set(trained.records.trained.sum(axis=1).tolist())) > 1:
        yield RUNGS
    if several and scored:
        yield TIME
