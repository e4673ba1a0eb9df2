"""`Sweep.summary`: what was run and what came of it, in about ten lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from vtune.results.edges import near_edges
from vtune.results.member import Member, printable
from vtune.results.no_score import no_finite_score
from vtune.results.table import std_of_splits
from vtune.results.trained import Trained
from vtune.results.trainings import trainings_text, values_of


def summary(trained: Trained) -> str:
    """Returns the text; see `Sweep.summary`."""
    return "\n".join(_lines(trained))


def _lines(trained: Trained) -> Iterator[str]:
    yield _what_was_run(trained)
    yield f"compared by {trained.metric_name} ({trained.plan.mode}); {trainings_text(trained)} each"
    reason = no_finite_score(trained)
    if reason is None:
        best = int(trained.ranking[0])
        yield f"best: member {_scored(trained, best)}"
        hparams = Member(trained, best).hparams.items()
        yield "  " + ", ".join(f"{name}={_short(printable(value))}" for name, value in hparams)
        yield from _second(trained)
    else:
        yield f"best: {reason}"
    yield _fates(trained)
    if reason is None:
        for near in near_edges(trained, best):
            if near.edge == "lower" and near.low == 0:
                continue  # rates and the like end there
            yield (
                f"near an edge: {near.name}={_short(near.value)} is at the {near.edge} end of "
                f"{_short(near.low)} to {_short(near.high)}; try further out"
            )
    compiled, ran = trained.timing
    yield f"seconds: {compiled:.1f} compiling, {ran:.1f} running"


def _what_was_run(trained: Trained) -> str:
    """How many members and rounds, and how they were drawn and refined."""
    plan, refiner = trained.plan, trained.refiner
    rounds = f"{trained.rounds} round{'' if trained.rounds == 1 else 's'}"
    if trained.rounds < plan.rounds:
        rounds = f"{trained.rounds} of {plan.rounds} rounds ({trained.stopped})"
    parts = [f"{len(trained.places)} members", rounds]
    parts.append(f"{max(cohort.steps for cohort in plan.cohorts)} steps")
    if len(plan.cohorts) > 1:
        parts.append(f"{len(plan.cohorts)} cohorts")
    search = trained.drawn.search
    drawn = [] if search is None else [f"drawn by {search}"]
    if refiner is not None and not getattr(refiner, "idle", False):
        text = getattr(refiner, "text", type(refiner).__name__)  # of one that a file describes
        drawn.append(f"refined by {_short(text)}")
    return ", ".join([*parts, *drawn, f"seed {trained.seed}"])


def _second(trained: Trained) -> Iterator[str]:
    ranking = trained.ranking
    if len(ranking) > 1 and not trained.dropped(int(ranking[1])):
        yield f"second: member {_scored(trained, int(ranking[1]))}"


def _scored(trained: Trained, column: int) -> str:
    """A member's number and score, with the standard deviation over its trainings."""
    member, values = Member(trained, column), values_of(trained, column)
    said = f"{member.index}, {trained.metric_name} {member.score:.4g}"
    return said if values.size == 1 else f"{said} ± {std_of_splits(values):.2g}"


def _fates(trained: Trained) -> str:
    """How many members diverged, were dropped, and stopped by themselves."""
    statuses = (Member(trained, column).status for column in range(len(trained.places)))
    counts = Counter(status.partition(" ")[0] for status in statuses)
    return ", ".join(f"{counts[fate]} {fate}" for fate in ("diverged", "dropped", "stopped"))


def _short(value: object) -> str:
    """A value in a few characters."""
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 40 else text[:37] + "..."
