"""How a learner is assembled from a network, an optimizer, a loss and metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from vtune.hparams import Hparams
from vtune.learner.contracts import (
    calling,
    check_call,
    check_collections,
    check_outputs,
    check_pairs,
    per_example,
    taken,
)
from vtune.learner.pretrained import overlay
from vtune.learner.protocol import Learner
from vtune.learner.trace_cache import once
from vtune.metrics import Metric, expand
from vtune.metrics.totals import is_rows
from vtune.rng.keys import IMPL, augment_key
from vtune.types import Array, Batch, Key, Metrics, Outputs, PyTree, Totals, Weight
from vtune.xla.ops.rewrite import check_form, rewrite, rewrite_once, rewrite_update


class Net(NamedTuple):
    """What linen and nnx differ in.

    Attributes:
      init: (key, h, batch) -> (params, other variables).
      apply: (key, h, params, other, batch, train) -> (outputs, other).
      variables: (params, other) -> the variables in the framework's own form.
      split: (variables from elsewhere, params, other) -> the parts that belong to each.
    """

    init: Callable[[Key, Hparams, Batch], tuple[PyTree, PyTree]]
    apply: Callable[..., tuple[Outputs, PyTree]]
    variables: Callable[[PyTree, PyTree], PyTree]
    split: Callable[[PyTree, PyTree, PyTree], tuple[PyTree, PyTree]]


class NetState(NamedTuple):
    """One member's weights, other variables (such as BatchNorm statistics), optimizer state."""

    params: PyTree
    other: PyTree
    opt_state: PyTree


class Parts(NamedTuple):
    """What the user gives beside the model, as in `vt.flax_learner`."""

    optimizer: Any
    loss: Any = None
    metrics: Any = None
    train_metrics: Any = None
    penalty: Any = None
    batch_loss: Any = None
    augment: Any = None
    eval_params: Any = None
    rewrite: str = "auto"


