"""The best settings, with the spread over folds and seeds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from vtune.report.html import Markup, element, joined, table
from vtune.report.words import shown
from vtune.results.comparison import by_unit
from vtune.results.given_data import folds_of
from vtune.results.no_score import finished, no_finite_score
from vtune.results.significance import t_interval
from vtune.results.sweep import Sweep
from vtune.results.trainings import trainings_text, valid_to_train, values_of

TOP = 5


def best(sweep: Sweep) -> Markup:
    """Returns the five best settings as a table."""
    trained = sweep.trained
    if no_finite_score(trained) is not None:
        return element("p", "There are none.")
    columns = finished(trained, "report")[:TOP]
    spread = values_of(trained, columns[0]).size > 1
    names = [name for name in sweep.space.names if any(name in sweep[c].hparams for c in columns)]
    heads = ["member", sweep.metric_name, *(["± std", "95 % interval"] if spread else []), *names]
    rows = list(_rows(sweep, columns, names, spread))
    words = {i for i in range(len(heads)) if any(_is_word(row[i]) for row in rows)}
    return joined([table(heads, rows, words, "best"), element("p", _note(sweep, spread))])


def _rows(sweep: Sweep, columns: list[int], names: list[str], spread: bool) -> Iterator[list[str]]:
    for column in columns:
        member = sweep[column]
        row = [str(member.index), shown(member.score)]
        if spread:
            values = values_of(sweep.trained, column)
            row += [f"{values.std():.2g}", _interval(sweep, values)]
        hparams: dict[str, Any] = member.hparams
        yield row + [shown(hparams[name]) if name in hparams else "" for name in names]


def _interval(sweep: Sweep, values: np.ndarray) -> str:
    """As `vt.compare` has it: Student's t over seeds, corrected for the rows that folds share."""
    units = by_unit(values)
    if len(units) < 2 or units.min() == units.max():
        return ""
    folded = folds_of(sweep.trained) is not None
    low, high = t_interval(units, 0.95, valid_to_train(sweep.trained) if folded else 0.0)
    return f"{low:.4g} to {high:.4g}"


def _note(sweep: Sweep, spread: bool) -> str:
    too_good = (
        "The score of the best of many is on the whole too good; sweep.retrain(top=3, seeds=10) "
        "has the winners afresh."
    )
    if not spread:
        return f"Each is a single training, so what is chance is not known. {too_good}"
    return (
        f"Mean, standard deviation and Student's t interval over {trainings_text(sweep.trained)}. "
        f"{too_good}"
    )


def _is_word(text: str) -> bool:
    try:
        float(text or 0)
    except ValueError:
        return True
    return False
