"""`vt.tune(frozen=)`: the learner whose members share what is not trained, and what they share."""

from __future__ import annotations

import dataclasses
import functools
import warnings
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict

from vtune.callers import users_line
from vtune.engine.carry import Arguments
from vtune.engine.plan import CohortPlan, Plan, as_arrays
from vtune.hparams import Hparams
from vtune.learner.freezing import Freezing, chosen_paths, listed
from vtune.learner.frozen import WEIGHTS, Path, shown, variable_paths, variables_of
from vtune.learner.pretrained import overlay
from vtune.learner.protocol import traced_once
from vtune.rng.keys import member_key
from vtune.runtime.compile import argument_shapes
from vtune.runtime.diagnose import trace_member
from vtune.tuning.arguments import TuneArguments
from vtune.tuning.pretrained import beginning, check_known
from vtune.types import PyTree
from vtune.xla.sources import sources


class _Found(NamedTuple):
    """What freezing means for one cohort.

    Attributes:
      known: all variables, as shapes. chosen: those that are meant.
      changed: those among them that a training step changes.
      given: what `init_from=` gives. nowhere: what of it has no place here, in words.
    """

    known: dict[Path, Any]
    chosen: frozenset[Path]
    changed: frozenset[Path]
    given: dict[Path, Any]
    nowhere: dict[Path, str]


def freezes(given: TuneArguments) -> bool:
    """Whether members are to share variables.

    Raises:
      ValueError: they are, and this learner cannot.
    """
    freezing = given.learner.freezing
    if given.frozen is None:
        return freezing is not None and freezing.usual is not None
    if freezing is None:
        raise ValueError(
            "frozen: this learner does not say what its weights are called; use vt.flax_learner or "
            "vt.nnx_learner, or write vt.Learner(share=...), which keeps them out of the state"
        )
    return True


def with_frozen(given: TuneArguments, plan: Plan, weights: PyTree) -> tuple[TuneArguments, PyTree]:
    """Returns the arguments with the learner whose members share what is frozen, and the given
    weights in the framework's form, the frozen ones in the types of the model.

    Args:
      plan: of the learner that shares nothing. weights: as `init_from=` gave them.

    Raises:
      TypeError, ValueError: nothing is frozen, or everything, or what was not given.
    """
    freezing: Freezing = given.learner.freezing
    spec = freezing.usual if given.frozen is None else given.frozen
    if weights is None:
        raise ValueError(
            "frozen: what is shared is never trained, so it must be given: init_from=weights "
            "(of a learner with adapters, those of the model without them)"
        )
    by_cohort: list[_Found] = []
    look = functools.partial(_look, by_cohort, spec, weights)
    with warnings.catch_warnings():  # of statistics that stay, which may be meant
        warnings.simplefilter("ignore")
        for cohort in plan.cohorts:
            trace_member(look, plan, cohort, argument_shapes(plan))
    if given.trajectory is None:  # else it is one member's of a sweep that was checked
        check_known([found.nowhere for found in by_cohort])
    changed = frozenset[Path]().union(*(found.changed for found in by_cohort))
    frozen = frozenset[Path]().union(*(_checked(found, changed) for found in by_cohort))
    _check_everywhere(by_cohort, frozen)
    leaves = {}
    for found in by_cohort:
        for path, leaf in found.given.items():
            dtype = _dtype(path, found.known[path], leaf) if path in frozen else None
            leaves[freezing.net.in_variables(path)] = np.asarray(leaf, dtype)
    _warn_changed(by_cohort)
    return (
        dataclasses.replace(given, learner=freezing.learner(frozen)),
        as_arrays(unflatten_dict(leaves)),
    )


def _dtype(path: Path, known: Any, leaf: Any) -> Any:
    """Returns the type to share a variable in: of a weight the model's own. Flax draws statistics
    in float32 that it computes in float64, so those given keep the wider type."""
    if path[0] == WEIGHTS:
        return known.dtype
    return jnp.promote_types(known.dtype, np.asarray(leaf).dtype)


def _look(
    by_cohort: list[_Found],
    spec: Any,
    weights: PyTree,
    plan: Plan,
    cohort: CohortPlan,
    arguments: Arguments,
    h: Hparams,
) -> None:
    """Adds to `by_cohort` what is found of one member."""
    learner, key = traced_once(plan.learner), member_key(np.uint32(0), 0)
    assert learner.freezing is not None
    net, begun = learner.freezing.net, beginning(plan, cohort, arguments, h, weights)
    state, batch = begun.state, begun.batch
    for own, part in zip(begun.own, begun.given, strict=True):
        overlay(own, part)  # for its errors
    known = variable_paths(*begun.own)
    chosen = chosen_paths(net, spec, h, state, batch)

    def others(leaves: list[Any]) -> list[Any]:
        own = variables_of(dict(zip(names, leaves, strict=True))).other
        after, _ = learner.step(key, h, state._replace(other=own), batch)
        return [variable_paths({}, after.other)[path] for path in names]

    changed: set[Path] = set()
    names = [path for path in known if path[0] != WEIGHTS]
    if chosen & set(names):
        found = sources(jax.make_jaxpr(others)([known[path] for path in names]))
        changed = {path for i, path in enumerate(names) if found[i].same != i}
    shapes = {path: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for path, leaf in known.items()}
    given = variable_paths(*begun.given)
    by_cohort.append(_Found(shapes, chosen, frozenset(changed), given, begun.nowhere))


def _checked(found: _Found, changed: frozenset[Path]) -> frozenset[Path]:
    """Returns what is frozen.

    Args:
      changed: by the members of any cohort, so that none shares it.

    Raises:
      ValueError: it is nothing, all weights, or not given.
    """
    weights = [path for path in found.known if path[0] == WEIGHTS]
    frozen = found.chosen - changed
    if not any(path in frozen for path in weights):
        raise ValueError(
            f"frozen matches none of the weights; there are {listed(map(shown, weights))}"
        )
    if all(path in frozen for path in weights):
        raise ValueError(
            f"frozen matches all weights ({listed(map(shown, weights))}), so nothing would be "
            "trained; leave out those that are"
        )
    missing = [shown(path) for path in frozen if path not in found.given]
    if missing:
        raise ValueError(
            f"frozen: {listed(missing)} {'is' if len(missing) == 1 else 'are'} not in init_from=; "
            "what is shared is never trained, so it must be given"
        )
    return frozen


def _check_everywhere(by_cohort: list[_Found], frozen: frozenset[Path]) -> None:
    """Raises ValueError for a frozen variable that members of some structures lack."""
    lacking = {shown(path) for found in by_cohort for path in frozen if path not in found.known}
    if lacking:
        raise ValueError(
            f"frozen: {listed(lacking)} {'is' if len(lacking) == 1 else 'are'} in the "
            "model of some members alone, and all members share what is frozen; train one sweep "
            "for each structure, or leave it to each member: init_from= without frozen="
        )


def _warn_changed(by_cohort: list[_Found]) -> None:
    changed = {path for found in by_cohort for path in found.changed & found.chosen}
    if changed:
        warnings.warn(
            f"frozen: the model changes {listed(map(shown, changed))} in training, so each member "
            "keeps its own; where they are to stay as they were given, that part must run in "
            "evaluation mode: in linen use_running_average=True, in nnx by apply=",
            stacklevel=users_line(),
        )
