"""Groups whose initial states are drawn alike are initialised together, and compiled once.

A sweep over optimizers or activations has many groups whose weights have the same shapes. Drawing
weights is slow to compile, so it is compiled once for all that draw them by the same equations.
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


class Traced(NamedTuple):
    """One group's initialisation, taken apart.

    Attributes:
      eqns, outvars, consts: of the traced function. structure: of its result.
      drawn: the equations that values come of which the seed is part of.
      inputs: the variables of (id, the seed); others: of everything else.
      seeded: which outputs the seed is part of.
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
    def plain(self) -> bool:
        """Whether what is drawn depends on the member's key alone."""
        read = {a for e in self.drawn for a in e.invars if not jaxprs.is_literal(a)}
        return not read & set(self.others)


def initialise(
    functions: Sequence[Callable[[Any, Any], PyTree]],
    members: Sequence[tuple[Array, dict[str, Array]]],
    seed: Any,
    batches: Sequence[PyTree],
    layout: Layout,
) -> list[PyTree]:
    """The states of every group.

    Args:
      functions: by group ((id, traced), (seed, batch)) -> state, of one member.
      members: by group ids and traced hyperparameters, leaves [pop].
      batches: by group what a batch looks like, or None.
    """
    traced = [_trace(*each, seed, layout) for each in zip(functions, members, batches, strict=True)]
    states: dict[int, PyTree] = {}
    for leader, followers in _alike(traced).items():
        drawn = _draw(traced[leader], followers, members, seed, layout)
        for index, known in drawn.items():
            rest = (members[index], (seed, batches[index]))
            states[index] = _complete(traced[index], known, *rest, layout)
    return [states[index] for index in range(len(functions))]


def _trace(f: Callable[..., PyTree], members: Any, batch: Any, seed: Any, layout: Layout) -> Traced:
    alone = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), members)
    found = []

    def trace(*arguments: Any) -> None:
        found.append(jax.make_jaxpr(f, return_shape=True)(*arguments))

    # where the check traced it, so that it is the same trace
    jax.eval_shape(replicated(trace, layout), alone, (seed, batch))
    ((closed, shapes),) = found
    jaxpr, consts = jaxprs.opened(closed)
    id_, *rest = jaxpr.invars
    place = len(jax.tree.leaves(members)) - 1
    own, others = rest[place], (*rest[:place], *rest[place + 1 :])
    made = jaxprs.depending(jaxpr.eqns, [own])
    seeded = tuple(not jaxprs.is_literal(v) and v in made for v in jaxpr.outvars)
    wanted = [v for v, is_seeded in zip(jaxpr.outvars, seeded, strict=True) if is_seeded]
    return Traced(
        jaxpr.eqns,
        jaxpr.outvars,
        dict(zip(jaxpr.constvars, consts, strict=True)),
        jax.tree.structure(shapes),
        jaxprs.needed(jaxpr.eqns, wanted),
        (id_, own),
        others,
        seeded,
    )


def _alike(traced: Sequence[Traced]) -> dict[int, dict[int, dict[Any, Any]]]:
    """By leader the groups that draw as it does: their numbers, its variables by theirs."""
    found: dict[int, dict[int, dict[Any, Any]]] = {}
    for index, one in enumerate(traced):
        for leader, followers in found.items():
            first = traced[leader]
            if not (one.plain and first.plain):
                continue
            known = dict(zip(one.inputs, first.inputs, strict=True))
            matched = jaxprs.match(first.drawn, one.drawn, known)
            if matched is not None:
                followers[index] = matched
                break
        else:
            variables = {v: v for e in one.drawn for v in e.outvars}
            found[index] = {index: variables}
    return found


def _draw(
    leader: Traced,
    followers: dict[int, dict[Any, Any]],
    members: Sequence[Any],
    seed: Any,
    layout: Layout,
) -> dict[int, dict[Any, Array]]:
    """By group the values [pop, ...] of the variables that its outputs come of, all in one go.

    Only of members whose draws depend on their keys alone; others are left to `_complete`.
    """
    if not leader.plain or len(followers) == 1:
        return {index: {} for index in followers}
    wanted = list(
        dict.fromkeys(v for v, seeded in zip(leader.outvars, leader.seeded, strict=True) if seeded)
    )

    def one(id: Array, seed: Any) -> list[Array]:
        values = {**leader.consts, **dict(zip(leader.inputs, (id, seed), strict=True))}
        return jaxprs.evaluate_some(leader.drawn, wanted, values)

    sizes = [members[index][0].shape[0] for index in followers]
    ids = jnp.concatenate([members[index][0] for index in followers])
    values = dict(zip(wanted, over_members(one, layout)(ids, seed), strict=True))
    result, start = {}, 0
    for (index, names), size in zip(followers.items(), sizes, strict=True):
        part = lambda a, s=start, n=size: jax.lax.slice_in_dim(a, s, s + n)
        result[index] = {v: part(values[own]) for v, own in names.items() if own in values}
        start += size
    return result


def _complete(
    traced: Traced, known: dict[Any, Array], members: Any, shared: Any, layout: Layout
) -> PyTree:
    """A group's states, where the values of some variables are there already."""
    missing = [v for v in traced.outvars if jaxprs.is_literal(v) or v not in known]
    seed, batch = shared

    def one(member: Any, shared: Any) -> list[Array]:
        own, drawn = member
        (id_, *rest), (seed, batch) = jax.tree.leaves(own), shared
        others = [*rest, *jax.tree.leaves(batch)]
        values = {**traced.consts, **dict(zip(traced.others, others, strict=True))}
        values |= dict(zip(traced.inputs, (id_, seed), strict=True))
        values |= dict(zip(known, drawn, strict=True))
        left = [e for e in traced.eqns if not set(e.outvars) <= set(known)]
        return jaxprs.evaluate_some(jaxprs.needed(left, missing), missing, values)

    made = iter(over_members(one, layout)((members, list(known.values())), (seed, batch)))
    leaves = [
        next(made) if jaxprs.is_literal(v) or v not in known else known[v] for v in traced.outvars
    ]
    return jax.tree.unflatten(traced.structure, leaves)