def assemble(net: Net, parts: Parts) -> Learner:
    """Builds the learner.

    Raises:
      TypeError, ValueError: on parts of the wrong kind.
    """
    metrics = _named_metrics("metrics", parts.metrics)
    train_metrics = _named_metrics("train_metrics", parts.train_metrics)
    _check_parts(parts)
    check_form(parts.rewrite)
    loss, batch_loss, penalty = parts.loss, parts.batch_loss, parts.penalty

    def apply(
        key: Key, h: Hparams, params: PyTree, other: PyTree, batch: Batch, train: bool
    ) -> tuple[Outputs, PyTree]:
        with calling("the model", batch=batch):
            return net.apply(key, h, params, other, batch, train)

    def transformation(h: Hparams) -> optax.GradientTransformationExtraArgs:
        with calling("optimizer", h=list(h)):
            made = parts.optimizer(h)
        if isinstance(made, optax.MultiSteps):
            made = made.gradient_transformation()
        if not isinstance(made, optax.GradientTransformation):
            raise TypeError(
                f"optimizer returned {type(made).__name__}, not an optax.GradientTransformation; "
                'write optimizer=lambda h: optax.adam(h["lr"])'
            )
        return optax.with_extra_args_support(made)

    def loss_totals(
        outputs: Outputs, batch: Batch, h: Hparams, weight: Weight
    ) -> tuple[Array, Array]:
        """(weighted sum, weight) of the loss over the rows of a batch."""
        if batch_loss is not None:
            # Such a loss cannot leave rows out, so a batch with padding does not count.
            with calling("batch_loss", outputs=outputs, batch=batch):
                value = jnp.asarray(batch_loss(outputs, batch, h))
            if value.shape != ():
                raise ValueError(
                    f"batch_loss returned shape {list(value.shape)}, not one value for the whole "
                    "batch; a loss per example goes into loss="
                )
            full = jnp.where(jnp.all(weight > 0), jnp.sum(weight), 0.0).astype(value.dtype)
            return jnp.where(full > 0, value * full, 0.0), full
        rows = weight.shape[0]
        with calling("loss", outputs=outputs, batch=batch):
            result = loss(outputs, batch, h)
        values, weights = per_example(result, rows)
        check_pairs(lambda o, b: loss(o, b, h), outputs, batch, values, rows)
        weights = weights * expand(weight, weights).astype(weights.dtype)
        return jnp.sum(jnp.where(weights != 0, values * weights, 0.0)), jnp.sum(weights)

    def judged(state: NetState) -> PyTree:
        """The weights that are scored and shown."""
        if parts.eval_params is None:
            return state.params
        with calling("eval_params", opt_state=state.opt_state, params=state.params):
            shown = parts.eval_params(state.opt_state, state.params)
        return jax.tree.map(lambda new, old: jnp.asarray(new, old.dtype), shown, state.params)

    def init(key: Key, h: Hparams, batch: Batch) -> NetState:
        if batch is None:
            raise ValueError(
                "this learner trains on data; write vt.tune(learner, space, data, ...) with "
                'data = vt.holdout({"x": X, "y": y})'
            )
        drawn = rewrite_once(lambda key, batch: net.init(key, h, batch), parts.rewrite)
        with calling("the model", batch=batch):
            params, other = drawn(key, batch)
        with calling("the optimizer's init", params=params):
            state = NetState(params, other, transformation(h).init(params))
        # What a step returns in a wider type than it took would change the carried types:
        # under x64 Flax makes BatchNorm statistics float32 and returns float64.
        after, _ = jax.eval_shape(lambda s: step(key, h, s, batch), state)
        check_collections(state.other, after.other)
        return jax.tree.map(lambda a, b: jnp.asarray(a, b.dtype), state, after)

    def load(h: Hparams, state: NetState, variables: PyTree) -> NetState:
        own_params, own_other = net.split(variables, state.params, state.other)
        params = overlay(state.params, own_params)
        # Some optimizers keep weights of their own, which must be the new ones.
        opt_state = jax.tree.map(
            lambda new, old: jnp.asarray(new, old.dtype),
            transformation(h).init(params),
            state.opt_state,
        )
        return NetState(params, overlay(state.other, own_other), opt_state)

    def augmented(key: Key, h: Hparams, batch: Batch) -> Batch:
        if parts.augment is None:
            return batch
        change = lambda key, batch: parts.augment(key, batch, h)
        with calling("augment", batch=batch):
            changed = rewrite(change, parts.rewrite)(augment_key(key), batch)
        if not isinstance(changed, Mapping) or not set(batch) <= set(changed):
            seen = sorted(changed) if isinstance(changed, Mapping) else type(changed).__name__
            raise TypeError(
                f"augment returned {seen}; return the whole batch, a dict with {sorted(batch)}: "
                '{**batch, "x": changed}'
            )
        return dict(changed)

    @once  # for `init` too, which looks at what a step returns
    def step(key: Key, h: Hparams, state: NetState, batch: Batch) -> tuple[NetState, Metrics]:
        rows = jax.tree.leaves(batch)[0].shape[0]
        weight = jnp.ones(rows)
        batch = augmented(key, h, batch)

        def value_of(params: PyTree) -> tuple[Array, PyTree]:
            outputs, other = apply(key, h, params, state.other, batch, True)
            check_outputs(outputs, rows)
            total, count = loss_totals(outputs, batch, h, weight)
            value = total / count
            if penalty is not None:
                with calling("penalty", params=params):
                    extra = penalty(params, h)
                if jnp.shape(extra) != ():
                    raise ValueError(
                        f"penalty returned shape {list(jnp.shape(extra))}, not a scalar; sum it up"
                    )
                value = value + extra
            seen = _measured("train_metrics", train_metrics, outputs, batch, weight)
            return value, (other, seen)

        objective = rewrite(value_of, parts.rewrite)
        (value, (other, seen)), grads = jax.value_and_grad(objective, has_aux=True)(state.params)
        _check_summable(seen)
        update = transformation(h).update
        # Line searches and Polyak's step take these, SAM the other, which a line search would hand
        # on to the loss.
        again = lambda params, **_: objective(params)[0]
        offered = {"value": value, "grad": grads, "value_fn": again}
        asked = {"grad_fn": lambda params, *_: jax.grad(objective, has_aux=True)(params)[0]}
        updates, opt_state = rewrite_update(update, parts.rewrite)(
            grads, state.opt_state, state.params, **taken(update, offered, asked)
        )
        params = optax.apply_updates(state.params, updates)
        return NetState(params, other, opt_state), {"loss": value, **seen}

    def summarise(sums: PyTree, steps: Array) -> Metrics:
        value = sums["loss"] / steps.astype(sums["loss"].dtype)
        return {"loss": value} | {n: m.score(sums[n]) for n, m in train_metrics.items()}

    def predict(h: Hparams, state: NetState, batch: Batch) -> Outputs:
        key = jax.random.key(0, impl=IMPL)  # for models that sample when they predict
        return apply(key, h, judged(state), state.other, batch, False)[0]

    def judge(h: Hparams, outputs: Outputs, batch: Batch, weight: Weight) -> Totals:
        check_outputs(outputs, weight.shape[0])
        own = _measured("metrics", metrics, outputs, batch, weight)
        return {"loss": loss_totals(outputs, batch, h, weight), **own}

    def measure(key: Key, h: Hparams, state: NetState, batch: Batch, weight: Weight) -> Totals:
        def totals(params: PyTree, other: PyTree, batch: Batch, weight: Weight) -> Totals:
            outputs, _ = apply(key, h, params, other, batch, False)
            return judge(h, outputs, batch, weight)

        return rewrite_once(totals, parts.rewrite)(judged(state), state.other, batch, weight)

    def score(totals: Totals) -> Metrics:
        value, count = totals["loss"]
        return {"loss": value / count} | {n: m.score(totals[n]) for n, m in metrics.items()}

    def check(outputs: Any, arrays: Mapping[str, Any]) -> None:
        for kind, named in (("metrics", metrics), ("train_metrics", train_metrics)):
            for name, metric in named.items():
                if metric.check is not None:
                    try:
                        metric.check(outputs, arrays)
                    except (TypeError, ValueError) as error:
                        raise type(error)(f"{kind}[{name!r}]: {error}") from None

    def variables(state: NetState) -> PyTree:
        return net.variables(judged(state), state.other)

    every = {**train_metrics, **metrics}
    modes = {"loss": "min"} | {n: getattr(metric, "mode", "max") for n, metric in every.items()}
    return Learner(
        init,
        step,
        measure,
        score,
        predict,
        variables,
        check,
        tuple(modes.items()),
        summarise if train_metrics else None,
        load,
        judge,
    )


