"""The space of a saved sweep, with the values that the caller gives for those it does not hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vtune.results.described import Described
from vtune.results.encoding import decode, is_same, missing
from vtune.results.manifest import refusing
from vtune.space.distributions import Categorical
from vtune.space.space import Space, parse


def saved_space(
    folder: Path,
    parts: Sequence[Mapping[str, Any]],
    choices: Mapping[str, Any] | None,
    trusted: Sequence[str],
    check: bool = True,
) -> Space:
    """Returns the space of a saved sweep.

    Args:
      folder: for messages. parts: the manifest's. choices, trusted: see `vt.load`.
      check: whether the values given are compared with what the file says of them.

    Raises:
      TypeError, ValueError: the choices are not those that were saved, or the file's are none.
    """
    given = {} if choices is None else choices
    if not isinstance(given, Mapping):
        raise TypeError(f'load: choices={given!r} must be a dict, such as {{"act": [f, g]}}')
    known = dict.fromkeys(name for part in parts for name in part)
    for name in given:
        if name not in known:
            raise ValueError(f"load: choices has {name!r}; the space has {list(known)}")
    with refusing(folder):
        values = [
            {name: decode(saved, f"space[{name!r}]", trusted) for name, saved in part.items()}
            for part in parts
        ]
    for part, found in zip(parts, values, strict=True):
        for name in set(part) & set(given):
            found[name] = _given(name, part[name], given[name], check)
    with refusing(folder):
        return parse(
            [
                {name: found[name] for name in part}
                for part, found in zip(parts, values, strict=True)
            ],
            saved=True,
        )


def _given(name: str, saved: Any, given: Any, check: bool) -> Any:
    """The value of one hyperparameter that the caller gives."""
    kind = saved.get("kind") if isinstance(saved, dict) else None
    if kind in ("Float", "Int", "Ordinal"):
        raise ValueError(f"load: choices has {name!r}, which is a vt.{kind}; leave it out")
    if kind != "Categorical":
        return _checked(name, saved, given, check)
    items = saved["fields"]["choices"]["items"]
    if not isinstance(given, list | tuple):
        raise TypeError(
            f"load: choices[{name!r}] must be the list of all choices, got {given!r}; the file "
            f"has {len(items)}: {_shown(items)}"
        )
    if len(given) == len(items):
        return Categorical(
            [_checked(name, *pair, check) for pair in zip(items, given, strict=True)]
        )
    picked = [[value for value in given if is_same(item, value)] for item in items]
    if not all(picked):  # a space that is a union may have other choices in each part
        raise ValueError(
            f"load: choices[{name!r}] has {len(given)} values, the file has {len(items)}: "
            f"{_shown(items)}; give all of them, in this order"
        )
    return Categorical([values[0] for values in picked])


def _checked(name: str, saved: Any, value: Any, check: bool) -> Any:
    if check and not is_same(saved, value):
        raise ValueError(
            f"load: choices[{name!r}] gives {value!r} where the sweep was trained with "
            f"{_shown([saved])}; give the same values in the same order (check=False if it is the "
            "same by another name)"
        )
    return value


def _shown(items: Sequence[Any]) -> str:
    return ", ".join(_text(item) for item in items)


def _text(item: Any) -> str:
    if not isinstance(item, dict):
        return repr(item)
    if item.get("kind") == "import":
        return f"{item.get('module')}.{item.get('name')}"
    return str(item.get("text", item))


def missing_in(space: Space) -> Described | None:
    """Returns the first value that a space does not hold; None where it holds all."""
    values = (value for part in space.parts for value in part.values())
    return next((found for value in values if (found := missing(value)) is not None), None)
