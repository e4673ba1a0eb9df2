"""Random numbers: the public key rules, JAX's draws as code that compiles and runs faster, and a
shuffle that is computed place by place.

May import: `types`. Knows nothing of who draws or for what.
"""

from vtune.rng.keys import member_key

__all__ = ["member_key"]
