"""What was run: the sweep in words, and the space that was searched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from vtune.log.rows import plain
from vtune.plots.canvas import counted
from vtune.report.html import Markup, element, table
from vtune.report.words import range_text, shown
from vtune.results.given_data import fingerprint_of
from vtune.results.provenance import setting
from vtune.results.sweep import Sweep
from vtune.results.trainings import trainings_text


def facts(sweep: Sweep) -> Markup:
    """Returns what was run as a list of names and what is said of them."""
    pairs = ((element("dt", name), element("dd", said)) for name, said in _facts(sweep))
    return element("dl", *(part for pair in pairs for part in pair))


def _facts(sweep: Sweep) -> Iterator[tuple[str, str]]:
    trained = sweep.trained
    plan, refiner = trained.plan, trained.refiner
    search = trained.drawn.search
    drawn = f", drawn by {search}" if search else ""
    cohorts = counted(len(plan.cohorts), "structural combination")
    yield "members", f"{len(sweep):,}{drawn}" + (f", {cohorts}" if len(plan.cohorts) > 1 else "")
    yield "each is", trainings_text(trained)
    if refiner is not None and not getattr(refiner, "idle", False):
        yield "refined by", _refiner(refiner)
    steps = max(cohort.steps for cohort in plan.cohorts)
    rounds = counted(trained.rounds, "round")
    if trained.rounds < plan.rounds:
        rounds = f"{trained.rounds} of {plan.rounds} rounds ({trained.stopped})"
    yield "trained for", f"{rounds}, {counted(steps, 'step')} to the end"
    better = "higher" if sweep.mode == "max" else "lower"
    yield "compared by", f"{sweep.metric_name}, {better} is better"
    fates = Counter(member.status.partition(" ")[0] for member in sweep)
    yield "how they ended", ", ".join(f"{count:,} {fate}" for fate, count in sorted(fates.items()))
    if trained.rows is not None:
        yield "data", _data(sweep)
    yield "seed", str(sweep.seed)
    compiling, running = sweep.timing
    yield "seconds", f"{compiling:.1f} compiling, {running:.1f} running"
    loaded = trained.data is None and trained.rows is not None
    made = trained.provenance or ({} if loaded else setting())
    if made:  # old files do not say
        versions = made["versions"].items()
        yield "made with", ", ".join(f"{name} {version}" for name, version in versions)


def _refiner(refiner: Any) -> str:
    """A refiner of vtune's with its settings as plain numbers; another one's own words."""
    if not is_dataclass(refiner) or isinstance(refiner, type):
        return shown(getattr(refiner, "text", refiner))
    numbers = lambda value: tuple(map(plain, value)) if isinstance(value, tuple) else plain(value)
    values = {field.name: numbers(getattr(refiner, field.name)) for field in fields(refiner)}
    given = (f"{name}={value!r}" for name, value in values.items() if value is not None)
    return shown(f"{type(refiner).__name__}({', '.join(given)})")


def _data(sweep: Sweep) -> str:
    rows = sweep.trained.rows or {}
    said = ", ".join(f"{name} {kind}{shape}" for name, (shape, kind) in rows.items())
    counts = (fingerprint_of(sweep.trained) or {}).get("counts")
    if not counts:
        return said
    numbers = [_numbers(counts[part]) for part in ("train", "valid")]
    return f"{said}; {numbers[0]} training and {numbers[1]} validation rows"


def _numbers(counts: list[int]) -> str:
    """The number of rows; of folds the least and the most."""
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def space(sweep: Sweep) -> Markup:
    """Returns the hyperparameters, and what they were searched in."""
    parts = sweep.space.parts
    traced = {name for c in sweep.trained.cohorts for name in c.combination.traced}
    choices = {name for c in sweep.trained.cohorts for name in c.combination.choices}
    rows = []
    for name in sweep.space.names:
        ranges = dict.fromkeys(range_text(part[name]) for part in parts if name in part)
        kind = "traced" if name in traced else "structural" if name in choices else "fixed"
        rows.append((shown(name), " or ".join(ranges), kind))
    heads = ("hyperparameter", "searched in", "kind")
    return table(heads, rows, {0, 1, 2}, "space")
