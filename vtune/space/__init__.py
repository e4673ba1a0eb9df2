"""What a hyperparameter may be, and the space of all of them.

A search draws from a space on the host. Inside the program its bounds are arrays, and refiners
stay within them. May import: `identity`, `types`, `hparams`, `validation`. Knows nothing of models,
data or populations.
"""

from vtune.space.distributions import Categorical, Float, Int, Ordinal
from vtune.space.space import Combination, Space, parse

__all__ = ["Categorical", "Combination", "Float", "Int", "Ordinal", "Space", "parse"]
