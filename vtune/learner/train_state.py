"""`train_state_learner` takes over a training script that keeps a Flax `TrainState`.

A `TrainState` holds its optimizer and `apply_fn` beside its arrays. Where these are made of traced
hyperparameters they belong to one trace and cannot be carried. So a member's state is the arrays
alone, and `create` makes the rest anew in every step, of the current hyperparameters.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from vtune.hparams import Hparams
from vtune.learner.calling import calling
from vtune.learner.checked import check_names
from vtune.learner.pretrained import plain
from vtune.learner.protocol import Learner
from vtune.learner.trace_cache import cache_trace
from vtune.metrics import expand
from vtune.metrics.base import ratio
from vtune.metrics.totals import check_rows
from vtune.returned import ReturnedError, check_arrays, check_pairs, described, real
from vtune.rng.keys import IMPL
from vtune.types import (
    Array,
    Batch,
    Key,
    Metrics,
    Outputs,
    PyTree,
    State,
    Totals,
    Weight,
    at_least_single,
)

SHOWN = ("params", "batch_stats")  # fields that `Member.variables` shows


def train_state_learner(
    create: Callable[..., Any],
    train_step: Callable[..., Any],
    measure: Callable[..., Any],
    score: Callable[[Totals], Metrics] | None = None,
    *,
    predict: Callable[..., Any] | None = None,
) -> Learner:
    """Makes a learner of the functions of a training script that keeps a Flax `TrainState`.

    The state may be any pytree with an attribute or entry `params` and with further fields, such
    as `batch_stats`. Static fields (`tx`, `apply_fn`) may be made of hyperparameters.

    Args:
      create: (key, h, batch) or (key, h) -> the state, with `tx=optax.adam(h["lr"])`. `batch` only
        shows shapes.
      train_step: (state, batch), (state, batch, key) or (state, batch, key, h) -> the state,
        (state, metrics by name) or (state, loss). `key` is another one in every step, for dropout.
        A function under `jax.jit` will do.
      measure: (state, batch) -> values [rows, ...] by name, whose means over the validation rows
        are recorded. With `score`, (state, batch, weight) -> totals, as in `vt.Learner`; `weight`
        [rows] is 0 on padding.
      score: totals -> metrics by name; when left out, the means of what `measure` returns.
      predict: (state, batch) -> outputs, leading axis rows, for `sweep.predict`.

    Returns:
      A `Learner`. `Member.variables` is {"params": ...}, with "batch_stats" where there are any.

    Raises:
      TypeError, ValueError: a function takes other arguments, at once; it returns something wrong,
        when `vt.tune` starts.
    """
    create = _taking("create", create, "key, h, batch", "key, h")
    train_step = _taking(
        "train_step", train_step, "state, batch, key, h", "state, batch, key", "state, batch"
    )
    measure = _taking("measure", measure, "state, batch, weight" if score else "state, batch")
    if predict is not None:
        predict = _taking("predict", predict, "state, batch")
    if score is not None and not callable(score):
        raise TypeError(f"score must be a function of (totals), got {score!r}")
    made = TrainStateLearner(create, train_step, measure, score, predict)
    return Learner(
        init=made.init,
        step=made.step,
        measure=made.measure,
        score=score or _means,
        predict=None if predict is None else made.predict,
        variables=lambda state: state["variables"],
    )


@dataclass(frozen=True, eq=False)  # compiled programs are found by the identity of its methods
class TrainStateLearner:
    """The functions of a `Learner` of the user's functions; see `train_state_learner`.

    A member's state is {"variables": the fields in SHOWN by name, "rest": the other leaves}.
    """

    create: Callable[..., Any]
    train_step: Callable[..., Any]
    user_measure: Callable[..., Any]
    score: Callable[..., Any] | None
    user_predict: Callable[..., Any] | None

    def init(self, key: Key, h: Hparams, batch: Batch) -> State:
        state = _arrays(self._created(key, h, batch))
        # as in NetLearner.init: a step may return a wider type than it takes
        after = jax.eval_shape(lambda state: self.step(key, h, state, batch)[0], state)
        before: Any = jax.tree.structure(state)
        if before != jax.tree.structure(after):
            return state  # the check of the learner names the difference
        return jax.tree.map(lambda leaf, wide: jnp.asarray(leaf, wide.dtype), state, after)

    @functools.cached_property
    def step(self) -> Callable[..., tuple[State, Metrics]]:
        """One training step, traced once: `init` asks for the types of its results, too."""
        return cache_trace(self._step)

    def _step(self, key: Key, h: Hparams, state: State, batch: Batch) -> tuple[State, Metrics]:
        filled = self._filled(key, h, state, batch)
        with calling("train_step", batch=batch, h=h):
            result = self.train_step(filled, batch, key, h)
        pair = isinstance(result, tuple) and len(result) == 2 and not hasattr(result, "params")
        after, metrics = result if pair else (result, {})
        if not _holds_params(after):
            first = f", whose first is {described(after)}" if pair else ""
            raise ReturnedError(
                f"train_step returned {described(result)}{first}; return the state, (state, "
                "metrics by name) or (state, loss), where the state has `params`"
            )
        if not isinstance(metrics, Mapping):
            metrics = {} if metrics is None else {"loss": metrics}
        check_names("train_step", metrics, " as metrics")
        check_arrays("train_step", metrics, "real numbers", " as metrics")
        return _arrays(after), dict(metrics)

    def measure(self, key: Key, h: Hparams, state: State, batch: Batch, weight: Weight) -> Totals:
        filled = self._filled(key, h, state, batch)
        with calling("measure", batch=batch, h=h):
            given = (batch,) if self.score is None else (batch, weight)
            values = self.user_measure(filled, *given)
        if self.score is not None:
            check_arrays("measure", values, "totals of the batch, such as a sum")
            check_rows("measure", values, weight.shape[0])
            return values
        if not isinstance(values, Mapping):
            raise ReturnedError(
                f"measure returned {described(values)}; return a dict of values by name: "
                '{"loss": values}'
            )
        totals = {}
        for name, value in values.items():
            value = real("measure", value, "a real number for every row", f" as {name!r}")
            named = lambda batch, name=name: self.user_measure(filled, batch)[name]
            check_pairs("measure", named, (batch,), value, weight.shape[0])
            totals[name] = _total(name, value, weight)
        return totals

    def predict(self, h: Hparams, state: State, batch: Batch) -> Outputs:
        assert self.user_predict is not None
        filled = self._filled(jax.random.key(0, impl=IMPL), h, state, batch)
        with calling("predict", batch=batch, h=h):
            outputs = self.user_predict(filled, batch)
        check_arrays("predict", outputs, "outputs, one a row")
        return outputs

    def _created(self, key: Key, h: Hparams, batch: Batch) -> Any:
        with calling("create", batch=batch, h=h):
            made = self.create(key, h, batch)
        if not _holds_params(made):
            write = "TrainState.create(apply_fn=model.apply, params=params, tx=optax.adam(h['lr']))"
            if any(
                isinstance(one, nnx.Module) for one in (made if type(made) is tuple else [made])
            ):
                write = "or, of an nnx module, write vt.nnx_learner(lambda h, rngs: ..., loss=...)"
            raise ReturnedError(
                f"create returned {described(made)}, without `params`; return a TrainState: {write}"
            )
        check_arrays("create", made, "a state of arrays")
        return made

    def _filled(self, key: Key, h: Hparams, state: State, batch: Batch) -> Any:
        """Returns the user's state with a member's arrays. What it holds beside arrays is made anew
        of the current hyperparameters; the fresh arrays are never used, and the compiler drops
        them."""
        leaves, structure = jax.tree.flatten(self._created(key, h, batch))
        places = _parts(jax.tree.unflatten(structure, range(len(leaves))))
        for place, leaf in zip(jax.tree.leaves(places), jax.tree.leaves(state), strict=True):
            leaves[place] = leaf
        return jax.tree.unflatten(structure, leaves)


def _arrays(state: Any) -> State:
    """Returns the arrays of a user's state, a step that began as the number 0 like any other."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.result_type(leaf)), _parts(state))


