"""Values by name, where a wrong name is answered with those that there are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jax

from vtune.metrics.modes import nearest


class NoSuchNameError(KeyError):
    """Something was looked up under a name that it does not have."""

    def __str__(self) -> str:
        return str(self.args[0])


def no_such(name: Any, known: Iterable[str]) -> NoSuchNameError:
    """Returns the error of a wrong name."""
    known = list(known)
    near = nearest(name, known) if isinstance(name, str) else None
    meant = f"; did you mean {near!r}?" if near else ""
    return NoSuchNameError(f"{name!r} is not one of {known}{meant}")


@jax.tree_util.register_pytree_with_keys_class
class Named(dict[str, Any]):
    """A dict whose KeyError says what there is; for JAX a pytree as any dict."""

    def __missing__(self, name: Any) -> Any:
        raise no_such(name, self)

    def tree_flatten_with_keys(self) -> Any:
        names = sorted(self)
        return [(jax.tree_util.DictKey(name), self[name]) for name in names], tuple(names)

    @classmethod
    def tree_unflatten(cls, names: tuple[str, ...], values: Iterable[Any]) -> Named:
        return cls(zip(names, values, strict=True))
