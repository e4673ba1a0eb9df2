"""Compares what several processes are about to run, so that a mistake is an error and no hang."""

from __future__ import annotations

import zlib
from typing import Any

import jax
import numpy as np

from vtune.engine.carry import Arguments
from vtune.engine.plan import Plan
from vtune.rng.keys import is_key
from vtune.runtime import processes
from vtune.search.base import Cohort


def check_same_run(
    plan: Plan, cohorts: tuple[Cohort, ...], arguments: Arguments, stop_after: int | None
) -> None:
    """Raises RuntimeError on every process where one of them is about to run something else.

    `vt.tune` and `vt.extend` have compared what they were called with by name; this is for reruns
    and whatever else trains. Data are left out: they are the sweep's.
    """
    if not processes.several():
        return
    bare = arguments._replace(data=None, weights=None, features=None)
    drawn = [(cohort.id, dict(cohort.hparams)) for cohort in cohorts]
    said = {
        "the program": [plan.rounds, stop_after, plan.mode, plan.layout.devices, plan.past]
        + [[cohort.size, cohort.steps, cohort.batch_size] for cohort in plan.cohorts],
        "the members": _sum(drawn),
        "the numbers": _sum(bare),
    }
    told = processes.told_by_all("the next run", said)
    for number, other in enumerate(told):
        differ = [name for name in told[0] if other[name] != told[0][name]]
        if differ:
            raise RuntimeError(
                f"process {number} is about to run something else than process 0: "
                f"{' and '.join(differ)} differ. All processes must make the same calls in the "
                "same order"
            )


def _sum(tree: Any) -> int:
    total = 0
    for leaf in jax.tree.leaves(tree):
        words = np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf)
        total = zlib.crc32(f"{words.dtype}{words.shape}".encode() + words.tobytes(), total)
    return total
