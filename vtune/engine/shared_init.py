"""Shared initialisation: groups that draw their weights by the same equations compile them once.

A sweep over optimizers or activations has many groups whose weights have the same shapes. Drawing
weights is slow to compile, so it is compiled once for all groups that draw alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vtune.engine.layout import Layout
from vtune.engine.parallel import over_members, replicated
from vtune.types import Array, PyTree
from vtune.xla import jaxpr as jaxprs


class TracedInit(NamedTuple):
    """The initialisation of one group as equations.

    Attributes:
      eqns, outvars, consts: of the traced function.
      structure: the tree structure of a state.
      drawn: the equations needed for the outputs that depend on the seed.
      inputs: the variables of the member's id and of the seed.
      others: the variables of all other arguments.
      seeded: by output whether it depends on the seed.
    """

    eqns: Sequence[Any]
    outvars: Sequence[Any]
    consts: dict[Any, Any]
    structure: Any
    drawn: Sequence[Any]
    inputs: tuple[Any, ...]
    others: tuple[Any, ...]
    seeded: tuple[bool, ...]

    @property
    def shareable(self) -> bool:
        """Whether what is drawn depends on the member's key alone."""
        read = {a for e in self.drawn for a in e.invars if not jaxprs.is_literal(a)}
        return not read & set(self.others)


def initialize_groups(
    functions: Sequence[Callable[[Any, Any], PyTree]],
    members: Sequence[tuple[Array, dict[str, Array]]],
    seed: Any,
    batches: Sequence[PyTree],
    layout: Layout,
) -> list[PyTree]:
    """Returns the states of every group.

    Args:
      functions: by group ((id, traced hyperparameters), (seed, batch)) -> state, of one member.
      members: by group ids and traced hyperparameters, leaves [pop].
      batches: by group the first batch and whatever else is shared.
    """
    traced = [
        _trace(f, group, batch, seed, layout)
        for f, group, batch in zip(functions, members, batches, strict=True)
    ]
    states: dict[int, PyTree] = {}
    for leader, followers in _same_draws(traced).items():
        drawn = _draw(traced[leader], followers, members, seed, layout)
        for index, known in drawn.items():
            shared = (seed, batches[index])
            states[index] = _complete(traced[index], known, members[index], shared, layout)
    return [states[index] for index in range(len(functions))]


def _trace(
    f: Callable[..., PyTree], members: Any, batch: Any, seed: Any, layout: Layout
) -> TracedInit:
    one_member = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), members)
    traces = []

    def trace(*arguments: Any) -> None:
        traces.append(jax.make_jaxpr(f, return_shape=True)(*arguments))

    # traced as the check of the learner does, so that it is the same trace
    jax.eval_shape(replicated(trace, layout), one_member, (seed, batch))
    ((closed, shapes),) = traces
    jaxpr, consts = jaxprs.opened(closed)
    id_var, *rest = jaxpr.invars
    place = len(jax.tree.leaves(members)) - 1  # the seed comes after the member's leaves
    seed_var, others = rest[place], (*rest[:place], *rest[place + 1 :])
    dependent = jaxprs.depending(jaxpr.eqns, [seed_var])
    seeded = tuple(not jaxprs.is_literal(v) and v in dependent for v in jaxpr.outvars)
    wanted = [v for v, is_seeded in zip(jaxpr.outvars, seeded, strict=True) if is_seeded]
    return TracedInit(
        jaxpr.eqns,
        jaxpr.outvars,
        dict(zip(jaxpr.constvars, consts, strict=True)),
        jax.tree.structure(shapes),
        jaxprs.needed(jaxpr.eqns, wanted),
        (id_var, seed_var),
        others,
        seeded,
    )


def _same_draws(traced: Sequence[TracedInit]) -> dict[int, dict[int, dict[Any, Any]]]:
    """Returns by leading group the groups that draw as it does, itself included: by their number
    the leader's variable for each of their variables."""
    leaders: dict[int, dict[int, dict[Any, Any]]] = {}
    for index, group in enumerate(traced):
        for leader, followers in leaders.items():
            first = traced[leader]
            if not (group.shareable and first.shareable):
                continue
            known = dict(zip(group.inputs, first.inputs, strict=True))
            matched = jaxprs.match(first.drawn, group.drawn, known)
            if matched is not None:
                followers[index] = matched
                break
        else:
            leaders[index] = {index: {v: v for e in group.drawn for v in e.outvars}}
    return leaders


def _draw(
    leader: TracedInit,
    followers: dict[int, dict[Any, Any]],
    members: Sequence[Any],
    seed: Any,
    layout: Layout,
) -> dict[int, dict[Any, Array]]:
    """Returns by group the drawn values [pop, ...] by variable, drawn for all groups in one go.

    Nothing is drawn here for a group that shares with no other; `_complete` does that.
    """
    if not leader.shareable or len(followers) == 1:
        return {index: {} for index in followers}
    wanted = list(
        dict.fromkeys(v for v, seeded in zip(leader.outvars, leader.seeded, strict=True) if seeded)
    )

    def one_member(id: Array, seed: Any) -> list[Array]:
        values = {**leader.consts, **dict(zip(leader.inputs, (id, seed), strict=True))}
        return jaxprs.evaluate_some(leader.drawn, wanted, values)

    sizes = [members[index][0].shape[0] for index in followers]
    ids = jnp.concatenate([members[index][0] for index in followers])
    drawn = dict(zip(wanted, over_members(one_member, layout)(ids, seed), strict=True))
    result, start = {}, 0
    for (index, leaders), size in zip(followers.items(), sizes, strict=True):
        part = lambda a, s=start, n=size: jax.lax.slice_in_dim(a, s, s + n)
        result[index] = {v: part(drawn[of]) for v, of in leaders.items() if of in drawn}
        start += size
    return result


def _complete(
    traced: TracedInit, known: dict[Any, Array], members: Any, shared: Any, layout: Layout
) -> PyTree:
    """Returns a group's states, given the values of the variables that were drawn already."""
    missing = [v for v in traced.outvars if jaxprs.is_literal(v) or v not in known]
    seed, batch = shared

    def one_member(member: Any, shared: Any) -> list[Array]:
        (settings, drawn), (seed, batch) = member, shared
        id, *rest = jax.tree.leaves(settings)
        others = [*rest, *jax.tree.leaves(batch)]
        values = {**traced.consts, **dict(zip(traced.others, others, strict=True))}
        values |= dict(zip(traced.inputs, (id, seed), strict=True))
        values |= dict(zip(known, drawn, strict=True))
        to_run = [e for e in traced.eqns if not set(e.outvars) <= set(known)]
        return jaxprs.evaluate_some(jaxprs.needed(to_run, missing), missing, values)

    computed = iter(
        over_members(one_member, layout)((members, list(known.values())), (seed, batch))
    )
    leaves = [
        next(computed) if jaxprs.is_literal(v) or v not in known else known[v]
        for v in traced.outvars
    ]
    return jax.tree.unflatten(traced.structure, leaves)
