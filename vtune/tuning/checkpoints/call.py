"""What a run is: all that its call asks for, by name, so that another call is told apart."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from vtune.engine.carry import EarlierRun
from vtune.engine.plan import Plan
from vtune.learner.freezing import frozen_of
from vtune.learner.pretrained import paths
from vtune.results.contents import array_sum
from vtune.results.described import describe_value
from vtune.results.encoding import encode
from vtune.results.fingerprint import data_fingerprint
from vtune.results.manifest import Call
from vtune.results.provenance import provenance
from vtune.results.refiners import encode_refiner
from vtune.results.trained import rows_of
from vtune.rng.keys import is_key
from vtune.runtime.resume import CheckpointMismatchError
from vtune.tuning.checkpoints.machine import MACHINE, machine_here
from vtune.tuning.prepare import Prepared

JAX_SETTINGS = ("jax_enable_x64", "jax_default_matmul_precision", "jax_threefry_partitionable")
LEARNER = "the learner's "
ENTRY = "data["
SUMS = ("sha256", "sample")  # of all numbers of an entry, and of some of its rows


def call_of(prepared: Prepared, past: EarlierRun | None) -> Call:
    """Returns what a call asks for. Nothing is compiled.

    Args:
      past: of an extended sweep, what it was.
    """
    plan, space, cohorts, arguments, _ = prepared
    data = arguments.data
    rows = None if data is None else rows_of(data)
    known = None if data is None else data_fingerprint(data)
    made = provenance(plan, rows, known, arguments.weights)
    asked: dict[str, Any] = {"seed": int(arguments.seed), **_durations(plan)}
    for name in JAX_SETTINGS:
        asked[name] = getattr(jax.config, name)
    for number, part in enumerate(space.parts):
        where = "space" if len(space.parts) == 1 else f"space[{number}]"
        asked |= {f"{where}[{name!r}]": encode(value) for name, value in part.items()}
    drawn: dict[str, list[str]] = defaultdict(list)
    for cohort in cohorts:
        for name, values in {"members' numbers": cohort.id, **cohort.hparams}.items():
            drawn[name].append(array_sum(np.asarray(values)))
    asked |= {f"the values drawn of {name!r}": _sums(sums) for name, sums in drawn.items()}
    asked |= _refiner(arguments.refiner)
    for path, leaf in paths(arguments.weights).items():
        asked[f"init_from{list(path)}"] = _sums([array_sum(np.asarray(leaf))])
    for path in sorted(frozen_of(plan.learner), key=str):
        asked[f"frozen{list(path)}"] = True
    if data is not None and data.batch_size is not None:
        asked |= _streamed(data, plan)
    if made["data"] is not None:
        arrays, parts = made["data"]["arrays"], made["data"]["rows"]
        asked |= {f"{ENTRY}{name!r}]": entry for name, entry in arrays.items()}
        asked["the split of the rows"] = _sums(list(parts.values()))
    asked |= {LEARNER + name: _sums([found]) for name, found in (made["learner"] or {}).items()}
    if past is not None:
        asked["the sweep that is extended"] = _sums(_past_sums(past))
    asked[MACHINE] = machine_here(plan)
    return Call(json.loads(json.dumps(asked)), made)


def _durations(plan: Plan) -> dict[str, Any]:
    """How long members train, what they are compared by, and when they stop."""
    of = lambda name: _one([getattr(cohort, name) for cohort in plan.cohorts])
    return {
        "members": _one([cohort.size for cohort in plan.cohorts]),
        "steps": of("steps"),
        "rounds": plan.rounds,
        "rounds of the rungs": of("rungs"),
        "total_steps": _one([c.static.value.get("total_steps") for c in plan.cohorts]),
        "steps of each fold": of("by_fold"),
        "batch_size": of("batch_size"),
        "eval_batch_size": plan.eval_batch_size,
        "metric": plan.metric if isinstance(plan.metric, str) else describe_value(plan.metric),
        "mode": plan.mode,
        "folds": plan.replicates.folds if plan.replicates else 1,
        "seeds": plan.replicates.seeds if plan.replicates else 1,
        "patience": plan.stopping.patience if plan.stopping else None,
        "keep": plan.stopping.keep if plan.stopping else "last",
    }


def _streamed(data: Any, plan: Plan) -> dict[str, Any]:
    """What tells a stream apart whose batches are not known beforehand."""
    first = data.read_first(data.batch_size)
    return {
        "steps_per_epoch": _one([cohort.steps_per_epoch for cohort in plan.cohorts]),
        "the first batch of the stream": _sums([array_sum(a) for _, a in sorted(first.items())]),
    }


def _one(values: list[Any]) -> Any:
    """By cohort; one value where all are equal."""
    return values[0] if all(value == values[0] for value in values) else values


def _refiner(refiner: Any) -> dict[str, Any]:
    encoded = encode_refiner(refiner) or {}
    fields = encoded.get("fields")
    if fields is None:
        return {"refiner": encoded}
    name = encoded["name"]
    return {"refiner": name, **{f"{name}'s {key}": value for key, value in fields.items()}}


def _past_sums(past: EarlierRun) -> list[str]:
    leaves = jax.tree.leaves((past.records, past.populations, past.memories))
    words = (jax.random.key_data(leaf) if is_key(leaf) else leaf for leaf in leaves)
    return [array_sum(np.asarray(leaf)) for leaf in words]


def _sums(sums: list[str]) -> dict[str, str]:
    return {"sha256": "".join(sums) if len(sums) == 1 else array_sum(np.array(sums))}


def check_same(folder: Path, saved: Mapping[str, Any] | None, call: Call) -> None:
    """Raises CheckpointMismatchError where another call left what a folder holds.

    Args:
      saved: what the call that left it asked for; None where no call did.
    """
    if saved is None:
        raise CheckpointMismatchError(
            f"{folder} holds a sweep that was saved without checkpoint=, and no run can be "
            "compared with it; choose another folder, or vt.Checkpoint(folder, restart=True), "
            "which removes it"
        )
    found = differences(saved, call.asked)
    if found:
        lines = "".join(f"\n  {line}" for line in found)
        raise CheckpointMismatchError(
            f"{folder} holds the sweep of another call. They differ in{lines}\nMake the call "
            "that was made, choose another folder, or begin anew with "
            "vt.Checkpoint(folder, restart=True), which removes what is there (to train a "
            "finished sweep further: vt.extend, with a folder of its own)"
        )


# What files say, in other words: they keep the name, so that older ones can be compared.
_PLAIN = {
    "rounds of the rungs": "[members, rounds] of each rung",
    """the values drawn of "members' numbers\"""": "which members each structure has",
}


