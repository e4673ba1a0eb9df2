"""Finds traced values in what a state holds beside its arrays, such as a TrainState's optimizer."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import jax

from vtune.hparams import Hparams
from vtune.returned import ReturnedError
from vtune.types import State

_DEPTH = 12  # of functions in functions; an Optax chain has about 6


def check_static(state: State) -> None:
    """Raises ReturnedError if a part of the state that is no array was made of a traced value.

    It belongs to one trace, and a program carries arrays alone.
    """
    static = jax.tree.map(lambda leaf: None, state)
    path = next(_traced(static, "state", {}, 0), None)
    if path is not None:
        raise ReturnedError(
            f"{path} is no array and was made of a traced hyperparameter; a state carries arrays "
            "alone. Write vt.train_state_learner(create, train_step, measure), which makes a "
            "TrainState anew in every step, or keep params and opt_state in the state and make the "
            'optimizer in the step: optax.adam(h["lr"]).update(grads, state["opt_state"])'
        )


def _traced(value: Any, path: str, seen: dict[int, Any], depth: int) -> Iterator[str]:
    """Yields the paths of objects that hold a tracer, down into closures and fields.

    Args:
      seen: objects looked at, by `id`; they are kept, so that no other gets the same one.
    """
    if isinstance(value, jax.core.Tracer):
        yield path
        return
    if id(value) in seen or depth > _DEPTH or isinstance(value, str | bytes | int | float | type):
        return
    seen[id(value)] = value
    inside: dict[str, Any] = {}
    if isinstance(value, Mapping):
        inside = {f"{path}[{key!r}]": item for key, item in value.items()}
    elif isinstance(value, tuple | list):
        names = getattr(value, "_fields", None) or [f"[{i}]" for i in range(len(value))]
        where = [f"{path}{name}" if name[0] == "[" else f"{path}.{name}" for name in names]
        inside = dict(zip(where, value, strict=True))
    elif dataclasses.is_dataclass(value):
        fields = [field.name for field in dataclasses.fields(value)]
        inside = {f"{path}.{name}": getattr(value, name, None) for name in fields}
    elif callable(value):  # what a function remembers is shown under the function's own path
        cells = getattr(value, "__closure__", None) or ()
        held = [cell.cell_contents for cell in cells if _filled(cell)]
        named = getattr(getattr(value, "__code__", None), "co_consts", ())
        held = [_read(h, named) if isinstance(h, Hparams) else h for h in held]
        held += [getattr(value, name, None) for name in ("func", "args", "keywords", "__self__")]
        for item in held:
            yield from (path for _ in _traced(item, path, seen, depth + 1))
        return
    for place, item in inside.items():
        yield from _traced(item, place, seen, depth + 1)


def _read(h: Hparams, constants: tuple) -> list[Any]:
    """Returns the hyperparameters that a function names, of all those that it could read."""
    return [h[name] for name in constants if isinstance(name, str) and name in h]


def _filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:  # a name that has no value yet
        return False
