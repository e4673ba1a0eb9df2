"""What a user calls: `tune`, `extend`, `replay`, and what turns their arguments into a plan.

`arguments` and `duration` check, `prepare` plans, `launch` runs a plan with progress shown. May
import everything but `sklearn`. Nothing below imports it.
"""

from vtune.tuning.tune import tune
from vtune.tuning.extend import extend
from vtune.tuning.replay import replay

__all__ = ["extend", "replay", "tune"]
