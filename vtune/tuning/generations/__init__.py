"""A search by generations: the same program is called for each, and a study of Optuna's is asked
for the members in between.

`run` is the loop. `asking` asks the study and tells it, `merging` makes one sweep of all
generations, `told` tells callbacks, `kept` keeps the run in a folder.
"""

from vtune.tuning.generations.run import run_generations

__all__ = ["run_generations"]
