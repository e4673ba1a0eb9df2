"""Saving and loading a sweep; `commit` says how the folder is laid out.

manifest.json   settings, space, names of the arrays, checksums
arrays.npz      histories and drawn values
weights/        every member's state, by Orbax
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import numpy as np

from vtune.engine.layout import resolve_layout
from vtune.engine.plan import Plan, jax_config
from vtune.engine.replicates import Replicates
from vtune.learner.pretrained import nested, paths
from vtune.learner.protocol import Learner
from vtune.results import commit
from vtune.results.encoding import decode
from vtune.results.history import Records
from vtune.results.manifest import (
    cohort_plan_of,
    manifest_checksum,
    manifest_of,
    read_manifest,
)
from vtune.results.migrate import migrated, migrated_arrays
from vtune.results.paths import check_target, folder_of, make_folder
from vtune.results.states import (
    StateMismatchError,
    members_left,
    named_leaves,
    restore_population,
)
from vtune.results.storage import (
    Arrays,
    DamagedError,
    checksum,
    read_arrays,
    read_weights,
    write_arrays,
    write_weights,
)
from vtune.results.trained import Timing, Trained
from vtune.search.base import Cohort
from vtune.space.space import Space, parse


def write(trained: Trained, path: str | os.PathLike, overwrite: bool = False) -> None:
    """Writes a sweep to a folder; see `Sweep.save`."""
    folder = folder_of("save", path)
    manifest = manifest_of(trained)  # raises before anything is written
    check_target(folder, overwrite)
    arrays, leaves = _named_arrays(trained), named_leaves(trained)
    new = make_folder(folder)
    try:
        with commit.lock(folder) as alone:
            check_target(folder, overwrite)  # again: it may have been another's turn
            before = commit.current_parts(folder)
            commit.clean(folder, alone, before)
            with commit.new_parts(folder) as parts:
                _write_parts(parts, manifest, arrays, leaves)
                commit.commit(folder, parts, manifest)
            commit.clean(folder, alone, before)
    except BaseException:
        for made in new:  # those that are empty
            with contextlib.suppress(OSError):
                made.rmdir()
        raise


def _write_parts(parts: Path, manifest: dict[str, Any], arrays: Arrays, leaves: Arrays) -> None:
    """Writes arrays and weights, adds to the manifest what is needed to read them, and reads them.

    Raises:
      ValueError: what was written is not what can be read.
    """
    manifest["parts"] = parts.name
    manifest["arrays"] = write_arrays(parts / commit.ARRAYS, arrays)
    manifest["leaves"] = list(leaves)
    write_weights(parts / commit.WEIGHTS, leaves)
    manifest["checksums"] = {"arrays": checksum(arrays), "weights": checksum(leaves)}
    manifest["checksums"]["manifest"] = manifest_checksum(manifest)
    try:
        _read_parts(parts, manifest)
    except DamagedError as error:
        raise ValueError(
            f"save: what was written cannot be read ({error}), so it was removed, and what the "
            "folder held is still there; see whether the disk is full"
        ) from error


def read(path: str | os.PathLike, learner: Learner) -> Trained:
    """Reads a saved sweep, without its data; see `vtune.load`."""
    folder = folder_of("load", path)
    manifest, arrays, leaves = _read_whole(folder)
    space = parse([{k: decode(v) for k, v in part.items()} for part in manifest["space"]])
    cohorts = _cohorts(manifest, space, arrays)
    plan = _plan(manifest, learner, cohorts)
    left = [members_left(cohort.id, arrays["parents"]) for cohort in cohorts]
    try:
        populations = tuple(
            restore_population(plan, number, manifest["rows"], left[number], leaves)
            for number in range(len(cohorts))
        )
    except StateMismatchError as error:
        raise ValueError(
            f"{folder} does not fit this learner: {error}; give a learner made like the one that "
            "was trained"
        ) from None
    return Trained(
        plan=plan,
        space=space,
        cohorts=cohorts,
        populations=populations,
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
            {tuple(path): arrays[f"init_from/{i}"] for i, path in enumerate(manifest["init_from"])}
        ),
        scaling={
            name: (arrays[f"scaling/{name}/shift"], arrays[f"scaling/{name}/factor"])
            for name in manifest["scaling"]
        },
    )


def _read_whole(folder: Path) -> tuple[dict[str, Any], Arrays, Arrays]:
    """The manifest, the arrays and the leaves of the populations, in the form of today."""
    manifest = read_manifest(folder)
    try:
        arrays, leaves = _read_parts(commit.parts_folder(folder, manifest), manifest)
    except DamagedError as error:
        if "parts" in manifest and commit.current_parts(folder) != manifest["parts"]:
            return _read_whole(folder)  # saved over while it was read
        raise ValueError(f"{folder}: damaged, {error}") from error
    return migrated(manifest), migrated_arrays(arrays, manifest["rounds"]), leaves


def _named_arrays(trained: Trained) -> Arrays:
    """Everything of arrays.npz, by name."""
    records = trained.records
    arrays = {f"history/{name}": values for name, values in records.history.items()}
    arrays |= {f"settings/{name}": values for name, values in records.settings.items()}
    arrays |= {name: getattr(records, name) for name in ("parents", "ends", "stopped", "budgets")}
    for i, leaf in enumerate(paths(trained.weights).values()):
        arrays[f"init_from/{i}"] = np.asarray(leaf)
    for name, (shift, factor) in trained.scaling.items():
        arrays |= {f"scaling/{name}/shift": shift, f"scaling/{name}/factor": factor}
    for number, cohort in enumerate(trained.cohorts):
        arrays[f"cohort{number}/id"] = cohort.id
        for name, values in cohort.hparams.items():
            arrays[f"cohort{number}/hparams/{name}"] = values
    return arrays


def _read_parts(parts: Path, manifest: dict[str, Any]) -> tuple[Arrays, Arrays]:
    """The arrays and the leaves of the populations, by name.

    Raises:
      DamagedError: the files are not what was saved.
    """
    arrays = read_arrays(parts / commit.ARRAYS, manifest.get("arrays"))
    leaves = read_weights(parts / commit.WEIGHTS, manifest["leaves"])
    for name, part in (("arrays", arrays), ("weights", leaves)):
        if checksum(part) != manifest["checksums"][name]:
            raise DamagedError(f"the {name} are not what was saved")
    return arrays, leaves


def _cohorts(manifest: dict[str, Any], space: Space, arrays: Arrays) -> tuple[Cohort, ...]:
    """The cohorts as they were drawn."""
    cohorts = []
    for number, entry in enumerate(manifest["cohorts"]):
        combination = space.combinations[entry["combination"]]
        traced = entry["traced"] if entry["traced"] is not None else list(combination.traced)
        hparams = {name: arrays[f"cohort{number}/hparams/{name}"] for name in traced}
        cohorts.append(Cohort(combination, arrays[f"cohort{number}/id"], hparams))
    return tuple(cohorts)


def _plan(manifest: dict[str, Any], learner: Learner, cohorts: tuple[Cohort, ...]) -> Plan:
    """The plan of a loaded sweep, laid out for this machine."""
    plans = tuple(
        cohort_plan_of(entry, cohort.combination.static, cohort.hparams)
        for entry, cohort in zip(manifest["cohorts"], cohorts, strict=True)
    )
    replicates = manifest.get("trainings")
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
        replicates=Replicates(*replicates) if replicates else None,
    )


def _lost_metric(metrics: Any) -> Any:
    raise ValueError(
        "the sweep's metric= was a function, which its file does not hold, so its members cannot "
        "be trained; run the sweep again with the function among the learner's metrics"
    )
