"""A sweep goes on: from its members as they stand to a plan of the rounds to come."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from vtune.data.dataset import Data
from vtune.engine.carry import Arguments, EarlierRun
from vtune.engine.layout import resolve_layout
from vtune.engine.plan import CohortPlan, as_arrays, describe, jax_config
from vtune.engine.stepping import round_boundaries
from vtune.hparams import Static
from vtune.learner.protocol import Learner
from vtune.refine.base import Refiner, Rung
from vtune.refine.keep import Keep
from vtune.results.rerun import check_data
from vtune.results.sweep import Sweep
from vtune.runtime.check_learner import check_metrics
from vtune.space.space import parse
from vtune.space.traced import program_space
from vtune.tuning.arguments import check_is_refiner
from vtune.tuning.duration import batch_size_of, eval_batch_size_of, length_of, rounds_of
from vtune.tuning.hints import warn_idle
from vtune.tuning.prepare import Prepared, inspected, rungs_of

if TYPE_CHECKING:
    from vtune.search.base import Cohort


def prepare_further(
    start: Any,
    learner: Any,
    space: Any,
    data: Any,
    *,
    refiner: Any,
    epochs: Any,
    steps: Any,
    rounds: Any,
    eval_batch_size: Any,
    layout: Any,
    begun: dict[str, tuple[Any, Any]],
) -> tuple[Prepared, EarlierRun]:
    """The arguments are those of `vt.tune`.

    Args:
      begun: by name what cannot change any more: what was given, and what stands for nothing.

    Raises:
      TypeError, ValueError: on whatever cannot work.
    """
    if not isinstance(start, Sweep):
        raise TypeError(
            f"start={type(start).__name__} is no Sweep; give what vt.tune or vt.load returned "
            "(weights to start from: init_from=)"
        )
    _check_begun(start, learner, space, begun)
    _check_whole(start)
    before, past_rounds = start._plan, start._rounds
    data = _data(start, data)
    gone = _shrunk(start)
    own_refiner, anew = _refiner(start, refiner, gone)
    lengths = [
        length_of(cohort, data, epochs, steps, plan.batch_size)
        for cohort, plan in zip(start._cohorts, before.cohorts, strict=True)
    ]
    more = rounds_of(rounds, epochs, lengths, Keep() if gone else own_refiner)
    arguments = Arguments(
        np.uint32(start.seed),
        tuple(program_space(cohort.combination.traced) for cohort in start._cohorts),
        as_arrays(own_refiner),
        data,
        weights=start._weights,
    )
    size = eval_batch_size if eval_batch_size is not None else before.eval_batch_size
    plan = dataclasses.replace(
        before,
        cohorts=tuple(
            _cohort_plan(start, index, steps, more, None if gone else own_refiner)
            for index, (_, steps, _) in enumerate(lengths)
        ),
        rounds=past_rounds + more,
        eval_batch_size=eval_batch_size_of(size, data),
        layout=before.layout
        if layout is None
        else resolve_layout(layout, max(cohort.size for cohort in before.cohorts)),
        arguments=describe(arguments),
        config=jax_config(),
        past=past_rounds,
        anew=anew,
    )
    check_metrics(inspected(plan, data))
    if refiner is not None:
        warn_idle(refiner, plan.rounds)
    past = EarlierRun(start._records, start._populations, None if anew else start._memories)
    return Prepared(plan, start.space, start._cohorts, arguments), past


def _check_begun(
    start: Sweep, learner: Learner | None, space: Any, begun: dict[str, tuple[Any, Any]]
) -> None:
    """What a sweep was begun with may be said again, and nothing else."""
    others = {
        "learner": learner is not None and learner != start.learner,
        "space": space is not None and parse(space).parts != start.space.parts,
    }
    for name, other in others.items():
        if other:
            raise ValueError(
                f"start=: the {name} is another than the sweep's; leave it out, or begin anew "
                "with init_from=sweep.best"
            )
    plan = start._plan
    known = {
        "batch_size": [own.batch_size for own in plan.cohorts],
        "metric": plan.metric,
        "mode": plan.mode,
        "seed": start.seed,
    }
    for name, (given, nothing) in begun.items():
        if given is nothing or (isinstance(given, str | int) and given == nothing):
            continue
        said = given
        if name == "batch_size":
            said = [batch_size_of(cohort, given) for cohort in start._cohorts]
        if name not in known or said != known[name]:
            raise ValueError(
                f"{name}={given!r}: a sweep goes on as it was begun; leave {name}= out beside "
                "start=, or begin anew with init_from=sweep.best"
            )


def _check_whole(start: Sweep) -> None:
    """Members that stopped before the others hold other weights than their last."""
    records = start._records
    own = any("total_steps" in dict(cohort.traced) for cohort in start._plan.cohorts)
    if (
        start._plan.stopping
        or own
        or (records.stopped >= 0).any()
        or (records.ends != records.lived).any()
    ):
        raise ValueError(
            "start=: the sweep had patience=, keep= or epochs= as a function, and its members "
            "stopped where they stopped; begin anew with init_from=sweep.best"
        )


def _data(start: Sweep, data: Any) -> Data | None:
    """The sweep's data, or like ones."""
    if data is not None and not isinstance(data, Data):
        raise TypeError(f"data={type(data).__name__} is no Data; leave it out beside start=")
    given = data
    data = start.data if data is None else data
    for own in start._plan.cohorts:
        if data is None and own.batch_size is not None:
            raise ValueError("start=: a loaded sweep holds no data; give data= as well")
        if given is not None and own.batch_size is None:
            raise ValueError("start=: the sweep was trained without data; leave data= out")
        check_data("start=", start, own, data)
    return data


