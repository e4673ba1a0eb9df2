"""The public names, in reading order: `vt.<name>` is what is imported here as `name`."""

from vtune import log, lora, metrics, plots, refine
from vtune.caches import clear_caches
from vtune.hparams import Hparams, UnknownHyperparameterError
from vtune.space import Categorical, Combination, Float, Int, Ordinal, Space
from vtune.search import Cohort, Generations, Given, Grid, Halton, Random, Search
from vtune.data import Columns, Data, Folds, from_splits, holdout, kfold, read_idx, stream, text
from vtune.data import class_weights, min_max_scale, standardize
from vtune.components import augment, nn, penalties, schedules
from vtune.components import averaged, weight_average
from vtune.learner import Learner, flax_learner, nnx_learner, train_state_learner
from vtune.rng import member_key
from vtune.xla import rewrite
from vtune.refine import PBT, MFPBT, PB2, NSGA2, Halving, Hyperband
from vtune.refine import Refinement, Refiner, Rung
from vtune.engine import Layout, use_all_cores
from vtune.runtime import SourceError
from vtune.tuning import STOP, Checkpoint, CheckpointMismatchError, CheckpointSaveError
from vtune.tuning import extend, replay, tune
from vtune.costing import Cost, cost
from vtune.results import Comparison, Ensemble, Evaluation, Member, Retrained, Schedule
from vtune.results import Sweep, compare, load, read

__all__ = [
    "MFPBT",
    "NSGA2",
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
    "Comparison",
    "Cost",
    "Data",
    "Ensemble",
    "Evaluation",
    "Float",
    "Folds",
    "Generations",
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
    "SourceError",
    "Space",
    "Sweep",
    "UnknownHyperparameterError",
    "augment",
    "averaged",
    "class_weights",
    "clear_caches",
    "compare",
    "cost",
    "extend",
    "flax_learner",
    "from_splits",
    "holdout",
    "kfold",
    "load",
    "log",
    "lora",
    "member_key",
    "metrics",
    "min_max_scale",
    "nn",
    "nnx_learner",
    "penalties",
    "plots",
    "read",
    "read_idx",
    "refine",
    "replay",
    "rewrite",
    "schedules",
    "standardize",
    "stream",
    "text",
    "train_state_learner",
    "tune",
    "use_all_cores",
    "weight_average",
]
