"""The manifest of a saved sweep: its settings, its space and checksums, as JSON."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vtune.engine.plan import CohortPlan, FoldSteps
from vtune.hparams import Static
from vtune.learner.freezing import frozen_of
from vtune.learner.pretrained import paths
from vtune.refine.base import Rung
from vtune.results.encoding import encode
from vtune.results.member import Member
from vtune.results.migrate import OLDEST, migrated
from vtune.results.no_score import no_finite_score
from vtune.results.provenance import provenance_of
from vtune.results.refiners import encode_refiner
from vtune.results.schema import check_manifest
from vtune.results.trained import Trained
from vtune.saved_files import FORMAT, MANIFEST, manifest_checksum
from vtune.validation import is_whole

VERSION = 4


class Call(NamedTuple):
    """The call that makes a sweep, as JSON.

    Attributes:
      asked: what it asks for, by name. provenance: see `provenance_of`.
    """

    asked: dict[str, Any]
    provenance: dict[str, Any]


def manifest_of(trained: Trained, call: Call | None = None) -> dict[str, Any]:
    """Returns the manifest of a sweep, without what `files` adds when it writes the arrays.

    Args:
      call: that made it, where it is kept in a folder of checkpoints.
    """
    plan = trained.plan
    return {
        "format": FORMAT,
        "version": VERSION,
        "space": [{k: encode(v) for k, v in part.items()} for part in trained.space.parts],
        "cohorts": [_cohort_entry(trained, number) for number in range(len(plan.cohorts))],
        "rounds": plan.rounds,
        "metric": plan.metric if isinstance(plan.metric, str) else None,
        "mode": plan.mode,
        "eval_batch_size": plan.eval_batch_size,
        "seed": trained.seed,
        "rows": trained.rows,
        "trainings": plan.replicates,
        "scaling": list(trained.scaling),
        "init_from": [list(path) for path in paths(trained.weights)],
        "frozen": sorted(map(list, frozen_of(plan.learner)), key=str),
        "history": list(trained.records.history),
        "settings": list(trained.records.settings),
        "timing": list(trained.timing),
        "refiner": encode_refiner(trained.refiner),
        "stopping": plan.stopping,
        "stopped": trained.stopped,
        "columns": {name: list(columns) for name, columns in trained.columns.items()},
        "identity": provenance_of(trained) if call is None else call.provenance,
        "call": None if call is None else call.asked,
        "modes": [list(mode) for mode in plan.learner.modes if mode[1] is not None],
        "best": _best_entry(trained),
        **trained.drawn._asdict(),
    }


def _best_entry(trained: Trained) -> dict[str, Any] | None:
    """The best member and its score, so that listing sweeps reads no arrays; None without one."""
    if no_finite_score(trained) is not None:
        return None
    best = Member(trained, int(trained.ranking[0]))
    return {"member": best.index, "score": best.score} if np.isfinite(best.score) else None


def _cohort_entry(trained: Trained, number: int) -> dict[str, Any]:
    plan, combination = trained.plan.cohorts[number], trained.cohorts[number].combination
    same = [Static(other) == Static(combination) for other in trained.space.combinations]
    return {
        "combination": same.index(True),
        "traced": [name for name, _ in plan.traced],
        "total_steps": plan.static.value.get("total_steps"),
        "batch_size": plan.batch_size,
        "steps": plan.steps,
        "steps_per_epoch": plan.steps_per_epoch,
        "rungs": [list(rung) for rung in plan.rungs],
        "past": list(plan.past),
        "stretched": plan.stretched,
        "by_fold": plan.by_fold,
        "own_epochs": plan.own_epochs,
    }


def cohort_plan_of(
    entry: dict[str, Any], static: dict[str, Any], hparams: dict[str, np.ndarray]
) -> CohortPlan:
    """Returns the plan of a cohort from its entry in the manifest.

    Args:
      static: its structural choices. hparams: its traced hyperparameters, as drawn.
    """
    lengths = {name: entry[name] for name in ("total_steps", "steps_per_epoch")}
    known = {name: steps for name, steps in lengths.items() if steps is not None}
    rungs = tuple(Rung(*rung) for rung in entry["rungs"])
    by_fold, past = entry["by_fold"], entry["past"]
    return CohortPlan(
        static=Static({**static, **known}),
        traced=tuple((name, str(values.dtype)) for name, values in hparams.items()),
        size=rungs[0].size,
        batch_size=entry["batch_size"],
        steps=entry["steps"],
        steps_per_epoch=entry["steps_per_epoch"],
        rungs=rungs,
        past=tuple(past) if by_fold is None else tuple(map(tuple, past)),
        stretched=entry["stretched"],
        by_fold=None if by_fold is None else tuple(FoldSteps(*fold) for fold in by_fold),
        own_epochs=entry["own_epochs"],
    )


def is_saved_sweep(folder: Path) -> bool:
    """Whether a folder holds a sweep that vtune saved, of any version."""
    try:
        return json.loads((folder / MANIFEST).read_text()).get("format") == FORMAT
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return False
    except (ValueError, AttributeError, RecursionError):
        return False


def read_manifest(folder: Path) -> dict[str, Any]:
    """Reads and checks the manifest of a saved sweep, and returns it in the form of today.

    Raises:
      FileNotFoundError: no such folder. ValueError: not a saved sweep, damaged, of a version that
        cannot be read, or not as a save writes it.
    """
    if not _is_folder(folder):
        what = "is not a folder" if os.path.exists(folder) else "no such folder"
        raise FileNotFoundError(f"{folder}: {what}; give one that sweep.save wrote")
    if not (folder / MANIFEST).is_file():
        raise ValueError(
            f"{folder} is not a saved sweep: it has no manifest.json; give a folder that "
            "sweep.save wrote"
        )
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{folder}: damaged, manifest.json does not parse ({error})") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ValueError(f"{folder} is not a saved sweep: its manifest.json is of something else")
    _check_version(folder, manifest.get("version"))
    sums = manifest.get("checksums")
    if not isinstance(sums, dict) or sums.get("manifest") != manifest_checksum(manifest):
        raise ValueError(f"{folder}: damaged, manifest.json is not what was saved")
    return checked_manifest(folder, manifest)


def checked_manifest(folder: Path, manifest: Any) -> dict[str, Any]:
    """Returns a manifest in the form of today, checked.

    Raises:
      ValueError: it is of a version that cannot be read, or not as a save writes it.
    """
    if not isinstance(manifest, dict):
        raise ValueError(f"{folder} is not as a save writes it: manifest={manifest!r}")
    _check_version(folder, manifest.get("version"))
    manifest = migrated(manifest)
    with refusing(folder):
        check_manifest(manifest)
    return manifest


def _is_folder(folder: Path) -> bool:
    try:
        return folder.is_dir()
    except PermissionError:
        raise
    except OSError:  # a name that no folder can have
        return False


@contextlib.contextmanager
def refusing(folder: Path) -> Iterator[None]:
    """Says of an error inside that no save wrote this folder."""
    try:
        yield
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{folder} is not as a save writes it: {error}") from None


def _check_version(folder: Path, version: Any) -> None:
    if not is_whole(version) or version < 1:
        raise ValueError(f"{folder} is not as a save writes it: version={version!r}")
    if version > VERSION:
        raise ValueError(f"{folder} was saved by a newer vtune; upgrade vtune to read it")
    if version < OLDEST:
        raise ValueError(f"{folder} was saved by an older vtune; run the sweep again")
