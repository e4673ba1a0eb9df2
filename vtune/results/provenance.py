"""What a saved sweep says of its making: versions, settings of JAX, fingerprints; comparisons."""

from __future__ import annotations

import datetime
import importlib.metadata
import logging
import platform
from collections.abc import Mapping
from typing import Any

from vtune.engine.plan import Plan, jax_config
from vtune.results.fingerprint import data_fingerprint, learner_fingerprint
from vtune.results.trained import Trained
from vtune.types import PyTree

LOG = logging.getLogger("vtune")
PACKAGES = ("vtune", "jax", "jaxlib", "flax", "optax", "numpy")


def provenance_of(trained: Trained) -> dict[str, Any]:
    """Returns what a manifest says of a sweep's making, as JSON."""
    data = trained.data
    saved = trained.provenance or {}
    known = saved.get("data") if data is None else data_fingerprint(data)
    return provenance(trained.plan, trained.rows, known, trained.weights)


def provenance(plan: Plan, rows: Any, data: Any, weights: PyTree) -> dict[str, Any]:
    """Returns what is said of a sweep that is made here and now, as JSON.

    Args:
      rows, weights: see `Trained`. data: their fingerprint.
    """
    return {
        **setting(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "data": data,
        "learner": _learner_or_none(plan, rows, weights),
    }


def setting() -> dict[str, Any]:
    """Versions and settings: with others, learners have other equations."""
    versions = {name: _version(name) for name in PACKAGES}
    versions["python"] = platform.python_version()
    return {
        "versions": versions,
        "x64": bool(jax_config()[0]),
        "config": [str(value) for value in jax_config()],
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _learner_or_none(plan: Plan, rows: Any, weights: PyTree) -> dict[str, str] | None:
    try:
        return learner_fingerprint(plan, rows, weights)
    except Exception as error:  # no reason not to save: it only cannot be compared
        LOG.info("the learner has no fingerprint: %s", error)
        return None


def check_setting(where: str, provenance: Mapping[str, Any] | None) -> None:
    """Raises ValueError where a sweep was trained with other numbers; notes other versions."""
    if provenance is None:
        return
    before, now = provenance["x64"], bool(jax_config()[0])
    if before != now:
        raise ValueError(
            f"{where} was trained with jax_enable_x64={before}, here it is {now}; write "
            f'jax.config.update("jax_enable_x64", {before}) before loading'
        )
    versions = setting()["versions"]
    for name, version in provenance["versions"].items():
        if versions.get(name) != version:
            LOG.info("%s: saved with %s %s, here %s", where, name, version, versions.get(name))


def check_learner(
    where: str, provenance: Mapping[str, Any] | None, plan: Plan, rows: Any, weights: PyTree
) -> None:
    """Raises ValueError where a learner computes something else than the one that was trained.

    With other versions or settings than then nothing is compared: they change the equations.
    """
    if provenance is None or not provenance.get("learner"):
        return
    here = setting()
    if any(provenance[name] != here[name] for name in ("versions", "config")):
        return
    found = _learner_or_none(plan, rows, weights)
    if found is None:
        return
    other = [name for name in found if found[name] != provenance["learner"].get(name)]
    if other:
        raise ValueError(
            f"{where} was trained with another learner: its {' and '.join(other)} compute"
            f"{'' if len(other) > 1 else 's'} something else; give a learner made like the one "
            "that was trained (or check=False, if that is meant)"
        )
