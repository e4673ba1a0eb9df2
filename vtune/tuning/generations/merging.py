"""The records of several generations as that of one sweep."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np

from vtune.engine.plan import Plan
from vtune.engine.population import Population
from vtune.refine.base import Rung
from vtune.results.history import Records
from vtune.results.trained import Timing, Trained
from vtune.rng.keys import from_words, is_key
from vtune.search.base import Cohort
from vtune.types import PyTree


def plan_of(plan: Plan, generations: int) -> Plan:
    """Returns the plan of a sweep that has the members of so many generations.

    Args:
      plan: of one.
    """
    cohorts = tuple(
        dataclasses.replace(
            cohort,
            size=cohort.size * generations,
            rungs=tuple(Rung(rung.size * generations, rung.rounds) for rung in cohort.rungs),
        )
        for cohort in plan.cohorts
    )
    return dataclasses.replace(plan, cohorts=cohorts)


def merged(earlier: Trained | None, one: Trained) -> Trained:
    """Returns the record of earlier generations with that of one more, on the host."""
    if earlier is None:
        return on_the_host(one)
    generations = len(earlier.drawn.began_from)
    sums = (sum(seconds) for seconds in zip(earlier.timing, one.timing, strict=True))
    pairs = zip(earlier.cohorts, one.cohorts, strict=True)
    began_from = (*earlier.drawn.began_from, *one.drawn.began_from)
    return dataclasses.replace(
        one,
        plan=plan_of(one.plan, generations + 1),
        cohorts=tuple(_cohort(before, after) for before, after in pairs),
        populations=_populations(earlier, one),
        records=_records(earlier.records, one.records),
        timing=Timing(*sums),
        weights=earlier.weights,
        memories=one.memories if not jax.tree.leaves(one.memories) else None,
        drawn=one.drawn._replace(began_from=began_from),
    )


def on_the_host(trained: Trained) -> Trained:
    """Returns the record with copies of its members' states, so that only one generation is on the
    devices."""
    return dataclasses.replace(trained, populations=_copied(trained.populations))


def on_devices(trained: Trained) -> Trained:
    """Returns the record with its members' states where programs find them."""
    return dataclasses.replace(trained, populations=jax.device_put(trained.populations))


def _cohort(before: Cohort, after: Cohort) -> Cohort:
    hparams = {
        name: np.concatenate([values, after.hparams[name]])
        for name, values in before.hparams.items()
    }
    return Cohort(before.combination, np.concatenate([before.id, after.id]), hparams)


def _records(before: Records, after: Records) -> Records:
    side_by_side = lambda a, b: {name: np.concatenate([a[name], b[name]], axis=1) for name in a}
    moved = np.where(after.parents >= 0, after.parents + before.parents.shape[1], -1)
    vectors = ("ends", "stopped", "budgets")
    return Records(
        side_by_side(before.history, after.history),
        side_by_side(before.settings, after.settings),
        np.concatenate([before.parents, moved.astype(np.int32)], axis=1),
        *(np.concatenate([getattr(before, v), getattr(after, v)]) for v in vectors),
    )


def _populations(earlier: Trained, one: Trained) -> tuple[Population, ...]:
    """Those who hold a state come first, as in every population: the dropped of the generations
    before come after those of the last one."""
    held = [[_held(trained, c) for c in range(len(one.cohorts))] for trained in (earlier, one)]
    return tuple(
        _both(before, after, *of_cohort)
        for before, after, *of_cohort in zip(
            earlier.populations, _copied(one.populations), *held, strict=True
        )
    )


def _held(trained: Trained, cohort: int) -> int:
    """How many of a cohort's leading slots hold a state."""
    columns = trained.columns_of(trained.populations[cohort].id)
    return sum(trained.has_state(int(column)) for column in columns)


def _both(before: Population, after: Population, held: int, more: int) -> Population:
    def joined(a: Any, b: Any) -> Any:
        if is_key(a):
            words = joined(np.asarray(jax.random.key_data(a)), np.asarray(jax.random.key_data(b)))
            return from_words(words, jax.ShapeDtypeStruct(words.shape[: a.ndim], a.dtype))
        return np.concatenate([a[:held], b[:more], a[held:], b[more:]])

    cut = lambda state, rows: jax.tree.map(lambda leaf: leaf[:rows], state)
    states = (cut(before.state, held), cut(after.state, more))
    whole = jax.tree.map(joined, before._replace(state=None), after._replace(state=None))
    return whole._replace(state=jax.tree.map(joined, *states))


def _copied(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: leaf if is_key(leaf) else np.array(leaf), tree)
