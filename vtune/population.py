"""The population: what is carried, how it is moved, how it is laid over the machine.

`over_members` is the only place that knows vmap, map, chunks and devices.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from vtune.refine.base import Refinement
from vtune.types import Array, FloatArray, IntArray, PyTree, is_whole

AXIS = "pop"


class Population(NamedTuple):
    """Carried from round to round; every leaf has the leading axis pop.

    Attributes:
      id: [pop] int32, index in the first population.
      hparams: traced hyperparameters by name, each [pop].
      state: the learner's states.
      score: [pop], higher is better, -inf where there is none.
      died: [pop] int32, the step a member diverged at, or -1.
    """

    id: IntArray[Array, " pop"]
    hparams: PyTree
    state: PyTree
    score: FloatArray[Array, " pop"]
    died: IntArray[Array, " pop"]


class Record(NamedTuple):
    """Observed each round; leaves [rounds, pop, ...]."""

    parents: PyTree
    hparams: PyTree
    metrics: PyTree


def gather(population: Population, refinement: Refinement) -> Population:
    """Moves every slot's parent into it, and sets the new hyperparameters.

    The ids stay with their slots, so that two copies of one member do not share their noise; in
    a smaller next population they go with their members. Nothing is copied when every slot
    continues itself.
    """
    parents = refinement.parents
    if parents.shape[0] < population.id.shape[0]:
        kept = jax.tree.map(lambda leaf: jnp.take(leaf, parents, axis=0), population)
        return kept._replace(hparams=refinement.hparams)
    moved = (population.state, population.score, population.died)
    state, score, died = lax.cond(
        jnp.all(parents == jnp.arange(parents.shape[0])),
        lambda tree: tree,
        lambda tree: jax.tree.map(lambda leaf: jnp.take(leaf, parents, axis=0), tree),
        moved,
    )
    return Population(population.id, refinement.hparams, state, score, died)


@dataclass(frozen=True)
class Layout:
    """How members are laid over the machine. It never changes a result beyond rounding.

    Args:
      chunk: how many members one vmap holds, chunks one after the other; 1 is a plain loop
        (`lax.map`), None all of a device's members at once.
      devices: how many local devices share the population; None all of them.
    """

    chunk: int | None = None
    devices: int | None = None

    def __post_init__(self) -> None:
        for name in ("chunk", "devices"):
            value = getattr(self, name)
            if value is not None and (not is_whole(value) or value < 1):
                raise ValueError(
                    f"Layout: {name}={value!r} must be a whole number, 1 or more, or None"
                )


def resolve_layout(layout: Any, size: int) -> Layout:
    """The layout meant by None (the platform's own), "vmap", "map", a chunk size or a Layout.

    No more devices are used than the largest cohort, of `size`, has members.

    Raises:
      TypeError, ValueError: for anything else, or more devices than there are.
    """
    if layout is None or layout == "auto":
        # On CPU one member after the other stays in cache; accelerators want width.
        layout = Layout(1 if jax.default_backend() == "cpu" else None)
    elif layout == "vmap":
        layout = Layout(None)
    elif layout == "map":
        layout = Layout(1)
    elif is_whole(layout):
        layout = Layout(layout)
    elif not isinstance(layout, Layout):
        raise TypeError(
            f'layout={layout!r}: write "vmap", "map", a number of members a chunk, or '
            "vt.Layout(chunk=..., devices=...)"
        )
    there = jax.local_device_count()
    if layout.devices is not None and layout.devices > there:
        raise ValueError(f"layout: {layout.devices} devices asked for, {there} are there")
    return Layout(layout.chunk, min(layout.devices or there, size))


def over_members(
    f: Callable[[PyTree, PyTree], PyTree], layout: Layout
) -> Callable[[PyTree, PyTree], PyTree]:
    """Lifts `f(member, shared)` of ONE member to `members` with the leading axis pop.

    Members that do not fill the last chunk or device are padded with copies of the first ones,
    whose results are dropped.
    """
    devices = layout.devices or 1

    def chunked(members: PyTree, shared: PyTree) -> PyTree:
        size = _size(members)
        chunk = min(layout.chunk or size, size)
        if chunk == size and (layout.chunk != 1):
            return jax.vmap(f, in_axes=(0, None))(members, shared)
        if chunk == 1:
            return lax.map(lambda member: f(member, shared), members)
        padded = _pad(members, -size % chunk)
        split = jax.tree.map(lambda a: a.reshape(-1, chunk, *a.shape[1:]), padded)
        out = lax.map(lambda part: jax.vmap(f, in_axes=(0, None))(part, shared), split)
        return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:])[:size], out)

    if devices == 1:
        return chunked

    def sharded(members: PyTree, shared: PyTree) -> PyTree:
        size = _size(members)
        out = jax.shard_map(
            chunked,
            mesh=mesh(devices),
            in_specs=(PartitionSpec(AXIS), PartitionSpec()),
            out_specs=PartitionSpec(AXIS),
            check_vma=False,
        )(_pad(members, -size % devices), shared)
        return jax.tree.map(lambda a: a[:size], out)

    return sharded


def replicated(f: Callable[..., PyTree], layout: Layout) -> Callable[..., PyTree]:
    """f computed by every device on its own, whole: what a refiner does is too small to be cut
    up among devices."""
    devices = layout.devices or 1
    if devices == 1:
        return f
    spec = PartitionSpec()
    return jax.shard_map(f, mesh=mesh(devices), in_specs=spec, out_specs=spec, check_vma=False)


def everywhere(tree: PyTree, layout: Layout) -> PyTree:
    """The same arrays, whole on every device."""
    place = sharding(layout, None)
    return tree if place is None else lax.with_sharding_constraint(tree, place)


def mesh(devices: int) -> Mesh:
    """The local devices, one axis. Auto: explicit axes refuse sorting by sharded scores."""
    return jax.make_mesh(
        (devices,), (AXIS,), axis_types=(AxisType.Auto,), devices=jax.local_devices()[:devices]
    )


def sharding(layout: Layout, size: int | None) -> NamedSharding | None:
    """Where an array lives whose leading axis is a population of `size` (None: on all)."""
    devices = layout.devices or 1
    if devices == 1:
        return None
    along = size is not None and size % devices == 0
    return NamedSharding(mesh(devices), PartitionSpec(AXIS) if along else PartitionSpec())


def cores() -> int:
    """CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def use_all_cores() -> int:
    """Lets a population use every CPU core: one JAX device a core. Call it first of all.

    Changes nothing where JAX runs on a GPU or TPU.

    Returns:
      The number of cores.

    Raises:
      RuntimeError: JAX has started already, so it is too late.
    """
    there = cores()
    try:
        jax.config.update("jax_num_cpu_devices", there)
    except RuntimeError:
        raise RuntimeError(
            "use_all_cores: JAX has started already; call it before the first array is made"
        ) from None
    return there


def _size(members: PyTree) -> int:
    return jax.tree.leaves(members)[0].shape[0]


def _pad(members: PyTree, extra: int) -> PyTree:
    if extra == 0:
        return members
    size = _size(members)
    index = jnp.arange(size + extra) % size
    return jax.tree.map(lambda a: jnp.take(a, index, axis=0), members)
