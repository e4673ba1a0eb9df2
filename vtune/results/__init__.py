"""The results of a sweep, on the host: members, history, table, files, ensembles, reruns.

`trained` is the plain record that every other file reads; `Sweep` is a thin face over it. May
import: `runtime` and what is below it. Knows nothing of how a user's arguments are checked
(`tuning`).
"""

from vtune.results.schedule import Schedule
from vtune.results.member import Member
from vtune.results.ensemble import Ensemble
from vtune.results.evaluation import Evaluation
from vtune.results.retrain import Retrained
from vtune.results.sweep import Sweep
from vtune.results.load import load, read
from vtune.results.comparison import Comparison, compare

__all__ = [
    "Comparison",
    "Ensemble",
    "Evaluation",
    "Member",
    "Retrained",
    "Schedule",
    "Sweep",
    "compare",
    "load",
    "read",
]
