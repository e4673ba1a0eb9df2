"""What a user calls: `tune`, `extend`, `replay`, and what turns their arguments into a plan.

`arguments` and `duration` check, `prepare` plans, `launch` runs a plan with progress shown and
`callbacks` told, `checkpoints` keeps it. May import everything but `sklearn`. Nothing below
imports it.
"""

from vtune.runtime.resume import CheckpointMismatchError
from vtune.tuning.checkpoints import Checkpoint, CheckpointSaveError
from vtune.tuning.tune import tune
from vtune.tuning.extend import extend
from vtune.tuning.replay import replay
from vtune.tuning.callbacks import STOP

__all__ = [
    "STOP",
    "Checkpoint",
    "CheckpointMismatchError",
    "CheckpointSaveError",
    "extend",
    "replay",
    "tune",
]
