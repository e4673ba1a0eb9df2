"""The manifest of a saved sweep: settings, space and checksums as JSON."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from vtune.engine.plan import CohortPlan
from vtune.hparams import Static
from vtune.learner.pretrained import paths
from vtune.refine.base import Rung
from vtune.results.encoding import encode
from vtune.results.sweep import Sweep

FORMAT = "vtune sweep"


VERSION = 3


def _manifest(sweep: Sweep) -> dict[str, Any]:
    plan = sweep._plan
    combinations = list(sweep.space.combinations)
    return {
        "format": FORMAT,
        "version": VERSION,
        "space": [{k: encode(k, v) for k, v in part.items()} for part in sweep.space.parts],
        "cohorts": [
            {
                "combination": next(
                    i for i, c in enumerate(combinations) if Static(c) == Static(own.combination)
                ),
                "traced": [name for name, _ in cohort.traced],
                "total_steps": cohort.static.value.get("total_steps"),
                "batch_size": cohort.batch_size,
                "steps": cohort.steps,
                "steps_per_epoch": cohort.steps_per_epoch,
                "rungs": [list(rung) for rung in cohort.rungs],
                "past": list(cohort.past),
                "stretched": cohort.stretched,
            }
            for own, cohort in zip(sweep._cohorts, plan.cohorts, strict=True)
        ],
        "rounds": plan.rounds,
        "metric": sweep._plan.metric if isinstance(sweep._plan.metric, str) else None,
        "mode": sweep.mode,
        "eval_batch_size": plan.eval_batch_size,
        "seed": sweep.seed,
        "rows": sweep._rows,
        "trainings": plan.replicates,
        "scaling": list(sweep._scaling),
        "init_from": [list(path) for path in paths(sweep._weights)],
        "history": list(sweep.history),
        "settings": list(sweep.settings),
        "timing": list(sweep.timing),
    }


def _cohort_plan(
    entry: dict[str, Any], static: dict[str, Any], hparams: dict[str, np.ndarray]
) -> CohortPlan:
    static = {**static}
    if entry["total_steps"] is not None:
        static["total_steps"] = entry["total_steps"]
    if entry["steps_per_epoch"] is not None:
        static["steps_per_epoch"] = entry["steps_per_epoch"]
    rungs = tuple(Rung(*rung) for rung in entry["rungs"])
    return CohortPlan(
        Static(static),
        tuple((name, str(values.dtype)) for name, values in hparams.items()),
        rungs[0].size,
        entry["batch_size"],
        entry["steps"],
        entry["steps_per_epoch"],
        rungs,
        tuple(entry.get("past", ())),
        entry.get("stretched", False),
    )


def _is_run(folder: Path) -> bool:
    try:
        return json.loads((folder / "manifest.json").read_text()).get("format") == FORMAT
    except (OSError, ValueError, AttributeError):
        return False


def _read_manifest(folder: Path) -> dict[str, Any]:
    file = folder / "manifest.json"
    if not file.is_file():
        raise ValueError(f"{folder} is no saved sweep: it has no manifest.json")
    try:
        manifest = json.loads(file.read_text())
    except ValueError as error:
        raise ValueError(f"{folder}: damaged, manifest.json does not parse ({error})") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ValueError(f"{folder} is no saved sweep: manifest.json is of something else")
    if manifest.get("version", 0) > VERSION:
        raise ValueError(f"{folder} was saved by a newer vtune; upgrade to read it")
    if manifest.get("version", 0) < VERSION:
        raise ValueError(f"{folder} was saved by an older vtune; run the sweep again")
    sums = manifest.get("checksums")
    if not isinstance(sums, dict) or sums.get("manifest") != _text_checksum(manifest):
        raise ValueError(f"{folder}: damaged, manifest.json is not what was saved")
    return manifest


def _text_checksum(manifest: dict[str, Any]) -> str:
    """Of everything in the manifest but its checksums."""
    body = {name: value for name, value in manifest.items() if name != "checksums"}
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
