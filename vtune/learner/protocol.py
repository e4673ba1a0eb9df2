"""The protocol `Learner`: how ONE member is initialised, stepped and scored.

`flax_learner` (linen.py) and `nnx_learner` (nnx.py) make one of a network (assemble.py). Users may
write their own: the first four functions are required. Nothing here knows of populations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from vtune.caches import bounded_cache
from vtune.learner.checked import checked
from vtune.learner.freezing import Freezing
from vtune.learner.held import with_current
from vtune.learner.trace_cache import cache_trace
from vtune.types import Array, Batch, Key, Metrics, Outputs, PyTree, State, Totals, Weight


class Learner(NamedTuple):
    """Pure functions of ONE member. Users may write their own.

    A member is scored in two stages. `measure` runs once per evaluation batch and returns totals,
    which vtune adds up; `score` runs once on the sums and returns the metrics. `measure` is
    `predict` followed by `judge`: `judge` takes outputs that are already there, such as the
    averaged outputs of an ensemble. `check` never runs in the program: before anything is
    compiled, it compares the data with the shapes of the outputs.

    Attributes:
      init: (key, h, batch) -> state. `batch` only shows shapes; it is None if the data is None.
      step: (key, h, state, batch) -> (state, metrics). Keeps the state's structure, shapes and
        types. The metrics are scalars by name; their means over a round are recorded as
        `train/<name>`.
      measure: (key, h, state, batch, weight) -> totals of one evaluation batch; `weight`
        [batch] is 0 on padding. Totals are summed over batches; parts inside `vt.metrics.PerRow`
        are concatenated.
      score: totals -> metrics by name, scalars (arrays allowed).
      predict: (h, state, batch) -> outputs, leading axis rows.
      variables: state -> what `Member.variables` shows; also watched for non-finite values.
      check: (outputs as shapes, arrays on the host) -> None; raises if the metrics cannot be
        computed of such outputs and labels.
      modes: (metric's name, "max" or "min"), whether higher is better; None where the metric does
        not say it. Without modes the names of well-known metrics say it ("loss", "val_error",
        "accuracy"); for others `vt.tune` needs `mode=`, and `Sweep.table()` has no best values.
      summarise: (sums of the step's metrics over a round, steps) -> metrics by name, if these are
        not means. The step may then return any totals by name.
      load: (h, state, variables) -> the state with the given weights, whole or in part, for
        `vt.tune(init_from=)`.
      judge: (h, outputs, batch, weight) -> totals, as `measure` returns for these outputs.
      whole_batches: whether the loss is one of whole batches, so that an evaluation batch may not
        hold a row twice. It then has as many rows as a training batch if `eval_batch_size=` is
        left out, and never more than the smallest fold.
      refresh: (key, h, state, batch, number) -> the state, changed before members are scored by
        training batches 0, 1, ... up to `refresh_batches` of them.
      weights: (h, outputs, batch, train) -> by name, how much every row or place of a batch counts
        [batch, ...], in training or else in scoring, of what has weights: the loss, metrics. Never
        runs in the program: before anything is compiled, it is asked for all rows of the data.
      freezing: how `vt.tune(frozen=)` makes a learner of it whose members share what is not
        trained; None where it cannot.
      share: of such a learner: (state, weights) -> the state with the variables that members share,
        taken from `weights`, which `init_from=` gave; without them where `weights` is None. The
        states that `init` and `load` return and that members carry are without them, all other
        functions are given states with them.
    """

    init: Callable[[Key, Any, Batch], State]
    step: Callable[[Key, Any, State, Batch], tuple[State, Metrics]]
    measure: Callable[[Key, Any, State, Batch, Weight], Totals]
    score: Callable[[Totals], Metrics]
    predict: Callable[[Any, State, Batch], Outputs] | None = None
    variables: Callable[[State], PyTree] | None = None
    check: Callable[[Any, Mapping[str, Any]], None] | None = None
    modes: tuple[tuple[str, str | None], ...] = ()
    summarise: Callable[[PyTree, Array], Metrics] | None = None
    load: Callable[[Any, State, PyTree], State] | None = None
    judge: Callable[[Any, Outputs, Batch, Weight], Totals] | None = None
    whole_batches: bool = False
    refresh: Callable[[Key, Any, State, Batch, Array], State] | None = None
    refresh_batches: int = 0
    weights: Callable[[Any, Outputs, Batch, bool], Mapping[str, Array]] | None = None
    freezing: Freezing | None = None
    share: Callable[[State, PyTree], State] | None = None


SIGNATURES = {  # the arguments that a learner's functions are called with
    "init": "key, h, batch",
    "step": "key, h, state, batch",
    "measure": "key, h, state, batch, weight",
    "score": "totals",
    "predict": "h, state, batch",
    "variables": "state",
    "check": "outputs, arrays",
    "summarise": "sums, steps",
    "load": "h, state, variables",
    "judge": "h, outputs, batch, weight",
    "refresh": "key, h, state, batch, number",
    "weights": "h, outputs, batch, train",
}


@bounded_cache(32)
def traced_once(learner: Learner) -> Learner:
    """Returns the learner with functions that are traced once per argument structure and checked
    (see checked.py), and a step in which the current hyperparameters count (see held.py).

    The cached trace is inlined, so the compiled program does not change.
    """
    functions: dict[str, Any] = {
        name: checked(name, getattr(learner, name), takes)
        for name, takes in SIGNATURES.items()
        if name != "check" and getattr(learner, name) is not None
    }
    learner = learner._replace(**functions)
    init, step = cache_trace(learner.init), cache_trace(learner.step)
    return learner._replace(
        init=init,
        step=cache_trace(with_current(init, step)),
        measure=cache_trace(learner.measure),
        predict=None if learner.predict is None else cache_trace(learner.predict),
        refresh=None if learner.refresh is None else cache_trace(learner.refresh),
    )


def first_state(learner: Learner, key: Key, h: Any, batch: Batch, weights: PyTree) -> State:
    """Returns a member's first state, with the given weights unless they are None."""
    state = learner.init(key, h, batch)
    if weights is None or learner.load is None:
        return state
    return learner.load(h, state, weights)
