"""nnx_learner: a learner from a `flax.nnx` module."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
from flax import nnx

from vtune.hparams import Hparams
from vtune.learner.assemble import Net, Parts, assemble
from vtune.learner.contracts import call_arguments, check_call
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
      model: (h, rngs) -> the module, made with `nnx.Rngs(member key)`. Its `nnx.Param`s are
        trained; other variables, such as BatchNorm statistics, are carried per member. Before
        each step its random streams are reseeded, `nnx.reseed(module, dropout=step_key)` where
        the stream is `dropout`; of several streams the second and later ones, in alphabetical
        order, get the step key folded with their place 1, 2, ...
      optimizer, loss, metrics, train_metrics, penalty, batch_loss, augment, eval_params, rewrite:
        as in `vt.flax_learner`. `train()` and `eval()` of the module are called, and `train`,
        `training` or `deterministic` is passed to its `__call__` where it is taken.

    Returns:
      A `Learner`. `Member.variables` goes into `nnx.update(module, variables)`.

    Raises:
      TypeError, ValueError: as `vt.flax_learner`.
    """
    if isinstance(model, nnx.Module) or not callable(model):
        raise TypeError(
            f"model={type(model).__name__} is not a function; write "
            "lambda h, rngs: Model(width=h['width'], rngs=rngs)"
        )

    check_call("model", model, "h, rngs")

    def make(key: Key, h: Hparams) -> nnx.Module:
        made = model(h, nnx.Rngs(key))
        if not isinstance(made, nnx.Module):
            raise TypeError(
                f"model(h, rngs) returned {type(made).__name__}, not a flax.nnx module; for "
                "linen models use vt.flax_learner"
            )
        return made

    def init(key: Key, h: Hparams, batch: Batch) -> tuple[PyTree, PyTree]:
        _, params, _, other, _ = _split(make(key, h))
        carried = {"variables": nnx.to_pure_dict(other), "key": jax.random.key_data(key)}
        return nnx.to_pure_dict(params), carried

    def run(
        key: Key, h: Hparams, params: PyTree, other: PyTree, batch: Batch, train: bool
    ) -> tuple[Outputs, PyTree]:
        # Made anew so that traced hyperparameters kept as attributes (a dropout rate) are the
        # current ones, with the key it was first made with, so that arrays drawn then (random
        # features) stay. The fresh weights are never used, and the compiler drops them.
        first = jax.random.wrap_key_data(other["key"], impl=IMPL)
        structure, own_params, rng, own_other, arrays = _split(make(first, h))
        nnx.replace_by_pure_dict(own_params, params)
        nnx.replace_by_pure_dict(own_other, other["variables"])
        module = nnx.merge(structure, own_params, rng, own_other, arrays)
        tags = sorted({leaf.tag for leaf in _rng_keys(module)})
        nnx.reseed(
            module,
            **{t: jax.random.fold_in(key, i) if i else key for i, t in enumerate(tags)},
        )
        if train:
            module.train()
        else:
            module.eval()
        positional, keywords = call_arguments(type(module).__call__, batch, train)
        outputs = module(*positional, **keywords)
        nnx.pop(module, nnx.Intermediate)
        _, _, _, changed, _ = _split(module)
        return outputs, {**other, "variables": nnx.to_pure_dict(changed)}

    def variables(params: PyTree, other: PyTree) -> PyTree:
        return _merge(params, other["variables"])

    def split(variables: PyTree, params: PyTree, other: PyTree) -> tuple[PyTree, PyTree]:
        others = other["variables"]
        return _but(variables, others), {"variables": _common(variables, others)}

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


def _split(module: nnx.Module) -> Any:
    """(structure, parameters, random streams, other variables, plain arrays)."""
    return nnx.split(module, nnx.Param, nnx.RngState, nnx.Variable, ...)


def _rng_keys(module: nnx.Module) -> list[Any]:
    is_variable = lambda leaf: isinstance(leaf, nnx.Variable)
    return jax.tree.leaves(nnx.state(module, nnx.RngKey), is_leaf=is_variable)


def _merge(a: PyTree, b: PyTree) -> PyTree:
    """Two nested dicts as one; their leaves do not meet."""
    if isinstance(a, dict) and isinstance(b, dict):
        return {k: _merge(a.get(k, {}), b.get(k, {})) for k in {**a, **b}}
    return a if not isinstance(a, dict) or a else b


def _common(tree: PyTree, like: PyTree) -> PyTree:
    """The part of a nested dict that another has places for."""
    if not (isinstance(tree, dict) and isinstance(like, dict)):
        return tree
    return {k: _common(v, like[k]) for k, v in tree.items() if k in like}


def _but(tree: PyTree, like: PyTree) -> PyTree:
    """The part of a nested dict that another has no places for."""
    left = {}
    for key, value in tree.items():
        if key not in like:
            left[key] = value
        elif isinstance(value, dict) and isinstance(like[key], dict):
            below = _but(value, like[key])
            left |= {key: below} if below else {}
    return left
