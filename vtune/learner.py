"""A learner: how ONE member is initialised, stepped and scored. It knows nothing of populations.

`flax_learner` (linen.py) and `nnx_learner` (nnx.py) build one from a network; whoever writes
the five functions by hand has a learner too.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from vtune.keys import IMPL
from vtune.lowering import check_lowering, lower
from vtune.metrics import Metric, expand
from vtune.types import (
    Array,
    Batch,
    Hparams,
    Key,
    Metrics,
    Outputs,
    PyTree,
    State,
    Totals,
    Weight,
)


class Learner(NamedTuple):
    """Pure functions of ONE member. Users may write their own.

    Attributes:
      init: (key, h, batch) -> state. `batch` shows the shapes; None where the data is None.
      step: (key, h, state, batch) -> (state, metrics). Keeps the state's structure, shapes and
        types; metrics are scalars by name, recorded as `train/<name>`, the round's mean.
      measure: (key, h, state, batch, weight) -> totals of one evaluation batch; `weight`
        [batch] is 0 on padding. Totals are summed; parts inside `vt.Rows` are concatenated.
      score: totals -> metrics by name, scalars (arrays allowed).
      predict: (h, state, batch) -> outputs, leading axis rows.
      variables: state -> what `Member.variables` shows; watched for non-finite values.
      check: (outputs as shapes, arrays on the host) -> None; raises before compiling.
      modes: (metric's name, "max" or "min"), for the best value in `Sweep.table()`. Of others
        vtune takes "min" where the name ends with loss or error, and "max" elsewhere.
    """

    init: Callable[[Key, Any, Batch], State]
    step: Callable[[Key, Any, State, Batch], tuple[State, Metrics]]
    measure: Callable[[Key, Any, State, Batch, Weight], Totals]
    score: Callable[[Totals], Metrics]
    predict: Callable[[Any, State, Batch], Outputs] | None = None
    variables: Callable[[State], PyTree] | None = None
    check: Callable[[Any, Mapping[str, Any]], None] | None = None
    modes: tuple[tuple[str, str], ...] = ()


@functools.lru_cache(maxsize=32)
def traced_once(learner: Learner) -> Learner:
    """The same learner; each function is traced once for arguments of one form, wherever the
    program needs it again. What it is traced to is put in place, so the program is the same."""
    once = functools.partial(jax.jit, inline=True)
    return learner._replace(
        init=once(learner.init),
        step=once(learner.step),
        measure=once(learner.measure),
        predict=None if learner.predict is None else once(learner.predict),
    )


class Net(NamedTuple):
    """What linen and nnx differ in.

    Attributes:
      init: (key, h, batch) -> (params, other variables).
      apply: (key, h, params, other, batch, train) -> (outputs, other).
      variables: (params, other) -> the variables in the framework's own form.
    """

    init: Callable[[Key, Hparams, Batch], tuple[PyTree, PyTree]]
    apply: Callable[..., tuple[Outputs, PyTree]]
    variables: Callable[[PyTree, PyTree], PyTree]


class NetState(NamedTuple):
    """One member's weights, other variables (such as BatchNorm statistics), optimizer state."""

    params: PyTree
    other: PyTree
    opt_state: PyTree


def assemble(
    net: Net,
    optimizer: Any,
    loss: Any,
    metrics: Mapping[str, Metric] | None,
    penalty: Any,
    batch_loss: Any,
    lowering: str,
) -> Learner:
    """Builds the learner of a network, an optimizer, a loss and metrics."""
    if not isinstance(metrics, Mapping | None):
        raise TypeError(
            f'metrics={metrics!r} is not a dict; write metrics={{"accuracy": vt.metrics.accuracy}}'
        )
    metrics = dict(metrics or {})
    _check_parts(optimizer, loss, metrics, penalty, batch_loss)
    check_lowering(lowering)

    def transformation(h: Hparams) -> optax.GradientTransformationExtraArgs:
        made = optimizer(h)
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
            value = jnp.asarray(batch_loss(outputs, batch, h))
            if value.shape != ():
                raise ValueError(
                    f"batch_loss returned shape {list(value.shape)}, not one value for the whole "
                    "batch; a loss per example goes into loss="
                )
            full = jnp.where(jnp.all(weight > 0), jnp.sum(weight), 0.0).astype(value.dtype)
            return jnp.where(full > 0, value * full, 0.0), full
        rows = weight.shape[0]
        values, weights = _per_example(loss(outputs, batch, h), rows)
        _check_pairs(lambda o, b: loss(o, b, h), outputs, batch, values, rows)
        weights = weights * expand(weight, weights).astype(weights.dtype)
        return jnp.sum(jnp.where(weights != 0, values * weights, 0.0)), jnp.sum(weights)

    def init(key: Key, h: Hparams, batch: Batch) -> NetState:
        if batch is None:
            raise ValueError(
                "this learner trains on data; write vt.tune(learner, space, data, ...) with "
                'data = vt.holdout({"x": X, "y": y})'
            )
        params, other = net.init(key, h, batch)
        state = NetState(params, other, transformation(h).init(params))
        # What a step returns in a wider type than it took would change the carried types:
        # under x64 Flax makes BatchNorm statistics float32 and returns float64.
        after, _ = jax.eval_shape(lambda s: step(key, h, s, batch), state)
        _check_collections(state.other, after.other)
        return jax.tree.map(lambda a, b: jnp.asarray(a, b.dtype), state, after)

    def step(key: Key, h: Hparams, state: NetState, batch: Batch) -> tuple[NetState, Metrics]:
        rows = jax.tree.leaves(batch)[0].shape[0]
        weight = jnp.ones(rows)

        def value_of(params: PyTree) -> tuple[Array, PyTree]:
            outputs, other = net.apply(key, h, params, state.other, batch, True)
            _check_outputs(outputs, rows)
            total, count = loss_totals(outputs, batch, h, weight)
            value = total / count
            if penalty is not None:
                extra = penalty(params, h)
                if jnp.shape(extra) != ():
                    raise ValueError(
                        f"penalty returned shape {list(jnp.shape(extra))}, not a scalar; sum it up"
                    )
                value = value + extra
            return value, other

        objective = lower(value_of, lowering)
        (value, other), grads = jax.value_and_grad(objective, has_aux=True)(state.params)
        updates, opt_state = transformation(h).update(
            grads,
            state.opt_state,
            state.params,
            value=value,
            grad=grads,
            value_fn=lambda params, **_: objective(params)[0],
        )
        params = optax.apply_updates(state.params, updates)
        return NetState(params, other, opt_state), {"loss": value}

    def predict(h: Hparams, state: NetState, batch: Batch) -> Outputs:
        key = jax.random.key(0, impl=IMPL)  # for models that sample when they predict
        return net.apply(key, h, state.params, state.other, batch, False)[0]

    def measure(key: Key, h: Hparams, state: NetState, batch: Batch, weight: Weight) -> Totals:
        def totals(state: NetState, batch: Batch, weight: Weight) -> Totals:
            outputs, _ = net.apply(key, h, state.params, state.other, batch, False)
            _check_outputs(outputs, weight.shape[0])
            own = {name: m.measure(outputs, batch, weight) for name, m in metrics.items()}
            return {"loss": loss_totals(outputs, batch, h, weight), **own}

        return lower(totals, lowering)(state, batch, weight)

    def score(totals: Totals) -> Metrics:
        value, count = totals["loss"]
        return {"loss": value / count} | {n: m.score(totals[n]) for n, m in metrics.items()}

    def check(outputs: Any, arrays: Mapping[str, Any]) -> None:
        for name, metric in metrics.items():
            if metric.check is not None:
                try:
                    metric.check(outputs, arrays)
                except (TypeError, ValueError) as error:
                    raise type(error)(f"metrics[{name!r}]: {error}") from None

    def variables(state: NetState) -> PyTree:
        return net.variables(state.params, state.other)

    modes = tuple((name, getattr(metric, "mode", "max")) for name, metric in metrics.items())
    return Learner(init, step, measure, score, predict, variables, check, modes)


def call_arguments(call: Callable[..., Any], batch: Batch, train: bool) -> tuple[list, dict]:
    """The arguments of a module's `__call__`: data entries by name, and the mode it takes.

    Returns:
      Positional and keyword arguments.

    Raises:
      ValueError: an argument without default is neither an entry of the data nor a mode.
    """
    kinds = inspect.Parameter
    parameters = [p for p in inspect.signature(call).parameters.values() if p.name != "self"]
    modes = {"train": train, "training": train, "deterministic": not train}
    named = [p for p in parameters if p.kind in (kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY)]
    keywords = {p.name: modes[p.name] for p in named if p.name in modes and p.name not in batch}
    entries = {p.name: batch[p.name] for p in named if p.name in batch}
    positional = []
    if not entries and "x" in batch:  # called something else: the inputs come first
        first = next((p for p in parameters if p.name not in keywords), None)
        if first is not None and first.kind == kinds.VAR_POSITIONAL:
            positional = [batch["x"]]
        elif first is not None and first.kind != kinds.VAR_KEYWORD:
            entries = {first.name: batch["x"]}
    given = {**entries, **keywords}
    missing = [p.name for p in named if p.default is kinds.empty and p.name not in given]
    if missing or not (entries or positional):
        raise ValueError(
            f"the model's __call__ takes {[p.name for p in parameters]}, the data has "
            f"{sorted(batch)}; name the entries of the data like the arguments, or write "
            "apply=lambda model, variables, batch, *, train, rngs, mutable: ..."
        )
    return positional, given


def _per_example(result: Any, rows: int) -> tuple[Array, Array]:
    """Values `[batch, ...]` and weights of the same shape, from what the loss returned."""
    values, weights = result if isinstance(result, tuple) else (result, None)
    values = jnp.asarray(values)
    if values.ndim == 0 or values.shape[0] != rows:
        what = "a scalar" if values.ndim == 0 else f"shape {list(values.shape)}"
        raise ValueError(
            f"loss returned {what} for a batch of {rows} rows; return one value per example "
            f"([{rows}], without .mean()), or give a loss of the whole batch as batch_loss="
        )
    values = values.astype(jnp.promote_types(values.dtype, jnp.float32))  # sums in bf16 drift
    if weights is None:
        return values, jnp.ones_like(values)
    weights = jnp.asarray(weights, values.dtype)
    if weights.shape not in (values.shape, values.shape[:1]):
        raise ValueError(
            f"loss returned values {list(values.shape)} with weights {list(weights.shape)}; "
            f"weights are {list(values.shape)} or [{rows}]"
        )
    return values, expand(weights, values) if weights.ndim < values.ndim else weights


def _check_collections(before: PyTree, after: PyTree) -> None:
    """What is carried from step to step keeps its structure; sown collections grow."""
    for name in {**before, **after}:
        a: Any = jax.tree.structure(before.get(name))
        b: Any = jax.tree.structure(after.get(name))
        if a != b:
            raise TypeError(
                f"the model's collection {name!r} changes its structure in a step, as sown ones "
                "do; sow into 'intermediates', or return the value and use it in loss="
            )


def _check_pairs(
    loss: Callable[..., Any], outputs: Outputs, batch: Batch, values: Array, rows: int
) -> None:
    """Refuses values [batch, batch] that come of broadcasting [batch, 1] against [batch].

    A second axis that shrinks with the batch is one of pairs; one that stays is meant.
    """
    if rows < 2 or values.ndim < 2 or values.shape[1] != rows:
        return

    def shorter(tree: PyTree) -> PyTree:
        return jax.tree.map(lambda a: a[:-1] if jnp.ndim(a) and len(a) == rows else a, tree)

    result = jax.eval_shape(lambda: loss(shorter(outputs), shorter(batch)))
    fewer = result[0] if isinstance(result, tuple) else result
    if fewer.shape[1] == rows - 1:
        raise ValueError(
            f"loss returned a value for every pair of rows, {list(values.shape)} for a batch of "
            f"{rows}; most likely outputs [{rows}, 1] met labels [{rows}]: write outputs[:, 0] (or "
            "take .mean(axis=1) where pairs are meant)"
        )


def check_call(who: str, function: Any, arguments: str) -> None:
    """Raises TypeError where a user's function does not take the arguments it will be given."""
    try:
        inspect.signature(function).bind(*arguments.split(", "))
    except TypeError:
        raise TypeError(f"{who} must take the arguments ({arguments})") from None
    except ValueError:  # built-in functions may have no signature
        pass


def _check_outputs(outputs: Outputs, rows: int) -> None:
    leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(outputs)]
    wrong = [leaf for leaf in leaves if leaf.ndim and leaf.shape[0] != rows]
    if wrong or not any(leaf.ndim for leaf in leaves):
        shown = list(wrong[0].shape) if wrong else [list(leaf.shape) for leaf in leaves]
        raise ValueError(
            f"the model returned shape {shown} for a batch of {rows} rows; the first axis of its "
            "outputs must be the rows of the batch"
        )


