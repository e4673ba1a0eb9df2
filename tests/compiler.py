"""How the tests compile: quickly, or exactly where results are compared to the last digits."""

from importlib.metadata import version

_FUSION = "xla_cpu_use_fusion_emitters"
# XLA ends the process where it does not know a flag, so the version that was tried is asked for.
_KNOWN = version("jaxlib").startswith("0.10.")

# With these flags compiling takes about half as long, and float64 is right to 1e-8 only. The last
# leaves a program's machine code in one piece: pieces are for more cores than the tests have.
QUICK = "--xla_backend_optimization_level=0" + (
    f" --{_FUSION}=false --xla_cpu_parallel_codegen_split_count=1" if _KNOWN else ""
)

EXACT = {_FUSION: True} if _KNOWN else {}
"""Compiler options with which float64 is as precise as without the flags above."""

OFTEN = {"xla_backend_optimization_level": 1}
"""Compiler options that take half as long again to compile, and a third of the time to run."""
