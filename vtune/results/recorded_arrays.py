"""All of a sweep but its members' states, as named arrays: those of `arrays.npz`."""

from __future__ import annotations

import numpy as np

from vtune.learner.pretrained import paths
from vtune.results.refiners import named_memories
from vtune.results.states import named_members
from vtune.results.storage import Arrays
from vtune.results.trained import Trained


def recorded_arrays(trained: Trained) -> Arrays:
    """Returns the arrays by name."""
    records = trained.records
    arrays = {f"history/{name}": values for name, values in records.history.items()}
    arrays |= {f"settings/{name}": values for name, values in records.settings.items()}
    arrays |= {name: getattr(records, name) for name in ("parents", "ends", "stopped", "budgets")}
    for i, leaf in enumerate(paths(trained.weights).values()):
        arrays[f"init_from/{i}"] = np.asarray(leaf)
    for name, (shift, factor) in trained.scaling.items():
        arrays |= {f"scaling/{name}/shift": shift, f"scaling/{name}/factor": factor}
    arrays |= named_members(trained) | named_memories(trained)
    for number, cohort in enumerate(trained.cohorts):
        arrays[f"cohort{number}/id"] = cohort.id
        for name, values in cohort.hparams.items():
            arrays[f"cohort{number}/hparams/{name}"] = values
    return arrays
