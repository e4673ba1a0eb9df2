"""What cannot be done with batches that a pipeline makes, see `vt.stream`."""

from __future__ import annotations

from typing import Any

from vtune.data.dataset import Data
from vtune.data.streams.stream import Stream
from vtune.engine.cohort_groups import batch_groups, groups
from vtune.engine.plan import CohortPlan, Plan
from vtune.engine.stepping import round_boundaries
from vtune.runtime.notices import warn

ANEW = "give vt.stream a function (seed, epoch) -> batches, or what can be iterated again"


def check_streamed(data: Data | None, plan: Plan, generations: int = 1) -> None:
    """Raises ValueError where a plan needs rows of a stream that it does not have.

    Args:
      generations: how often the plan is run.
    """
    if data is None or data.batch_size is None or data.repeats:
        return
    apart = len(batch_groups(groups(plan)))
    if apart > 1:
        raise ValueError(
            f"{data!r} gives each batch once, and {apart} structures train one after the other in "
            "each round, since members are dropped; give vt.stream a function (seed, epoch) -> "
            "batches, or one structure alone"
        )
    within = [_ends_within_epochs(cohort, plan.rounds) for cohort in plan.cohorts]
    if plan.learner.refresh is not None and any(within):
        raise ValueError(
            f"{data!r} gives each batch once, and rounds end within epochs, where statistics are "
            "recomputed on the first batches of the epoch; give vt.stream a function (seed, epoch) "
            "-> batches, or rounds= that end with epochs"
        )
    if data.begins_again:
        return
    if generations > 1:
        raise ValueError(
            f"{data!r} gives each batch once, and {generations} generations train on the same, one "
            f"after the other; {ANEW}"
        )
    if plan.learner.refresh is not None:
        raise ValueError(
            f"{data!r} gives each batch once, and statistics are recomputed on the first "
            f"{plan.learner.refresh_batches} batches of the epoch after the last, which it may not "
            f"have; {ANEW}"
        )


def check_begins(data: Data | None) -> None:
    """Raises ValueError where a sweep would begin with batches that were read before."""
    if isinstance(data, Stream) and not data.begins:
        raise ValueError(
            f"{data!r} was read before, and the {data.source} cannot go back to its first batch; "
            f"make it and the stream anew, or {ANEW}"
        )


def _ends_within_epochs(cohort: CohortPlan, rounds: int) -> bool:
    return bool((round_boundaries(cohort, rounds) % (cohort.steps_per_epoch or 1)).any())


def warn_of_addresses(folder: Any, data: Data | None) -> None:
    """Warns where no other process can take up what a checkpoint keeps of a stream."""
    named = data.named_by_address if isinstance(data, Stream) else None
    if named is not None:
        warn(
            f"{folder}: the state of the stream's iterator names {named}, whose address is "
            "another in each process, so that no other one can take the run up; give the class a "
            "__repr__ that says what it reads"
        )
