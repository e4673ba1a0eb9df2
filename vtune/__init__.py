"""vtune: whole hyperparameter sweeps of Flax models as one jitted program.

The words that all folders use: a *member* is one training of one setting. It stands in a *slot* of
the *population*, the leading array axis. Members that share all structural choices are a *cohort*.
A *round* refines, trains and scores. A *rung* is a run of rounds with one population size. A member
that is trained once for each fold and seed has *replicates*. Imports go one way:

    identity <- types, hparams, validation, caches, keywords <- space, metrics, components, rng
        <- search, refine, xla <- data, learner <- engine <- runtime <- results
        <- tuning, log <- cost <- vtune <- sklearn
"""

from typing import TYPE_CHECKING

from vtune import log, metrics, refine
from vtune.caches import clear_caches
from vtune.hparams import Hparams, UnknownHyperparameterError
from vtune.space import Categorical, Combination, Float, Int, Ordinal, Space
from vtune.search import Cohort, Given, Grid, Halton, Random, Search
from vtune.data import Columns, Data, Folds, from_splits, holdout, kfold, read_idx, text
from vtune.data import class_weights, min_max_scale, standardize
from vtune.components import augment, nn, penalties, schedules
from vtune.components import averaged, weight_average
from vtune.learner import Learner, flax_learner, nnx_learner, train_state_learner
from vtune.rng import member_key
from vtune.xla import rewrite
from vtune.refine import PBT, MFPBT, PB2, Halving, Hyperband
from vtune.refine import Refinement, Refiner, Rung
from vtune.engine import Layout, use_all_cores
from vtune.tuning import STOP, Checkpoint, CheckpointMismatchError, CheckpointSaveError
from vtune.tuning import extend, replay, tune
from vtune.cost import Cost, cost
from vtune.results import Ensemble, Evaluation, Member, Retrained, Schedule, Sweep, load, read
from vtune.results.looked_for import no_such_public_name

__version__ = "0.1.0"

__all__ = [
    "MFPBT",
    "PB2",
    "PBT",
    "STOP",
    "Categorical",
    "Checkpoint",
    "CheckpointMismatchError",
    "CheckpointSaveError",
    "Cohort",
    "Columns",
    "Combination",
    "Cost",
    "Data",
    "Ensemble",
    "Evaluation",
    "Float",
    "Folds",
    "Given",
    "Grid",
    "Halton",
    "Halving",
    "Hparams",
    "Hyperband",
    "Int",
    "Layout",
    "Learner",
    "Member",
    "Ordinal",
    "Random",
    "Refinement",
    "Refiner",
    "Retrained",
    "Rung",
    "Schedule",
    "Search",
    "Space",
    "Sweep",
    "UnknownHyperparameterError",
    "augment",
    "averaged",
    "class_weights",
    "clear_caches",
    "cost",
    "extend",
    "flax_learner",
    "from_splits",
    "holdout",
    "kfold",
    "load",
    "log",
    "member_key",
    "metrics",
    "min_max_scale",
    "nn",
    "nnx_learner",
    "penalties",
    "read",
    "read_idx",
    "refine",
    "replay",
    "rewrite",
    "schedules",
    "standardize",
    "text",
    "train_state_learner",
    "tune",
    "use_all_cores",
    "weight_average",
]


if not TYPE_CHECKING:  # for a type checker any name would be there

    def __getattr__(name: str):
        raise AttributeError(no_such_public_name(name, __all__))


def __dir__() -> list[str]:
    """The public names alone, without the folders that hold them."""
    return [*__all__, "__version__", "__doc__"]
