"""What a user calls: `tune`, `extend`, `replay`, and what turns their arguments into a plan.

`arguments` and `duration` check, `prepare` plans, `launch` runs a plan with progress shown and
`callbacks` told. May import everything but `sklearn`. Nothing below imports it.
"""

from vtune.tuning.tune import tune
from vtune.tuning.extend import extend
from vtune.tuning.replay import replay
from vtune.tuning.callbacks import STOP

__all__ = ["STOP", "extend", "replay", "tune"]
