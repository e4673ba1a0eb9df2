"""Saving and loading a sweep: one folder, written as a whole or not at all.

manifest.json   settings, space, names of the arrays, checksums
arrays.npz      histories and drawn values
weights/        every member's state, by Orbax
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from vtune.engine.layout import resolve_layout
from vtune.engine.plan import Plan, jax_config
from vtune.engine.replicates import Replicates
from vtune.learner.pretrained import nested, paths
from vtune.learner.protocol import Learner
from vtune.results.encoding import decode
from vtune.results.history import Records
from vtune.results.manifest import (
    cohort_plan_of,
    is_saved_sweep,
    manifest_checksum,
    manifest_of,
    read_manifest,
)
from vtune.results.states import (
    StateMismatchError,
    members_left,
    named_leaves,
    restore_population,
)
from vtune.results.trained import Timing, Trained
from vtune.search.base import Cohort
from vtune.space.space import Space, parse

PARTS = ("manifest.json", "arrays.npz", "weights")
Arrays = dict[str, np.ndarray]


class RunExistsError(FileExistsError, ValueError):
    """Saving would write over something."""


def write(trained: Trained, path: str | os.PathLike, overwrite: bool = False) -> None:
    """Writes a sweep to a folder; see `Sweep.save`."""
    target = Path(path)
    manifest = manifest_of(trained)  # raises before anything is written
    _check_target(target, overwrite)
    target.parent.mkdir(parents=True, exist_ok=True)
    workshop = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        fresh = workshop / "fresh"
        fresh.mkdir()
        arrays, leaves = _named_arrays(trained), named_leaves(trained)
        np.savez_compressed(fresh / "arrays.npz", **arrays)  # type: ignore[arg-type]
        _orbax_save((fresh / "weights").resolve(), list(leaves.values()))
        manifest["leaves"] = list(leaves)
        manifest["checksums"] = {"arrays": _checksum(arrays), "weights": _checksum(leaves)}
        manifest["checksums"]["manifest"] = manifest_checksum(manifest)
        (fresh / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
        target.mkdir(exist_ok=True)
        _replace(target, fresh, workshop / "old")
    finally:
        shutil.rmtree(workshop, ignore_errors=True)


def read(path: str | os.PathLike, learner: Learner) -> Trained:
    """Reads a saved sweep, without its data; see `vtune.load`."""
    folder = Path(path)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    manifest = read_manifest(folder)
    arrays, leaves = _read_parts(folder, manifest)
    space = parse(
        [{k: decode(v) for k, v in part.items()} for part in manifest["space"]], saved=True
    )
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


def _check_target(target: Path, overwrite: bool) -> None:
    """Raises RunExistsError where saving would write over something."""
    if not target.exists():
        return
    empty = target.is_dir() and not any(target.iterdir())
    if not empty and not (target.is_dir() and is_saved_sweep(target)):
        raise RunExistsError(f"{target} exists and is not a saved sweep; choose another folder")
    if not empty and not overwrite:
        raise RunExistsError(
            f"{target} holds a saved sweep already; give overwrite=True or another folder"
        )


def _replace(target: Path, fresh: Path, aside: Path) -> None:
    """Moves the new parts into the folder and the old ones aside; back again if that fails.

    Other files in the folder, such as figures, stay.
    """
    aside.mkdir()
    try:
        for part in PARTS:
            if (target / part).exists():
                (target / part).rename(aside / part)
        for part in PARTS:
            (fresh / part).rename(target / part)
    except BaseException:
        for part in PARTS:
            if (aside / part).exists():
                if (target / part).exists():
                    (target / part).rename(fresh / f"failed {part}")
                (aside / part).rename(target / part)
        raise


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


def _read_parts(folder: Path, manifest: dict[str, Any]) -> tuple[Arrays, Arrays]:
    """The arrays and the leaves of the populations, by name.

    Raises:
      ValueError: the files are damaged.
    """
    try:
        with (folder / "arrays.npz").open("rb") as raw, np.load(raw) as file:
            arrays = {name: file[name] for name in file.files}
        values = _orbax_load((folder / "weights").resolve())
        leaves = dict(zip(manifest["leaves"], values, strict=True))
    except Exception as error:
        raise ValueError(f"{folder}: damaged ({type(error).__name__}: {error})") from error
    for name, part in (("arrays", arrays), ("weights", leaves)):
        if _checksum(part) != manifest["checksums"][name]:
            raise ValueError(f"{folder}: damaged, the {name} are not what was saved")
    return arrays, leaves


def _cohorts(manifest: dict[str, Any], space: Space, arrays: Arrays) -> tuple[Cohort, ...]:
    """The cohorts as they were drawn."""
    cohorts = []
    for number, entry in enumerate(manifest["cohorts"]):
        hparams = {name: arrays[f"cohort{number}/hparams/{name}"] for name in entry["traced"]}
        combination = space.combinations[entry["combination"]]
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


def _checksum(arrays: Arrays) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype} {array.shape};".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _orbax_save(path: Path, leaves: list[np.ndarray]) -> None:
    import orbax.checkpoint as ocp  # slow to import, only for files

    with ocp.StandardCheckpointer() as writer:
        # Numbered, since the names of the leaves hold characters that folders cannot.
        writer.save(path, {f"{i:05d}": leaf for i, leaf in enumerate(leaves)})
        writer.wait_until_finished()


def _orbax_load(path: Path) -> list[np.ndarray]:
    import orbax.checkpoint as ocp

    with ocp.StandardCheckpointer() as reader:
        tree = reader.restore(path)
    return [np.asarray(tree[name]) for name in sorted(tree)]
