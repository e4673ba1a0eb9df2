"""Warm starts: a generation that begins with the weights of the best member before it."""

from __future__ import annotations

import dataclasses

import numpy as np

from vtune.engine.plan import describe
from vtune.results.beginnings import weights_of
from vtune.results.trained import Trained
from vtune.search.generations import Generations
from vtune.tuning.prepare import Prepared


def warmed(prepared: Prepared, search: Generations, earlier: Trained | None) -> Prepared:
    """Returns what was prepared, set to begin with the best weights so far where that is asked.

    Args:
      earlier: the generations before; None for the first, which begins as it was prepared.
    """
    if not search.warm_start or earlier is None or not np.isfinite(earlier.scores).any():
        return prepared
    column = int(earlier.ranking[0])
    arguments = prepared.arguments._replace(weights=weights_of(earlier, column))
    plan = dataclasses.replace(prepared.plan, arguments=describe(arguments))
    return prepared._replace(
        plan=plan, arguments=arguments, drawn=prepared.drawn._replace(began_from=(column,))
    )
