"""Arrays held once on the device, with row indices for training and validation; or rows that stay
on the host until a step needs them.

Also folds, scaling, text and a file reader. May import: `types`, `validation`, `rng`, `xla`. Never
knows what is trained on the rows.
"""

from vtune.data.dataset import Data
from vtune.data.holdout import from_splits, holdout
from vtune.data.folds import Folds
from vtune.data.kfold import kfold
from vtune.data.streams.stream import stream
from vtune.data.scaling import class_weights, min_max_scale, standardize
from vtune.data.columns import Columns
from vtune.data import text
from vtune.data.idx import read_idx

__all__ = [
    "Columns",
    "Data",
    "Folds",
    "class_weights",
    "from_splits",
    "holdout",
    "kfold",
    "min_max_scale",
    "read_idx",
    "standardize",
    "stream",
    "text",
]
