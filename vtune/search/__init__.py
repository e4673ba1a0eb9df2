"""How the first population is drawn: one file for each search.

Your own search is a class with one method, see `Search` for an example. May import: `space` and
what is below it. Never knows what is trained, nor what happens after a population is drawn (that is
`refine`).
"""

from vtune.search.base import Cohort, Search
from vtune.search.grid import Grid
from vtune.search.random import Random
from vtune.search.halton import Halton
from vtune.search.given import Given
from vtune.search.generations import Generations

__all__ = ["Cohort", "Generations", "Given", "Grid", "Halton", "Random", "Search"]
