"""The optimizer, loss and other functions that a user gives besides the model, and their checks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import optax

from vtune.metrics import Metric
from vtune.validation import check_call
from vtune.xla.ops.rewrite import check_form

# The functions among the parts, and the names of the arguments that they are called with.
ARGUMENTS = {
    "optimizer": "h",
    "loss": "outputs, batch, h",
    "batch_loss": "outputs, batch, h",
    "penalty": "params, h",
    "augment": "key, batch, h",
    "eval_params": "opt_state, params",
}


class Parts(NamedTuple):
    """The arguments of `vt.flax_learner` that do not depend on the kind of model; see there."""

    optimizer: Any
    loss: Any = None
    metrics: Any = None
    train_metrics: Any = None
    penalty: Any = None
    batch_loss: Any = None
    augment: Any = None
    eval_params: Any = None
    recompute_statistics: Any = None
    rewrite: str = "auto"


def checked(parts: Parts) -> Parts:
    """Returns the parts with their metrics as dicts.

    Raises:
      TypeError, ValueError: a part is of the wrong kind, or takes other arguments.
    """
    metrics = _named_metrics("metrics", parts.metrics)
    train_metrics = _named_metrics("train_metrics", parts.train_metrics)
    _check_functions(parts)
    check_form(parts.rewrite)
    batches = parts.recompute_statistics
    if batches is not None and (type(batches) is not int or batches < 1):
        raise ValueError(
            f"recompute_statistics={batches!r} must be a number of training batches, 1 or more, or "
            "None to leave batch statistics as they were trained"
        )
    return parts._replace(metrics=metrics, train_metrics=train_metrics)


def _named_metrics(argument: str, metrics: Any) -> dict[str, Metric]:
    if not isinstance(metrics, Mapping | None):
        raise TypeError(
            f"{argument} must be a dict of metrics by name, got {metrics!r}; write "
            f'{argument}={{"accuracy": vt.metrics.accuracy}}'
        )
    for name, metric in (metrics or {}).items():
        if not isinstance(name, str) or not name:
            raise TypeError(f"{argument}: metrics are named by strings, got the name {name!r}")
        if isinstance(metric, type) or not (
            hasattr(metric, "measure") and hasattr(metric, "score")
        ):
            way = (
                "a function (outputs, batch) that returns a value a row becomes one with "
                'vt.metrics.mean(function, mode="max"), or "min" if lower is better'
                if callable(metric)
                else "take one of vt.metrics, or vt.metrics.mean(lambda outputs, batch: ...)"
            )
            raise TypeError(
                f"{argument}[{name!r}] must be a metric, got {metric!r}; {way}; what is no mean "
                "is vt.metrics.Metric(measure, score)"
            )
        if name == "loss" or name.startswith("train/"):
            raise ValueError(
                f"{argument}: the name {name!r} is reserved for what vtune records itself; choose "
                "another"
            )
    return dict(metrics or {})


def _check_functions(parts: Parts) -> None:
    if isinstance(parts.optimizer, optax.GradientTransformation) or not callable(parts.optimizer):
        raise TypeError(
            "optimizer must be a function of the hyperparameters, got "
            f'{type(parts.optimizer).__name__}; write optimizer=lambda h: optax.adam(h["lr"])'
        )
    if (parts.loss is None) == (parts.batch_loss is None):
        given = "neither" if parts.loss is None else "both"
        raise ValueError(
            "give either loss= (a value per example) or batch_loss= (one value per batch), got "
            f"{given}"
        )
    for name, arguments in ARGUMENTS.items():
        part = getattr(parts, name)
        if part is not None and not callable(part):
            raise TypeError(
                f"{name} must be a function, got {part!r}; write {name}=lambda {arguments}: ..."
            )
        if part is not None:
            instead = f"{name}=lambda {arguments}: ..."
            if name in ("loss", "batch_loss"):
                instead = _adapted(name, part)
                if _module(part) in ("optax", "jax"):
                    raise TypeError(
                        f"{name} is called with ({arguments}), where batch is a dict of the data's "
                        f"entries; write {instead}"
                    )
            check_call(name, part, arguments, instead=instead)


def _adapted(name: str, loss: Any) -> str:
    """Returns how a function of outputs and labels is given as a loss."""
    module = f"{_module(loss)}." if _module(loss) in ("optax", "jax") else ""
    called = f"{module}{getattr(loss, '__name__', '<lambda>')}"
    if "<" in called:
        called = "optax.softmax_cross_entropy_with_integer_labels"
    mean = ".mean()" if name == "batch_loss" else ""
    return f'{name}=lambda out, batch, h: {called}(out, batch["y"]){mean}'


def _module(function: Any) -> str:
    return (getattr(function, "__module__", None) or "").partition(".")[0]
