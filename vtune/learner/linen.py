"""`flax_learner` makes a learner of a `flax.linen` module."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import flax.linen as nn

from vtune.hparams import Hparams
from vtune.learner.assemble import assemble
from vtune.learner.contracts import call_arguments, check_call
from vtune.learner.parts import Parts
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
        `deterministic` is passed if `__call__` takes it. Other collections than `params`, such as
        BatchNorm statistics, are carried per member.
      optimizer: a function of the hyperparameters that returns an Optax transformation. For
        schedules, `h` also holds the whole numbers `h["total_steps"]` (traced where epochs differ
        between members, or folds in size) and `h["steps_per_epoch"]`. `vt.schedules` take traced
        numbers; make a schedule that compares its arguments in Python
        (warmup_cosine_decay_schedule) with peak 1 and multiply:
        `lambda step: h["lr"] * schedule(step)`.
      loss: (outputs, batch, h) -> values [batch, ...], or (values, weights). Training minimises
        the weighted mean.
      metrics: metrics by name, recorded on the validation rows in addition to `loss`.
      train_metrics: metrics by name, recorded as `train/<name>` over all training batches of a
        round, augmented as the model saw them.
      penalty: (params, h) -> a scalar added to the training loss, such as `vt.penalties.l2`.
      batch_loss: (outputs, batch, h) -> scalar, instead of `loss`, for a loss that is not per
        example. On the validation rows it is averaged over batches of as many rows as a training
        batch, or `eval_batch_size=`; the last is filled up with rows of the first, and counts by
        the rows that are its own.
      augment: (key, batch, h) -> batch, called in every training step of every member; see
        `vt.augment`. Its key is the step key folded with 0.
      eval_params: (opt_state, params) -> the weights that are scored, shown and used to predict,
        if these are not the trained ones: `vt.averaged` of `vt.weight_average`,
        `optax.contrib.schedule_free_eval_params`.
      apply: (model, variables, batch, *, train, rngs, mutable) -> what `model.apply` returns, for
        modules that `__call__` does not suit. It is called once with empty variables and
        `mutable=True`, to make the variables.
      rewrite: how convolutions and poolings are computed, see `vt.rewrite`.

    Returns:
      A `Learner`. In a step, `rngs` is {"params": step key}. Flax falls back on it for every
      stream, so the dropout of a plain loop with `rngs={"dropout": key}` has the same bits.

    Raises:
      TypeError, ValueError: an argument is of the wrong kind, at once; a function returns
        something wrong, when `vt.tune` starts.
    """
    if isinstance(model, type) or not (isinstance(model, nn.Module) or callable(model)):
        raise TypeError(
            "model must be a flax.linen module or a function of h that returns one, got "
            f"{model!r}; write MLP() or lambda h: MLP(width=h['width'])"
        )
    if not isinstance(model, nn.Module):
        check_call("model", model, "h")
    parts = Parts(
        optimizer=optimizer,
        loss=loss,
        metrics=metrics,
        train_metrics=train_metrics,
        penalty=penalty,
        batch_loss=batch_loss,
        augment=augment,
        eval_params=eval_params,
        rewrite=rewrite,
    )
    return assemble(LinenNet(model, apply), parts)


@dataclass(frozen=True)
class LinenNet:
    """A linen module as a `Net`; its other variables are the collections besides `params`, by name.

    Attributes:
      model: the module, or a function of the hyperparameters that makes it.
      user_apply: what calls the module in the user's own way, or None.
    """

    model: nn.Module | Callable[[Hparams], nn.Module]
    user_apply: Callable[..., Any] | None

    def init(self, key: Key, h: Hparams, batch: Batch) -> tuple[PyTree, PyTree]:
        module, rngs = self._module(h), {"params": key}
        if self.user_apply is not None:  # with mutable=True it creates the variables
            _, made = self.user_apply(module, {}, batch, train=False, rngs=rngs, mutable=True)
        else:
            positional, keywords = call_arguments(type(module).__call__, batch, False)
            made = module.init(rngs, *positional, **keywords)
        variables = {name: tree for name, tree in made.items() if name != "intermediates"}
        return variables.pop("params", {}), variables

    def apply(
        self, key: Key, h: Hparams, params: PyTree, other: PyTree, batch: Batch, train: bool
    ) -> tuple[Outputs, PyTree]:
        module, rngs = self._module(h), {"params": key}
        variables = self.variables(params, other)
        mutable = list(other) if train and other else False
        if self.user_apply is not None:
            made = self.user_apply(
                module, variables, batch, train=train, rngs=rngs, mutable=mutable
            )
        else:
            positional, keywords = call_arguments(type(module).__call__, batch, train)
            made = module.apply(variables, *positional, rngs=rngs, mutable=mutable, **keywords)
        outputs, changed = made if mutable else (made, {})
        return outputs, {**other, **changed}

    def variables(self, params: PyTree, other: PyTree) -> PyTree:
        return {"params": params, **other}

    def split(self, variables: PyTree, params: PyTree, other: PyTree) -> tuple[PyTree, PyTree]:
        if "params" not in variables and not set(variables) <= set(other):
            return variables, {}  # the parameters alone
        others = {name: tree for name, tree in variables.items() if name != "params"}
        return variables.get("params", {}), others

    def _module(self, h: Hparams) -> nn.Module:
        module = self.model if isinstance(self.model, nn.Module) else self.model(h)
        if not isinstance(module, nn.Module):
            raise TypeError(
                f"model(h) returned {type(module).__name__}, not a flax.linen module; for nnx "
                "models use vt.nnx_learner"
            )
        return module
