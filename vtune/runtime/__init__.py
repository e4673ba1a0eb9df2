"""Outside `jit`: the checks before compiling, the compiling, memory, and running the program.

`check_*` trace one member and report what is wrong, `compile` builds the one executable of a plan,
`execute` runs it segment by segment, with data on the host piece by piece (`feeding/`). May import:
`engine` and what is below it. Knows nothing of a user's arguments or of results.
"""

from vtune.runtime.feeding import SourceError

__all__ = ["SourceError"]
