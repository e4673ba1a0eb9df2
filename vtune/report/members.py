"""The table of all members, the best first, and the history for others to read."""

from __future__ import annotations

from typing import Any

import numpy as np

from vtune.log.rows import finite, plain
from vtune.plots.canvas import counted
from vtune.plots.hyperparameters import varying
from vtune.report.html import Markup, data_script, element, joined, table
from vtune.report.words import shown
from vtune.results.sweep import Sweep
from vtune.results.table import columns_to_read, table_columns

CELLS = 60_000  # of the whole table; with more the columns to read are shown
ROWS = 5_000


def members(sweep: Sweep) -> Markup:
    """Returns the table with what is said of it."""
    columns = table_columns(sweep.trained)
    said = [counted(len(sweep), "member") + ", the best first; a click on a head sorts."]
    if len(columns) * len(sweep) > CELLS:
        read = columns_to_read(sweep.trained)
        left = len(columns)
        columns = {name: values for name, values in columns.items() if name in read}
        said.append(f"Of {left} columns those to read are here, sweep.table() has them all.")
    order = sweep.ranking[:ROWS].tolist()
    if len(order) < len(sweep):
        said.append(f"Of the members the {ROWS:,} best are here.")
    cells = [[shown(values[column]) for column in order] for values in columns.values()]
    numbers = [str(rank + 1) for rank in range(len(order))]
    indices = [str(sweep[column].index) for column in order]
    rows = list(zip(numbers, indices, *cells, strict=True))
    words = {i + 2 for i, values in enumerate(columns.values()) if _holds_words(values)}
    whole = table(["rank", "member", *columns], rows, words, "members")
    return joined([element("p", " ".join(said)), whole])


def _holds_words(values: Any) -> bool:
    """Whether a column has anything but numbers."""
    return not all(isinstance(value, int | float | np.number | None) for value in values)


def history(sweep: Sweep, room: int) -> Markup:
    """Returns the history as JSON in a script, and a sentence that says what it holds.

    Args:
      room: the characters that it may take. Metrics that do not fit are left out, and of the one
        that members are compared by only every so many rounds are kept.
    """
    rounds = np.arange(sweep.trained.rounds)
    hparams, names = [member.hparams for member in sweep], varying(sweep.space)
    room -= 9 * len(sweep) * len(names)
    held: dict[str, Any] = {}
    left: list[str] = []
    metrics = [name for name, values in sweep.history.items() if values.ndim == 2]
    for name in sorted(metrics, key=lambda name: name != sweep.metric_name):
        values = np.asarray(sweep.history[name])
        size = 9 * values.size
        if name == sweep.metric_name and size > room:
            every = -(-size // max(room, 1))
            rounds = rounds[::-1][::every][::-1]  # the last is among them
            size = 9 * len(rounds) * values.shape[1]
        if size > room and held:
            left.append(name)
            continue
        room -= size
        held[name] = [list(map(_number, row)) for row in values[rounds]]
    content = {
        "metric": sweep.metric_name,
        "mode": sweep.mode,
        "rounds": rounds.tolist(),
        "members": [member.index for member in sweep],
        "hparams": {name: [finite(plain(h.get(name))) for h in hparams] for name in names},
        "history": held,
    }
    said = ['The history is in this file as JSON, <script id="vtune-history">: of each metric a ']
    said.append("list by round of a list by member, null where there is no finite value; of each ")
    said.append("hyperparameter a list by member, as it was at the end.")
    if len(rounds) < sweep.trained.rounds:
        said.append(f" It has {len(rounds)} of {sweep.trained.rounds} rounds, for want of room.")
    if left:
        said.append(f" Left out for want of room: {', '.join(left)}.")
    return joined([element("p", "".join(said)), data_script(content, "vtune-history")])


def _number(value: Any) -> float | None:
    return float(f"{value:.5g}") if np.isfinite(value) else None