def _check_parts(optimizer: Any, loss: Any, metrics: dict, penalty: Any, batch_loss: Any) -> None:
    if isinstance(optimizer, optax.GradientTransformation) or not callable(optimizer):
        raise TypeError(
            f"optimizer={type(optimizer).__name__} is not a function of the hyperparameters; "
            'write optimizer=lambda h: optax.adam(h["lr"])'
        )
    if (loss is None) == (batch_loss is None):
        raise ValueError("give either loss= (a value per example) or batch_loss= (one a batch)")
    check_call("optimizer", optimizer, "h")
    parts = {
        "loss": (loss, "outputs, batch, h"),
        "batch_loss": (batch_loss, "outputs, batch, h"),
        "penalty": (penalty, "params, h"),
    }
    for name, (part, arguments) in parts.items():
        if part is not None and not callable(part):
            raise TypeError(f"{name}={part!r} is not a function")
        if part is not None:
            check_call(name, part, arguments)
    for name, metric in metrics.items():
        if not (hasattr(metric, "measure") and hasattr(metric, "score")):
            raise TypeError(
                f"metrics[{name!r}]={metric!r} is no metric; take one of vt.metrics or write "
                "vt.metrics.Metric(measure, score)"
            )
        if name == "loss" or name.startswith("train/"):
            raise ValueError(f"metrics: the name {name!r} is taken; choose another")