def differences(
    saved: Mapping[str, Any], asked: Mapping[str, Any], where: tuple[str, str] = ("here", "there")
) -> list[str]:
    """Returns how what a call asks for differs from what another one did, a line for each.

    The learner's come last: its equations follow the rest, such as what is frozen.

    Args:
      where: what the two are called: this call, and the other one.
    """
    said = []
    versions = _versions(saved) == _versions(asked)
    names = dict.fromkeys([*asked, *saved])
    for name in sorted(names, key=lambda name: name.startswith(LEARNER)):
        if name == MACHINE or (name.startswith(LEARNER) and not versions):
            continue
        now, before = asked.get(name), saved.get(name)
        if name.startswith(ENTRY):
            before, now = by_one_sum(before, now)
        if not _is_same(before, now):
            said.append(f"{_PLAIN.get(name, name)}: {_compared(now, before, where)}")
    return said


def by_one_sum(before: Any, now: Any) -> tuple[Any, Any]:
    """Returns what two entries of data are compared by: all of their numbers where both say them,
    else some rows, since of data on the host no more is known. As they are where no sum is common.
    """
    if not isinstance(before, dict) or not isinstance(now, dict):
        return before, now
    common = next((name for name in SUMS if name in before and name in now), None)
    if common is None:
        return before, now
    others = set(SUMS) - {common}
    without = lambda entry: {k: value for k, value in entry.items() if k not in others}
    return without(before), without(now)


def _versions(asked: Mapping[str, Any]) -> Any:
    machine = asked.get(MACHINE)
    if not isinstance(machine, dict):
        return None
    return {k: v for k, v in machine.items() if k.startswith("version") or k == "platform"}


def _is_same(before: Any, now: Any) -> bool:
    """Whether two values are one, as far as JSON tells; 1 and 1.0 are not."""
    if isinstance(before, dict) and isinstance(now, dict):
        if before.get("kind") == now.get("kind") == "described" and _other_python(before, now):
            return bool(before.get("text") == now.get("text"))
        if before.get("kind") == now.get("kind") == "Float":
            return before == now  # real numbers, so 0 and 0.0 are one
        return before.keys() == now.keys() and all(_is_same(before[k], now[k]) for k in now)
    if isinstance(before, list) and isinstance(now, list):
        return len(before) == len(now) and all(map(_is_same, before, now))
    return json.dumps(before) == json.dumps(now)


def _other_python(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    version = lambda value: str(value.get("contents")).partition(" ")[0]
    return version(before) != version(now)


def _compared(now: Any, before: Any, where: tuple[str, str]) -> str:
    here, there = _shown(now), _shown(before)
    return "something else" if here == there else f"{here} {where[0]}, {there} {where[1]}"


def _shown(value: Any) -> str:
    """A value of JSON in a few words."""
    if value is None:
        return "none"
    if not isinstance(value, dict):
        text = json.dumps(value)
        return text if len(text) <= 80 else text[:77] + "..."
    if "fields" in value:
        fields = (f"{name}={_shown(field)}" for name, field in value["fields"].items())
        return f"{value.get('kind')}({', '.join(fields)})"
    if "items" in value:
        return _shown(value["items"]) if isinstance(value["items"], list) else str(value["items"])
    if "shape" in value:
        return f"{value.get('dtype')}{value['shape']}"
    return str(value.get("text") or value.get("name") or "something")
