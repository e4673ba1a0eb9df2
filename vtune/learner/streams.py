"""Finds what a linen model asks for by name while it runs: random streams, and axes of the batch.

Flax lets every stream fall back on "params". But a lifted transform (`nn.scan`, `nn.RNN`,
`nn.vmap`) splits streams by name and drops those that it is not told of, so the key has to stand
under the stream's own name. The names are found by tracing the model without any, but dropout's in
training: Flax says which one is missing, until none is.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
from flax.errors import InvalidRngError

from vtune.types import Key


class Asked(NamedTuple):
    """What a model asks for.

    Attributes:
      streams: the number that a stream's key is folded with, by the stream's name; 0 for none.
      axes: names of axes, of `nn.BatchNorm(axis_name=...)` and the like.
    """

    streams: dict[str, int]
    axes: tuple[str, ...]

    def rngs(self, key: Key) -> dict[str, Key]:
        """Returns the key under every stream's name, and under "params"."""
        tags = {"params": 0, **self.streams}
        return {name: jax.random.fold_in(key, tag) if tag else key for name, tag in tags.items()}

    def bound(self, call: Callable[[], Any]) -> Callable[[], Any]:
        """Returns `call` inside an axis of length 1 for every name: a batch is not cut up."""
        for name in self.axes:
            call = _inside(call, name)
        return call


def asked(call: Callable[[dict[str, Key]], Any], key: Key, *given: str) -> Asked:
    """Returns what `call(rngs)` asks for, traced with shapes only.

    An error with another cause ends the search and is left to the call that counts.

    Args:
      given: streams that are there from the start; those that nothing draws from are left out.
    """
    streams, axes = list(given), []  # type: tuple[list[str], list[str]]
    together: set[frozenset[str]] = set()  # streams that one module draws from

    def note(method: Callable[..., Any], args: Any, keywords: Any, context: Any) -> Any:
        made = method(*args, **keywords)
        counts = getattr(context.module.scope, "rng_counters", {})
        together.add(frozenset(n for n, count in counts.items() if isinstance(n, str) and count))
        return made

    def traced() -> None:
        found = Asked(dict.fromkeys(streams, 0), tuple(axes))
        rngs = Streams(dict.fromkeys(streams, key), key)
        # Inside a function that returns nothing, since outputs may be any Python objects.
        with nn.intercept_methods(note):
            jax.eval_shape(lambda: (found.bound(lambda: call(rngs))(), None)[1])
        streams.extend(dict.fromkeys(rngs.read))

    while True:
        together.clear()
        try:
            traced()
        except InvalidRngError as error:
            name = _named(r'needs PRNG for "([^"]+)"', error)
            if name is None or name in streams:
                break
            streams.append(name)
        except NameError as error:
            name = _named(r"unbound axis name: ([^\s.]+)", error)
            if name is None or name in axes:
                break
            axes.append(name)
        except Exception:
            break
        else:
            unused = set(given).difference(*together)
            return Asked(_tags(set(streams) - unused, together), tuple(axes))
    return Asked(dict.fromkeys(streams, 0), tuple(axes))


class Streams(dict):
    """Random streams by name. A user's function may read any other, which has the key, too.

    Attributes:
      read: names that were read and are not there.
    """

    def __init__(self, streams: dict[str, Key], key: Key):
        super().__init__(streams)
        self.read: list[str] = []
        self._key = key

    def __missing__(self, name: str) -> Key:
        self.read.append(name)
        return self._key


def _as_dict(names: tuple[str, ...], keys: Any) -> Any:
    return dict(zip(names, keys, strict=True))


jax.tree_util.register_pytree_node(
    Streams, lambda streams: (tuple(streams.values()), tuple(streams)), _as_dict
)


def _named(pattern: str, error: Exception) -> str | None:
    found = re.search(pattern, str(error))
    return found and found.group(1)


def _inside(call: Callable[[], Any], name: str) -> Callable[[], Any]:
    return lambda: jax.tree.map(lambda leaf: leaf[0], jax.vmap(call, axis_name=name, axis_size=1)())


def _tags(streams: set[str], together: set[frozenset[str]]) -> dict[str, int]:
    """Returns the number that each stream's key is folded with.

    Two streams that one module draws from would give equal numbers, as the module's path and
    its count of draws are all that is folded in: the later one, in alphabetical order after
    "params", is told apart by its place.
    """
    ordered = sorted(streams, key=lambda name: (name != "params", name))
    return {
        name: place
        if any(name in names and names & set(ordered[:place]) for names in together)
        else 0
        for place, name in enumerate(ordered)
    }