def _named_metrics(who: str, metrics: Any) -> dict[str, Metric]:
    if not isinstance(metrics, Mapping | None):
        raise TypeError(
            f'{who}={metrics!r} is not a dict; write {who}={{"accuracy": vt.metrics.accuracy}}'
        )
    for name, metric in (metrics or {}).items():
        if not (hasattr(metric, "measure") and hasattr(metric, "score")):
            raise TypeError(
                f"{who}[{name!r}]={metric!r} is no metric; take one of vt.metrics or write "
                "vt.metrics.Metric(measure, score)"
            )
        if name == "loss" or name.startswith("train/"):
            raise ValueError(f"{who}: the name {name!r} is taken; choose another")
    return dict(metrics or {})


def _measured(
    kind: str, metrics: Mapping[str, Metric], outputs: Outputs, batch: Batch, weight: Weight
) -> dict[str, Totals]:
    totals = {}
    for name, metric in metrics.items():
        with calling(f"{kind}[{name!r}].measure", outputs=outputs, batch=batch, weight=weight):
            totals[name] = metric.measure(outputs, batch, weight)
    return totals


def _check_summable(seen: Mapping[str, Totals]) -> None:
    for name, totals in seen.items():
        if any(map(is_rows, jax.tree.leaves(totals, is_leaf=is_rows))):
            raise TypeError(
                f"train_metrics[{name!r}] needs every row at once, which training has not; "
                "record it on the validation rows: metrics={...}"
            )


def _check_parts(parts: Parts) -> None:
    optimizer, loss, batch_loss = parts.optimizer, parts.loss, parts.batch_loss
    if isinstance(optimizer, optax.GradientTransformation) or not callable(optimizer):
        raise TypeError(
            f"optimizer={type(optimizer).__name__} is not a function of the hyperparameters; "
            'write optimizer=lambda h: optax.adam(h["lr"])'
        )
    if (loss is None) == (batch_loss is None):
        raise ValueError("give either loss= (a value per example) or batch_loss= (one a batch)")
    check_call("optimizer", optimizer, "h")
    called_with = {
        "loss": "outputs, batch, h",
        "batch_loss": "outputs, batch, h",
        "penalty": "params, h",
        "augment": "key, batch, h",
        "eval_params": "opt_state, params",
    }
    for name, arguments in called_with.items():
        part = getattr(parts, name)
        if part is not None and not callable(part):
            raise TypeError(f"{name}={part!r} is not a function")
        if part is not None:
            check_call(name, part, arguments)
