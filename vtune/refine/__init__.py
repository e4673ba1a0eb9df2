"""What is decided between rounds: which member each slot continues, with which hyperparameters.

One file a refiner; your own is one more, see `Refiner`. A refiner sees scores and hyperparameters
and returns indices, so it is tested without any network. May import: `space` and what is below it.
Never moves a weight (that is `engine`).
"""

from vtune.refine.base import Refinement, Refiner, Rung, rank
from vtune.refine.keep import Keep
from vtune.refine.pbt import PBT
from vtune.refine.mfpbt import MFPBT
from vtune.refine.pb2 import PB2
from vtune.refine.nsga2 import NSGA2
from vtune.refine.halving import Halving
from vtune.refine.hyperband import Hyperband

__all__ = [
    "MFPBT",
    "NSGA2",
    "PB2",
    "PBT",
    "Halving",
    "Hyperband",
    "Keep",
    "Refinement",
    "Refiner",
    "Rung",
    "rank",
]
