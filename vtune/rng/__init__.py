"""Random numbers: the public key rules, and JAX's draws as code that compiles and runs faster.

May import: `types`. Knows nothing of who draws or for what.
"""

from vtune.rng.keys import member_key

__all__ = ["member_key"]
