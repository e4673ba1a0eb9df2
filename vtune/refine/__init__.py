"""Refiners: what is decided between rounds."""

from vtune.refine.base import Refinement, Refiner, Rung, rank
from vtune.refine.keep import Keep

__all__ = ["Keep", "Refinement", "Refiner", "Rung", "rank"]
