"""`checkpoint=`: a run that is killed goes on where the same call is made again.

`settings` is what a user writes, `call` what a run is compared by, `keeper` holds the folder and
writes, `beginning` finds the point to go on from. `machine` is what may differ, and `outlook` tells
without the script what `beginning` will find. The files are `results/checkpoint_files.py`'s.
"""

from vtune.tuning.checkpoints.settings import Checkpoint
from vtune.tuning.checkpoints.keeper import CheckpointSaveError

__all__ = ["Checkpoint", "CheckpointSaveError"]
