"""Flax models as specs."""

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

from vtune.components.nn import Dropout
from vtune.hparams import Hparams, Static
from vtune.learner.linen import flax_learner
from vtune.learner.protocol import Learner
from vtune.types import Array, Batch

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    name: getattr(jax.nn, name) for name in ("relu", "gelu", "silu", "elu", "tanh", "sigmoid")
}


class MLP(nn.Module):
    """What is trained where no module is given. Weights are drawn as by scikit-learn's MLPs
    (Glorot and Bengio 2010, uniform), which takes less time to compile than a normal distribution.

    Attributes:
      n_outputs: set by the estimator. width, depth: units of a hidden layer, and how many there
        are. activation: a name. dropout: the rate after each hidden layer; it may be traced.
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
                f"module__activation={self.activation!r} is not one of {sorted(ACTIVATIONS)}"
            )
        dense = functools.partial(nn.Dense, kernel_init=nn.initializers.glorot_uniform())
        for _ in range(self.depth):
            x = ACTIVATIONS[self.activation](dense(self.width)(x))
            x = Dropout(self.dropout)(x, deterministic=not train)
        return dense(self.n_outputs)(x)


TRACED = ("dropout",)  # of the MLP's numbers, those that may enter the program as arrays


@dataclass(frozen=True)
class NetworkSpec:
    """A Flax model, its optimizer and its loss.

    Attributes:
      module: a class, a function that returns a module, or a module. module_params: for the first
        two. optimizer: (learning rate, **parameters) -> an Optax optimizer.
      module_numbers, optimizer_numbers: names of parameters that are traced, "lr" aside.
      labels: whether it is of classes, by cross-entropy, or of numbers, by the squared error.
      outputs: how many.
    """

    module: Static
    module_params: Static
    optimizer: Callable[..., Any]
    optimizer_params: Static
    module_numbers: tuple[str, ...]
    optimizer_numbers: tuple[str, ...]
    labels: bool
    outputs: int
    whole: bool = False
    double: bool = False

    @property
    def learner(self) -> Learner:
        return _learner(self)

    def made(self, h: Any) -> nn.Module:
        """The module, its traced parameters read from h."""
        module = self.module.value
        if isinstance(module, nn.Module):
            return module
        params = dict(self.module_params.value)
        params |= {name: h[f"module__{name}"] for name in self.module_numbers}
        if "n_outputs" in accepted(module):
            params.setdefault("n_outputs", self.outputs)
        return module(**params)


@functools.lru_cache(maxsize=64)
def _learner(spec: NetworkSpec) -> Learner:
    def optimizer(h: Hparams) -> optax.GradientTransformation:
        params = dict(spec.optimizer_params.value)
        params |= {name: h[f"optimizer__{name}"] for name in spec.optimizer_numbers}
        return spec.optimizer(h["lr"], **params)

    def loss(outputs: Array, batch: Batch, h: Hparams) -> tuple[Array, Array]:
        made = _shaped(outputs, spec.outputs)
        if spec.labels:
            one_hot = jax.nn.one_hot(batch["y"], spec.outputs, dtype=made.dtype)
            values = optax.softmax_cross_entropy(made, one_hot)  # no gather, no scatter
        else:
            values = jnp.mean((made - batch["y"]) ** 2, axis=1)
        return values, batch["weight"].astype(values.dtype)

    made = flax_learner(spec.made, optimizer=optimizer, loss=loss)
    plain = made.predict

    def predict(h: Hparams, state: Any, batch: Batch) -> Array:
        assert plain is not None
        return _shaped(plain(h, state, batch), spec.outputs)

    return made._replace(predict=predict)


def _shaped(outputs: Any, wanted: int) -> Array:
    """[rows, outputs]."""
    shape = getattr(outputs, "shape", None)
    if shape is None or len(shape) not in (1, 2) or (shape[1] if len(shape) == 2 else 1) != wanted:
        seen = type(outputs).__name__ if shape is None else list(shape)
        raise ValueError(
            f"the module returned {seen}, not [rows, {wanted}]; give it a field n_outputs, which "
            "is filled in, or set its width yourself"
        )
    return outputs.reshape(-1, wanted)


def accepted(module: Any) -> set[str]:
    """The parameters that a module's class, or a function that makes one, takes."""
    if isinstance(module, nn.Module):
        return set()
    if dataclasses.is_dataclass(module):
        fields = {f.name for f in dataclasses.fields(module) if f.init}
        return fields - {"name", "parent"}
    signature = inspect.signature(module).parameters.values()
    return {p.name for p in signature if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}


def optimizer_named(optimizer: Any) -> Callable[..., Any]:
    """An optimizer of Optax by its name, or the function as it is.

    Raises:
      ValueError: no such optimizer.
    """
    if callable(optimizer):
        return optimizer
    found = getattr(optax, optimizer, None) if isinstance(optimizer, str) else None
    if not callable(found) or "learning_rate" not in inspect.signature(found).parameters:
        raise ValueError(
            f'optimizer={optimizer!r} is no optimizer of Optax; write "adam", "adamw", "sgd", or a '
            "function such as optax.adamw"
        )
    return found
