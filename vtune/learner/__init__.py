"""How ONE member is initialised, stepped and scored; nothing here knows of populations.

`protocol` defines a learner's functions; `linen` and `nnx` make a learner of a Flax model.
May import: `metrics`, `components`, `rng`, `xla` and what is below them. Never imports `data` or
`engine`.
"""

from vtune.learner.protocol import Learner
from vtune.learner.linen import flax_learner
from vtune.learner.nnx import nnx_learner

__all__ = ["Learner", "flax_learner", "nnx_learner"]