def _parts(state: Any) -> State:
    """Returns the leaves of a user's state in two parts, see `TrainStateLearner`."""
    rest = [leaf for path, leaf in jax.tree.leaves_with_path(state) if _field(path) not in SHOWN]
    read = state.get if isinstance(state, Mapping) else lambda name: getattr(state, name, None)
    shown = {name: plain(read(name)) for name in SHOWN}
    shown = {name: tree for name, tree in shown.items() if jax.tree.leaves(tree)}
    return {"variables": shown, "rest": rest}


def _holds_params(state: Any) -> bool:
    """Whether a user's state has weights."""
    return any(_field(path) == "params" for path, _ in jax.tree.leaves_with_path(state))


def _field(path: Any) -> Any:
    """Returns the field of the state that a leaf belongs to."""
    if not path:
        return None
    return getattr(path[0], "name", getattr(path[0], "key", None))


def _taking(who: str, function: Any, *forms: str) -> Callable[..., Any]:
    """Returns the function with the arguments of the longest form, of which it takes the first ones
    or all. Where it has other arguments in mind, its errors say so.

    Raises:
      TypeError: it can be called in none of these forms.
    """
    shown = " or ".join(f"({form})" for form in reversed(forms))
    if not callable(function):
        raise TypeError(f"{who} must be a function of {shown}, got {function!r}")
    for form in forms:
        count = len(form.split(", "))
        try:
            inspect.signature(function).bind(*range(count))
        except TypeError:
            continue
        except ValueError:  # built-in functions may have no signature
            pass
        return functools.partial(_called, who, function, form)
    raise TypeError(f"{who} must take the arguments {shown}; for others write {_LAMBDAS[who]}")


