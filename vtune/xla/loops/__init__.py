"""Loops over training steps in a form that XLA's CPU backend runs fast.

`flat` carries small matrices as vectors, `fused` steps a few members together in one loop. May
import: `xla.jaxpr`, `xla.ops`, `types`. Knows nothing of what a step computes.
"""
