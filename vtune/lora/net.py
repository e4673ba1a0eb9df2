"""A network whose weights act with adapters, without its knowing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from vtune.components.nn import drop
from vtune.hparams import Hparams
from vtune.learner.freezing import text_of
from vtune.learner.frozen import WEIGHTS
from vtune.learner.net import Net
from vtune.lora.adapters import adapter_key, drawn, smaller_side, tagged
from vtune.lora.chosen import check_followed, chosen
from vtune.lora.errors import AdapterError
from vtune.lora.settings import Settings
from vtune.lora.uses import Found, Split, uses
from vtune.lora.walk import Adding, followed
from vtune.returned import check_arrays
from vtune.types import Array, Batch, Key, Outputs, PyTree

ADAPTERS = "lora"
Path = tuple[Any, ...]


@dataclass(frozen=True)
class AdaptedNet:
    """A `Net` whose `params` are those of another and {"lora": {path of W: {"a": A, "b": B}}}.

    Attributes:
      net: the other network. settings: of the adapters. only: which weights get one.
      settled: paths of variables that are not to change, see `learner/frozen.py`.
      known: the axes of each adapter, by the form of hyperparameters and the weight's path. In
        training it is seen which way a square matrix is used first; a scoring may not show it.
    """

    net: Net
    settings: Settings
    only: Any = None
    settled: frozenset[Path] = frozenset()
    known: dict[Any, Split] = field(default_factory=dict, compare=False, repr=False)

    def init(self, key: Key, h: Hparams, batch: Batch) -> tuple[PyTree, PyTree]:
        params, other = self.net.init(key, h, batch)
        splits = self._splits(key, h, params, other, batch)
        width, leaves = self.settings.width(h), flatten_dict(params)
        _check_width(width, {path: (leaves[path], split) for path, split in splits.items()})
        adapters = {
            path: drawn(adapter_key(key, text_of(path)), leaves[path], split, width)
            for path, split in splits.items()
        }
        return {**params, ADAPTERS: unflatten_dict(adapters)}, other

    def apply(
        self, key: Key, h: Hparams, params: PyTree, other: PyTree, batch: Batch, train: bool
    ) -> tuple[Outputs, PyTree]:
        base, adapters = _parted(params)
        pairs = _pairs(adapters)
        if any((_form(h), path) not in self.known for path in pairs):
            self._splits(key, h, base, other, batch)
        closed, shapes, places = self._traced(key, h, base, other, batch, train)
        found = uses(closed, {text_of(path): places[path] for path in pairs})
        check_followed(found)
        arrays: list[Any] = jax.tree.leaves(base)
        for path, (a, b) in pairs.items():
            split, place = self.known[_form(h), path], places[path]
            _check_sides(split, found[text_of(path)], text_of(path))
            scale = self.settings.scale(h, a.shape[-1], b.dtype)
            arrays[place] = tagged(text_of(path), arrays[place], split, a, b, scale)
        rate = self.settings.rate(h) if train else 0.0

        def dropped(name: str, x: Array) -> Array:
            never = isinstance(rate, int | float) and rate == 0
            return x if never else drop(adapter_key(key, name), rate, x)

        return jax.tree.unflatten(
            jax.tree.structure(shapes), followed(Adding(dropped), closed, arrays)
        )

    def splits(self, key: Key, h: Hparams, batch: Batch) -> dict[Path, Split]:
        """Returns the axes of the adapter of every weight that has one, by its path in `params`."""
        return self._splits(key, h, *self.net.init(key, h, batch), batch)

    def _splits(
        self, key: Key, h: Hparams, params: PyTree, other: PyTree, batch: Batch
    ) -> dict[Path, Split]:
        if ADAPTERS in params or ADAPTERS in self.net.variables(params, other):
            raise AdapterError(
                f"vt.lora: the model has a part called {ADAPTERS!r}, as its adapters are called; "
                "give that part another name"
            )
        closed, _, places = self._traced(key, h, params, other, batch, True)
        leaves = flatten_dict(params)
        paths = {
            text_of(path): path
            for path in places
            if leaves[path].ndim >= 2 and jnp.issubdtype(leaves[path].dtype, jnp.floating)
        }
        found = uses(closed, {name: places[path] for name, path in paths.items()})
        splits = {paths[name]: split for name, split in chosen(self.only, found, paths).items()}
        self.known.update({(_form(h), path): split for path, split in splits.items()})
        return splits

    def _traced(
        self, key: Key, h: Hparams, params: PyTree, other: PyTree, batch: Batch, train: bool
    ) -> tuple[Any, Any, dict[Path, int]]:
        """Returns (the model as equations of its weights, the form of what it returns, the place of
        every weight among its arguments)."""
        net: Any = self.net
        net = replace(net, settled=self.settled) if self.settled else net

        def apply(params: PyTree) -> tuple[Outputs, PyTree]:
            outputs, after = net.apply(key, h, params, other, batch, train)
            check_arrays("the model", outputs, "its outputs")
            return outputs, after

        closed, shapes = jax.make_jaxpr(apply, return_shape=True)(params)
        leaves, structure = jax.tree.flatten(params)
        places = jax.tree.unflatten(structure, range(len(leaves)))
        named = {path: i for path, i in flatten_dict(places).items() if isinstance(i, int)}
        return closed, shapes, named

    def variables(self, params: PyTree, other: PyTree) -> PyTree:
        base, adapters = _parted(params)
        return {**self.net.variables(base, other), ADAPTERS: adapters}

    def statistics(self, h: Hparams, params: PyTree, other: PyTree) -> list[Path]:
        return self.net.statistics(h, _parted(params)[0], other)

    def split(self, variables: PyTree, params: PyTree, other: PyTree) -> tuple[PyTree, PyTree]:
        given, adapters = _parted(variables)
        base, others = self.net.split(given, _parted(params)[0], other)
        return ({**base, ADAPTERS: adapters} if adapters else base), others

    def in_variables(self, path: Path) -> Path:
        return path[1:] if path[:2] == (WEIGHTS, ADAPTERS) else self.net.in_variables(path)

    def selected(self, spec: Any, h: Hparams, batch: Batch) -> frozenset[Path] | None:
        return self.net.selected(spec, h, batch)


def _parted(tree: PyTree) -> tuple[PyTree, PyTree]:
    """Returns a tree without the adapters, and these."""
    return {name: part for name, part in tree.items() if name != ADAPTERS}, tree.get(ADAPTERS, {})


def _pairs(adapters: PyTree) -> dict[Path, tuple[Array, Array]]:
    """Returns (A, B) by the path of the weight."""
    leaves = flatten_dict(adapters)
    return {
        path[:-1]: (leaves[path], leaves[*path[:-1], "b"]) for path in leaves if path[-1] == "a"
    }


def _form(h: Hparams) -> Any:
    return getattr(h, "form", tuple(h))  # `h` may be a plain dict


def _check_sides(split: Split, here: Found, name: str) -> None:
    """Raises AdapterError where scoring splits a weight otherwise than training does."""
    if here.split is not None and here.split.sides(here.shape) != split.sides(here.shape):
        raise AdapterError(
            f"vt.lora: {name} is used along other axes in scoring than in training; leave it out "
            "of only="
        )


def _check_width(width: int, adapted: Mapping[Path, tuple[Any, Split]]) -> None:
    """Raises AdapterError where a rank is above what a weight has."""
    sides = {path: smaller_side(*of) for path, of in adapted.items()}
    small = {path: side for path, side in sides.items() if side < width}
    if small:
        shown = ", ".join(
            f"{text_of(path)} {list(adapted[path][0].shape)} (at most {side})"
            for path, side in small.items()
        )
        raise AdapterError(
            f"vt.lora: rank {width} is above the smaller side of {shown}; lower the rank, or leave "
            "these weights out by only="
        )