def _shrunk(start: Sweep) -> bool:
    """Whether members were dropped: the others then train on, and nobody decides any more."""
    return bool((start.parents[-1] < 0).any())


def _refiner(start: Sweep, given: Any, shrunk: bool) -> tuple[Refiner, bool]:
    """The refiner of the rounds to come, and whether it begins anew."""
    if given is not None:
        check_is_refiner(given)
        if shrunk and not getattr(given, "idle", False):
            raise ValueError(
                f"start=: members of the sweep were dropped, and the others train on; leave "
                f"refiner={type(given).__name__}(...) out"
            )
        return given, True
    if start._refiner is not None:
        return start._refiner, False
    own = np.arange(len(start))
    if not shrunk and (start.parents != own).any():
        raise ValueError(
            "start=: a loaded sweep does not hold its refiner; give refiner= again, or "
            "refiner=vt.refine.Keep() to train on without"
        )
    return Keep(), True


def _cohort_plan(
    start: Sweep, index: int, steps: int, more: int, refiner: Refiner | None
) -> CohortPlan:
    """The plan of a cohort that takes so many steps more, in so many rounds.

    Args:
      refiner: None where members were dropped.
    """
    before, cohort = start._plan.cohorts[index], start._cohorts[index]
    past = tuple(
        int(n) for n in round_boundaries(before, start._plan.rounds)[1 : start._rounds + 1]
    )
    total = past[-1] + steps
    static = {**before.static.value}
    stretched = before.stretched or static.get("total_steps", total) != total
    if "total_steps" in static:
        static["total_steps"] = total
    return dataclasses.replace(
        before,
        static=Static(static),
        steps=total,
        rungs=_rungs(before, cohort, len(past), more, refiner),
        past=past,
        stretched=stretched,
    )


def _rungs(
    before: CohortPlan, cohort: Cohort, past: int, more: int, refiner: Refiner | None
) -> tuple[Rung, ...]:
    """What there was, and then as the refiner wants it, or the last size to the end."""
    if refiner is not None:
        first, *others = rungs_of(cohort, more, refiner)
        return (Rung(first.size, past + first.rounds), *others)
    kept, done = [], 0
    for rung in before.rungs:
        if done < past:
            kept.append(rung)
        done += rung.rounds
    begun = sum(rung.rounds for rung in kept[:-1])
    return (*kept[:-1], Rung(kept[-1].size, past + more - begun))
