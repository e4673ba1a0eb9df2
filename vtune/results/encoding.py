"""A space's values as JSON and back: what they are where JSON can say it, functions by their name,
all others as a description."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vtune.results.described import Described, describe_value, same_description
from vtune.results.names import NotFoundError, find, name_of
from vtune.space.distributions import Categorical, Float, Int, Ordinal

_DISTRIBUTIONS: dict[str, Any] = {
    "Float": Float,
    "Int": Int,
    "Ordinal": Ordinal,
    "Categorical": Categorical,
}
_SEQUENCES: dict[str, Any] = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}
_LARGEST_ARRAY = 10_000  # numbers; larger ones are described


def encode(value: Any) -> Any:
    """Returns a value of the space as JSON: plain values as they are, the others tagged."""
    kind = type(value)
    if value is None or kind in (bool, int, float, str):
        return value
    if kind in _DISTRIBUTIONS.values():
        return {"kind": kind.__name__, "fields": {k: encode(v) for k, v in vars(value).items()}}
    if kind in _SEQUENCES.values():
        items = [encode(v) for v in value]
        if kind in (set, frozenset):  # whose order differs from process to process
            items.sort(key=_text)
        return {"kind": kind.__name__, "items": items}
    if kind is dict and all(type(k) is str for k in value):
        return {"kind": "dict", "items": {k: encode(v) for k, v in value.items()}}
    if kind is functools.partial:
        parts = (value.func, value.args, value.keywords)
        return {"kind": "partial", "items": [encode(part) for part in parts]}
    if kind is bytes:
        return {"kind": "bytes", "hex": value.hex()}
    if kind is complex:
        return {"kind": "complex", "items": [value.real, value.imag]}
    if kind is range:
        return {"kind": "range", "items": [value.start, value.stop, value.step]}
    if kind is type(Path()):
        return {"kind": "path", "name": str(value)}
    if isinstance(value, np.dtype) and value.names is None and not value.hasobject:
        return {"kind": "dtype", "name": str(value)}
    if isinstance(value, np.generic | np.ndarray | jax.Array) and _is_small(value):
        return _encode_array(value)
    name = name_of(value)
    if name is not None:
        return {"kind": "import", "module": name[0], "name": name[1]}
    return describe_value(value)


def _is_small(array: Any) -> bool:
    plain = np.dtype(array.dtype).kind in "biuf" if isinstance(array.dtype, np.dtype) else False
    return plain and array.size <= _LARGEST_ARRAY


def _encode_array(array: Any) -> dict[str, Any]:
    of = "array" if isinstance(array, np.ndarray) else "jax"
    if isinstance(array, np.generic):
        of = "scalar"
    numbers = np.asarray(array).ravel().tolist()
    shape, dtype = list(np.shape(array)), str(array.dtype)
    return {"kind": "array", "of": of, "dtype": dtype, "shape": shape, "items": numbers}


def decode(value: Any, where: str, trusted: Sequence[str] = ()) -> Any:
    """Returns the value that `encode` wrote; a `Described` where the file does not hold it, or
    where it names something that is not trusted.

    Args:
      where: of the value, for messages: "space['act']".
      trusted: modules that may be imported.

    Raises:
      ValueError: this is not what `encode` writes.
    """
    try:
        return _decode(value, where, trusted)
    except RecursionError:
        raise ValueError(f"{where} is nested too deeply") from None
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ValueError(f"{where} is not as a save writes it ({error})") from None


def _decode(value: Any, where: str, trusted: Sequence[str]) -> Any:
    if not isinstance(value, dict):
        if value is not None and not isinstance(value, bool | int | float | str):
            raise ValueError(f"a bare {type(value).__name__}")
        return value
    kind = value["kind"]
    again = functools.partial(_decode, where=where, trusted=trusted)
    if kind in _DISTRIBUTIONS:
        return _DISTRIBUTIONS[kind](**{k: again(v) for k, v in value["fields"].items()})
    if kind in _SEQUENCES:
        return _SEQUENCES[kind](again(v) for v in value["items"])
    if kind == "dict":
        return {k: again(v) for k, v in value["items"].items()}
    if kind == "partial":
        function, arguments, keywords = (again(v) for v in value["items"])
        if isinstance(function, Described):
            return Described(f"partial({function})", function.reason)
        return functools.partial(function, *arguments, **keywords)
    if kind == "import":
        return _imported(value, where, trusted)
    if kind == "described":
        return Described(
            value["text"], _needs(where, f"the file holds only a text: {value['text']}")
        )
    return _decode_plain(kind, value)


def _decode_plain(kind: str, value: dict[str, Any]) -> Any:
    """Values of Python's and NumPy's own types."""
    if kind == "bytes":
        return bytes.fromhex(value["hex"])
    if kind == "complex":
        return complex(*value["items"])
    if kind == "range":
        return range(*value["items"])
    if kind == "path":
        return Path(value["name"])
    if kind == "dtype":
        return jnp.dtype(value["name"])
    if kind == "array" and len(value["items"]) == math.prod(value["shape"]):
        array = np.array(value["items"], jnp.dtype(value["dtype"])).reshape(value["shape"])
        if value["of"] == "scalar":
            return array[()]
        return jnp.asarray(array) if value["of"] == "jax" else array
    raise ValueError(f"the kind {kind!r}")


def _imported(value: dict[str, Any], where: str, trusted: Sequence[str]) -> Any:
    try:
        return find(value["module"], value["name"], trusted)
    except NotFoundError as error:
        return Described(f"{value['module']}.{value['name']}", _needs(where, str(error)))


def _needs(where: str, why: str) -> str:
    return (
        f"{where} is not there: {why}; write vt.load(path, learner, choices={{...}}) with the "
        "values that the sweep was trained with, by the hyperparameter's name"
    )


def is_same(saved: Any, value: Any) -> bool:
    """Whether a value is the one that was encoded, as far as the file can tell.

    A function may have moved to another module.
    """
    found = encode(value)
    if _text(found) == _text(saved):
        return True
    if not isinstance(saved, dict):
        return False
    kind, items = saved.get("kind"), saved.get("items")
    if kind == "described":
        return same_description(saved, value)
    if kind == "import":
        short = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
        return bool(short == saved.get("name"))
    if kind != type(value).__name__ or not items or len(items) != len(found["items"]):
        return False
    if kind == "dict":
        return all(name in value and is_same(item, value[name]) for name, item in items.items())
    if kind in ("set", "frozenset"):
        return all(any(is_same(item, one) for one in value) for item in items)
    if kind == "partial":
        return all(map(is_same, items, (value.func, value.args, value.keywords)))
    return kind in ("list", "tuple") and all(map(is_same, items, value))


def _text(encoding: Any) -> str:
    """The text of JSON, which is equal for NaN and differs for 1, 1.0 and True."""
    return json.dumps(encoding, sort_keys=True)


def missing(value: Any) -> Described | None:
    """Returns the first part of a value that a file did not hold; None where all of it is there."""
    if isinstance(value, Described):
        return value
    if isinstance(value, functools.partial):
        return missing((value.func, value.args, value.keywords))
    parts: Any = ()
    if isinstance(value, Mapping):
        parts = value.values()
    elif isinstance(value, list | tuple | set | frozenset):
        parts = value
    elif isinstance(value, Categorical):
        parts = value.choices
    return next((found for part in parts if (found := missing(part)) is not None), None)
