"""`vt.cost`: what a sweep takes on a chip, read off its compiled program; nothing is run.

`chips` says what a chip is, `program_text` and `traffic` read an optimised program, `trainings`
finds the training steps in it, `floor` counts what they need at least. May import everything but
`sklearn`. Nothing below imports it.
"""

from vtune.costing.cost import cost
from vtune.costing.report import Cost, Mover

__all__ = ["Cost", "Mover", "cost"]
