"""Which output, labels and places a metric reads, and how much every place counts.

A place is whatever has a label: a row, a token of a sequence, a pixel, one answer of several.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vtune.types import Array, Batch, FloatArray, Outputs
from vtune.validation import is_number


@dataclass(frozen=True)
class Selection:
    """What a metric reads, where it is not one array of outputs, `batch["y"]` and all places.

    Attributes:
      output: a key or position in the model's outputs, or (outputs) -> outputs.
      target: the name of an entry of the data, or (batch) -> labels.
      weight: the name of an entry of the data, or (batch) -> weights [batch, ...].
      ignore: labels whose places do not count.
    """

    output: Any = None
    target: Any = None
    weight: Any = None
    ignore: tuple[int | float, ...] = ()

    @property
    def weighs(self) -> bool:
        """Whether some places may count more than others."""
        return self.weight is not None or bool(self.ignore)

    def of_batch(
        self, outputs: Outputs, batch: Batch, weight: FloatArray[Array, " batch ..."]
    ) -> tuple[Outputs, Batch, Array]:
        """Returns the outputs, the batch with the labels as `y`, and the weights of the places."""
        given = None if self.weight is None else chosen_of_batch("weight", self.weight, batch)
        outputs = self._output_of(outputs)
        if self.target is not None:
            batch = {**batch, "y": chosen_of_batch("target", self.target, batch)}
        if given is not None:
            weight = _product(weight, given)
        if self.ignore:
            left_out = _is_any(batch["y"], self.ignore)
            weight = _product(weight, ~left_out)
            # a class that there is, since it is looked up all the same
            kept = jnp.where(left_out, jnp.zeros((), batch["y"].dtype), batch["y"])
            batch = {**batch, "y": kept}
        return outputs, batch, weight

    def of_data(
        self, outputs: Any, arrays: Mapping[str, np.ndarray]
    ) -> tuple[Any, Mapping[str, np.ndarray]]:
        """Returns what a metric's `check` compares: the output's shapes, and the arrays of the
        data with the labels that count as `y`.

        Raises:
          ValueError: what was selected is not there, or nothing would count.
        """
        outputs = jax.eval_shape(self._output_of, outputs)
        given = None if self.weight is None else chosen_of_rows("weight", self.weight, arrays)
        if self.target is not None:
            arrays = {**arrays, "y": chosen_of_rows("target", self.target, arrays)}
        if given is not None:
            _check_weights(given, arrays.get("y"))
        if self.ignore:
            if "y" not in arrays:
                raise ValueError(
                    f"ignore= is of the labels batch['y'], the data has {sorted(arrays)}; say "
                    "which entry holds them: target=..."
                )
            labels, ignored = np.asarray(arrays["y"]), list(self.ignore)
            left_out = np.asarray(_is_any(labels, self.ignore))
            if left_out.all():
                raise ValueError(f"every label is one of ignore={ignored}")
            if given is not None and not np.any(given.T * ~left_out.T):
                raise ValueError(
                    f"weight= is 0 wherever the label is none of ignore={ignored}, so nothing "
                    "would count"
                )
            arrays = {**arrays, "y": np.where(left_out, labels[~left_out][0], labels)}
        return outputs, arrays

    def _output_of(self, outputs: Outputs) -> Outputs:
        if self.output is None:
            return outputs
        if callable(self.output):
            return self.output(outputs)
        if hasattr(outputs, "shape"):
            raise ValueError(
                f"output={self.output!r} chooses among several outputs, the model returns one "
                "array; leave output= out"
            )
        try:
            if isinstance(self.output, str) and not isinstance(outputs, Mapping):
                return getattr(outputs, self.output)  # a field of a named tuple or dataclass
            return outputs[self.output]
        except (AttributeError, KeyError, IndexError, TypeError):
            names = list(outputs) if isinstance(outputs, Mapping) else type(outputs).__name__
            raise ValueError(
                f"output={self.output!r} is not among the model's outputs, {names}"
            ) from None


def selection(output: Any, target: Any, weight: Any, ignore: Any) -> Selection:
    """Returns the selection that a user wrote.

    Raises:
      TypeError: an argument is of another kind.
    """
    if not (output is None or isinstance(output, str | int) or callable(output)):
        raise TypeError(
            f"output={output!r} must be a name or a position among the model's outputs, or a "
            "function of them"
        )
    if callable(output) and not _takes_one(output):
        raise TypeError("output must be a function of one argument (outputs)")
    check_chosen("target", target)
    check_chosen("weight", weight)
    ignored = ignore if isinstance(ignore, list | tuple) else (() if ignore is None else (ignore,))
    if not all(map(is_number, ignored)):
        raise TypeError(f"ignore={ignore!r} must be a label or several, such as 255 or [-1, 255]")
    return Selection(output, target, weight, tuple(ignored))


def check_chosen(name: str, given: Any) -> None:
    """Raises TypeError unless an argument is None, a name, or a function of the batch."""
    if not (given is None or isinstance(given, str) or callable(given)):
        raise TypeError(
            f"{name}={type(given).__name__} must be the name of an entry of the data or a "
            f'function of the batch; write {name}="mask" or {name}=lambda batch: ...'
        )
    if callable(given) and not _takes_one(given):
        raise TypeError(f"{name} must be a function of one argument (batch)")


def expand(weight: FloatArray[Array, " batch ..."], like: Array) -> Array:
    """Broadcasts weights `[batch, ...]` to the shape of `like` `[batch, ..., ...]`.

    Raises:
      ValueError: the weights have axes that `like` has not.
    """
    if not _fits(weight.shape, like.shape):
        raise ValueError(
            f"weights of shape {list(weight.shape)} do not fit values of shape "
            f"{list(like.shape)}; give one a row or one a place"
        )
    return jnp.broadcast_to(
        weight.reshape(weight.shape + (1,) * (like.ndim - weight.ndim)), like.shape
    )


def _fits(weights: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    within = len(weights) <= len(shape) and weights[:1] == shape[:1]
    return within and all(a in (1, b) for a, b in zip(weights, shape, strict=False))


def _product(weight: Array, factor: Any) -> Array:
    """Returns the product of two arrays of weights, with the axes of both; 0 stays 0."""
    factor = jnp.asarray(factor).astype(weight.dtype)
    if weight.ndim < factor.ndim:
        weight = expand(weight, factor)
    factor = expand(factor, weight)
    return jnp.where(weight > 0, weight * factor, 0.0)  # padding may be NaN


def _is_any(labels: Any, ignored: tuple[int | float, ...]) -> Any:
    """Whether each label is one of those ignored; those that its type cannot hold are none."""
    found = labels != labels
    for value in ignored:
        if np.dtype(labels.dtype).kind in "iu":
            limits = np.iinfo(labels.dtype)
            if not limits.min <= value <= limits.max:
                continue
        found = found | (labels == value)
    return found


def chosen_of_batch(what: str, given: Any, batch: Any) -> Any:
    """Returns an entry of a batch, or what a function makes of it."""
    if callable(given):
        return given(batch)
    if given not in batch:
        raise ValueError(f"{what}={given!r} is not an entry of the data, {sorted(batch)}")
    return batch[given]


def chosen_of_rows(what: str, given: Any, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """As `chosen_of_batch`, of all rows on the host. A function gets JAX's arrays, as in the
    program."""
    make = jax.jit(given) if callable(given) else lambda rows: chosen_of_batch(what, given, rows)
    with jax.transfer_guard("allow"):
        return np.asarray(make(dict(arrays)))


def _check_weights(weights: np.ndarray, labels: Any) -> None:
    shape = None if labels is None else np.shape(labels)
    if shape is not None and weights.shape[:1] != shape[:1]:
        raise ValueError(
            f"weight= has shape {list(weights.shape)} for {shape[0]} rows; give one a row or one a "
            "label"
        )
    if shape is not None and not _fits(weights.shape, shape):
        raise ValueError(
            f"weight= is {list(weights.shape[1:])} a row and the labels {list(shape[1:])}; give "
            "one a row or one a label"
        )
    if weights.size and weights.min() < 0:
        raise ValueError(f"weight= must not be negative, its least is {weights.min()}")
    if not weights.any():
        raise ValueError("weight= is 0 everywhere, so nothing would count")


def _takes_one(function: Callable[..., Any]) -> bool:
    try:
        inspect.signature(function).bind(None)
    except TypeError:
        return False
    except ValueError:  # built-in functions may have no signature
        pass
    return True
