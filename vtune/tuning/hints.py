"""Log lines and warnings that tell a user what is worth knowing, once."""

from __future__ import annotations

import functools
import logging
import warnings
from typing import Any

import jax

from vtune.callers import users_line
from vtune.data.dataset import Data
from vtune.data.looks import losses
from vtune.engine.layout import cores
from vtune.hparams import Hparams
from vtune.refine.base import Refiner
from vtune.runtime.check_learner import Inspection
from vtune.runtime.notices import log, warn
from vtune.search.base import Cohort
from vtune.space.space import Space

LOSSY = 0.01  # of the spread of an entry


def idle_cores(members: int) -> None:
    """Says how to use the other cores, where a population runs on one CPU device."""
    if jax.default_backend() == "cpu" and jax.device_count() == 1 and members > 1:
        _say_idle_cores(cores())


def many_combinations(count: int, seconds: float) -> None:
    """Says how long many structural combinations will take to compile."""
    log(
        logging.WARNING,
        "vtune: %d structural combinations are compiled into one program, which takes about %d s "
        "to compile the first time; numbers that set no shape compile nothing as vt.Ordinal or "
        "vt.Float",
        count,
        max(1, round(seconds)),
    )


def very_many_combinations(count: int) -> None:
    """Says before they are checked that structural combinations are very many."""
    log(
        logging.WARNING,
        "vtune: %d structural combinations are traced and checked one by one, and then compiled; "
        "numbers that set no shape need none of it as vt.Ordinal or vt.Float",
        count,
    )


def warn_nothing_to_search(cohorts: tuple[Cohort, ...]) -> None:
    """Warns where a search that nobody asked for draws one setting again and again."""
    (first, *others), members = cohorts, sum(len(cohort.id) for cohort in cohorts)
    if not others and not first.hparams and members > 1:
        warnings.warn(
            f"the space has nothing to search, so {members} members train with one setting, each "
            "with weights of its own; write search=vt.Halton(1) for one, seeds= for a mean, or "
            "vt.Float(low, high) in the space",
            stacklevel=users_line(),
        )


def warn_lossy(data: Data) -> None:
    """Warns of entries that lost what their values differ by, in the cast to the program's type."""
    for loss in losses(data):
        if (loss.away > LOSSY * loss.spread).any():
            warnings.warn(
                f"{loss.name!r} lies so far from 0 for how little it differs that {loss.dtype} "
                f"loses up to {loss.away.max():.2g} of it; write data = vt.standardize(data, "
                f"{loss.name!r}), which scales it before the cast, or whole numbers as integers, "
                "or set jax_enable_x64",
                stacklevel=users_line(),
            )


@functools.cache
def _say_idle_cores(available: int) -> None:
    if available > 1:
        log(
            logging.WARNING,
            "vtune: this population runs on one of %d CPU cores and may take %d times as long as "
            "on all; call vt.use_all_cores() first of all, before JAX starts, to use them all",
            available,
            available,
        )


def warn_idle(refiner: Refiner, rounds: int, cohorts: tuple[Cohort, ...]) -> None:
    """Warns of a refiner whose first decision would come after the last round, or which has no
    hyperparameter to change."""
    keeps = getattr(refiner, "keeps_hparams", False) or getattr(refiner, "idle", False)
    own = type(refiner).__module__.startswith("vtune.")
    if own and not keeps and not any(cohort.combination.traced for cohort in cohorts):
        warnings.warn(
            f"{type(refiner).__name__} has nothing to change, since no hyperparameter of the space "
            "is traced, so it only copies; write vt.Float, vt.Int or vt.Ordinal into the space",
            stacklevel=users_line(),
        )
    first = getattr(refiner, "first_round", None)
    if first is not None and rounds <= first:
        warnings.warn(
            f"{type(refiner).__name__} never acts: it would first do so before round {first}, and "
            f"rounds are counted from 0 to {rounds - 1}; give more epochs= or rounds=",
            stacklevel=users_line(),
        )


def warn_no_score(reason: str | None) -> None:
    """Warns where no member of a sweep can be the best, with the reason."""
    if reason is not None:
        warn(reason)  # there is a sweep to lose


def warn_unread(
    space: Space,
    cohorts: tuple[Cohort, ...],
    inspections: tuple[Inspection, ...],
    arguments: tuple[Any, ...],
) -> None:
    """Warns of hyperparameters that neither the learner nor an argument of `vt.tune` reads.

    Args:
      arguments: those that may be functions of `h`; others among them are skipped.
    """
    read = set().union(*(cohort.reads for cohort in inspections))
    for function in filter(callable, arguments):
        for cohort in cohorts:
            first = {name: values[0] for name, values in cohort.hparams.items()}
            function(Hparams(first, cohort.combination.static, read))
    unread = [name for name in space.names if name not in read]
    for name in ("batch_size", "epochs"):  # which are not the model's to read
        if name in unread:
            unread.remove(name)
            warnings.warn(
                f"{name!r} in the space: never read, so it changes nothing; write "
                f'vt.tune(..., {name}=lambda h: h["{name}"])',
                stacklevel=users_line(),
            )
    if unread:
        warnings.warn(
            f"{', '.join(map(repr, unread))} in the space: never read by the model, optimizer or "
            "loss, so it changes nothing; read it as h[name] or leave it out",
            stacklevel=users_line(),
        )
