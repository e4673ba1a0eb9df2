"""flax_learner: a learner from a `flax.linen` module."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn

from vtune.hparams import Hparams
from vtune.learner.assemble import Net, Parts, assemble
from vtune.learner.contracts import call_arguments, check_call
from vtune.learner.protocol import Learner
from vtune.metrics import Metric
from vtune.types import Batch, Key, Outputs, PyTree


def flax_learner(
    model: nn.Module | Callable[[Hparams], nn.Module],
    *,
    optimizer: Callable[[Hparams], Any],
    loss: Callable[..., Any] | None = None,
    metrics: Mapping[str, Metric] | None = None,
    train_metrics: Mapping[str, Metric] | None = None,
    penalty: Callable[[PyTree, Hparams], Any] | None = None,
    batch_loss: Callable[..., Any] | None = None,
    augment: Callable[..., Any] | None = None,
    eval_params: Callable[..., Any] | None = None,
    apply: Callable[..., Any] | None = None,
    rewrite: str = "auto",
) -> Learner:
    """Makes a learner of a linen module, an Optax optimizer and a loss.

    Args:
      model: the module, or a function of the hyperparameters that makes it. Entries of the data
        go to its `__call__` by argument name (`x` when none matches); `train`, `training` or
        `deterministic` is passed where it is taken. Other collections than `params`, such as
        BatchNorm statistics, are carried per member.
      optimizer: a function of the hyperparameters that returns an Optax transformation. For
        schedules, `h["total_steps"]` and `h["steps_per_epoch"]` are there as whole numbers (the
        first is traced where members have their own epochs). `vt.schedules` take traced numbers;
        a schedule that compares its arguments in Python (warmup_cosine_decay_schedule) is made
        with peak 1 and multiplied: `lambda step: h["lr"] * schedule(step)`.
      loss: (outputs, batch, h) -> values [batch, ...], or (values, weights). Training minimises
        the weighted mean.
      metrics: by name, what is recorded on the validation rows beside `loss`.
      train_metrics: by name, what is recorded as `train/<name>` on the training batches of a
        round, all together, as the model saw them.
      penalty: (params, h) -> a scalar added to the training loss, such as `vt.penalties.l2`.
      batch_loss: (outputs, batch, h) -> scalar, in the place of `loss` where the loss is not
        per example. On validation it is averaged over full evaluation batches.
      augment: (key, batch, h) -> batch, changed anew for every training step and member; see
        `vt.augment`. Its key is the step key folded with 0.
      eval_params: (opt_state, params) -> the weights that are scored, shown and predict, where
        these are not those trained: `vt.averaged` of `vt.weight_average`,
        `optax.contrib.schedule_free_eval_params`.
      apply: (model, variables, batch, *, train, rngs, mutable) -> what `model.apply` returns,
        for modules that are called in another way. Called once
        with empty variables and `mutable=True` to make them.
      rewrite: what becomes of convolutions and poolings, see `vt.rewrite`.

    Returns:
      A `Learner`. In a step, `rngs` is {"params": step key}, on which Flax falls back for every
      stream, so the dropout of a plain loop with `rngs={"dropout": key}` has the same bits.

    Raises:
      TypeError, ValueError: on parts of the wrong kind, when built; on what the functions
        return, when `vt.tune` starts.
    """
    if isinstance(model, type) or not (isinstance(model, nn.Module) or callable(model)):
        raise TypeError(
            f"model={model!r} is neither a module nor a function of h that returns one; "
            "write MLP() or lambda h: MLP(width=h['width'])"
        )

    if not isinstance(model, nn.Module):
        check_call("model", model, "h")

    def make(h: Hparams) -> nn.Module:
        made = model if isinstance(model, nn.Module) else model(h)
        if not isinstance(made, nn.Module):
            raise TypeError(
                f"model(h) returned {type(made).__name__}, not a flax.linen module; for nnx "
                "models use vt.nnx_learner"
            )
        return made

    def init(key: Key, h: Hparams, batch: Batch) -> tuple[PyTree, PyTree]:
        module = make(h)
        if apply is not None:
            variables = _init_through(apply, module, key, batch)
        else:
            positional, keywords = call_arguments(type(module).__call__, batch, False)
            variables = module.init({"params": key}, *positional, **keywords)
        variables = {k: v for k, v in variables.items() if k != "intermediates"}
        return variables.pop("params", {}), variables

    def run(
        key: Key, h: Hparams, params: PyTree, other: PyTree, batch: Batch, train: bool
    ) -> tuple[Outputs, PyTree]:
        module = make(h)
        variables = {"params": params, **other}
        mutable = list(other) if train and other else False
        rngs = {"params": key}
        if apply is not None:
            out = apply(module, variables, batch, train=train, rngs=rngs, mutable=mutable)
        else:
            positional, keywords = call_arguments(type(module).__call__, batch, train)
            out = module.apply(variables, *positional, rngs=rngs, mutable=mutable, **keywords)
        outputs, changed = out if mutable else (out, {})
        return outputs, {**other, **changed}

    def variables(params: PyTree, other: PyTree) -> PyTree:
        return {"params": params, **other}

    def split(variables: PyTree, params: PyTree, other: PyTree) -> tuple[PyTree, PyTree]:
        if "params" not in variables and not set(variables) <= set(other):
            return variables, {}  # the parameters alone
        return variables.get("params", {}), {k: v for k, v in variables.items() if k != "params"}

    parts = Parts(
        optimizer,
        loss,
        metrics,
        train_metrics,
        penalty,
        batch_loss,
        augment,
        eval_params,
        rewrite,
    )
    return assemble(Net(init, run, variables, split), parts)


def _init_through(apply: Callable[..., Any], module: nn.Module, key: Key, batch: Batch) -> Any:
    """The variables that the user's own `apply` makes when everything may be created."""
    _, variables = apply(module, {}, batch, train=False, rngs={"params": key}, mutable=True)
    return variables
