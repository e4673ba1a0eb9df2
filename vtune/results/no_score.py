"""What is said where no member of a sweep has a finite score, by its cause."""

from __future__ import annotations

import numpy as np

from vtune.results.member import Member
from vtune.results.trained import Trained


def no_finite_score(trained: Trained) -> str | None:
    """Returns why no member can be the best, and what to try; None where one can."""
    finished = np.flatnonzero(trained.lived == trained.rounds)
    if np.isfinite(trained.scores[finished]).any():
        return None
    members = [Member(trained, int(column)) for column in finished]
    which = "" if len(members) == len(trained.places) else " that trained to the end"
    healthy = [member for member in members if not member.status.startswith("diverged")]
    name = trained.metric_name
    first = (healthy or members)[0]
    said = f"no member{which} has a finite {name} (the first: {first.status}); see sweep.table()"
    if not healthy:
        return f"{said}, try smaller learning rates, and check that labels and inputs are in range"
    if len(healthy) < len(members):
        said += f"; {len(members) - len(healthy)} diverged, {len(healthy)} did not"
    value = first.history[name][-1]
    if np.isinf(value):
        return f"{said}. It is {value:g} though the weights are finite: look at its formula"
    return (
        f"{said}. It is NaN though the weights are finite, so the metric is not defined on these "
        "validation rows: ROC-AUC needs rows of every class, a mean needs weights that are not all "
        '0, R² two rows; stratify the split (stratify="y"), hold more rows out, or choose another '
        "metric="
    )


def finished(trained: Trained, caller: str) -> list[int]:
    """Returns the columns of the members that trained to the end with a finite score, best first.

    Args:
      caller: the function that the message names.

    Raises:
      ValueError: there are none.
    """
    reason = no_finite_score(trained)
    if reason is not None:
        raise ValueError(f"{caller}: {reason}")
    finite = np.isfinite(trained.scores)
    return [i for i in trained.ranking.tolist() if finite[i] and not trained.dropped(i)]