def _called(who: str, function: Callable[..., Any], form: str, *arguments: Any) -> Any:
    """Calls the function with the arguments of the form, the first ones of those given."""
    takes = form.split(", ")
    try:
        return function(*arguments[: len(takes)])
    except Exception as error:
        names = _names(function)
        if names[1:2] != takes[1:2]:
            error.add_note(
                f"{who}({', '.join(names)}) was called with ({form}); where it takes other "
                f"arguments, write {_LAMBDAS[who]}"
            )
        raise


def _names(function: Callable[..., Any]) -> list[str]:
    try:
        return list(inspect.signature(function).parameters)
    except ValueError:  # built-in functions may have no signature
        return ["..."]


_LAMBDAS = {
    "create": 'lambda key, h, batch: create(key, batch["x"], h["lr"])',
    "train_step": 'lambda state, batch, key: train_step(state, batch["x"], batch["y"], key)',
    "measure": 'lambda state, batch: measure(state, batch["x"], batch["y"])',
    "predict": 'lambda state, batch: predict(state, batch["x"])',
}


def _total(name: str, values: Array, weight: Weight) -> tuple[Array, Array]:
    if values.ndim == 0 or values.shape[0] != weight.shape[0]:
        raise ValueError(
            f"measure returned {name!r} of shape {list(values.shape)} for {weight.shape[0]} rows; "
            "return a value a row, without .mean()"
        )
    values = at_least_single(values)
    weights = jnp.broadcast_to(expand(weight, values), values.shape).astype(values.dtype)
    return jnp.sum(jnp.where(weights > 0, values * weights, 0.0)), jnp.sum(weights)


def _means(totals: PyTree) -> Metrics:
    return {name: ratio(total, count) for name, (total, count) in totals.items()}
