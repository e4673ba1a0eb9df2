"""Operations in a form that is fast inside a population: convolutions, poolings, divisions.

`rewrite` walks traced code and asks the other files, one operation each, for a replacement. May
import: `xla.jaxpr`, `rng`, `types`. A replacement has the values of what it replaces, but for
rounding.
"""
