"""The sweep that a run's folder holds: found, read, removed."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

from vtune.results import commit
from vtune.results.files import read_saved
from vtune.results.manifest import is_saved_sweep, read_manifest
from vtune.results.rebuild import rebuilt, with_states
from vtune.results.trained import Trained
from vtune.tuning.prepare import Prepared


def holds_sweep(folder: Path) -> bool:
    """Whether a folder holds a saved sweep.

    Raises:
      RunExistsError: it holds a manifest of something else.
    """
    saved = is_saved_sweep(folder)
    if (folder / commit.MANIFEST).exists() and not saved:
        raise commit.RunExistsError(
            f"{folder} holds a manifest.json of something else; choose another folder"
        )
    return saved


def loaded(folder: Path, prepared: Prepared) -> Trained:
    """Returns the sweep that a folder holds, of the same call: with its learner and its data."""
    arguments = prepared.arguments
    saved = read_saved(folder, weights=True)
    trained = rebuilt(saved, prepared.space, prepared.plan.learner, None)
    trained = with_states(trained, saved, arguments.refiner)
    return dataclasses.replace(trained, data=arguments.data, weights=arguments.weights)


def remove_sweep(folder: Path) -> None:
    """Removes the sweep that a folder holds, and leaves the rest."""
    parts = commit.parts_folder(folder, read_manifest(folder))
    (folder / commit.MANIFEST).unlink()
    if parts != folder:
        shutil.rmtree(parts, ignore_errors=True)
