"""Variables that all members share and no step changes: taken out of a member's state, put back.

A frozen variable is named by where a member holds it: ("params", *path) for a weight, ("other",
collection, *path) for another variable, such as a mean of BatchNorm.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from flax.traverse_util import flatten_dict, unflatten_dict

from vtune.hparams import Hparams
from vtune.learner.net import Net
from vtune.types import Batch, Key, Outputs, PyTree

Path = tuple[Any, ...]
WEIGHTS, OTHERS = "params", "other"


class Variables(NamedTuple):
    """Variables of a network, whole or in part: weights, and all others."""

    params: PyTree
    other: PyTree


def variable_paths(params: PyTree, other: PyTree) -> dict[Path, Any]:
    """Returns the leaves of a network's variables by their names."""
    kinds = {WEIGHTS: params, OTHERS: other}
    return flatten_dict({kind: tree for kind, tree in kinds.items() if tree})


def shown(path: Path) -> Path:
    """Returns the path that a user knows a variable by: that in the model, without its
    collection."""
    return path[1:] if path[0] == WEIGHTS else path[2:]


def parted(params: PyTree, other: PyTree, frozen: frozenset[Path]) -> tuple[Variables, Variables]:
    """Returns (what members have of their own, what is frozen)."""
    if not frozen:
        return Variables(params, other), Variables({}, {})
    kinds = {kind: tree for kind, tree in ((WEIGHTS, params), (OTHERS, other)) if tree}
    leaves = flatten_dict(kinds, keep_empty_nodes=True)  # so that members keep their structure
    own = {path: leaf for path, leaf in leaves.items() if path not in frozen}
    shared = {path: leaf for path, leaf in leaves.items() if path in frozen}
    return variables_of(own), variables_of(shared)


def joined(own: PyTree, frozen: PyTree) -> PyTree:
    """Returns a tree of the leaves of two."""
    if not frozen:
        return own
    return unflatten_dict(flatten_dict(own, keep_empty_nodes=True) | flatten_dict(frozen))


def variables_of(leaves: dict[Path, Any]) -> Variables:
    """Returns the variables of leaves by their names."""
    tree = unflatten_dict(leaves)
    return Variables(tree.get(WEIGHTS, {}), tree.get(OTHERS, {}))


@dataclass(frozen=True)
class FrozenNet:
    """A network whose frozen variables are given once: its `params` and `other` are the rest.

    Attributes:
      net: the whole network. paths: of what is frozen. held: the frozen variables.
    """

    net: Net
    paths: frozenset[Path]
    held: Variables

    def apply(
        self, key: Key, h: Hparams, params: PyTree, other: PyTree, batch: Batch, train: bool
    ) -> tuple[Outputs, PyTree]:
        whole = self._whole(params, other)
        outputs, after = self.net.apply(key, h, *whole, batch, train)
        return outputs, parted({}, after, self.paths)[0].other

    def variables(self, params: PyTree, other: PyTree) -> PyTree:
        return self.net.variables(*self._whole(params, other))

    def statistics(self, h: Hparams, params: PyTree, other: PyTree) -> list[Path]:
        found = self.net.statistics(h, *self._whole(params, other))
        return [path for path in found if (OTHERS, *path) not in self.paths]

    def _whole(self, params: PyTree, other: PyTree) -> Variables:
        return Variables(joined(params, self.held.params), joined(other, self.held.other))


def sharing(learner: Any, weights: PyTree) -> Any:
    """Returns the learner of members that share frozen weights: its functions take and return
    states without them.

    Args:
      learner: a `Learner`. weights: that members were given, in which the frozen ones are.
    """
    if learner.share is None:
        return learner
    whole = lambda state: learner.share(state, weights)
    own = lambda state: learner.share(state, None)

    def step(key: Key, h: Any, state: Any, batch: Any) -> Any:
        after, metrics = learner.step(key, h, whole(state), batch)
        return own(after), metrics

    return learner._replace(
        step=step,
        measure=lambda key, h, state, *rest: learner.measure(key, h, whole(state), *rest),
        predict=_given(learner.predict, lambda f, h, state, batch: f(h, whole(state), batch)),
        refresh=_given(
            learner.refresh, lambda f, key, h, state, *rest: own(f(key, h, whole(state), *rest))
        ),
        variables=_given(learner.variables, lambda f, state: f(whole(state))),
    )


def _given(f: Callable[..., Any] | None, call: Callable[..., Any]) -> Callable[..., Any] | None:
    return None if f is None else functools.partial(call, f)


def held_in(net: Net, weights: PyTree, paths: frozenset[Path]) -> Variables:
    """Returns the frozen ones of given variables.

    Args:
      weights: in the framework's form, see `Net.variables`.
    """
    leaves = flatten_dict(weights)
    return variables_of({path: leaves[net.in_variables(path)] for path in sorted(paths, key=str)})


def without(net: Net, weights: PyTree, paths: frozenset[Path]) -> PyTree:
    """Returns given variables but for the frozen ones."""
    if not paths:
        return weights
    shared = {net.in_variables(path) for path in paths}
    leaves = flatten_dict(weights)
    return unflatten_dict({path: leaf for path, leaf in leaves.items() if path not in shared})
