"""Refiners: what is decided between rounds. One file each; your own is one more."""

from vtune.refine.base import Refinement, Refiner, Rung, rank
from vtune.refine.keep import Keep
from vtune.refine.pbt import PBT
from vtune.refine.mfpbt import MFPBT
from vtune.refine.pb2 import PB2
from vtune.refine.halving import Halving
from vtune.refine.hyperband import Hyperband

__all__ = [
    "MFPBT",
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
