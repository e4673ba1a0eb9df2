"""`python -m vtune`: lists, shows, reports, compares, exports and checks saved sweeps.

A file a command: `add` describes it to argparse, `run` does it and returns the exit code. What a
command needs of `results` is imported where it runs, so that `ls` and `--help` load no JAX. May
import `log`, `report`, `studies`, `tuning.checkpoints`, `results` and what is below them.
"""
