"""`nnx_learner` makes a learner of a `flax.nnx` module."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
from flax import nnx
from flax.traverse_util import flatten_dict, unflatten_dict

from vtune.hparams import Hparams
from vtune.learner.assemble import assemble
from vtune.learner.contracts import call_arguments, check_call
from vtune.learner.parts import Parts
from vtune.learner.protocol import Learner
from vtune.metrics import Metric
from vtune.rng.keys import IMPL
from vtune.types import Batch, Key, Outputs, PyTree


def nnx_learner(
    model: Callable[[Hparams, nnx.Rngs], nnx.Module],
    *,
    optimizer: Callable[[Hparams], Any],
    loss: Callable[..., Any] | None = None,
    metrics: Mapping[str, Metric] | None = None,
    train_metrics: Mapping[str, Metric] | None = None,
    penalty: Callable[[PyTree, Hparams], Any] | None = None,
    batch_loss: Callable[..., Any] | None = None,
    augment: Callable[..., Any] | None = None,
    eval_params: Callable[..., Any] | None = None,
    rewrite: str = "auto",
) -> Learner:
    """Makes a learner of an nnx module, an Optax optimizer and a loss.

    Args:
      model: (h, rngs) -> the module, called with `nnx.Rngs(member key)`. Its `nnx.Param`s are
        trained; other variables, such as BatchNorm statistics, are carried per member. Before
        each step the random streams are reseeded: a stream `dropout` by
        `nnx.reseed(module, dropout=step_key)`. Of several streams, in alphabetical order, the
        second and later ones get the step key folded with 1, 2, ...
      optimizer, loss, metrics, train_metrics, penalty, batch_loss, augment, eval_params, rewrite:
        as in `vt.flax_learner`. The module's `train()` or `eval()` is called first, and `train`,
        `training` or `deterministic` is passed to its `__call__` if that takes it.

    Returns:
      A `Learner`. `Member.variables` goes into `nnx.update(module, variables)`.

    Raises:
      TypeError, ValueError: as `vt.flax_learner`.
    """
    if isinstance(model, nnx.Module) or not callable(model):
        raise TypeError(
            f"model must be a function of (h, rngs) that returns a flax.nnx module, got "
            f"{type(model).__name__}; write lambda h, rngs: Model(width=h['width'], rngs=rngs)"
        )
    check_call("model", model, "h, rngs")
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
    return assemble(NnxNet(model), parts)


@dataclass(frozen=True)
class NnxNet:
    """An nnx module as a `Net`; its other variables are {"variables": ..., "key": the first key}.

    Attributes:
      model: (h, rngs) -> the module.
    """

    model: Callable[[Hparams, nnx.Rngs], nnx.Module]

    def init(self, key: Key, h: Hparams, batch: Batch) -> tuple[PyTree, PyTree]:
        _, params, _, variables, _ = _split(self._module(key, h))
        other = {"variables": nnx.to_pure_dict(variables), "key": jax.random.key_data(key)}
        return nnx.to_pure_dict(params), other

    def apply(
        self, key: Key, h: Hparams, params: PyTree, other: PyTree, batch: Batch, train: bool
    ) -> tuple[Outputs, PyTree]:
        module = self._filled(h, params, other)
        _reseed(module, key)
        if train:
            module.train()
        else:
            module.eval()
        positional, keywords = call_arguments(type(module).__call__, batch, train)
        outputs = module(*positional, **keywords)
        nnx.pop(module, nnx.Intermediate)
        _, _, _, changed, _ = _split(module)
        return outputs, {**other, "variables": nnx.to_pure_dict(changed)}

    def variables(self, params: PyTree, other: PyTree) -> PyTree:
        # A BatchNorm has leaves in both: they are joined leaf by leaf.
        return unflatten_dict(flatten_dict(params) | flatten_dict(other["variables"]))

    def split(self, variables: PyTree, params: PyTree, other: PyTree) -> tuple[PyTree, PyTree]:
        given, known = flatten_dict(variables), flatten_dict(other["variables"])
        others = {path: given[path] for path in given if path in known}
        rest = {path: given[path] for path in given if path not in known}
        return unflatten_dict(rest), {"variables": unflatten_dict(others)}

    def _module(self, key: Key, h: Hparams) -> nnx.Module:
        module = self.model(h, nnx.Rngs(key))
        if not isinstance(module, nnx.Module):
            raise TypeError(
                f"model(h, rngs) returned {type(module).__name__}, not a flax.nnx module; for "
                "linen models use vt.flax_learner"
            )
        return module

    def _filled(self, h: Hparams, params: PyTree, other: PyTree) -> nnx.Module:
        """Returns the module with a member's weights and variables.

        It is made anew, so that traced hyperparameters kept as attributes (a dropout rate) are the
        current ones; and with its first key, so that arrays drawn by its constructor (random
        features) stay. The fresh weights are never used, and the compiler drops them.
        """
        first_key = jax.random.wrap_key_data(other["key"], impl=IMPL)
        structure, fresh, streams, variables, arrays = _split(self._module(first_key, h))
        nnx.replace_by_pure_dict(fresh, params)
        nnx.replace_by_pure_dict(variables, other["variables"])
        return nnx.merge(structure, fresh, streams, variables, arrays)


def _split(module: nnx.Module) -> Any:
    """Returns (structure, parameters, random streams, other variables, plain arrays)."""
    return nnx.split(module, nnx.Param, nnx.RngState, nnx.Variable, ...)


def _reseed(module: nnx.Module, key: Key) -> None:
    """Reseeds the random streams: the first by `key`, later ones by `key` folded with 1, 2, ..."""
    is_variable = lambda leaf: isinstance(leaf, nnx.Variable)
    stream_keys = jax.tree.leaves(nnx.state(module, nnx.RngKey), is_leaf=is_variable)
    tags = sorted({leaf.tag for leaf in stream_keys})
    nnx.reseed(
        module, **{tag: jax.random.fold_in(key, i) if i else key for i, tag in enumerate(tags)}
    )
