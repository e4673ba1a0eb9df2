"""Everything that runs inside `jit`: one program a sweep, from the first weights to the last score.

`plan` is what a program is compiled for, `carry` what it carries, `run` its loops over rounds and
steps, `train_steps` the unit of their work. May import: `learner`, `data`, `refine`, `search`,
`xla` and what is below them. Knows nothing of compiling, memory, files or progress (`runtime`).
"""

from vtune.engine.layout import Layout, use_all_cores

__all__ = ["Layout", "use_all_cores"]
