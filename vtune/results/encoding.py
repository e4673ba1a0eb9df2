"""A space's values as JSON and back: numbers and strings as they are, functions by their name."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from vtune.space.distributions import Categorical, Float, Int, Ordinal

_PUBLIC = ("jax.nn", "jax.numpy", "flax.linen", "flax.nnx", "optax", "builtins")
_DISTRIBUTIONS: dict[str, Any] = {
    "Float": Float,
    "Int": Int,
    "Ordinal": Ordinal,
    "Categorical": Categorical,
}


def encode(name: str, value: Any) -> Any:
    """Returns a value of the space as JSON: plain values as they are, the others tagged.

    Args:
      name: of the hyperparameter, for the message.

    Raises:
      ValueError: a value that cannot be written, such as a lambda.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return encode(name, value.item())
    for tag, kind in _DISTRIBUTIONS.items():
        if isinstance(value, kind):
            fields = {k: encode(name, v) for k, v in vars(value).items()}
            return {"kind": tag, "fields": fields}
    if isinstance(value, list | tuple):
        items = [encode(name, v) for v in value]
        return {"kind": type(value).__name__, "items": items}
    if isinstance(value, dict) and all(isinstance(k, str) for k in value):
        return {"kind": "dict", "items": {k: encode(name, v) for k, v in value.items()}}
    # Public modules come first: where a function is defined may change with its library's version.
    defined = (getattr(value, "__module__", None), getattr(value, "__qualname__", None))
    short = getattr(value, "__name__", None)
    for module, attribute in [*((module, short) for module in _PUBLIC), defined]:
        if module and attribute and _imported(module, attribute) is value:
            return {"kind": "import", "module": module, "name": attribute}
    raise ValueError(
        f"save: space[{name!r}] holds {value!r}, which no file can name; give the choices names "
        '("relu") and look them up in the model, or define the function in a module'
    )


def decode(value: Any) -> Any:
    """Returns the value that `encode` wrote.

    Raises:
      ValueError: a function is no longer where it was.
    """
    if not isinstance(value, dict):
        return value
    kind = value["kind"]
    if kind in _DISTRIBUTIONS:
        return _DISTRIBUTIONS[kind](**{k: decode(v) for k, v in value["fields"].items()})
    if kind in ("list", "tuple"):
        items = [decode(v) for v in value["items"]]
        return items if kind == "list" else tuple(items)
    if kind == "dict":
        return {k: decode(v) for k, v in value["items"].items()}
    function = _imported(value["module"], value["name"])
    if function is None:
        raise ValueError(
            f"load: {value['module']} has no {value['name']} any more, which the saved space "
            "names; install the versions that the sweep was saved with"
        )
    return function


def _imported(module: str, attribute: str) -> Any:
    """What a module holds under a name; None where there is no such module or name."""
    if module == "__main__" or "<" in attribute:
        return None
    try:
        value: Any = importlib.import_module(module)
        for part in attribute.split("."):
            value = getattr(value, part)
    except (ImportError, AttributeError):
        return None
    return value
