"""Operations in a form that is fast inside a population: convolutions, poolings, divisions.

`rewrite` walks traced code and asks the other files, one operation each, for a replacement, which
has the same values up to rounding. An `Algorithm` is one way to compute a convolution. May import:
`xla.jaxpr`, `rng`, `types`.
"""
