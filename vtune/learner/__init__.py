"""How ONE member is initialised, stepped and scored; nothing here knows of populations.

`protocol` defines a learner's functions; `linen` and `nnx` make a learner of a Flax model.
May import: `metrics`, `components`, `rng`, `xla` and what is below them. Never imports `data` or
`engine`.
"""

from vtune.learner.protocol import Learner
from vtune.learner.linen import flax_learner
from vtune.learner.nnx import nnx_learner
from vtune.learner.train_state import train_state_learner

__all__ = ["Learner", "flax_learner", "nnx_learner", "train_state_learner"]
