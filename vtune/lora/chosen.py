"""Which weights get adapters: `only=`, of those that are in products."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from vtune.learner.freezing import decided, listed
from vtune.lora.errors import AdapterError
from vtune.lora.uses import Found, Split

FORMS = (
    'a regular expression such as "attention", a list of them, or a function of the path such as '
    'lambda path: path[0] == "encoder"'
)
Path = tuple[Any, ...]


def check_only(only: Any) -> None:
    """Raises TypeError or ValueError where `only=` has none of the known forms."""
    if only is None or (callable(only) and not isinstance(only, type)):
        return
    patterns = _patterns(only)
    if not patterns or not all(isinstance(pattern, str) for pattern in patterns):
        raise TypeError(f"vt.lora: only={only!r} is not known; write {FORMS}")
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(
                f"vt.lora: only={pattern!r} is no regular expression ({error}); it is searched in "
                "paths such as 'encoder/Dense_0/kernel'"
            ) from None


def _patterns(only: Any) -> list[Any]:
    if isinstance(only, str):
        return [only]
    return list(only) if isinstance(only, tuple | list) else []


def chosen(only: Any, found: Mapping[str, Found], paths: Mapping[str, Path]) -> dict[str, Split]:
    """Returns the axes of the adapter of each weight that gets one, by name.

    Without `only=` these are the weights that are in products and in nothing else. A bias is never
    meant.

    Args:
      found: of all weights of two or more axes. paths: by name.

    Raises:
      AdapterError: `only=` means none, or one that an adapter cannot follow.
    """
    there = [name for name in found if found[name].used]
    if only is None:
        splits = _splits({name: found[name] for name in there if found[name].multiplied})
        if not splits:
            raise AdapterError(
                "vt.lora: no weight of the model is in products alone, so there is nothing to "
                f"adapt; {_known(found)}"
            )
        return splits
    meant = set[str]()
    for takes, shown in _choices(only, paths):
        names = [name for name in found if takes(name)]
        if not any(name in there for name in names):
            raise AdapterError(
                f"vt.lora: only={shown} matches "
                f"{'weights that are in no product' if names else 'no weight of a product'}; "
                f"{_known(found)}"
            )
        meant.update(name for name in names if found[name].used or not found[name].is_bias)
    taken = {name: found[name] for name in sorted(meant)}
    check_followed(taken)
    return _splits(taken)


def _splits(found: Mapping[str, Found]) -> dict[str, Split]:
    return {name: split for name, one in found.items() if (split := one.split) is not None}


def check_followed(found: Mapping[str, Found]) -> None:
    """Raises AdapterError where a weight reaches what an adapter cannot follow."""
    troubles = _troubles(found)
    if troubles:
        raise AdapterError(
            f"vt.lora: {troubles}: an adapter follows a weight to products (dot_general, "
            "conv_general_dilated without groups, lookups of whole rows) through changes of layout "
            "alone; leave it out of only="
        )


def _choices(only: Any, paths: Mapping[str, Path]) -> list[tuple[Callable[[str], bool], str]]:
    """Returns (whether a name is meant, how that is shown) for each part of `only=`."""
    if callable(only):
        meaning = "a weight that gets an adapter"
        says = lambda name: decided("vt.lora: only", only, paths[name], meaning, AdapterError)
        return [(says, "the function")]
    compiled = [re.compile(pattern) for pattern in _patterns(only)]
    searched = lambda pattern: lambda name: pattern.search(name) is not None
    return [(searched(pattern), repr(pattern.pattern)) for pattern in compiled]


def _known(found: Mapping[str, Found]) -> str:
    """Says which weights could have been meant."""
    there = [(name,) for name, one in found.items() if one.split is not None]
    if there:
        return f"in products or lookups are {listed(there)}"
    return _troubles(found) or "it has no weight of two or more axes"


def _troubles(found: Mapping[str, Found]) -> str:
    return "; ".join(f"{name} {one.trouble}" for name, one in found.items() if one.trouble)
