"""A network called on a batch, and what the user's parts make of its outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from vtune.hparams import Hparams
from vtune.learner.calling import calling
from vtune.learner.contracts import check_outputs
from vtune.learner.frozen import FrozenNet
from vtune.learner.net import Net
from vtune.learner.objective import batch_mean, loss_totals, metric_totals, penalised
from vtune.learner.parts import Parts
from vtune.learner.per_example import check_alone
from vtune.returned import check_arrays
from vtune.rng.threefry import folded
from vtune.types import Array, Batch, Key, Outputs, PyTree, Totals, Weight
from vtune.xla.ops.rewrite import rewrite


@dataclass(frozen=True)
class Forward:
    """A member's network and the user's parts.

    Attributes:
      net: the network of which the member has all variables. parts: checked.
    """

    net: Net | FrozenNet
    parts: Parts

    def apply(
        self, key: Key, h: Hparams, params: PyTree, other: PyTree, batch: Batch, train: bool
    ) -> tuple[Outputs, PyTree]:
        """Returns the outputs, and the other variables as they are then."""
        with calling("the model", batch=batch, h=h):
            outputs, other = self.net.apply(key, h, params, other, batch, train)
        check_arrays("the model", outputs, "its outputs")
        return outputs, other

    def objective(
        self, key: Key, h: Hparams, params: PyTree, other: PyTree, batch: Batch, weight: Weight
    ) -> tuple[Array, tuple[PyTree, dict[str, Totals]]]:
        """Returns what training minimises, and (other variables, totals of `train_metrics`)."""
        outputs, other = self.apply(key, h, params, other, batch, True)
        _check_rows(self.parts, outputs, batch, weight.shape[0])
        mean = batch_mean(self.parts, outputs, batch, h, weight)
        held = self.net.held.params if isinstance(self.net, FrozenNet) else {}
        value = penalised(self.parts, mean, params, h, held)
        return value, (other, _totals("train_metrics", self.parts, outputs, batch, weight))

    def objective_of_row(
        self, key: Key, h: Hparams, other: PyTree, params: PyTree, batch: Batch, number: Array
    ) -> tuple[Array, dict[str, Totals]]:
        """Returns (what training minimises of one row, totals of `train_metrics`). Each row has
        noise of its own: its key is the step key folded with its number."""

        def objective(params: PyTree) -> tuple[Array, dict[str, Totals]]:
            own = folded(key, number)
            value, (after, totals) = self.objective(own, h, params, other, batch, jnp.ones(1))
            check_alone(other, after)
            return value, totals

        return rewrite(objective, self.parts.rewrite)(params)


def judged(
    parts: Parts, h: Hparams, outputs: Outputs, batch: Batch, weight: Weight
) -> dict[str, Totals]:
    """Returns the totals of the loss and of `metrics` for one batch, by name."""
    _check_rows(parts, outputs, batch, weight.shape[0])
    totals = _totals("metrics", parts, outputs, batch, weight)
    return {"loss": loss_totals(parts, outputs, batch, h, weight), **totals}


def check_metrics(parts: Parts, outputs: Any, arrays: Mapping[str, Any]) -> None:
    """Raises TypeError or ValueError where a metric cannot be computed, see `Metric.check`."""
    for argument in ("metrics", "train_metrics"):
        for name, metric in getattr(parts, argument).items():
            if metric.check is not None:
                try:
                    metric.check(outputs, arrays)
                except (TypeError, ValueError) as error:
                    hint = "" if parts.batch_loss is None else _ROWS
                    raise type(error)(f"{argument}[{name!r}]: {error}{hint}") from None


_ROWS = (
    "\n(With batch_loss= outputs need not begin with the rows, but metrics compare row by row: "
    "measure a part that does, by vt.metrics.mean(lambda outputs, batch: values))"
)


def _check_rows(parts: Parts, outputs: Outputs, batch: Batch, rows: int) -> None:
    if parts.batch_loss is None:  # which takes whatever comes out
        with calling("the model", batch=batch):
            check_outputs(outputs, rows)


def _totals(
    argument: str, parts: Parts, outputs: Outputs, batch: Batch, weight: Weight
) -> dict[str, Totals]:
    metrics = getattr(parts, argument)
    try:
        return metric_totals(argument, metrics, outputs, batch, weight)
    except (TypeError, ValueError) as error:
        if parts.batch_loss is None or type(error) not in (TypeError, ValueError):
            raise
        raise type(error)(f"{argument}: {error}{_ROWS}") from error
