"""From what a folder holds to the record of a sweep, with its members' states or without."""

from __future__ import annotations

import dataclasses
from typing import Any

from vtune.engine.layout import resolve_layout
from vtune.engine.plan import Plan, Stopping, jax_config
from vtune.engine.replicates import Replicates
from vtune.learner.pretrained import nested
from vtune.learner.protocol import Learner
from vtune.results.files import Saved
from vtune.results.history import Records
from vtune.results.manifest import cohort_plan_of, refusing
from vtune.results.refiners import restored_memories
from vtune.results.states import (
    StateMismatchError,
    restored_states,
    states_held,
    without_states,
)
from vtune.results.trained import Drawn, Timing, Trained
from vtune.search.base import Cohort
from vtune.space.space import Space


def rebuilt(
    saved: Saved, space: Space, learner: Learner, lacks: str | None, alone: bool = False
) -> Trained:
    """Returns the record of a saved sweep, without its data and without its members' states.

    Args:
      space: the file's, see `choices`. lacks: see `Trained`. alone: whether no learner is there.

    Raises:
      ValueError: the file's parts do not fit each other.
    """
    manifest, arrays = saved.manifest, saved.arrays
    with refusing(saved.folder):
        cohorts = _cohorts(saved, space)
    given = [tuple(_hashable(key) for key in path) for path in manifest["init_from"]]
    frozen = frozenset(_hashable(path) for path in manifest["frozen"])
    if frozen and learner.freezing is not None:
        learner = learner.freezing.learner(frozen)
    elif frozen and not alone:
        raise ValueError(
            f"{saved.folder}: its members shared frozen weights, and this learner cannot; give one "
            "of vt.flax_learner or vt.nnx_learner, made like the one that was trained"
        )
    return Trained(
        plan=_plan(manifest, learner, cohorts),
        space=space,
        cohorts=cohorts,
        populations=tuple(
            without_states(number, tuple(cohort.hparams), arrays)
            for number, cohort in enumerate(cohorts)
        ),
        records=Records(
            history={name: arrays[f"history/{name}"] for name in manifest["history"]},
            settings={name: arrays[f"settings/{name}"] for name in manifest["settings"]},
            parents=arrays["parents"],
            ends=arrays["ends"],
            stopped=arrays["stopped"],
            budgets=arrays["budgets"],
        ),
        seed=manifest["seed"],
        timing=Timing(*manifest["timing"]),
        rows=manifest["rows"],
        weights=nested(
            {p: arrays[name] for i, p in enumerate(given) if (name := f"init_from/{i}") in arrays}
        ),
        scaling={
            name: (arrays[f"scaling/{name}/shift"], arrays[f"scaling/{name}/factor"])
            for name in manifest["scaling"]
        },
        stopped=manifest["stopped"],
        columns=manifest["columns"],
        provenance=manifest["identity"],
        lacks=lacks,
        drawn=Drawn(
            manifest["search"],
            manifest["generation_size"],
            tuple(manifest["began_from"]),
            tuple((str(name), str(mode)) for name, mode in manifest["objectives"]),
        ),
    )


def with_states(trained: Trained, saved: Saved, refiner: Any) -> Trained:
    """Returns the record with the states of its members, and with its refiner's memory.

    Args:
      refiner: see `refiners.decode_refiner`.

    Raises:
      ValueError: they are those of another learner, or of another refiner.
    """
    assert saved.leaves is not None
    populations = []
    for number, cohort in enumerate(trained.cohorts):
        columns = trained.columns_of(cohort.id)
        held = states_held(trained.plan.keeps_best, columns, trained.records.parents)
        try:
            state = restored_states(trained.plan, number, trained.rows, held, saved.leaves)
        except StateMismatchError as error:
            raise ValueError(
                f"{saved.folder} does not fit this learner: {error}; give a learner made like the "
                "one that was trained"
            ) from None
        populations.append(trained.populations[number]._replace(state=state))
    with refusing(saved.folder):
        memories = restored_memories(refiner, trained.cohorts, saved.arrays)
    return dataclasses.replace(
        trained, populations=tuple(populations), refiner=refiner, memories=memories
    )


def _cohorts(saved: Saved, space: Space) -> tuple[Cohort, ...]:
    """The cohorts as they were drawn."""
    cohorts = []
    for number, entry in enumerate(saved.manifest["cohorts"]):
        if entry["combination"] >= len(space.combinations):
            raise ValueError(f"cohort {number}: combination={entry['combination']}")
        combination = space.combinations[entry["combination"]]
        names = entry["traced"] if entry["traced"] is not None else list(combination.traced)
        own = [name for name in names if name not in ("total_steps", "steps_per_epoch")]
        if sorted(own) != sorted(combination.traced):
            raise ValueError(f"cohort {number}: traced={names}, the space has {combination.traced}")
        if not set(names) <= set(saved.manifest["settings"]):
            raise ValueError(f"cohort {number}: traced={names}, settings of others")
        hparams = {name: saved.arrays[f"cohort{number}/hparams/{name}"] for name in names}
        cohorts.append(Cohort(combination, saved.arrays[f"cohort{number}/id"], hparams))
    return tuple(cohorts)


def _plan(manifest: dict[str, Any], learner: Learner, cohorts: tuple[Cohort, ...]) -> Plan:
    """The plan of a loaded sweep, laid out for this machine."""
    plans = tuple(
        cohort_plan_of(entry, cohort.combination.static, cohort.hparams)
        for entry, cohort in zip(manifest["cohorts"], cohorts, strict=True)
    )
    replicates = manifest["trainings"]
    return Plan(
        learner=learner,
        cohorts=plans,
        rounds=manifest["rounds"],
        metric=manifest["metric"] or _lost_metric,
        mode=manifest["mode"],
        eval_batch_size=manifest["eval_batch_size"],
        layout=resolve_layout(None, max(plan.size for plan in plans)),
        arguments=None,
        config=jax_config(),
        stopping=Stopping(*manifest["stopping"]) if manifest["stopping"] else None,
        replicates=Replicates(*replicates) if replicates else None,
    )


def _lost_metric(metrics: Any) -> Any:
    raise ValueError(
        "the sweep's metric= was a function, which its file does not hold, so its members cannot "
        "be trained; run the sweep again with the function among the learner's metrics"
    )


def _hashable(key: Any) -> Any:
    return tuple(map(_hashable, key)) if isinstance(key, list) else key
