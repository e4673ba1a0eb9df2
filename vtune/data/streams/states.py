"""Where an iterator stands, as JSON: `get_state()` of grain and others, and back.

Numbers, text and None are themselves, everything else is a dict with one key that says what it is.
"""

from __future__ import annotations

import base64
from typing import Any

import numpy as np


def to_json(state: Any) -> Any:
    """Returns a state as JSON.

    Raises:
      TypeError: it holds something else than numbers, text, bytes, arrays, lists and dicts.
    """
    if isinstance(state, np.generic):
        state = state.item()
    if state is None or isinstance(state, bool | int | float | str):
        return state
    if isinstance(state, bytes):
        return {"bytes": base64.b64encode(state).decode()}
    if isinstance(state, np.ndarray) and not state.dtype.hasobject:
        held = base64.b64encode(np.ascontiguousarray(state).tobytes()).decode()
        return {"array": [state.dtype.str, list(state.shape), held]}
    if isinstance(state, dict):
        return {"dict": [[to_json(key), to_json(value)] for key, value in state.items()]}
    if isinstance(state, list | tuple):
        return {type(state).__name__: [to_json(value) for value in state]}
    raise TypeError(
        f"get_state() of the stream's iterator holds a {type(state).__name__}, which a checkpoint "
        "cannot keep; let it hold numbers, text, bytes, arrays, lists and dicts"
    )


def from_json(kept: Any) -> Any:
    """Returns what `to_json` was given."""
    if not isinstance(kept, dict):
        return kept
    ((kind, value),) = kept.items()
    if kind == "bytes":
        return base64.b64decode(value)
    if kind == "array":
        dtype, shape, held = value
        return np.frombuffer(base64.b64decode(held), dtype).reshape(shape).copy()
    if kind == "dict":
        return {from_json(key): from_json(held) for key, held in value}
    values = [from_json(held) for held in value]
    return tuple(values) if kind == "tuple" else values
