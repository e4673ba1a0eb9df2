"""A learner: how ONE member is initialised, stepped and scored. It knows nothing of populations.

`flax_learner` (linen.py) and `nnx_learner` (nnx.py) build one from a network (assemble.py); whoever
writes the five functions by hand has a learner too.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from vtune.learner.trace_cache import once
from vtune.types import Array, Batch, Key, Metrics, Outputs, PyTree, State, Totals, Weight


class Learner(NamedTuple):
    """Pure functions of ONE member. Users may write their own.

    Attributes:
      init: (key, h, batch) -> state. `batch` shows the shapes; None where the data is None.
      step: (key, h, state, batch) -> (state, metrics). Keeps the state's structure, shapes and
        types; metrics are scalars by name, recorded as `train/<name>`, the round's mean.
      measure: (key, h, state, batch, weight) -> totals of one evaluation batch; `weight`
        [batch] is 0 on padding. Totals are summed; parts inside `vt.metrics.PerRow` are
        concatenated.
      score: totals -> metrics by name, scalars (arrays allowed).
      predict: (h, state, batch) -> outputs, leading axis rows.
      variables: state -> what `Member.variables` shows; watched for non-finite values.
      check: (outputs as shapes, arrays on the host) -> None; raises before compiling.
      modes: (metric's name, "max" or "min"), for the best value in `Sweep.table()`. Of others
        vtune takes "min" where the name ends with loss or error, and "max" elsewhere.
      summarise: (sums of the step's metrics over a round, steps) -> metrics by name, where these
        are not means; the step may then return any totals by name.
      load: (h, state, variables) -> state, the state with weights from elsewhere, whole or part,
        for `vt.tune(init_from=)`.
      judge: (h, outputs, batch, weight) -> totals, as `measure` makes of the outputs; for
        ensembles, whose outputs are those of several members.
    """

    init: Callable[[Key, Any, Batch], State]
    step: Callable[[Key, Any, State, Batch], tuple[State, Metrics]]
    measure: Callable[[Key, Any, State, Batch, Weight], Totals]
    score: Callable[[Totals], Metrics]
    predict: Callable[[Any, State, Batch], Outputs] | None = None
    variables: Callable[[State], PyTree] | None = None
    check: Callable[[Any, Mapping[str, Any]], None] | None = None
    modes: tuple[tuple[str, str], ...] = ()
    summarise: Callable[[PyTree, Array], Metrics] | None = None
    load: Callable[[Any, State, PyTree], State] | None = None
    judge: Callable[[Any, Outputs, Batch, Weight], Totals] | None = None


@functools.lru_cache(maxsize=32)
def traced_once(learner: Learner) -> Learner:
    """The same learner; each function is traced once for arguments of one form, wherever the
    program needs it again. What it is traced to is put in place, so the program is the same."""
    return learner._replace(
        init=once(learner.init),
        step=once(learner.step),
        measure=once(learner.measure),
        predict=None if learner.predict is None else once(learner.predict),
    )


def first_state(learner: Learner, key: Key, h: Any, batch: Batch, weights: PyTree) -> State:
    """A member's first state; with weights from elsewhere, where there are any."""
    state = learner.init(key, h, batch)
    if weights is None or learner.load is None:
        return state
    return learner.load(h, state, weights)
