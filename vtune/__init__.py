"""vtune: whole hyperparameter sweeps of Flax models as one jitted program."""

from vtune import augment, metrics, nn, penalties, schedules, text
from vtune.distributions import Categorical, Float, Int, Ordinal
from vtune.search import Given, Grid, Halton, Random
from vtune.idx import read_idx
from vtune.data import Data, holdout, split
from vtune.folds import Folds, kfold
from vtune.scaling import class_weights, min_max_scale, standardize
from vtune.types import Hparams, Rows
from vtune.keys import member_key
from vtune.lowering import lower
from vtune.learner import Learner
from vtune.linen import flax_learner
from vtune.nnx import nnx_learner
from vtune.averaging import averaged, weight_average
from vtune.layout import Layout, use_all_cores
from vtune.refine import Keep, PBT, MFPBT, PB2, Halving, Hyperband
from vtune.refine import Refinement, Refiner, Rung
from vtune.tune import tune
from vtune.sweep import Member, Sweep
from vtune.ensemble import Ensemble
from vtune.schedule import Schedule
from vtune.replay import replay
from vtune.files import load

__version__ = "0.1.0"

__all__ = [
    "MFPBT",
    "PB2",
    "PBT",
    "Categorical",
    "Data",
    "Ensemble",
    "Float",
    "Folds",
    "Given",
    "Grid",
    "Halton",
    "Halving",
    "Hparams",
    "Hyperband",
    "Int",
    "Keep",
    "Layout",
    "Learner",
    "Member",
    "Ordinal",
    "Random",
    "Refinement",
    "Refiner",
    "Rows",
    "Rung",
    "Schedule",
    "Sweep",
    "augment",
    "averaged",
    "class_weights",
    "flax_learner",
    "holdout",
    "kfold",
    "load",
    "lower",
    "member_key",
    "metrics",
    "min_max_scale",
    "nn",
    "nnx_learner",
    "penalties",
    "read_idx",
    "replay",
    "schedules",
    "split",
    "standardize",
    "text",
    "tune",
    "use_all_cores",
    "weight_average",
]
