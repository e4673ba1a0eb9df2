"""Flax models as specs: the default MLP, and the learner of a module, an optimizer and a loss."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from vtune.caches import bounded_cache
from vtune.components.nn import Dropout
from vtune.hparams import Hparams, Static
from vtune.identity import handed_out
from vtune.learner.linen import flax_learner
from vtune.learner.protocol import Learner
from vtune.types import Array, Batch, at_least_single

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    name: getattr(jax.nn, name) for name in ("relu", "gelu", "silu", "elu", "tanh", "sigmoid")
}


class MLP(nn.Module):
    """The module of an estimator that is given none.

    Weights are drawn as in scikit-learn's MLPs (Glorot and Bengio 2010, uniform), which compiles
    faster than a normal distribution.

    Attributes:
      n_outputs: set by the estimator. width: units per hidden layer. depth: hidden layers.
      activation: a name. dropout: the rate after each hidden layer; it may be traced.
    """

    n_outputs: int
    width: int = 100
    depth: int = 1
    activation: str = "relu"
    dropout: Any = 0.0

    @nn.compact
    def __call__(self, x: Array, train: bool = False) -> Array:
        if self.activation not in ACTIVATIONS:
            raise ValueError(
                f"module__activation={self.activation!r} must be one of {sorted(ACTIVATIONS)}"
            )
        dense = functools.partial(nn.Dense, kernel_init=nn.initializers.glorot_uniform())
        for _ in range(self.depth):
            x = ACTIVATIONS[self.activation](dense(self.width)(x))
            x = Dropout(self.dropout)(x, deterministic=not train)
        return dense(self.n_outputs)(x)


TRACED = ("dropout",)  # the MLP's parameters that may be traced


@dataclass(frozen=True)
class NetworkSpec:
    """A Flax model, its optimizer and its loss.

    Attributes:
      module: a class, a function that returns a module, or a module.
      module_params: arguments of the class or function that are not traced.
      optimizer: (learning rate, **parameters) -> an Optax optimizer.
      module_numbers, optimizer_numbers: names of the traced parameters besides "lr".
      classifier: whether targets are classes (cross-entropy) or numbers (squared error).
      outputs: classes, or targets per row.
    """

    module: Static
    module_params: Static
    optimizer: Callable[..., Any]
    optimizer_params: Static
    module_numbers: tuple[str, ...]
    optimizer_numbers: tuple[str, ...]
    classifier: bool
    outputs: int
    full_batch: bool = False
    float64: bool = False

    @property
    def learner(self) -> Learner:
        """The learner of one such model, the same object for equal specs."""
        return _learner(self)

    def make_module(self, h: Any) -> nn.Module:
        """Returns the module, with its traced parameters read from h."""
        module = self.module.value
        if isinstance(module, nn.Module):
            return module
        params = handed_out(self.module_params.value)
        params |= {name: h[f"module__{name}"] for name in self.module_numbers}
        if "n_outputs" in accepted(module):
            params.setdefault("n_outputs", self.outputs)
        return module(**params)


@bounded_cache(64)
def _learner(spec: NetworkSpec) -> Learner:
    def optimizer(h: Hparams) -> optax.GradientTransformation:
        params = handed_out(spec.optimizer_params.value)
        params |= {name: h[f"optimizer__{name}"] for name in spec.optimizer_numbers}
        return spec.optimizer(h["lr"], **params)

    def loss(outputs: Array, batch: Batch, h: Hparams) -> tuple[Array, Array]:
        outputs = _two_axes(outputs, spec.outputs)
        if spec.classifier:
            one_hot = jax.nn.one_hot(batch["y"], spec.outputs, dtype=outputs.dtype)
            values = optax.softmax_cross_entropy(outputs, one_hot)  # no gather, no scatter
        else:
            values = jnp.mean((outputs - batch["y"]) ** 2, axis=1)
        return values, batch["weight"].astype(values.dtype)

    learner = flax_learner(spec.make_module, optimizer=optimizer, loss=loss)

    def predict(h: Hparams, state: Any, batch: Batch) -> Array:
        assert learner.predict is not None
        return _two_axes(learner.predict(h, state, batch), spec.outputs)

    return learner._replace(predict=predict)


def _two_axes(outputs: Any, count: int) -> Array:
    """Returns a module's outputs as [rows, count], those of half precision in float32.

    Raises:
      ValueError: the module returned something else.
    """
    shape = getattr(outputs, "shape", None)
    if shape is None or len(shape) not in (1, 2) or (shape[1] if len(shape) == 2 else 1) != count:
        got = type(outputs).__name__ if shape is None else list(shape)
        raise ValueError(
            f"the module returned {got}, not [rows, {count}]; give it a field n_outputs, which "
            "is filled in, or set its width yourself"
        )
    return at_least_single(outputs.reshape(-1, count))


def accepted(module: Any) -> set[str]:
    """Returns the names of the parameters that a module's class or factory function takes."""
    if isinstance(module, nn.Module):
        return set()
    if dataclasses.is_dataclass(module):
        fields = {f.name for f in dataclasses.fields(module) if f.init}
        return fields - {"name", "parent"}
    signature = inspect.signature(module).parameters.values()
    return {p.name for p in signature if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}


def optimizer_named(optimizer: Any) -> Callable[..., Any]:
    """Returns Optax's optimizer of that name; a function is returned as it is.

    Raises:
      ValueError: Optax has no such optimizer.
    """
    if callable(optimizer):
        return optimizer
    function = getattr(optax, optimizer, None) if isinstance(optimizer, str) else None
    if not callable(function) or "learning_rate" not in inspect.signature(function).parameters:
        raise ValueError(
            f"optimizer={optimizer!r} must be the name of an Optax optimizer or a function; write "
            '"adam", "adamw", "sgd" or optax.adamw'
        )
    return function
