"""What makes a user's unmodified model fast: its traced code is rewritten before XLA sees it.

`jaxpr` reads and runs traced code, `ops/` replaces single operations, `loops/` steps several
members together. May import: `types`, `rng`. Knows JAX, and nothing of learners or populations.
"""

from vtune.xla.ops.rewrite import rewrite

__all__ = ["rewrite"]
